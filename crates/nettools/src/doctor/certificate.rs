//! Reads a certificate (RFC 5280): names, validity, issuer. Trust is not checked here: vang clients pin keys, browsers use
//! authorities.

use vang_proto::text::counted;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const DAY: i64 = 24 * 60 * 60;

/// A longer validity counts as unlimited: 1,000 years. vang's own certificates are valid until the year 4096.
const NEVER: i64 = 1_000 * 365 * DAY;

/// Names of a certificate that are shown; it can have thousands.
const NAMES_MAX: usize = 8;

/// The fields of a certificate that are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Names and addresses.
    pub(super) names: Vec<String>,
    /// `None`: self-signed.
    pub(super) issuer: Option<String>,
    /// Seconds until it expires; negative: since then. `None`: it does not expire.
    left: Option<i64>,
    /// It is not valid yet.
    pub(super) is_early: bool,
}

impl Certificate {
    /// Parses DER; `now` in seconds since 1970.
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
            // 9999-12-31: "no well-defined expiration date" (RFC 5280, 4.1.2.5).
            left: Some(end - now).filter(|left| end < 253_402_214_400 && *left < NEVER),
            is_early: validity.not_before.timestamp() > now,
        })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.left.is_some_and(|left| left < 0)
    }

    pub(super) fn ends_within(&self, days: i64) -> bool {
        self.left.is_some_and(|left| left < days * DAY)
    }

    /// `expires in 13 days`, `expired 3 days ago`, `does not expire`.
    pub(super) fn end(&self) -> String {
        let Some(left) = self.left else { return "does not expire".to_owned() };
        let days = match left.unsigned_abs() / DAY.unsigned_abs() {
            0 => "less than a day".to_owned(),
            days => counted(days, "day", "days"),
        };
        if left < 0 { format!("expired {days} ago") } else { format!("expires in {days}") }
    }

    /// The names, up to a limit.
    pub(super) fn for_whom(&self) -> String {
        let shown: Vec<&str> = self.names.iter().take(NAMES_MAX).map(String::as_str).collect();
        match (self.names.len(), self.names.len().saturating_sub(NAMES_MAX)) {
            (0, _) => "no name".to_owned(),
            (_, 0) => shown.join(", "),
            (_, more) => format!("{} and {more} more", shown.join(", ")),
        }
    }

    /// Does it have this host name?
    pub(super) fn is_for(&self, host: &str) -> bool {
        // A final dot only marks the name as complete.
        let host = host.strip_suffix('.').unwrap_or(host);
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
