//! Captures of every kind of file and link give the same conversations, however their packets came.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;

use proptest::prelude::*;
use vang_nettools::capture::conversations::{Side, Summary, Told};
use vang_nettools::capture::write::Writer;
use vang_nettools::decode::{Counted, read_capture};

/// A talk as its raw IP packets.
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

/// A pcap file: in which byte order, of which link, how much of each packet.
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
    over: Vec<Summary>,
    counted: Counted,
}

fn decode(capture: &[u8]) -> Found {
    let mut found = Found { said: Vec::new(), over: Vec::new(), counted: Counted::default() };
    let (first, rest) = capture.split_first_chunk::<4>().unwrap();
    let tell = &mut |told: Told<'_>| match told {
        Told::Message { side, heard, .. } => found.said.push(format!("{side:?} {heard:?}")),
        Told::Bytes { .. } => {}
        Told::Over(summary) => found.over.push(summary),
    };
    read_capture(*first, rest, &mut found.counted, tell, &mut || true).unwrap();
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
        for (link, before) in [
            (1, ethernet),
            (1, vlan),
            (1, two_vlans),
            (113, cooked),
            (276, cooked_2),
            (0, vec![2, 0, 0, 0]),
            (108, vec![0, 0, 0, 2]),
            (12, vec![]),
        ] {
            for big in [false, true] {
                // Ethernet pads short packets: that is no payload.
                let padding = if link == 1 { &[0xee; 6][..] } else { &[] };
                let framed: Vec<Vec<u8>> =
                    raw.iter().map(|packet| [&before[..], packet, padding].concat()).collect();
                let found = decode(&pcap(big, link, 65_535, &framed));
                assert_eq!(found.said, expected, "link {link}, IPv6 {v6}");
                assert_eq!(found.over[0].ending, "client closed, then server");
                assert_eq!(found.counted.packets, raw.len() as u64);
            }
        }
    }
}

#[test]
fn what_is_no_tcp_is_counted_and_what_was_not_captured_is_missing() {
    let raw = packets(false, 50);
    let mut udp = raw[0].clone();
    udp[9] = 17;
    let mut fragment = raw[0].clone();
    fragment[6] = 0x20;
    let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
    let found = decode(&pcap(false, 101, 65_535, &[udp, fragment, vec![0x45, 0]]));
    let Counted { not_tcp, fragments, unreadable, .. } = found.counted;
    assert_eq!((not_tcp, fragments, unreadable), (1, 1, 1));
    assert_eq!(decode(&pcap(false, 1, 65_535, &[arp])).counted.not_tcp, 1);
    assert_eq!(decode(&pcap(false, 147, 65_535, &raw)).counted.unknown_links, raw.len() as u64);
    // 40 bytes of headers and 20 of payload.
    let found = decode(&pcap(false, 101, 60, &raw));
    let way = &found.over[0].from_client;
    assert_eq!((way.bytes, way.odd.missing_bytes), (message("x").len() as u64, 60), "{way:?}");
}

#[test]
fn who_ended_it_is_said() {
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
    // The same ports again are another conversation; its opening was seen, and a middle's is not.
    let mut again = raw.clone();
    let mut second = raw.clone();
    for packet in &mut second {
        // Another number to begin with, from the client's side and in what acknowledges it.
        let at = if packet[22..24] == 65_432_u16.to_be_bytes() { 24 } else { 28 };
        packet[at] ^= 0x40;
    }
    again.extend(second);
    let found = decode(&pcap(false, 101, 65_535, &again));
    assert_eq!((found.over.len(), found.said.len()), (2, 4));
    let middle = decode(&pcap(false, 101, 65_535, &raw[3..]));
    assert_eq!((middle.over.len(), middle.over[0].opening_seen, middle.said.len()), (1, false, 2));
}

proptest! {
    #[test]
    fn any_order_of_packets_with_any_of_them_twice_gives_the_same_messages(
        piece in 1..60_usize,
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        twice in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let raw = packets(false, piece);
        let expected = decode(&pcap(false, 101, 65_535, &raw)).said;
        // Behind the handshake, which says where the numbers begin.
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
