//! Which address to give to a server and to its clients, on the same machine and on others, with this machine's own addresses.

use std::fmt;
use std::io;

use serde::Serialize;

use super::reach::reach;
use crate::own_addresses::{is_link_local, own_addresses};
use crate::{Record, Report};

/// A row of the table.
#[derive(Serialize)]
struct Which {
    clients: &'static str,
    /// What the server listens on.
    server: String,
    /// What the clients connect to.
    client: String,
}

impl Record for Which {
    const EVENT: &'static str = "which-address";
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Which { clients, server, client } = self;
        write!(f, "{clients}: the server listens on {server}; they connect to {client}")
    }
}

/// Shows the table.
pub(super) fn show(report: &Report) -> io::Result<()> {
    let (link_local, others): (Vec<_>, Vec<_>) =
        own_addresses().into_iter().partition(|(ip, _)| is_link_local(ip));
    let reached: Vec<String> =
        others.iter().map(|(ip, interface)| format!("{ip} ({interface}, {})", reach(*ip))).collect();
    let reached = match reached.is_empty() {
        true => "its name or its address; this machine has none that others reach".to_owned(),
        false => format!("its name, or its address: here {}", reached.join(", ")),
    };
    let linked: Vec<String> = link_local.iter().map(|(ip, interface)| format!("{ip}%{interface}")).collect();
    let linked = match linked.is_empty() {
        true => "its link-local address; this machine has none".to_owned(),
        false => linked.join(", "),
    };
    for row in [
        Which {
            clients: "clients on this machine",
            server: "127.0.0.1 or [::1], or unix:PATH".to_owned(),
            client: "the same, or localhost, which stands for one of them or both".to_owned(),
        },
        Which {
            clients: "clients on other machines",
            server: "an empty host, as in :65432, for every interface, or one address of its machine"
                .to_owned(),
            client: reached,
        },
        Which {
            clients: "clients on the same link, without a name or a router",
            server: linked,
            client: "that address with the scope of their own interface, as in fe80::1%eth0".to_owned(),
        },
    ] {
        report.record(&row)?;
    }
    Ok(())
}
