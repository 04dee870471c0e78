//! How far an address reaches.

use std::net::IpAddr;

/// The scope of an address, by the registries of RFC 6890.
pub(super) fn reach(ip: IpAddr) -> &'static str {
    match ip.to_canonical() {
        ip if ip.is_loopback() => "loopback: this machine only",
        ip if ip.is_unspecified() => "every interface of this machine",
        ip if ip.is_multicast() => "multicast: a group",
        IpAddr::V4(ip) if ip.is_link_local() => "link-local: this link only",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "link-local: this link only, so it needs its scope",
        IpAddr::V4(ip) if ip.is_private() => "private: networks of this site only",
        IpAddr::V6(ip) if ip.is_unique_local() => "unique local: networks of this site only",
        IpAddr::V4(ip) if ip.is_broadcast() => "broadcast: all hosts on this link",
        IpAddr::V4(ip) if ip.is_documentation() => "for documentation: no host has it",
        IpAddr::V6(ip) if ip.segments()[..2] == [0x2001, 0xdb8] => "for documentation: no host has it",
        IpAddr::V4(_) | IpAddr::V6(_) => "public",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_explained() {
        for (ip, said) in [
            ("127.0.0.9", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("0.0.0.0", "every interface"),
            ("fe80::1", "needs its scope"),
            ("fd09::1", "unique local"),
            ("10.1.2.3", "private"),
            ("224.0.0.1", "multicast"),
            ("2001:db8::1", "for documentation"),
            ("9.9.9.9", "public"),
        ] {
            assert!(reach(ip.parse().unwrap()).contains(said), "{ip}");
        }
    }
}
