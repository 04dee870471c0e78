#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;
use vang_proto::{Decoder, Limits};

use super::*;

/// The messages as text; consecutive bytes of an unknown protocol are joined.
fn hear(pieces: &[&[u8]]) -> Vec<String> {
    let (mut reader, mut awaited) = (Reader::default(), Awaited::default());
    let (mut said, mut bytes): (Vec<String>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut sink = |decoded: Decoded<'_>| {
        if let Message::Bytes(more) = decoded.message {
            bytes.extend_from_slice(more);
            return;
        }
        if !bytes.is_empty() {
            said.push(format!("bytes {}", crate::quoted(&std::mem::take(&mut bytes), 1 << 20)));
        }
        said.push(format!("{}..{} {:?}", decoded.from, decoded.to, decoded.message));
    };
    for piece in pieces {
        reader.feed(piece, &mut awaited, &mut sink);
    }
    reader.end(&mut sink);
    if !bytes.is_empty() {
        said.push(format!("bytes {}", crate::quoted(&bytes, 1 << 20)));
    }
    said
}

fn message(keys: &str, content: &[u8]) -> Vec<u8> {
    let header = format!(
        r#"{{"byteorder": "little", "content-type": "text/plain", "content-encoding": "utf-8", "content-length": {}{keys}}}"#,
        content.len()
    );
    let mut bytes = (header.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(content);
    bytes
}

fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut bytes = vec![first, payload.len() as u8 | if masked { 0x80 } else { 0 }];
    let mask = if masked { [1, 2, 3, 4] } else { [0; 4] };
    if masked {
        bytes.extend(mask);
    }
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn streams() -> Vec<Vec<u8>> {
    let native = [message("", b"hello"), message(", \"x\": 1", b""), message("", &[b'x'; 5_000])].concat();
    let upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".to_vec();
    let agreed = b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n".to_vec();
    let short = message("", b"hi");
    let (one, two) = short.split_at(100);
    let websocket = [
        upgrade,
        frame(0x02, one, true),
        frame(0x89, b"ping", true),
        frame(0x80, two, true),
        frame(0x81, b"text", true),
        frame(0x88, b"", true),
    ]
    .concat();
    let answers = [agreed, frame(0x82, &short, false), frame(0x82, b"", false)].concat();
    let mut swapped = message("", b"hello");
    swapped[..2].reverse();
    let swapped = [native.clone(), swapped].concat();
    vec![
        native.clone(),
        swapped[..swapped.len() - 5].to_vec(),
        swapped,
        [native, b"\x00\x05{nope and more".to_vec()].concat(),
        websocket,
        answers,
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\nHTTP/1.1 204 No\r\n\r\nHTTP/1.0 200 OK\n\nrest of it".to_vec(),
        b"ada\r\nhello, all\n/quit".to_vec(),
        b"NICK ada\r\nUSER ada 0 * :Ada\r\nPRIVMSG #general :hi\r\n".to_vec(),
        b":srv 001 ada :Welcome\r\nPING :x\r\n".to_vec(),
        b"-- you are guest:ada\n".to_vec(),
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00\x17\x03\x03\x00\x02ab\x16\x03".to_vec(),
        b"\xff\xfe\xfd\x00".to_vec(),
        b"Hello, world".to_vec(),
    ]
}

#[test]
fn messages_do_not_depend_on_one_cut() {
    for stream in streams() {
        let whole = hear(&[&stream]);
        assert_eq!(hear(&stream.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
        for cut in 0..=stream.len() {
            let (one, two) = stream.split_at(cut);
            assert_eq!(hear(&[one, two]), whole, "cut at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn messages_do_not_depend_on_the_pieces(
        which in 0..15_usize,
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut stream = streams().swap_remove(which);
        for (at, byte) in noise {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(hear(&pieces), hear(&[&stream]));
    }

    /// The protocol's decoder and this reader find the same messages.
    #[test]
    fn native_messages_equal_those_of_the_decoder(
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        piece in 1..300_usize,
    ) {
        let mut stream = [message("", b"hello"), message(", \"x\": 1", b""), message("", b"more")].concat();
        for (at, byte) in noise {
            let at = 2 + at.index(stream.len() - 2);
            stream[at] = byte;
        }
        let mut decoder = Decoder::new(Limits { header: 65_535, content: 16 << 20 });
        decoder.feed(&stream);
        let mut expected = Vec::new();
        loop {
            match decoder.poll_frame() {
                Ok(Some(frame)) => expected.push(format!("{:?} {:?}", frame.header, &frame.content[..])),
                Ok(None) => break,
                Err(malformed) => {
                    expected.push(malformed.to_string());
                    break;
                }
            }
        }
        let mut native = native::Native::default();
        let mut found = Vec::new();
        let mut at = 0;
        for piece in stream.chunks(piece) {
            let next = native.feed(at, piece, &mut |decoded| match decoded.message {
                Message::Native { header, content, .. } => found.push(format!("{header:?} {content:?}")),
                Message::Broken(broken) => {
                    assert!((decoded.from..=decoded.to).contains(&broken.at), "{broken:?}");
                    found.push(broken.why);
                }
                other => panic!("{other:?}"),
            });
            if matches!(next, Next::Unread(_)) {
                break;
            }
            at += piece.len() as u64;
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn violations_are_reported_at_their_byte() {
    let good = message("", b"hello");
    let at_start = good.len() as u64;
    let header = |json: &str| {
        let mut bytes = good.clone();
        bytes.extend((json.len() as u16).to_be_bytes());
        bytes.extend_from_slice(json.as_bytes());
        bytes
    };
    let keys = r#"{"byteorder": "little", "content-type": "a", "content-encoding": "b", "content-length": "#;
    for (bytes, at, found, allowed) in [
        ([&good[..], b"\x00\x01x"].concat(), 0, "a header length of 1", "2 to 65535"),
        ([&good[..], b"\x00\x04{\"\xff}"].concat(), 4, "\"\\xff}\" (0xff)", "UTF-8"),
        (header(r#"{"a": nope}"#), 2 + 7, "\"ope}\" (0x6f)", "the rest of a JSON object"),
        (header("[1]"), 2, "[1]", "'{'"),
        (
            [&good[..], b"\x02\x00{}  {"].concat(),
            0,
            "02 00 as a header length, 512",
            "00 02, most significant byte first: 2",
        ),
        (header("{}"), 2, "an object without 'byteorder'", "the keys byteorder"),
        (header(&format!("{keys}-1}}")), 2 + keys.len() as u64, "-1", "an integer from 0"),
        (
            header(&format!("{keys}99999999}}")),
            2 + keys.len() as u64,
            "99999999 bytes of content",
            "at most 16777216",
        ),
    ] {
        let mut reader = Reader::default();
        let mut broken = None;
        reader.feed(&bytes, &mut Awaited::default(), &mut |decoded| {
            if let Message::Broken(what) = decoded.message {
                broken = Some(what);
            }
        });
        let broken = broken.unwrap();
        assert_eq!((broken.at, broken.found.as_str()), (at_start + at, found), "{}", broken.why);
        assert!(broken.allowed.contains(allowed), "{broken:?}");
    }
}

#[test]
fn a_claimed_length_takes_no_memory_and_lost_content_is_counted() {
    let header = r#"{"byteorder":"big","content-type":"a","content-encoding":"b","content-length":16000000}"#;
    let (mut reader, mut awaited) = (Reader::default(), Awaited::default());
    let mut said = Vec::new();
    let mut sink = |decoded: Decoded<'_>| {
        said.push(format!("{}..{} {:?}", decoded.from, decoded.to, std::mem::discriminant(&decoded.message)));
    };
    reader.feed(
        &[&(header.len() as u16).to_be_bytes()[..], header.as_bytes(), b"begin"].concat(),
        &mut awaited,
        &mut sink,
    );
    assert!(reader.held() < 16 << 10, "{}", reader.held());
    reader.skip(15_999_990, &mut awaited, &mut sink);
    reader.feed(b"ended", &mut awaited, &mut sink);
    reader.feed(&message("", b"next"), &mut awaited, &mut sink);
    assert_eq!(said.len(), 3, "{said:?}");
}

/// Feeds both directions in turns; returns the messages, in a word each.
fn talk(turns: &[(usize, &[u8])]) -> Vec<String> {
    let (mut readers, mut awaited) = (<[Reader; 2]>::default(), Awaited::default());
    let mut said = Vec::new();
    let mut sink = |decoded: Decoded<'_>| {
        said.push(match decoded.message {
            Message::Http { line, .. } => String::from_utf8_lossy(line).into_owned(),
            Message::Body { len, .. } => format!("body of {len}"),
            other => message_record::kind(&other).to_owned(),
        });
    };
    for (side, bytes) in turns {
        readers[*side].feed(bytes, &mut awaited, &mut sink);
    }
    for reader in &mut readers {
        reader.end(&mut sink);
    }
    said
}

#[test]
fn a_response_body_depends_on_its_request() {
    let ask = b"HEAD /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nHEAD /c HTTP/1.1\r\n\r\n";
    let answer = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\
                   HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
                   HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (early, ok, no) = ("HTTP/1.1 103 Early Hints", "HTTP/1.1 200 OK", "HTTP/1.1 404 No");
    let asked = ["HEAD /a HTTP/1.1", "GET /b HTTP/1.1", "HEAD /c HTTP/1.1"];
    let answered = [early, ok, ok, "body of 5", no];
    assert_eq!(talk(&[(0, ask), (1, answer)]), [&asked[..], &answered[..]].concat());
    // After a response without a seen request nothing can be matched.
    let late = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(
        talk(&[(1, late), (0, b"HEAD /a HTTP/1.1\r\n\r\n"), (1, late)]),
        [ok, "body of 5", "HEAD /a HTTP/1.1", ok, "body of 5"]
    );
}

#[test]
fn another_protocol_follows_a_connect() {
    let connect = b"CONNECT a:443 HTTP/1.1\r\n\r\n";
    let hello = b"\x16\x03\x01\x00\x01\x01";
    let refused = b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno";
    let agreed = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let line = "CONNECT a:443 HTTP/1.1";
    assert_eq!(
        talk(&[(0, connect), (1, refused), (0, connect), (1, agreed), (0, hello), (1, hello)]),
        [line, "HTTP/1.1 407 No", "body of 2", line, "HTTP/1.1 200 OK", "tls", "tls"]
    );
}

#[test]
fn pending_head_requests_are_bounded() {
    let (mut reader, mut awaited) = (Reader::default(), Awaited::default());
    for _ in 0..100_000 {
        reader.feed(b"HEAD / HTTP/1.1\r\n\r\n", &mut awaited, &mut |_| {});
    }
    let kept = format!("{awaited:?}");
    assert!(kept.len() < 200, "{kept}");
}

#[test]
fn a_long_head_that_comes_byte_by_byte_is_one_head() {
    let (mut reader, mut awaited) = (Reader::default(), Awaited::default());
    let mut decoded = 0;
    let mut stream = b"GET / HTTP/1.1\r\n".to_vec();
    stream.resize(60_000, b'x');
    stream.extend(b"\r\n\r\n");
    for byte in stream.chunks(1) {
        reader.feed(byte, &mut awaited, &mut |_| decoded += 1);
    }
    assert_eq!(decoded, 1);
}

#[test]
fn invalid_chunks_are_bytes_and_a_cut_record_is_reported() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for wrong in [&b"no length\r\nbehind"[..], &[b'x'; 5_000]] {
        for piece in [1, 100_000] {
            let stream = [&head[..], wrong].concat();
            let said = hear(&stream.chunks(piece).collect::<Vec<_>>());
            assert_eq!(said[1], format!("bytes {}", crate::quoted(wrong, 1 << 20)), "in pieces of {piece}");
        }
    }
    let cut = hear(&[b"\x16\x03\x01\x00\x04\x01\x00\x00\x00\x17\x03\x03\x00\x09abc"]);
    assert!(cut[1].starts_with("9..17 Cut"), "{cut:?}");
}

#[test]
fn invalid_websocket_frames_are_broken() {
    let upgraded = |extensions: &str, frame: &[u8]| {
        let head = format!("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n{extensions}\r\n");
        hear(&[head.as_bytes(), frame]).swap_remove(1)
    };
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    for (frame, why) in [
        (&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], "highest bit"),
        (&[0x09, 0], "a control frame is fragmented"),
        (&[0x89, 126, 0, 126], "a control frame is too long"),
        (&[0xa1, 0], "reserved bits"),
        (&[0xc9, 0], "reserved bits"),
        (&[0x83, 0], "unknown opcode"),
    ] {
        let said = upgraded(deflate, frame);
        assert!(said.contains("Broken") && said.contains(why), "{said}");
    }
    // Compression is valid only after negotiation.
    let said = upgraded(deflate, &[0xc1, 2, 0xf2, 0x00]);
    assert!(said.contains("compressed: true"), "{said}");
    assert!(upgraded("", &[0xc1, 2, 0xf2, 0x00]).contains("Broken"));
    // The longest allowed length.
    let said = upgraded("", &[0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(said.contains("len: 9223372036854775807"), "{said}");
}

/// A message whose content is events.
fn page(events: &[u8]) -> Vec<u8> {
    let header = format!(
        r#"{{"byteorder": "big", "content-type": "application/vang-events", "content-encoding": "binary", "content-length": {}}}"#,
        events.len()
    );
    [&(header.len() as u16).to_be_bytes(), header.as_bytes(), events].concat()
}

#[test]
fn events_in_a_content_follow_one_by_one_and_are_not_nested() {
    let events: Vec<u8> = (0..50).flat_map(|n| message(&format!(", \"n\": {n}"), &[b'x'; 200])).collect();
    let stream = [page(&events), page(b""), message("", b"behind")].concat();
    let whole = hear(&[&stream]);
    assert_eq!(whole.len(), 1 + 50 + 1 + 1, "{whole:?}");
    assert!(whole[50].contains("\"n\": 49") || whole[50].contains("Events"), "{}", whole[50]);
    assert!(whole[1].starts_with("0..") && whole[52].contains("Stream"), "{whole:?}");
    for piece in [1, 7, 1_000] {
        assert_eq!(hear(&stream.chunks(piece).collect::<Vec<_>>()), whole, "in pieces of {piece}");
    }
    // A broken event does not affect the messages around.
    let broken = [page(&[&message("", b"good")[..], b"\x00\x01"].concat()), message("", b"behind")].concat();
    let said = hear(&[&broken]);
    assert!(said[2].contains("in the events of a content: "), "{said:?}");
    assert!(said[3].contains("Stream"), "{said:?}");
    let cut = hear(&[&page(&message("", b"hello")[..20])]);
    assert!(cut[1].contains("Cut"), "{cut:?}");
    // Hostile: pages within pages.
    let mut deep = page(b"x");
    for _ in 0..200 {
        deep = page(&deep);
    }
    assert_eq!(hear(&[&deep]).len(), 2);
}

#[test]
fn the_server_name_of_a_client_hello_is_read() {
    let name = b"chat.example";
    let mut list = vec![0, 0, name.len() as u8];
    list.extend(name);
    let mut extensions = vec![0, 5, 0, 1, 7, 0, 0];
    extensions.extend((list.len() as u16 + 2).to_be_bytes());
    extensions.extend((list.len() as u16).to_be_bytes());
    extensions.extend(list);
    let mut hello = vec![3, 3];
    hello.extend([0; 32]);
    hello.extend([0, 0, 2, 0x13, 1, 1, 0]);
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let mut record = vec![0x16, 3, 1];
    record.extend((hello.len() as u16 + 4).to_be_bytes());
    record.extend([1, 0, 0, hello.len() as u8]);
    record.extend(hello);
    let said = hear(&[&record]);
    assert!(said[0].contains("client hello") && said[0].contains("Some(\"chat.example\")"), "{said:?}");
}
