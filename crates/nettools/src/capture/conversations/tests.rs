use super::*;

#[test]
fn a_live_capture_reports_conversations_a_moment_after_their_end() {
    let [client, server] = ["10.0.0.1:4711", "10.0.0.2:80"].map(|it| it.parse().unwrap());
    let segment = |from, to, seq, flags| Segment { from, to, seq, ack: 0, flags, bytes: &[], cut: 0 };
    let (syn, fin) = (Flags { syn: true, ..Flags::default() }, Flags { fin: true, ..Flags::default() });
    let syn_ack = Flags { syn: true, ack: true, ..Flags::default() };
    let mut conversations = Conversations::live();
    let ended = std::cell::RefCell::new(Vec::new());
    let mut sink = |event: ConversationEvent<'_>| {
        if let ConversationEvent::Ended(summary) = event {
            ended.borrow_mut().push((summary.conversation, summary.ending));
        }
    };
    for (at, segment) in [
        segment(client, server, 9, syn),
        segment(server, client, 5, Flags { syn: true, ..syn_ack }),
        segment(client, server, 10, fin),
    ]
    .into_iter()
    .enumerate()
    {
        conversations.push(at as u64, 1, &segment, &mut sink);
        assert!(!conversations.end_closed(u64::MAX, &mut sink), "one half is open");
    }
    conversations.push(100, 1, &segment(server, client, 6, fin), &mut sink);
    assert!(conversations.end_closed(99, &mut sink) && ended.borrow().is_empty());
    // The last acknowledgement.
    conversations.push(
        110,
        1,
        &segment(client, server, 11, Flags { ack: true, ..Flags::default() }),
        &mut sink,
    );
    assert!(conversations.end_closed(109, &mut sink) && ended.borrow().is_empty());
    assert!(!conversations.end_closed(110, &mut sink));
    assert_eq!(*ended.borrow(), [(1, "client closed, then server".to_owned())]);
    // The same ports again, and a refusal.
    conversations.push(200, 1, &segment(client, server, 99, syn), &mut sink);
    conversations.push(
        201,
        1,
        &segment(server, client, 0, Flags { rst: true, ..Flags::default() }),
        &mut sink,
    );
    assert!(!conversations.end_closed(201, &mut sink));
    assert_eq!(ended.borrow()[1..], [(2, "refused".to_owned())]);
}

#[test]
fn a_conversation_that_goes_on_after_its_end_delays_no_other() {
    let server: SocketAddr = "10.0.0.2:80".parse().unwrap();
    let [busy, quiet]: [SocketAddr; 2] = ["10.0.0.1:1", "10.0.0.1:2"].map(|it| it.parse().unwrap());
    let segment = |from, to, flags| Segment { from, to, seq: 9, ack: 0, flags, bytes: &[], cut: 0 };
    let (syn, rst) = (Flags { syn: true, ..Flags::default() }, Flags { rst: true, ..Flags::default() });
    let ack = Flags { ack: true, ..Flags::default() };
    let mut conversations = Conversations::live();
    let mut ended = Vec::new();
    let mut sink = |event: ConversationEvent<'_>| {
        if let ConversationEvent::Ended(summary) = event {
            ended.push(summary.conversation);
        }
    };
    for (at, from, to, flags) in [
        (1, busy, server, syn),
        (2, server, busy, rst),
        (3, quiet, server, syn),
        (4, server, quiet, rst),
        // Its peer sends on.
        (50, busy, server, ack),
    ] {
        conversations.push(at, 1, &segment(from, to, flags), &mut sink);
    }
    assert!(conversations.end_closed(40, &mut sink), "the busy one waits");
    // A bare acknowledgement of the one that was reported begins no other.
    conversations.push(60, 1, &segment(quiet, server, ack), &mut sink);
    assert!(!conversations.end_closed(50, &mut sink));
    conversations.end(&mut sink);
    assert_eq!(ended, [2, 1]);
}

#[test]
fn open_conversations_also_keep_the_limit() {
    let mut conversations = Conversations { held_max: 1 << 20, ..Conversations::default() };
    let to = "10.0.0.1:80".parse().unwrap();
    let (mut over, mut most) = (0, 0);
    // All are open and wait for a first byte that never comes.
    for at in 0..40_u32 {
        for port in 1..=100 {
            let from = SocketAddr::new("10.0.0.2".parse().unwrap(), port);
            let flags = Flags { syn: at == 0, ..Flags::default() };
            let bytes: &[u8] = if at == 0 { &[] } else { &[b'x'; 1_000] };
            let segment = Segment { from, to, seq: at * 2_000, ack: 0, flags, bytes, cut: 0 };
            conversations.push(1, 1, &segment, &mut |event| {
                over += u64::from(matches!(event, ConversationEvent::Ended(_)));
            });
            most = most.max(conversations.held());
        }
    }
    assert!(over > 0 && most <= (1 << 20) + 2_000, "{over}, {most}");
    conversations.end(&mut |_| {});
    assert_eq!(conversations.held(), 0);
}
