//! What a certificate says (RFC 5280): for whom it is, until when, by whom. Whether it is to be trusted is not judged here:
//! clients of vang pin keys, browsers ask authorities.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Names and addresses that it is for.
    pub(super) names: Vec<String>,
    /// Who vouches; `None`: itself.
    pub(super) issuer: Option<String>,
    /// Days until its end; negative: since it.
    pub(super) days_left: i64,
    /// It has an end that anybody will live to see.
    pub(super) ends: bool,
    /// It begins later than now.
    pub(super) is_early: bool,
}

impl Certificate {
    /// Reads one as the server sent it; `now` in seconds since 1970.
    pub(super) fn read(der: &[u8], now: i64) -> Option<Certificate> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let names = alternatives
            .map_or_else(Vec::new, |found| found.value.general_names.iter().filter_map(name).collect());
        let validity = certificate.validity();
        let end = validity.not_after.timestamp();
        let is_own = certificate.issuer() == certificate.subject();
        Some(Certificate {
            names,
            issuer: (!is_own).then(|| certificate.issuer().to_string()),
            days_left: (end - now).div_euclid(DAY),
            // 9999-12-31: "no well-defined expiration date" (RFC 5280, 4.1.2.5).
            ends: end < 253_402_214_400,
            is_early: validity.not_before.timestamp() > now,
        })
    }

    /// Is it for this host?
    pub(super) fn is_for(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(domain) => host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
        },
        _ => None,
    }
}
