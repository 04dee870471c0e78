//! What proxies say about clients: the vectors of the PROXY protocol at every split, and what holds for any bytes.

mod common;

use std::net::{IpAddr, SocketAddr};

use common::{bytes, vectors};
use proptest::prelude::*;
use vang_proto::proxy::forwarded::{forwarded, x_forwarded_for};
use vang_proto::proxy::header::{LINE_BYTES_MAX, parse, write};
use vang_proto::proxy::{ClientAddress, ProxyHeader, ProxyHeaderError, ProxyVersion};

const PROXY: &str = include_str!("../vectors/proxy.txt");

type Parsed = Result<Option<(ProxyHeader, usize)>, ProxyHeaderError>;

fn said(parsed: &Parsed) -> String {
    match parsed {
        Ok(None) => "incomplete".to_owned(),
        Ok(Some((ProxyHeader::Local, _))) => "local".to_owned(),
        Ok(Some((ProxyHeader::Client(None), _))) => "client: unknown".to_owned(),
        Ok(Some((ProxyHeader::Client(Some(client)), _))) => format!("client: {client}"),
        Err(error) => format!("malformed: {error}"),
    }
}

/// Parses longer and longer parts: once it is known it stays so. Answers what the whole is.
fn at_every_split(bytes: &[u8]) -> Parsed {
    let whole = parse(bytes);
    let mut known = None;
    for len in 0..=bytes.len() {
        let part = parse(&bytes[..len]);
        if part == Ok(None) {
            assert_eq!(known, None, "{bytes:02x?} up to {len}");
            assert!(len < LINE_BYTES_MAX, "{bytes:02x?} needs more than {len} bytes");
        } else {
            assert_eq!(part, whole, "{bytes:02x?} up to {len}");
            known = Some(len);
        }
    }
    whole
}

#[test]
fn a_header_is_what_its_vector_says_at_every_split() {
    let cases = vectors::<3>(PROXY);
    assert!(cases.len() > 40);
    for [name, hex, expected] in cases {
        // Behind a `+` is what is not the header's any more.
        let header = hex.strip_suffix("+6869").unwrap_or(hex);
        let parsed = at_every_split(&bytes(hex));
        assert_eq!(said(&parsed), expected, "{name}");
        if let Ok(Some((_, len))) = parsed
            && !name.ends_with("-to-come")
        {
            assert_eq!(len, bytes(header).len(), "{name}");
        }
    }
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn end() -> impl Strategy<Value = SocketAddr> {
    (ip(), any::<u16>()).prop_map(SocketAddr::from)
}

/// Bytes that begin like a header, and any others.
fn first_bytes() -> impl Strategy<Value = Vec<u8>> {
    let begun = prop_oneof![
        Just(b"PROXY ".to_vec()),
        Just(b"PROXY TCP4 ".to_vec()),
        Just(b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec()),
        Just(b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0".to_vec()),
        Just(Vec::new()),
    ];
    (begun, proptest::collection::vec(any::<u8>(), 0..120)).prop_map(|(begun, rest)| [begun, rest].concat())
}

/// Elements of a list as clients and proxies write them.
fn elements() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9.,:; a-z=\"\\\\\\[\\]_]{0,60}",
        "(for=\"?127\\.0\\.0\\.1\"?[;, ]*){0,5}"
    ]
}

proptest! {
    #[test]
    fn any_first_bytes_are_read_the_same_at_every_split(bytes in first_bytes()) {
        let _ = at_every_split(&bytes);
    }

    #[test]
    fn a_written_header_names_its_client(from in end(), to in end()) {
        for version in [ProxyVersion::One, ProxyVersion::Two] {
            let bytes = write(version, Some((from, to)));
            let parsed = at_every_split(&bytes);
            let Ok(Some((ProxyHeader::Client(Some(client)), len))) = parsed else {
                panic!("{parsed:?}");
            };
            prop_assert_eq!(len, bytes.len());
            prop_assert_eq!(ClientAddress::from(client), ClientAddress::from(from));
        }
    }

    #[test]
    fn a_client_cannot_change_what_the_proxy_adds(sent in elements(), client in ip(), same_line: bool) {
        let client = client.to_canonical();
        let is_proxy = |ip: IpAddr| ip != client;
        let x = match same_line {
            true => vec![format!("{sent}, {client}")],
            false => vec![sent.clone(), client.to_string()],
        };
        let x: Vec<&[u8]> = x.iter().map(String::as_bytes).collect();
        let known = Ok(Some(ClientAddress { ip: client, port: None }));
        prop_assert_eq!(x_forwarded_for(&x, is_proxy), known.clone());

        // Where the standard has quotes, what is sent can make the whole unreadable, never another address.
        let node = if client.is_ipv4() { format!("for={client}") } else { format!("for=\"[{client}]\"") };
        let lines = if same_line { vec![format!("{sent}, {node}")] } else { vec![sent, node] };
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let read = forwarded(&lines, is_proxy);
        prop_assert!(read == known || read.is_err(), "{:?}", read);
    }

    #[test]
    fn an_address_is_shown_as_it_is_read(ip in ip(), port: Option<u16>) {
        let address = ClientAddress { ip: ip.to_canonical(), port };
        prop_assert_eq!(ClientAddress::read(&address.to_string()), Some(address));
    }
}
