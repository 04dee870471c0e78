//! Captures of every kind of file and link give the same conversations, however their packets came.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;

use proptest::prelude::*;
use vang_nettools::capture::conversations::{Side, Summary, Told};
use vang_nettools::capture::fragments::{self, Fragment, Fragments};
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
        Told::Bytes { .. } | Told::Step { .. } => {}
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
    let Counted { not_tcp, fragments, not_joined, unreadable, .. } = found.counted;
    assert_eq!((not_tcp, fragments, not_joined, unreadable), (1, 1, 1, 1));
    assert_eq!(decode(&pcap(false, 1, 65_535, &[arp])).counted.not_tcp, 1);
    assert_eq!(decode(&pcap(false, 147, 65_535, &raw)).counted.unknown_links, raw.len() as u64);
    // 40 bytes of headers and 20 of payload.
    let found = decode(&pcap(false, 101, 60, &raw));
    let way = &found.over[0].from_client;
    assert_eq!((way.bytes, way.odd.missing_bytes), (message("x").len() as u64, 60), "{way:?}");
}

/// A packet of IPv4 or IPv6 in fragments whose payloads are so long, in eights.
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
fn fragments_are_joined_in_any_order_and_twice() {
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
            // All but the last twice: that one completes its packet.
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
fn fragments_that_overlap_or_do_not_fit_are_refused_and_never_pass_for_another_packet() {
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
            // The rest of it comes, and the one that was there comes again.
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
fn fragments_that_wait_are_bounded_and_do_not_wait_for_ever() {
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
        assert_eq!(joined, None, "the number may be another packet's by now");
    }
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
