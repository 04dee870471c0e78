//! Captures of every file format and link type give the same conversations, in any order of packets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;

use proptest::prelude::*;
use vang_nettools::capture::conversations::{ConversationEvent, ConversationSummary};
use vang_nettools::capture::fragments::{self, Fragment, Fragments};
use vang_nettools::capture::side::Side;
use vang_nettools::capture::write::Writer;
use vang_nettools::decode::{Counted, read_capture};

/// A conversation as raw IP packets.
fn packets(v6: bool, piece: usize) -> Vec<Vec<u8>> {
    let [client, server]: [SocketAddr; 2] =
        if v6 { ["[::1]:4711", "[::1]:65432"] } else { ["10.0.0.7:4711", "10.0.0.1:65432"] }
            .map(|it| it.parse().unwrap());
    let mut writer = Writer::new(Vec::new(), "test").unwrap();
    let mut one = writer.open(0, client, server).unwrap();
    for part in message("x").chunks(piece) {
        writer.say(0, &mut one, Side::Client, part).unwrap();
    }
    writer.say(0, &mut one, Side::Server, &message("yy")).unwrap();
    writer.close(0, &mut one, Side::Client).unwrap();
    writer.close(0, &mut one, Side::Server).unwrap();
    let capture = writer.into_inner();
    let (mut at, mut packets) = (0, Vec::new());
    while at < capture.len() {
        let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap()) as usize;
        if word(at) == 6 {
            packets.push(capture[at + 28..at + 28 + word(at + 20)].to_vec());
        }
        at += word(at + 4);
    }
    packets
}

fn message(content: &str) -> Vec<u8> {
    let header = format!(
        r#"{{"byteorder": "little", "content-type": "text/plain", "content-encoding": "utf-8", "content-length": {}}}"#,
        content.len()
    );
    [&(header.len() as u16).to_be_bytes(), header.as_bytes(), content.as_bytes()].concat()
}

/// A pcap file: byte order, link type, bytes kept of each packet.
fn pcap(big: bool, link: u32, cut: usize, packets: &[Vec<u8>]) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = Vec::from(word(0xa1b2_c3d4));
    file.extend(half(2));
    file.extend(half(4));
    for value in [0, 0, 65_535, link] {
        file.extend(word(value));
    }
    for (at, packet) in packets.iter().enumerate() {
        let kept = packet.len().min(cut);
        for value in [7, at as u32, kept as u32, packet.len() as u32] {
            file.extend(word(value));
        }
        file.extend_from_slice(&packet[..kept]);
    }
    file
}

struct Found {
    said: Vec<String>,
    over: Vec<ConversationSummary>,
    counted: Counted,
}

fn decode(capture: &[u8]) -> Found {
    let mut found = Found { said: Vec::new(), over: Vec::new(), counted: Counted::default() };
    let (first, rest) = capture.split_first_chunk::<4>().unwrap();
    let sink = &mut |event: ConversationEvent<'_>| match event {
        ConversationEvent::Message { side, decoded, .. } => found.said.push(format!("{side:?} {decoded:?}")),
        ConversationEvent::Bytes { .. }
        | ConversationEvent::Tcp { .. }
        | ConversationEvent::Datagram { .. } => {}
        ConversationEvent::Ended(summary) => found.over.push(summary),
    };
    read_capture(*first, rest, &mut found.counted, sink, &mut || true).unwrap();
    found
}

#[test]
fn every_link_and_every_file_gives_the_same_conversation() {
    for v6 in [false, true] {
        let kind: u16 = if v6 { 0x86dd } else { 0x0800 };
        let raw = packets(v6, 50);
        let expected = decode(&pcap(false, 101, 65_535, &raw)).said;
        assert_eq!(expected.len(), 2, "{expected:?}");
        let ethernet = [&[2; 12][..], &kind.to_be_bytes()].concat();
        let vlan = [&[2; 12][..], &[0x81, 0, 0, 5], &kind.to_be_bytes()].concat();
        let two_vlans = [&[2; 12][..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &kind.to_be_bytes()].concat();
        let cooked = [&[0; 14][..], &kind.to_be_bytes()].concat();
        let cooked_2 = [&kind.to_be_bytes()[..], &[0; 18]].concat();
        let family: u8 = if v6 { 24 } else { 2 };
        let plain = [
            (1, ethernet),
            (1, vlan),
            (1, two_vlans),
            (113, cooked),
            (276, cooked_2),
            (0, vec![2, 0, 0, 0]),
            (108, vec![0, 0, 0, 2]),
            (12, vec![]),
            // OpenBSD's logs of IPsec and of its packet filter; Linux's log has the packet as one of its fields.
            (109, vec![family; 12]),
            (117, [&[61, family][..], &[0; 62]].concat()),
        ];
        // Payloads of an EtherType, after any link header.
        let ppp: u8 = if v6 { 0x57 } else { 0x21 };
        let inner = |kind: u16, more: &[u8]| [&kind.to_be_bytes()[..], more].concat();
        let own = kind.to_be_bytes();
        let of_ether_type = [
            inner(0x8100, &[&[0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x81, 0, 0, 4][..], &own].concat()),
            inner(0x9100, &[&[0, 1][..], &own].concat()),
            inner(0x8864, &[0x11, 0, 0, 1, 5, 0xdc, 0, ppp]),
            inner(0x8864, &[0x11, 0, 0, 1, 5, 0xdc, ppp]),
            inner(0x8847, &[0, 1, 1, 63]),
            inner(0x8847, &[0, 1, 0, 63, 0, 2, 0, 63, 0, 3, 1, 63]),
            inner(0x8864, &[0x11, 0, 0, 1, 5, 0xdc, 2, 0x81, 0, 1, 1, 63]),
            inner(0x05dc, &[&[0xaa, 0xaa, 3, 0, 0, 0][..], &own].concat()),
            inner(0x05dc, &[&[0xaa, 0xaa, 3, 0, 0, 0xf8][..], &own].concat()),
            inner(0x88e7, &[&[0, 0, 0, 9][..], &[2; 12], &own].concat()),
            inner(0x8909, &[&[1, 1, 0, 1, 0, 7][..], &own].concat()),
            // MACsec without encryption, with its number of the secure channel and without.
            inner(0x88e5, &[&[0, 0, 0, 0, 0, 1][..], &own].concat()),
            inner(0x88e5, &[&[0x20, 0, 0, 0, 0, 1][..], &[1; 8], &own].concat()),
        ];
        let tunnels: [(u8, Vec<u8>); 8] = [
            (if v6 { 41 } else { 4 }, vec![]),
            (47, [&[0, 0][..], &own].concat()),
            (47, [&[0xb0, 0][..], &own, &[0; 12]].concat()),
            (47, [&[0, 0, 0x65, 0x58][..], &[2; 12], &own].concat()),
            (47, [&[0x30, 0x81, 0x88, 0x0b, 5, 0xdc, 0, 1][..], &[0; 8], &[0xff, 3, 0, ppp]].concat()),
            (137, vec![0, 1, 1, 63]),
            (17, [&[1, 2, 0x12, 0xb5, 5, 0xdc, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0][..], &[2; 12], &own].concat()),
            (17, [&[1, 2, 0x17, 0xc1, 5, 0xdc, 0, 0, 1, 0][..], &own, &[0, 0, 1, 0, 9, 9, 9, 9]].concat()),
        ];
        let ip_around = |protocol: u8, more: &[u8]| {
            let mut header = vec![0x45, 0, 5, 0xdc, 0, 0, 0, 0, 64, protocol, 0, 0];
            header.extend([192, 0, 2, 1, 192, 0, 2, 2]);
            [&header, more].concat()
        };
        let behind_ethernet = of_ether_type
            .iter()
            .map(|more| (1, [&[2; 12][..], more].concat()))
            .chain(tunnels.iter().map(|(protocol, more)| (101, ip_around(*protocol, more))));
        let behind_cooked = of_ether_type[..6].iter().map(|more| {
            let (kind, rest) = more.split_at(2);
            (113, [&[0; 14][..], kind, rest].concat())
        });
        let serial = [
            (9, vec![0, ppp]),
            (9, vec![0xff, 3, 0, ppp]),
            (50, vec![0xff, 3, ppp]),
            (50, [&[0x0f, 0][..], &own].concat()),
            (51, vec![0x11, 0, 0, 1, 5, 0xdc, 0, ppp]),
            (104, [&[0x8f, 0][..], &own].concat()),
            (100, [&[0xaa, 0xaa, 3, 0, 0, 0][..], &own].concat()),
            (166, vec![1, 3, 0, ppp]),
            (204, vec![1, 0xff, 3, 0, ppp]),
            (205, [&[1, 0x0f, 0][..], &own].concat()),
            (219, vec![0, 1, 1, 63]),
            // Ethernet's checksum behind each packet, as the upper bits of the link's number say.
            (0x1000_0001, [&[2; 12][..], &own].concat()),
            (0x4400_0001, [&[2; 12][..], &own].concat()),
        ];
        for (link, before) in plain.into_iter().chain(behind_ethernet).chain(behind_cooked).chain(serial) {
            for big in [false, true] {
                // Ethernet pads short packets: that is no payload.
                let padding = if link & 0xffff == 1 { &[0xee; 6][..] } else { &[] };
                let framed: Vec<Vec<u8>> =
                    raw.iter().map(|packet| [&before[..], packet, padding].concat()).collect();
                let found = decode(&pcap(big, link, 65_535, &framed));
                assert_eq!(
                    found.said, expected,
                    "link {link}, IPv6 {v6}, {before:02x?}: {:?}",
                    found.counted
                );
                assert_eq!(found.over[0].ending, "client closed, then server");
                assert_eq!(found.counted.packets, raw.len() as u64);
            }
        }
    }
}

#[test]
fn nflog_packets_are_read_in_both_byte_orders() {
    let raw = packets(false, 50);
    let expected = decode(&pcap(false, 101, 65_535, &raw)).said;
    for half in [u16::to_le_bytes, u16::to_be_bytes] {
        let field = |kind: u16, content: &[u8]| {
            let mut field = [&half(4 + content.len() as u16)[..], &half(kind), content].concat();
            field.resize(field.len().next_multiple_of(4), 0);
            field
        };
        let framed: Vec<Vec<u8>> =
            raw.iter().map(|ip| [&[2, 0, 0, 0][..], &field(10, b"a\0"), &field(9, ip)].concat()).collect();
        assert_eq!(decode(&pcap(false, 239, 65_535, &framed)).said, expected);
    }
}

#[test]
fn unsupported_layers_are_counted_apart_from_damage() {
    let ethernet = |kind: u16, more: &[u8]| [&[2; 12][..], &kind.to_be_bytes(), more].concat();
    let ip = |protocol: u8, more: &[u8]| {
        let len = 20 + more.len() as u8;
        let mut packet = vec![0x45, 0, 0, len, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend(more);
        ethernet(0x0800, &packet)
    };
    let closed = [
        ethernet(0x1234, &[0; 40]),
        ethernet(0x8864, &[0x11, 0, 0, 1, 0, 9, 0, 0x2d, 1, 2, 3]),
        ethernet(0x8847, &[0, 1, 1, 63, 0, 0, 0, 0, 2, 2, 2, 2]),
        ethernet(0x88e5, &[0x0c, 0, 0, 0, 0, 1, 1, 2, 3, 4]),
        ip(50, &[0; 16]),
        ip(17, &[1, 2, 8, 0x68, 0, 9, 0, 0, 0x30]),
        ip(47, &[0x40, 0, 8, 0, 0, 0, 0, 0]),
    ];
    let others = [
        ethernet(0x0806, &[0; 28]),
        ethernet(0x88cc, &[0; 3]),
        ethernet(0x8863, &[0x11, 9, 0, 0, 0, 0]),
        ethernet(0x0026, &[0x42, 0x42, 3, 0]),
        ethernet(0x0026, &[0xff, 0xff, 0, 0x1e]),
        ethernet(0x8864, &[0x11, 0, 0, 1, 0, 9, 0xc0, 0x21, 1, 2, 3]),
        ip(1, &[8, 0]),
        ip(132, &[]),
    ];
    let damaged = [
        ethernet(0x0800, &[0x45]),
        ethernet(0x0800, &[0x25; 40]),
        ethernet(0x8100, &[0, 1, 8]),
        ethernet(0x8847, &[0, 1, 0, 63, 0, 2]),
        ethernet(0x8864, &[0x11]),
        ip(6, &[0; 13]),
        ip(17, &[0, 53, 0, 53]),
        ip(17, &[0, 53, 0, 53, 0, 7, 0, 0]),
        // TCP headers with a length that is too short, or longer than the packet.
        ip(6, &[1; 20]),
        ip(6, &[&[1; 12][..], &[0xf0, 2, 0, 0, 0, 0, 0, 0]].concat()),
    ];
    for (packets, [not_looked_into, not_tcp, unreadable]) in [
        (&closed[..], [closed.len() as u64, 0, 0]),
        (&others[..], [0, others.len() as u64, 0]),
        (&damaged[..], [0, 0, damaged.len() as u64]),
    ] {
        for packet in packets {
            let found = decode(&pcap(false, 1, 65_535, std::slice::from_ref(packet))).counted;
            let counted = [found.not_looked_into, found.not_tcp, found.unreadable];
            assert_eq!(
                counted,
                [not_looked_into, not_tcp, unreadable].map(|all| all.min(1)),
                "{packet:02x?}"
            );
        }
        let found = decode(&pcap(false, 1, 65_535, packets)).counted;
        assert_eq!(
            [found.not_looked_into, found.not_tcp, found.unreadable],
            [not_looked_into, not_tcp, unreadable]
        );
        assert_eq!((found.headers_cut, found.unopened.values().sum::<u64>()), (0, not_looked_into));
    }
}

#[test]
fn a_capture_with_a_length_limit_is_read_if_headers_fit() {
    for v6 in [false, true] {
        let raw = packets(v6, 50);
        let header = if v6 { 40 } else { 20 };
        let whole = decode(&pcap(false, 101, 65_535, &raw));
        for kept in 0..header + 60 {
            let found = decode(&pcap(false, 101, kept, &raw));
            // The first 14 bytes of TCP: ports, numbers, length and flags.
            if kept < header + 14 {
                let Counted { unreadable, headers_cut, headers_cut_at, .. } = found.counted;
                let all = raw.len() as u64;
                assert_eq!((unreadable, headers_cut, headers_cut_at), (all, all, kept as u64));
                continue;
            }
            let (ours, all) = (&found.over[0], &whole.over[0]);
            assert_eq!((found.counted.unreadable, &ours.ending), (0, &all.ending), "{kept}");
            for (ours, all) in [(&ours.from_client, &all.from_client), (&ours.from_server, &all.from_server)]
            {
                assert_eq!((ours.packets, ours.bytes), (all.packets, all.bytes), "{kept}");
                assert!(
                    ours.odd.missing_bytes <= all.bytes && ours.odd.out_of_order == 0,
                    "{kept}: {ours:?}"
                );
            }
        }
    }
}

/// A pcapng file: byte order, blocks after the section header.
fn pcapng(big: bool, blocks: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = Vec::new();
    let version: &[u8] = if big { &[0, 1, 0, 0] } else { &[1, 0, 0, 0] };
    let header = [&word(0x1a2b_3c4d)[..], version, &[0xff; 8]].concat();
    for (kind, body) in [(0x0a0d_0d0a, header)].iter().chain(blocks) {
        let padded = body.len().next_multiple_of(4);
        file.extend(word(*kind));
        file.extend(word(padded as u32 + 12));
        file.extend_from_slice(body);
        file.resize(file.len() + padded - body.len(), 0);
        file.extend(word(padded as u32 + 12));
    }
    file
}

#[test]
fn every_kind_of_packet_block_gives_the_same_conversation() {
    let raw = packets(false, 50);
    let expected = decode(&pcap(false, 101, 65_535, &raw));
    for big in [false, true] {
        let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let interface = (1, [&half(101)[..], &[0; 6]].concat());
        let lengths = |ip: &[u8]| [word(ip.len() as u32), word(ip.len() as u32)].concat();
        // An option after a packet, in blocks with a packet length.
        let comment = [&half(1)[..], &half(4), b"note", &[0; 4]].concat();
        let padded = |ip: &[u8]| {
            let mut ip = ip.to_vec();
            ip.resize(ip.len().next_multiple_of(4), 0);
            ip
        };
        type Blocks<'a> = &'a dyn Fn(usize, &[u8]) -> (u32, Vec<u8>);
        let enhanced: Blocks<'_> = &|at, ip| {
            let head = [word(0), word(0), word(at as u32)].concat();
            (6, [&head[..], &lengths(ip), &padded(ip), &comment].concat())
        };
        let simple: Blocks<'_> = &|_, ip| (3, [&word(ip.len() as u32)[..], &padded(ip)].concat());
        // The obsolete block, with an unknown drop count.
        let obsolete: Blocks<'_> = &|at, ip| {
            let head = [&half(0)[..], &[0xff, 0xff], &word(0), &word(at as u32)].concat();
            (2, [&head[..], &lengths(ip), &padded(ip), &comment].concat())
        };
        for block in [enhanced, simple, obsolete] {
            let mut blocks = vec![interface.clone(), (0x0bad_cafe, vec![1; 8])];
            blocks.extend(raw.iter().enumerate().map(|(at, ip)| block(at, ip)));
            let found = decode(&pcapng(big, &blocks));
            assert_eq!(found.said, expected.said, "block {}, big {big}", blocks[2].0);
            assert_eq!(found.counted.packets, raw.len() as u64);
            assert_eq!(found.counted.unknown_blocks, 1);
        }
        // An unknown interface, and a length beyond the block.
        for (interfaces, claimed) in [(vec![], 4), (vec![interface.clone()], 400)] {
            let wrong = [&[0; 12][..], &word(claimed), &word(claimed), &[0x45; 4]].concat();
            let blocks = [interfaces, vec![(2, wrong)]].concat();
            let capture = pcapng(big, &blocks);
            let (first, rest) = capture.split_first_chunk::<4>().unwrap();
            let outcome = read_capture(*first, rest, &mut Counted::default(), &mut |_| {}, &mut || true);
            assert!(outcome.is_err());
        }
    }
}

#[test]
fn other_protocols_are_counted_and_missing_bytes_reported() {
    let raw = packets(false, 50);
    let mut udp = raw[0].clone();
    udp[9] = 17;
    let mut fragment = raw[0].clone();
    fragment[6] = 0x20;
    let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
    let found = decode(&pcap(false, 101, 65_535, &[udp, fragment, vec![0x45, 0]]));
    let Counted { datagrams, not_tcp, fragments, not_joined, unreadable, .. } = found.counted;
    assert_eq!((datagrams, not_tcp, fragments, not_joined, unreadable), (1, 0, 1, 1, 1));
    assert_eq!(decode(&pcap(false, 1, 65_535, &[arp])).counted.not_tcp, 1);
    assert_eq!(decode(&pcap(false, 147, 65_535, &raw)).counted.unknown_links, raw.len() as u64);
    // 40 bytes of headers and 20 of payload.
    let found = decode(&pcap(false, 101, 60, &raw));
    let direction = &found.over[0].from_client;
    assert_eq!(
        (direction.bytes, direction.odd.missing_bytes),
        (message("x").len() as u64, 60),
        "{direction:?}"
    );
}

/// An IP packet in fragments with payloads of this length, in units of eight bytes.
fn fragmented(packet: &[u8], eights: usize, number: u16) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(if packet[0] >> 4 == 4 { 20 } else { 40 });
    let count = payload.len().div_ceil(eights * 8);
    let parts = payload.chunks(eights * 8).enumerate();
    parts
        .map(|(at, part)| {
            let place = (at * eights) as u16;
            let more = u16::from(at + 1 < count);
            let mut header = header.to_vec();
            if header.len() == 20 {
                header[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
                header[4..6].copy_from_slice(&number.to_be_bytes());
                header[6..8].copy_from_slice(&(place | more << 13).to_be_bytes());
            } else {
                header[4..6].copy_from_slice(&(8 + part.len() as u16).to_be_bytes());
                let [a, b] = (place << 3 | more).to_be_bytes();
                let [c, d] = number.to_be_bytes();
                let next = std::mem::replace(&mut header[6], 44);
                header.extend([next, 0, a, b, 0, 0, c, d]);
            }
            [header, part.to_vec()].concat()
        })
        .collect()
}

#[test]
fn fragments_are_reassembled_in_any_order_and_with_duplicates() {
    for v6 in [false, true] {
        let raw = packets(v6, 500);
        let whole = decode(&pcap(false, 101, 65_535, &raw));
        for eights in [1, 3, 10] {
            let in_pieces: Vec<Vec<Vec<u8>>> =
                raw.iter().enumerate().map(|(at, packet)| fragmented(packet, eights, at as u16)).collect();
            let count: usize = in_pieces.iter().filter(|pieces| pieces.len() > 1).map(Vec::len).sum();
            let forwards = in_pieces.concat();
            let backwards: Vec<Vec<u8>> =
                in_pieces.iter().flat_map(|pieces| pieces.iter().rev().cloned()).collect();
            // All twice except the last, which completes its packet.
            let twice: Vec<Vec<u8>> = in_pieces
                .iter()
                .flat_map(|pieces| {
                    let (last, others) = pieces.split_last().unwrap();
                    others.iter().flat_map(|piece| [piece, piece]).chain([last]).cloned()
                })
                .collect();
            for (times, order) in [(1, forwards), (1, backwards), (2, twice)] {
                let found = decode(&pcap(false, 101, 65_535, &order));
                assert_eq!(found.said, whole.said, "{eights}, IPv6 {v6}");
                assert_eq!((found.counted.not_joined, found.counted.unreadable), (0, 0));
                assert!(found.counted.fragments >= count as u64 * times / 2, "{:?}", found.counted);
                let (ours, theirs) = (&found.over[0].from_client, &whole.over[0].from_client);
                assert_eq!((ours.packets, ours.bytes), (theirs.packets, theirs.bytes));
            }
        }
    }
}

#[test]
fn overlapping_fragments_are_refused_for_good() {
    for v6 in [false, true] {
        let raw = packets(v6, 500);
        let said = &raw[3];
        assert!(said.len() > 100);
        let header = if v6 { 48 } else { 20 };
        let pieces = fragmented(said, 5, 7);
        let mut other = pieces[1].clone();
        other[header] ^= 1;
        let mut odd = pieces[1].clone();
        odd.pop();
        let at = if v6 { 4 } else { 2 };
        odd[at + 1] -= 1;
        let mut second_end = pieces[1].clone();
        let place = if v6 { 42 } else { 6 };
        second_end[place] &= !0x20;
        second_end[place + 1] &= if v6 { !1 } else { 0xff };
        let mut beyond = pieces[1].clone();
        beyond[place] |= if v6 { 0xff } else { 0x1f };
        beyond[place + 1] |= 0xf8;
        let whole = decode(&pcap(false, 101, 65_535, &raw)).said.len();
        for (kind, wrong) in [("other", other), ("odd", odd), ("second end", second_end), ("beyond", beyond)]
        {
            let mut order = raw[..3].to_vec();
            order.push(pieces[1].clone());
            order.push(wrong);
            // Then all fragments come, the first one again.
            order.extend(pieces.iter().cloned());
            order.extend(raw[4..].iter().cloned());
            let found = decode(&pcap(false, 101, 65_535, &order));
            assert!(
                found.said.len() <= whole && found.over[0].from_client.odd.missing_bytes > 0,
                "{kind}, IPv6 {v6}: {:?} {:?}",
                found.over[0],
                found.counted
            );
            assert_eq!(found.counted.not_joined, found.counted.fragments);
        }
    }
}

#[test]
fn waiting_fragments_are_bounded_in_size_and_time() {
    let raw = packets(false, 500);
    let mut fragments = Fragments::default();
    let pieces = fragmented(&raw[3], 5, 7);
    let first = |number: u16, from: u8| {
        let mut piece = pieces[0].clone();
        piece[4..6].copy_from_slice(&number.to_be_bytes());
        piece[12] = from;
        piece
    };
    for n in 0..200_000_u32 {
        let piece = first(n as u16, (n >> 16) as u8);
        assert_eq!(fragments.push(0, 60, &Fragment::of(&piece).unwrap()), None);
        assert!(fragments.held() <= fragments::WAITING_BYTES_MAX + (64 << 10), "{}", fragments.held());
    }
    let mut late = Fragments::default();
    for (at, piece) in pieces.iter().enumerate() {
        let joined = late.push(at as u64 * 40_000_000_000, 60, &Fragment::of(piece).unwrap());
        assert_eq!(joined, None, "the identification can belong to another packet");
    }
}

#[test]
fn the_ending_names_its_side() {
    let raw = packets(false, 500);
    let refused = {
        let mut answer = raw[1].clone();
        answer[20 + 13] = 0x14;
        vec![raw[0].clone(), answer]
    };
    for (packets, ending) in [
        (raw.clone(), "client closed, then server"),
        (raw[..2].to_vec(), "open at the end"),
        (raw[..1].to_vec(), "never answered"),
        (raw[..raw.len() - 2].to_vec(), "client closed its sending half, server not its own"),
        (refused, "refused"),
    ] {
        assert_eq!(decode(&pcap(false, 101, 65_535, &packets)).over[0].ending, ending);
    }
    // The same ports again are another conversation.
    let mut again = raw.clone();
    let mut second = raw.clone();
    for packet in &mut second {
        // Another initial sequence number of the client, and its acknowledgements.
        let at = if packet[22..24] == 65_432_u16.to_be_bytes() { 24 } else { 28 };
        packet[at] ^= 0x40;
    }
    again.extend(second);
    let found = decode(&pcap(false, 101, 65_535, &again));
    assert_eq!((found.over.len(), found.said.len()), (2, 4));
    let middle = decode(&pcap(false, 101, 65_535, &raw[3..]));
    assert_eq!((middle.over.len(), middle.over[0].opening_seen, middle.said.len()), (1, false, 2));
}

/// A segment as raw IP.
fn segment(from_client: bool, flags: u8, seq: u32, ack: u32, payload: &[u8], ports: [u16; 2]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 40 + payload.len() as u8, 0, 0, 0, 0, 64, 6, 0, 0];
    let [client, server] = [[10, 0, 0, 7], [10, 0, 0, 1]];
    let (ends, ports) =
        if from_client { ([client, server], ports) } else { ([server, client], [ports[1], ports[0]]) };
    ip.extend(ends.concat());
    ip.extend(ports.map(u16::to_be_bytes).concat());
    ip.extend(seq.to_be_bytes());
    ip.extend(ack.to_be_bytes());
    ip.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    ip.extend(payload);
    ip
}

#[test]
fn a_late_handshake_packet_belongs_to_its_conversation() {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    for ports in [[4_711, 80], [80, 4_711]] {
        for begin in [1, u32::MAX, u32::MAX - 1] {
            let client = |flags, at: u32, payload: &[u8]| {
                segment(true, flags, begin.wrapping_add(at), 10, payload, ports)
            };
            let server = |flags, seq, payload: &[u8]| {
                segment(false, flags, seq, begin.wrapping_add(1), payload, ports)
            };
            let syn = client(SYN, 0, b"");
            let opening = [syn.clone(), server(SYN | ACK, 9, b"")];
            let rest = [
                client(ACK, 1, b"hi\n"),
                server(ACK, 10, b"back\n"),
                client(ACK | FIN, 4, b""),
                server(ACK | FIN, 15, b""),
            ];
            let whole = decode(&pcap(false, 101, 65_535, &[&opening[..], &rest].concat()));
            // SYN and SYN+ACK at every later place.
            for late in 0..2 {
                for place in 1..=rest.len() {
                    let mut order = vec![opening[1 - late].clone()];
                    order.extend(rest.iter().cloned());
                    order.insert(place.max(1), opening[late].clone());
                    let found = decode(&pcap(false, 101, 65_535, &order));
                    let [over] = found.over.as_slice() else { panic!("{:?}", found.over) };
                    let context = format!("{late} at {place}, ports {ports:?}: {over:?}");
                    assert_eq!((over.client, over.opening_seen), (whole.over[0].client, true), "{context}");
                    assert_eq!(over.ending, whole.over[0].ending, "{context}");
                    for (ours, all) in [
                        (&over.from_client, &whole.over[0].from_client),
                        (&over.from_server, &whole.over[0].from_server),
                    ] {
                        assert_eq!((ours.bytes, ours.messages), (all.bytes, all.messages), "{context}");
                        assert_eq!(ours.odd.missing_bytes, 0, "{context}");
                    }
                }
            }
            // Refused, with both in the wrong order.
            let refusal = server(RST | ACK, 0, b"");
            let found = decode(&pcap(false, 101, 65_535, &[refusal, syn.clone()]));
            assert_eq!((found.over.len(), found.over[0].ending.as_str()), (1, "refused"), "{ports:?}");
            // Of a middle that is followed by the same ports' next connection, two.
            let next = client(SYN, 4_000_000, b"");
            for middle in [&rest[..], &rest[..1]] {
                let found =
                    decode(&pcap(false, 101, 65_535, &[middle, std::slice::from_ref(&next)].concat()));
                assert_eq!(found.over.len(), 2, "{ports:?}");
            }
        }
    }
}

#[test]
fn the_protocol_of_a_direction_fits_its_messages() {
    let message = message("x");
    let broken = [&message[..], b"\0\x0d{\"a\": nothing}more"].concat();
    let upgraded = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n\x82\x01\0";
    let cases: [(&[u8], &str); 12] = [
        (b"hello", "bytes"),
        (b"h", "bytes"),
        (b"\0", "bytes"),
        (b"hello\n", "line"),
        (b"hello\nand", "line"),
        (b"NICK ada", "irc"),
        (b"GET / HT", "http"),
        (b"\x16\x03\x01", "tls"),
        (b"\xff\xfe\xfd\xfc", "bytes"),
        (&message, "native"),
        (&broken, "native"),
        (upgraded, "websocket"),
    ];
    let said = |parts: &[(u32, &[u8])], end: Option<u32>| {
        let ports = [4_711, 80];
        let mut packets = vec![segment(true, 2, 0, 0, b"", ports)];
        packets.extend(parts.iter().map(|(at, bytes)| segment(true, 16, 1 + at, 1, bytes, ports)));
        packets.extend(end.map(|end| segment(true, 17, 1 + end, 1, b"", ports)));
        let found = decode(&pcap(false, 101, 65_535, &packets));
        let direction = found.over[0].from_client.clone();
        assert_eq!(direction.messages, found.said.len() as u64);
        (direction.protocol, direction.bytes, direction.odd.missing_bytes)
    };
    for (bytes, protocol) in cases {
        let len = bytes.len() as u32;
        for end in [None, Some(len)] {
            assert_eq!(said(&[(0, bytes)], end), (protocol, len.into(), 0), "{bytes:?}");
        }
        // After missing bytes, and before.
        assert_eq!(said(&[(9, bytes)], None), (protocol, u64::from(len) + 9, 9), "{bytes:?}");
        assert_eq!(said(&[(0, bytes)], Some(len + 9)), (protocol, u64::from(len) + 9, 9), "{bytes:?}");
    }
    // The protocol before missing bytes counts, not a few bytes after them.
    assert_eq!(said(&[(0, b"hello\n"), (9, b"x")], None), ("line", 10, 3));
    assert_eq!(said(&[], Some(9)), ("nothing", 9, 9));
    assert_eq!(said(&[], None), ("nothing", 0, 0));
}

proptest! {
    #[test]
    fn order_and_duplicates_of_packets_do_not_matter(
        piece in 1..60_usize,
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        twice in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let raw = packets(false, piece);
        let expected = decode(&pcap(false, 101, 65_535, &raw)).said;
        // After the handshake, which has the initial sequence numbers.
        let mut rest = raw[2..].to_vec();
        for index in twice {
            let packet = rest[index.index(rest.len())].clone();
            rest.push(packet);
        }
        for (at, other) in order.iter().enumerate() {
            let (at, other) = (at % rest.len(), other.index(rest.len()));
            rest.swap(at, other);
        }
        let mixed: Vec<Vec<u8>> = raw[..2].iter().cloned().chain(rest).collect();
        let mut said = decode(&pcap(false, 101, 65_535, &mixed)).said;
        said.sort();
        prop_assert_eq!(said, expected);
    }
}
