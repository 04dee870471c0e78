//! Facts for the page before a person enters (`GET /admission`): which names are admitted from the client's address, who can
//! create rooms, and whether the browser has warned of the certificate.

use hyper::StatusCode;
use vang_hub::Admitted;

use super::asked::{Answering, Asked};
use super::reply::whole;
use crate::config::Word as _;

/// `GET /admission`.
pub(super) fn admission(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let visitor = asked.visitor;
        let Admitted { guests, accounts, rooms_by } = visitor.house.pump.admitted(asked.client.peer);
        // Behind a proxy the certificate is the proxy's.
        let own_certificate = visitor.tls && visitor.proxies.is_none() && visitor.house.tls.borrow().is_own;
        let body = serde_json::json!({
            "local": asked.is_local(),
            "guests": guests,
            "accounts": accounts,
            "own-certificate": own_certificate,
            "rooms-by": rooms_by.word(),
        });
        whole(StatusCode::OK, "application/json", format!("{body}\n").into())
    })
}
