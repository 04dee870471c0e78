//! What a person reads right after the start: which page to open here and on a phone, the first commands to try, how to stop.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use vang_client::address::shown;
use vang_journal::DataFolder;
use vang_nettools::own_addresses::{outward_address, own_addresses};
use vang_proto::Secret;
use vang_server::FirstAdminLink;

use super::qr_code::{self, Paint};
use crate::color;
use crate::shell::quoted_path;

/// URLs of this machine that are shown; machines with containers have dozens of addresses.
const URLS_MAX: usize = 64;

/// What the server has to say about itself.
pub(super) struct Greeting<'a> {
    /// As it listens.
    pub(super) addresses: &'a [String],
    pub(super) data: &'a Path,
    /// The setting `name`.
    pub(super) names: &'a [String],
    /// Of its key, if other machines can reach it.
    pub(super) fingerprint: Option<&'a str>,
    pub(super) has_own_certificate: bool,
    pub(super) admits_guests_from_elsewhere: bool,
    pub(super) is_stopped_by_ctrl_c: bool,
    /// While there is no account.
    pub(super) first_admin: Option<&'a FirstAdminLink>,
}

/// What makes an account of the code of an invitation: the page's address with the code where browsers do not send it, or, where
/// there is no page, the code.
pub(super) fn invitation_link(addresses: &[String], code: &Secret) -> Secret {
    let page = addresses.iter().find_map(|address| page_here(address));
    Secret::new(
        page.map_or_else(|| code.expose().to_owned(), |page| format!("{page}#invite={}", code.expose())),
    )
}

impl Greeting<'_> {
    /// Prints it on stderr; the QR code only on a terminal.
    pub(super) fn print(&self) {
        let urls = self.urls_elsewhere(&own_addresses(), outward_address());
        let code = urls.first().map(|first| code_for_terminal(&first.0)).unwrap_or_default();
        let _ = std::io::stderr().write_all(self.text(&urls, &code).as_bytes());
    }

    fn text(&self, urls: &[(String, String)], code: &[String]) -> String {
        let Some(first) = self.addresses.first() else { return String::new() };
        // Commands find the server of the default folder without a flag.
        let server = match DataFolder::default_path() {
            Ok(default) if default == self.data => String::new(),
            Ok(_) | Err(_) => format!(" --data {}", quoted_path(self.data)),
        };
        let here = if urls.is_empty() { "" } else { "On this machine " };
        let start = match (self.addresses.iter().find_map(|address| page_here(address)), here) {
            (Some(url), "") => format!("Open {url} in a browser, or type in another terminal"),
            (Some(url), here) => format!("{here}open {url} in a browser, or type in another terminal"),
            (None, "") => "Type in another terminal".to_owned(),
            (None, here) => format!("{here}type in another terminal"),
        };
        let mut text = format!(
            "\n  {start} (data folder: {}):\n\n    \
             vang tail general --since 0{server}\n    \
             vang send general \"hello\"{server}\n    \
             vang request {} search morpheus\n",
            self.data.display(),
            typed_here(first),
        );
        if !urls.is_empty() {
            text.push_str("\n  On a phone or another computer open:\n\n");
            let width = urls.iter().take(URLS_MAX).map(|(url, _)| url.len()).max().unwrap_or(0);
            for (url, interface) in urls.iter().take(URLS_MAX) {
                let line = format!("    {url:width$}  {interface}");
                let _ = writeln!(text, "{}", line.trim_end());
            }
            if urls.len() > URLS_MAX {
                let _ = writeln!(
                    text,
                    "    … and {} more addresses: `ip address` shows them",
                    urls.len() - URLS_MAX
                );
            }
            if !code.is_empty() {
                text.push('\n');
                code.iter().for_each(|line| text.extend(["    ", line.as_str(), "\n"]));
            }
            text.push('\n');
            if self.has_own_certificate {
                text.push_str("  The browser there warns: the server made its certificate itself.\n");
            }
            if !self.admits_guests_from_elsewhere {
                text.push_str(
                    "  Guests from there are refused. To admit them, start with --guests everywhere.\n",
                );
            }
        }
        if let Some(FirstAdminLink { link, file }) = self.first_admin {
            let file =
                file.as_ref().map_or_else(String::new, |file| format!(" It is also in {}.", file.display()));
            let _ = write!(
                text,
                "\n  There is no account yet. With this link you make the administrator's, within an hour:\n\n    {}\n\n  \
                 Or type the code of the link here: vang accept NAME{server}.{file}\n",
                link.expose()
            );
        }
        if let Some(key) = self.fingerprint {
            let gap = if urls.is_empty() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}  Other machines must use TLS. Key fingerprint: {key}");
        }
        match self.is_stopped_by_ctrl_c {
            true => text.push_str("\n  Stop it with Ctrl-C.\n\n"),
            false => text.push_str(&format!("\n  Stop it with `kill {}`.\n\n", std::process::id())),
        }
        text
    }

    /// The URLs of the page for other machines, the best first, each with its interface.
    fn urls_elsewhere(&self, own: &[(IpAddr, String)], outward: Option<IpAddr>) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut add = |url: String, interface: &str| {
            if found.iter().all(|(known, _)| *known != url) {
                found.push((url, interface.to_owned()));
            }
        };
        let listens: Vec<SocketAddr> = self.addresses.iter().filter_map(|addr| addr.parse().ok()).collect();
        let beyond = listens.iter().filter(|addr| !addr.ip().to_canonical().is_loopback());
        for listens in beyond {
            for name in self.names {
                let host = name.parse::<Ipv6Addr>().map_or_else(|_| name.clone(), |ip| format!("[{ip}]"));
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
                let port = if has_port { String::new() } else { format!(":{}", listens.port()) };
                add(format!("https://{host}{port}/"), "");
            }
            // A browser knows no scopes, so it cannot open a link-local address.
            let mut reached: Vec<&(IpAddr, String)> = own
                .iter()
                .filter(|(ip, _)| match listens.ip() {
                    IpAddr::V4(any) if any.is_unspecified() => ip.is_ipv4(),
                    any if any.is_unspecified() => true,
                    one => *ip == one.to_canonical(),
                })
                .filter(|(ip, _)| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
                .collect();
            // A phone has IPv4 everywhere, and reaches the network of the default route.
            reached.sort_by_key(|(ip, _)| (Some(*ip) != outward, ip.is_ipv6()));
            for (ip, interface) in reached {
                add(format!("https://{}/", SocketAddr::new(*ip, listens.port())), interface);
            }
        }
        found
    }
}

/// The lines of a QR code, if stderr is a terminal that can show it.
fn code_for_terminal(url: &str) -> Vec<String> {
    let stderr = std::io::stderr();
    if !color::is_screen(&stderr) {
        return Vec::new();
    }
    let paint = if color::is_wanted(&stderr) { Paint::Colors } else { Paint::Plain };
    let lines = qr_code::lines(url, paint).unwrap_or_default();
    // As many characters as lines are modules, two of them a line; with the margin on the left.
    let width = lines.len() * 2 + 4;
    let has_room = crossterm::terminal::size().is_ok_and(|(columns, _)| usize::from(columns) >= width);
    if has_room { lines } else { Vec::new() }
}

/// The URL of the page on this machine. None for a Unix socket, and for a link-local address: browsers accept no scope in
/// it.
fn page_here(listens: &str) -> Option<String> {
    let addr: SocketAddr = listens.parse().ok()?;
    match addr {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => None,
        addr if addr.ip().is_unspecified() => Some(format!("http://localhost:{}/", addr.port())),
        // Also from this machine it is an address of the network, so the page is there by TLS only.
        addr if !addr.ip().to_canonical().is_loopback() => Some(format!("https://{addr}/")),
        addr => Some(format!("http://{addr}/")),
    }
}

/// An address as people type it on this machine.
fn typed_here(listens: &str) -> String {
    match listens.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_unspecified() => format!("localhost:{}", addr.port()),
        Ok(addr) => shown(addr),
        Err(_) => listens.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<(IpAddr, String)> {
        let rows = [
            ("172.17.0.1", "docker0"),
            ("192.168.1.20", "wlan0"),
            ("2001:db8::5", "wlan0"),
            ("fe80::1", "wlan0"),
        ];
        rows.iter().map(|(ip, interface)| (ip.parse().unwrap(), (*interface).to_owned())).collect()
    }

    fn greeting<'a>(addresses: &'a [String], names: &'a [String]) -> Greeting<'a> {
        Greeting {
            addresses,
            data: Path::new("/srv/my chat"),
            names,
            fingerprint: Some("SHA256:abc"),
            has_own_certificate: true,
            admits_guests_from_elsewhere: false,
            is_stopped_by_ctrl_c: true,
            first_admin: None,
        }
    }

    fn urls(listens: &[&str], names: &[&str]) -> Vec<String> {
        let texts = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let (addresses, names) = (texts(listens), texts(names));
        let outward = Some("192.168.1.20".parse().unwrap());
        greeting(&addresses, &names).urls_elsewhere(&own(), outward).into_iter().map(|(url, _)| url).collect()
    }

    #[test]
    fn the_address_of_the_default_route_comes_first_and_link_local_ones_are_left_out() {
        assert_eq!(
            urls(&["[::]:7000"], &[]),
            ["https://192.168.1.20:7000/", "https://172.17.0.1:7000/", "https://[2001:db8::5]:7000/"]
        );
        assert_eq!(urls(&["0.0.0.0:7000"], &[]), ["https://192.168.1.20:7000/", "https://172.17.0.1:7000/"]);
    }

    #[test]
    fn one_address_is_shown_alone_and_a_name_before_it() {
        assert_eq!(urls(&["192.168.1.20:7000"], &[]), ["https://192.168.1.20:7000/"]);
        assert_eq!(
            urls(&["127.0.0.1:1", "192.168.1.20:7000"], &["chat.example", "talk.example:8443"]),
            ["https://chat.example:7000/", "https://talk.example:8443/", "https://192.168.1.20:7000/"]
        );
        assert_eq!(
            urls(&["192.168.1.20:7000"], &["2001:db8::9", "[2001:db8::a]", "[2001:db8::b]:8443"])[..3],
            ["https://[2001:db8::9]:7000/", "https://[2001:db8::a]:7000/", "https://[2001:db8::b]:8443/"]
        );
        assert!(urls(&["127.0.0.1:7000", "[::1]:7000", "unix:/run/x"], &["chat.example"]).is_empty());
    }

    #[test]
    fn the_text_names_the_page_for_this_machine_and_for_a_phone() {
        let addresses = ["[::]:7000".to_owned()];
        let urls = greeting(&addresses, &[]).urls_elsewhere(&own(), None);
        let text = greeting(&addresses, &[]).text(&urls, &["▀▄".to_owned()]);
        assert_eq!(
            text,
            "\n  On this machine open http://localhost:7000/ in a browser, or type in another terminal (data folder: \
             /srv/my chat):\n\n    \
             vang tail general --since 0 --data '/srv/my chat'\n    \
             vang send general \"hello\" --data '/srv/my chat'\n    \
             vang request localhost:7000 search morpheus\n\n  \
             On a phone or another computer open:\n\n    \
             https://172.17.0.1:7000/     docker0\n    \
             https://192.168.1.20:7000/   wlan0\n    \
             https://[2001:db8::5]:7000/  wlan0\n\n    \
             ▀▄\n\n  \
             The browser there warns: the server made its certificate itself.\n  \
             Guests from there are refused. To admit them, start with --guests everywhere.\n  \
             Other machines must use TLS. Key fingerprint: SHA256:abc\n\n  \
             Stop it with Ctrl-C.\n\n"
        );
    }

    #[test]
    fn hundreds_of_addresses_are_counted_instead_of_shown() {
        let addresses = ["0.0.0.0:7000".to_owned()];
        let own: Vec<_> = (1..=78).map(|n| (IpAddr::from([10, 0, 0, n]), format!("veth{n}"))).collect();
        let greeting = greeting(&addresses, &[]);
        let text = greeting.text(&greeting.urls_elsewhere(&own, None), &[]);
        assert_eq!(text.matches("https://").count(), URLS_MAX, "{text}");
        assert!(text.contains("… and 14 more addresses"), "{text}");
    }

    #[test]
    fn a_server_of_this_machine_has_no_word_about_others() {
        let addresses = ["127.0.0.1:7000".to_owned()];
        let text = Greeting { fingerprint: None, ..greeting(&addresses, &[]) }.text(&[], &[]);
        assert!(text.starts_with("\n  Open http://127.0.0.1:7000/ in a browser, or type in"), "{text}");
        assert!(!text.contains("phone") && !text.contains("TLS"), "{text}");
        let addresses = ["unix:/run/vang".to_owned()];
        let text = Greeting { fingerprint: None, ..greeting(&addresses, &[]) }.text(&[], &[]);
        assert!(text.starts_with("\n  Type in another terminal (data folder"), "{text}");
        assert!(text.contains("vang request unix:/run/vang search"), "{text}");
    }
}
