//! The server's session and the client's follower, turned by hand: order, pauses, deadlines, endings.

mod common;

use bytes::Bytes;
use common::{frame, requests, take_output};
use vang_proto::limits::{
    CONTENT_MS, DETACH_MS, DRAIN_BYTES_MAX, DRAIN_MS, FOLLOWED_ROOMS_MAX, HEADER_MS, ID_BYTES_MAX, IDLE_MS,
    PENDING_REQUEST_BYTES_MAX, PENDING_REQUESTS_MAX, STALL_MS, UNSENT_REPLY_BYTES_MAX,
};
use vang_proto::vang::{
    Action, Advice, Backoff, Code, ErrorReply, Follower, Incoming, NO_CONTENT, NewStart, Request,
    RequestWriter, ServerLimits, ServerSession, SessionStep, Ticket, incoming, write_error, write_ok,
};
use vang_proto::vang::{ConnectionEvent, Event, FollowFrom, Following, NoKeys, RoomEvent, Speaker};
use vang_proto::{Decoder, Frame, Millis};

const T0: Millis = Millis(1_000_000);

fn session() -> ServerSession {
    ServerSession::new(T0, ServerLimits::default())
}

fn writer() -> RequestWriter {
    RequestWriter::default()
}

fn ping(re: u64) -> Bytes {
    writer().write_raw(re, "ping", &[], NO_CONTENT)
}

fn send(re: u64, content: &[u8]) -> Bytes {
    writer().write_raw(re, "send", &[("room", "general".into())], ("a/b", "binary", content))
}

fn search(keep_alive: bool) -> Vec<u8> {
    let content = br#"{"action": "search", "value": "ring"}"#;
    let keep = if keep_alive { r#", "connection": "keep-alive""# } else { "" };
    let header = format!(
        r#"{{"byteorder": "little", "content-type": "text/json", "content-encoding": "utf-8", "content-length": {}{keep}}}"#,
        content.len()
    );
    frame(&header, content)
}

fn pong(re: u64) -> Bytes {
    write_ok(Some(&re.to_string()), &NoKeys {}, "pong")
}

fn event(seq: u64) -> Bytes {
    let what = RoomEvent::Joined { from: Speaker::Account("ada"), time: "2026-01-01T00:00:00.000Z" };
    Event::Room { seq, room: "general", what }.to_bytes()
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    decoder.feed(bytes);
    let frames = std::iter::from_fn(|| decoder.poll_frame().expect("we write frames")).collect();
    assert_eq!(decoder.buffered(), 0);
    frames
}

/// The output as words: `re` of a reply, its code when it is an error, `event` and its kind.
fn sent_by(session: &mut ServerSession, now: Millis) -> String {
    let words = frames(&take_output(session, now)).into_iter().map(|frame| {
        let header = frame.header;
        match (header.text("event"), header.text("code"), header.raw("re")) {
            (Some(event), _, _) => event.into_owned(),
            (_, Some(code), _) => code.into_owned(),
            (_, _, Some(re)) => re.to_owned(),
            _ => "guide".to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn asked(session: &mut ServerSession, now: Millis, bytes: &[u8]) -> Vec<Ticket> {
    session.handle_bytes(now, bytes);
    requests(session, now).into_iter().map(|(ticket, _)| ticket).collect()
}

// ---- order ----

#[test]
fn replies_come_in_the_order_of_requests_however_they_are_ready() {
    let mut s = session();
    let tickets = asked(&mut s, T0, &[ping(1), ping(2), ping(3), ping(4)].concat());
    s.reply(T0, tickets[2], pong(3));
    s.reply(T0, tickets[1], pong(2));
    assert_eq!(sent_by(&mut s, T0), "");
    s.reply(T0, tickets[0], pong(1));
    assert_eq!(sent_by(&mut s, T0), "1 2 3");
    s.reply(T0, tickets[3], pong(4));
    assert_eq!(sent_by(&mut s, T0), "4");
}

#[test]
fn what_the_session_answers_itself_waits_for_earlier_replies_too() {
    let mut s = session();
    let unknown = writer().write_raw(8, "sing", &[], NO_CONTENT);
    let tickets = asked(&mut s, T0, &[&ping(1)[..], &search(true), &unknown, &ping(2)].concat());
    assert_eq!(tickets.len(), 2);
    assert_eq!(sent_by(&mut s, T0), "");
    s.reply(T0, tickets[1], pong(2));
    s.reply(T0, tickets[0], pong(1));
    assert_eq!(sent_by(&mut s, T0), "1 guide unknown-action 2");
}

#[test]
fn a_second_answer_to_one_request_is_ignored() {
    let mut s = session();
    let tickets = asked(&mut s, T0, &[ping(1), ping(2)].concat());
    s.reply(T0, tickets[1], pong(2));
    s.reply(T0, tickets[1], pong(9));
    s.reply(T0, tickets[0], pong(1));
    s.reply(T0, tickets[0], pong(9));
    s.reply(T0, Ticket(77), pong(9));
    assert_eq!(sent_by(&mut s, T0), "1 2");
    assert!(s.held_bytes() == 0 && s.wants_input());
}

#[test]
fn events_wait_while_a_reply_waits_for_an_earlier_one() {
    let mut s = session();
    assert!(!s.takes_events(), "it follows nothing");
    s.set_follows();
    let tickets = asked(&mut s, T0, &[ping(1), ping(2)].concat());
    assert!(s.takes_events(), "nothing is answered yet");
    s.reply(T0, tickets[1], pong(2));
    assert!(!s.takes_events(), "the second's own event must not overtake its reply");
    s.reply(T0, tickets[0], pong(1));
    assert!(!s.takes_events(), "bytes are waiting");
    assert_eq!(sent_by(&mut s, T0), "1 2");
    assert!(s.takes_events());
    s.push_event(T0, event(5));
    assert!(!s.takes_events());
    assert_eq!(sent_by(&mut s, T0), "joined");
}

#[test]
fn the_longest_allowed_values_are_accepted() {
    let mut s = session();
    let id = "i".repeat(ID_BYTES_MAX);
    let longest = [("room", "general".into()), ("id", (&*id).into())];
    let rooms = vec!["r".to_owned(); FOLLOWED_ROOMS_MAX];
    let follow = writer()
        .write(2, &Action::Follow { rooms: rooms.to_vec(), feeds: Vec::new(), from: FollowFrom::Now });
    s.handle_bytes(T0, &[writer().write_raw(1, "send", &longest, NO_CONTENT), follow].concat());
    let actions: Vec<Action> = requests(&mut s, T0).into_iter().map(|(_, request)| request.action).collect();
    let [Action::Send { id: read, .. }, Action::Follow { rooms: followed, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((read, followed), (&Some(id), &rooms));
}

// ---- pauses ----

#[test]
fn a_connection_with_too_many_pending_requests_is_not_read_until_one_is_answered() {
    let mut s = session();
    let stream: Vec<u8> = (0..PENDING_REQUESTS_MAX as u64 + 2).flat_map(ping).collect();
    let tickets = asked(&mut s, T0, &stream);
    assert_eq!(tickets.len(), PENDING_REQUESTS_MAX);
    assert!(!s.wants_input());
    s.reply(T0, tickets[1], pong(1));
    assert!(!s.wants_input() && s.poll_request(T0).is_none(), "the first is still pending");
    s.reply(T0, tickets[0], pong(0));
    assert_eq!(requests(&mut s, T0).len(), 2);
    assert!(!s.wants_input());
    s.reply(T0, tickets[2], pong(2));
    assert!(s.wants_input() && s.poll_request(T0).is_none());
}

#[test]
fn a_connection_with_too_many_pending_bytes_is_not_read_until_they_are_answered() {
    let mut s = session();
    let half = vec![b'x'; PENDING_REQUEST_BYTES_MAX / 2];
    let tickets = asked(&mut s, T0, &[send(1, &half), send(2, &half), send(3, &half)].concat());
    assert_eq!(tickets.len(), 2);
    assert!(!s.wants_input());
    s.reply(T0, tickets[0], pong(1));
    assert!(!s.wants_input(), "a whole message waits to be taken first");
    assert_eq!(requests(&mut s, T0).len(), 1);
}

#[test]
fn nothing_is_read_while_a_whole_message_waits() {
    let mut s = session();
    let two = [ping(1), ping(2)].concat();
    for cut in 0..=two.len() {
        let mut s = session();
        s.handle_bytes(T0, &two[..cut]);
        let whole = cut / ping(1).len();
        assert_eq!(s.wants_input(), whole == 0, "{cut} bytes");
        assert_eq!(requests(&mut s, T0).len(), whole, "{cut} bytes");
        assert!(s.wants_input(), "{cut} bytes");
    }
    // A header of a byte is refused: that waits to be told.
    s.handle_bytes(T0, b"\0\x01{");
    assert!(!s.wants_input());
}

#[test]
fn a_paused_connection_is_not_read_but_gets_everything_and_is_not_late() {
    let mut s = session();
    s.set_follows();
    let tickets = asked(&mut s, T0, &ping(1));
    // Half a message, then the pause, longer than a header may take.
    s.handle_bytes(T0, &ping(2)[..10]);
    assert!(s.poll_request(T0).is_none());
    let until = T0 + 3 * HEADER_MS;
    s.pause(T0 + 1);
    s.pause(until);
    s.pause(T0 + 2);
    s.reply(T0, tickets[0], pong(1));
    assert_eq!(sent_by(&mut s, T0), "1");
    s.push_event(T0, event(1));
    assert!(s.has_output());
    s.wrote(T0, s.output_len());
    assert!(!s.wants_input() && s.poll_request(T0).is_none());
    assert_eq!((s.deadline(), s.paused_until()), (Some(until), Some(until)));
    s.handle_time(until);
    assert!(s.wants_input(), "the pause is over");
    assert_eq!(s.step(until), SessionStep::Wait);
    assert_eq!(s.deadline(), Some(until + HEADER_MS), "the header's time starts again");
    s.handle_bytes(until, &ping(2)[10..]);
    assert_eq!(requests(&mut s, until).len(), 1);
}

#[test]
fn data_without_memory_is_dropped_and_the_peer_gets_an_error_if_possible() {
    let busy = ErrorReply::new(Code::Busy, "no memory");
    let mut s = session();
    s.handle_bytes(T0, &send(1, &[b'x'; 100_000])[..90_000]);
    assert!(s.poll_request(T0).is_none() && s.held_bytes() >= 90_000 - 512);
    s.shed(T0, &busy);
    assert_eq!(sent_by(&mut s, T0), "busy");
    assert_eq!((s.held_bytes(), s.refusal_code()), (0, Some(Code::Busy)));
    assert_eq!(s.step(T0), SessionStep::ShutDown);

    // Replies that are not taken: there is nothing that could be said behind them.
    let mut s = session();
    let tickets = asked(&mut s, T0, &ping(1));
    s.reply(T0, tickets[0], write_ok(None, &NoKeys {}, &"x".repeat(100_000)));
    s.wrote(T0, 10);
    s.shed(T0, &busy);
    assert_eq!((s.held_bytes(), s.step(T0)), (0, SessionStep::Close));
}

#[test]
fn a_reader_that_takes_nothing_holds_a_copy_and_not_the_rooms_buffer() {
    let mut s = session();
    s.set_follows();
    let run = Bytes::from(vec![b'x'; 100_000]);
    s.push_event(T0, run.slice(..1_000));
    assert_eq!(s.held_bytes(), 0, "shared");
    s.wrote(T0, 100);
    assert_eq!(s.deadline(), Some(T0 + DETACH_MS));
    s.handle_time(T0 + DETACH_MS);
    assert_eq!(s.held_bytes(), 900 + 64, "its bytes, and its place");
    assert!(run.is_unique(), "the run is free");
    assert_eq!(s.output().next().map(<[u8]>::len), Some(900));
    assert_eq!(s.deadline(), Some(T0 + STALL_MS));
}

#[test]
fn replies_that_wait_for_an_earlier_one_count_as_pending_bytes() {
    let mut s = session();
    let tickets = asked(&mut s, T0, &ping(1));
    let content = format!(r#"{{"action": "search", "value": "{}"}}"#, "x".repeat(400_000));
    let header = format!(
        r#"{{"byteorder":"little","content-type":"text/json","content-encoding":"utf-8","content-length":{},"connection":"keep-alive"}}"#,
        content.len()
    );
    let large = frame(&header, content.as_bytes());
    for round in 0..100 {
        if !s.wants_input() {
            assert_eq!(round, 3);
            break;
        }
        assert_eq!(asked(&mut s, T0, &large), []);
    }
    assert!(!s.wants_input());
    assert!(s.held_bytes() < 2 * PENDING_REQUEST_BYTES_MAX, "{}", s.held_bytes());
    s.reply(T0, tickets[0], pong(1));
    assert!(!s.wants_input(), "now they are unsent");
    assert_eq!(sent_by(&mut s, T0), "1 guide guide guide");
    assert!(s.wants_input());
}

#[test]
fn a_connection_with_too_many_unsent_replies_is_not_read_until_it_takes_them() {
    let mut s = session();
    let reply = write_ok(None, &NoKeys {}, &"x".repeat(1_000));
    let mut unsent = 0;
    while s.wants_input() {
        let tickets = asked(&mut s, T0, &ping(1));
        s.reply(T0, tickets[0], reply.clone());
        unsent += reply.len();
        assert!(unsent <= UNSENT_REPLY_BYTES_MAX + reply.len());
    }
    assert!(unsent > UNSENT_REPLY_BYTES_MAX);
    s.handle_bytes(T0, &ping(2));
    assert!(s.poll_request(T0).is_none());
    s.wrote(T0, unsent - UNSENT_REPLY_BYTES_MAX - 1);
    assert!(!s.wants_input());
    s.wrote(T0, 1);
    assert!(s.poll_request(T0).is_some() && s.wants_input());
}

#[test]
fn unsent_events_do_not_stop_reading() {
    let mut s = session();
    s.set_follows();
    s.push_event(T0, Bytes::from(vec![b'x'; 10 * UNSENT_REPLY_BYTES_MAX]));
    assert!(s.wants_input());
    assert_eq!(asked(&mut s, T0, &ping(1)).len(), 1);
}

#[test]
fn nobody_is_late_while_we_do_not_read() {
    type Resume = Box<dyn Fn(&mut ServerSession, Millis)>;
    let late = |pause: &dyn Fn(&mut ServerSession) -> Resume| {
        let mut s = session();
        let resume = pause(&mut s);
        s.handle_bytes(T0, &ping(9)[..20]);
        assert!(s.poll_request(T0).is_none() && !s.wants_input());
        let later = T0 + 20 * HEADER_MS;
        assert_eq!(s.deadline().filter(|at| *at < T0 + STALL_MS), None);
        s.handle_time(later);
        assert_eq!(s.refusal(), None);
        // What was held up is dealt with, and only now the beginning of a header is waited for.
        resume(&mut s, later);
        assert!(s.wants_input());
        s.handle_time(later);
        assert!(s.poll_request(later).is_none());
        assert_eq!(s.deadline().filter(|at| *at < later + HEADER_MS), None);
        s.handle_time(later + (HEADER_MS - 1));
        assert_eq!(s.refusal(), None);
        assert!(!sent_by(&mut s, later).contains("timed-out"));
        s.handle_time(later + HEADER_MS);
        assert_eq!(sent_by(&mut s, later), "timed-out");
    };
    late(&|s| {
        let large = vec![b'x'; PENDING_REQUEST_BYTES_MAX];
        let tickets = asked(s, T0, &[&send(1, &large)[..], &ping(9)[..10]].concat());
        Box::new(move |s, now| s.reply(now, tickets[0], pong(1)))
    });
    late(&|s| {
        // The part was awaited already when the pause began.
        let tickets = asked(s, T0, &[&ping(1)[..], &ping(9)[..10]].concat());
        s.reply(T0, tickets[0], write_ok(None, &NoKeys {}, &"x".repeat(2 * UNSENT_REPLY_BYTES_MAX)));
        Box::new(|s, now| drop(take_output(s, now)))
    });
}

// ---- the guide's way of closing ----

#[test]
fn what_follows_a_request_that_does_not_keep_the_connection_is_dropped() {
    let mut s = session();
    assert_eq!(asked(&mut s, T0, &[&search(true)[..], &search(false), &search(true), &ping(1)].concat()), []);
    assert_eq!(sent_by(&mut s, T0), "guide guide");
    assert_eq!(s.step(T0), SessionStep::ShutDown);
    assert_eq!(asked(&mut s, T0, &ping(2)), []);
    assert_eq!(sent_by(&mut s, T0), "");
}

#[test]
fn a_vang_request_in_content_closes_after_its_reply_unless_kept_alive() {
    let content = br#"{"action": "send", "room": "general", "text": "hi \ud83d\udc36"}"#;
    for (keep, step) in [("", SessionStep::ShutDown), (r#","connection":"keep-alive""#, SessionStep::Wait)] {
        let mut s = session();
        let header = format!(
            r#"{{"byteorder":"little","content-type":"text/json","content-encoding":"utf-8","content-length":{}{keep}}}"#,
            content.len()
        );
        s.handle_bytes(T0, &frame(&header, content));
        let (ticket, Request { action, .. }) = s.poll_request(T0).expect("a request");
        let Action::Send { content, .. } = action else { panic!("{action:?}") };
        assert_eq!(content, "hi 🐶");
        assert_eq!(s.step(T0), SessionStep::Wait);
        s.reply(T0, ticket, pong(1));
        assert_eq!(s.step(T0), SessionStep::Wait, "the reply is not written");
        assert_eq!(sent_by(&mut s, T0), "1");
        assert_eq!(s.step(T0), step);
        assert!(s.wants_input(), "to read on, or to read and drop");
    }
}

#[test]
fn a_half_closed_sender_gets_its_pending_replies() {
    let mut s = session();
    let tickets = asked(&mut s, T0, &[ping(1), ping(2)].concat());
    s.handle_end(T0);
    assert!(s.poll_request(T0).is_none() && !s.wants_input());
    s.reply(T0, tickets[1], pong(2));
    assert_eq!(s.step(T0), SessionStep::Wait);
    s.reply(T0, tickets[0], pong(1));
    assert_eq!(s.step(T0), SessionStep::Wait);
    assert_eq!(sent_by(&mut s, T0), "1 2");
    assert!(s.poll_request(T0).is_none());
    assert_eq!(s.step(T0), SessionStep::Close);
}

#[test]
fn requests_that_came_with_the_end_of_the_stream_are_answered() {
    let mut s = session();
    s.handle_bytes(T0, &ping(1));
    s.handle_end(T0);
    let (ticket, _) = s.poll_request(T0).expect("it came whole");
    assert!(s.poll_request(T0).is_none());
    s.reply(T0, ticket, pong(1));
    assert_eq!(sent_by(&mut s, T0), "1");
    assert!(s.poll_request(T0).is_none());
    assert_eq!(s.step(T0), SessionStep::Close);
}

#[test]
fn a_follow_with_a_half_close_at_once_still_gets_its_reply_and_events() {
    let mut s = session();
    s.handle_bytes(
        T0,
        &writer().write(
            1,
            &Action::Follow {
                rooms: ["general".to_owned()].to_vec(),
                feeds: Vec::new(),
                from: FollowFrom::Now,
            },
        ),
    );
    s.handle_end(T0);
    let (ticket, _) = s.poll_request(T0).expect("it came whole");
    assert!(s.poll_request(T0).is_none());
    assert_eq!(s.step(T0), SessionStep::Wait);
    s.reply(T0, ticket, pong(1));
    s.set_follows();
    assert!(s.poll_request(T0).is_none());
    assert_eq!(sent_by(&mut s, T0), "1");
    assert_eq!((s.step(T0), s.takes_events()), (SessionStep::Wait, true));
}

#[test]
fn a_half_closed_follower_goes_on_following() {
    let mut s = session();
    s.set_follows();
    s.handle_end(T0);
    assert!(s.poll_request(T0).is_none());
    assert_eq!(s.step(T0 + IDLE_MS), SessionStep::Wait);
    assert!(s.takes_events());
    s.push_event(T0, event(1));
    assert_eq!(sent_by(&mut s, T0), "joined");
    assert_eq!(s.deadline(), None);
    s.close("stopping");
    assert_eq!(s.step(T0), SessionStep::Wait);
    assert_eq!(sent_by(&mut s, T0), "closing");
    assert_eq!(s.step(T0), SessionStep::Close);
}

#[test]
fn a_truncated_stream_is_named() {
    let whole = send(1, b"abc");
    for (cut, part) in [(1, "header"), (2, "header"), (40, "header"), (whole.len() - 1, "content")] {
        let mut s = session();
        let tickets = asked(&mut s, T0, &[&ping(1)[..], &whole[..cut]].concat());
        s.handle_end(T0);
        assert!(s.poll_request(T0).is_none());
        s.reply(T0, tickets[0], pong(1));
        let out = frames(&take_output(&mut s, T0));
        let header = &out.last().expect("a refusal").header;
        assert_eq!(header.text("code").as_deref(), Some("malformed"), "{cut}");
        assert_eq!(header.text("part").as_deref(), Some(part), "{cut}");
        let detail = format!("the stream ended in the middle of a {part}");
        assert_eq!(s.refusal(), Some(&*detail), "{cut}");
        assert_eq!((out.len(), s.step(T0)), (2, SessionStep::Close));
    }
}

/// A request as a program writes it that forgets the network's byte order.
fn in_the_wrong_order(content: &[u8]) -> Vec<u8> {
    let mut message = send(1, content).to_vec();
    message[..2].reverse();
    message
}

#[test]
fn a_header_length_in_the_wrong_byte_order_is_refused_at_once() {
    let swapped = in_the_wrong_order(b"abc");
    let length = u16::from_le_bytes([swapped[0], swapped[1]]);
    let said =
        format!("{} in network order; read the other way it is {length}, which fits", length.swap_bytes());
    // The first byte of content tells it; nothing else is waited for, and nobody waits 10 s for the time limit.
    let told_at = swapped.len() - 2;
    for piece in [1, 50, swapped.len()] {
        let mut s = session();
        for (at, bytes) in swapped.chunks(piece).enumerate() {
            assert_eq!(s.refusal().is_some(), at * piece >= told_at, "pieces of {piece}");
            assert!(asked(&mut s, T0, bytes).is_empty());
        }
        assert_eq!(s.refusal(), Some(&*format!("header length in the wrong byte order: {said}")));
        let out = frames(&take_output(&mut s, T0));
        let header = &out.last().expect("a refusal").header;
        assert_eq!(header.text("code").as_deref(), Some("malformed"));
        assert_eq!(header.text("part").as_deref(), Some("header"));
    }
    // Without content the length may still be meant, until the stream or the time ends.
    let header = in_the_wrong_order(b"");
    let mut ended = session();
    asked(&mut ended, T0, &header);
    assert_eq!(ended.refusal(), None);
    ended.handle_end(T0);
    assert!(ended.poll_request(T0).is_none());
    let length = u16::from_le_bytes([header[0], header[1]]);
    let said =
        format!("{} in network order; read the other way it is {length}, which fits", length.swap_bytes());
    let why = format!("the stream ended in the middle of a header: its length is {said}");
    assert_eq!(ended.refusal(), Some(&*why));
    let mut late = session();
    asked(&mut late, T0, &header);
    late.handle_time(T0 + HEADER_MS);
    let why = format!("the header was not whole within 10000 ms: its length is {said}");
    assert_eq!(late.refusal(), Some(&*why));
}

#[test]
fn a_long_header_of_spaces_is_taken_although_its_length_fits_the_other_way() {
    let mut message = in_the_wrong_order(b"");
    let length = usize::from(u16::from_be_bytes([message[0], message[1]]));
    message.resize(2 + length, b' ');
    for piece in [1_000, message.len()] {
        let mut s = session();
        let taken: usize = message.chunks(piece).map(|bytes| asked(&mut s, T0, bytes).len()).sum();
        assert_eq!((taken, s.refusal()), (1, None));
    }
}

// ---- refusals and goodbyes ----

#[test]
fn a_refusal_comes_after_pending_replies_and_then_the_connection_ends() {
    let mut s = session();
    let tickets = asked(&mut s, T0, &[&ping(1)[..], &ping(2), b"\0\x02{}", &ping(3)].concat());
    assert_eq!(tickets.len(), 2);
    assert_eq!(sent_by(&mut s, T0), "");
    s.fail(T0, &ErrorReply::new(Code::Busy, "only the first fault is reported"));
    s.reply(T0, tickets[0], pong(1));
    assert_eq!(sent_by(&mut s, T0), "1");
    assert_eq!(s.step(T0), SessionStep::Wait);
    s.reply(T0, tickets[1], pong(2));
    assert_eq!(sent_by(&mut s, T0), "2 malformed");
    assert_eq!(s.refusal(), Some("missing required header 'byteorder'"));
    assert_eq!(s.step(T0), SessionStep::ShutDown);
    assert_eq!(s.step(T0), SessionStep::Wait);
}

fn half_closed() -> ServerSession {
    let mut s = session();
    assert_eq!(asked(&mut s, T0, b"\0\0"), []);
    take_output(&mut s, T0);
    assert_eq!(s.step(T0), SessionStep::ShutDown);
    s
}

#[test]
fn after_shutting_down_at_most_a_mebibyte_is_dropped_for_at_most_two_seconds() {
    let mut s = half_closed();
    assert!(s.wants_input());
    s.handle_bytes(T0, &vec![0; DRAIN_BYTES_MAX as usize - 1]);
    assert_eq!(s.step(T0), SessionStep::Wait);
    assert!(s.held_bytes() < 100, "dropped, not kept");
    assert!(s.wants_input());
    s.handle_bytes(T0, b"x");
    assert!(!s.wants_input(), "the rest is not read");
    assert_eq!(s.step(T0), SessionStep::Wait, "a close would reset what the peer has not read yet");
    assert_eq!(s.step(T0 + DRAIN_MS), SessionStep::Close);

    let mut s = half_closed();
    assert_eq!(s.deadline(), Some(T0 + DRAIN_MS));
    assert_eq!(s.step(T0 + (DRAIN_MS - 1)), SessionStep::Wait);
    assert_eq!(s.step(T0 + DRAIN_MS), SessionStep::Close);

    let mut s = half_closed();
    s.handle_end(T0);
    assert_eq!(s.step(T0), SessionStep::Close);
    assert_eq!(s.step(T0), SessionStep::Close);
}

#[test]
fn a_protocol_that_nobody_knows_gets_one_refusal() {
    let mut s = session();
    s.refuse_protocol(T0, b'S');
    let out = frames(&take_output(&mut s, T0));
    assert_eq!(out[0].header.text("part").as_deref(), Some("protocol"));
    assert!(out[0].header.text("detail").is_some_and(|detail| detail.contains("0x53")));
    assert_eq!((out.len(), s.step(T0)), (1, SessionStep::ShutDown));
}

#[test]
fn a_goodbye_is_the_last_that_a_follower_hears() {
    let mut s = session();
    s.set_follows();
    let tickets = asked(&mut s, T0, &ping(1));
    s.close("stopping");
    assert_eq!(s.step(T0), SessionStep::Wait);
    assert!(s.takes_events(), "what happens before the reply is still told");
    s.push_event(T0, event(1));
    s.reply(T0, tickets[0], pong(1));
    assert_eq!(sent_by(&mut s, T0), "joined 1");
    assert!(!s.takes_events());
    assert_eq!(s.step(T0), SessionStep::Wait);
    assert!(!s.takes_events());
    assert_eq!(sent_by(&mut s, T0), "closing");
    assert!(!s.takes_events());
    assert_eq!(s.step(T0), SessionStep::ShutDown);

    // Also who follows only with its last answer.
    let mut s = session();
    let tickets = asked(&mut s, T0, &ping(1));
    s.close("signed-out");
    s.reply(T0, tickets[0], pong(1));
    s.set_follows();
    assert_eq!((s.step(T0), sent_by(&mut s, T0)), (SessionStep::Wait, "1 closing".to_owned()));
    assert_eq!(s.step(T0), SessionStep::ShutDown);

    let mut s = session();
    s.close("stopping");
    assert_eq!((s.step(T0), sent_by(&mut s, T0)), (SessionStep::ShutDown, String::new()));
}

// ---- deadlines ----

/// Nothing at `at` less a millisecond; what is sent at `at`, and whether the connection then ends.
fn over_at(s: &mut ServerSession, at: Millis) -> (String, SessionStep) {
    assert_eq!(s.deadline(), Some(at));
    s.handle_time(Millis(at.0 - 1));
    assert_eq!(s.deadline(), Some(at));
    assert_eq!(s.step(Millis(at.0 - 1)), SessionStep::Wait);
    s.handle_time(at);
    let sent = sent_by(s, at);
    (sent, s.step(at))
}

#[test]
fn a_header_that_is_not_whole_in_time_is_refused() {
    let mut s = session();
    asked(&mut s, T0 + 5_000, &ping(1)[..1]);
    asked(&mut s, T0 + 9_000, &ping(1)[1..20]);
    let (sent, step) = over_at(&mut s, T0 + (5_000 + HEADER_MS));
    assert_eq!((&*sent, step), ("timed-out", SessionStep::ShutDown));
    assert_eq!(s.refusal(), Some("the header was not whole within 10000 ms"));
}

#[test]
fn content_that_is_not_whole_in_time_is_refused() {
    let mut s = session();
    let whole = send(1, b"abc");
    asked(&mut s, T0, &whole[..20]);
    asked(&mut s, T0 + 9_000, &whole[..whole.len() - 1][20..]);
    let (sent, step) = over_at(&mut s, T0 + (9_000 + CONTENT_MS));
    assert_eq!((&*sent, step), ("timed-out", SessionStep::ShutDown));
    assert_eq!(s.refusal(), Some("the content was not whole within 60000 ms"));
}

#[test]
fn every_message_has_its_own_time_even_if_one_begins_where_another_ends() {
    let mut s = session();
    let whole = ping(1);
    asked(&mut s, T0, &whole[..10]);
    let mut now = T0;
    for _ in 0..10 {
        // The end of one header and the beginning of the next in one read, for longer than a header may take.
        now = now + (HEADER_MS - 1);
        s.handle_time(now);
        let tickets = asked(&mut s, now, &[&whole[10..], &whole[..10]].concat());
        s.reply(now, tickets[0], pong(1));
        assert_eq!(sent_by(&mut s, now), "1");
    }
    assert_eq!(over_at(&mut s, now + HEADER_MS).0, "timed-out");
}

#[test]
fn a_silent_connection_that_follows_nothing_is_closed_without_a_word() {
    let mut s = session();
    assert_eq!(over_at(&mut s, T0 + IDLE_MS), (String::new(), SessionStep::ShutDown));

    let mut s = session();
    let tickets = asked(&mut s, T0 + 1_000, &ping(1));
    assert_eq!(s.deadline(), None, "it is our turn");
    s.reply(T0 + 2_000, tickets[0], pong(1));
    assert_eq!(sent_by(&mut s, T0 + 3_000), "1");
    assert_eq!(over_at(&mut s, T0 + (3_000 + IDLE_MS)), (String::new(), SessionStep::ShutDown));

    let mut s = session();
    s.set_follows();
    assert_eq!(s.deadline(), None);
    s.handle_time(T0 + 10 * IDLE_MS);
    assert_eq!(s.step(T0 + 10 * IDLE_MS), SessionStep::Wait);
}

#[test]
fn a_peer_that_takes_no_byte_is_closed_at_once() {
    let mut s = session();
    s.set_follows();
    s.push_event(T0, event(1));
    s.wrote(T0 + 5_000, 1);
    s.push_event(T0 + 6_000, event(2));
    s.handle_time(T0 + (5_000 + DETACH_MS));
    assert_eq!(s.deadline(), Some(T0 + (5_000 + STALL_MS)));
    s.handle_time(T0 + (4_999 + STALL_MS));
    assert_eq!(s.step(T0), SessionStep::Wait);
    s.handle_time(T0 + (5_000 + STALL_MS));
    assert_eq!(s.step(T0), SessionStep::Close);
    assert_eq!(s.refusal(), Some("took nothing for 600000 ms"));
}

// ---- the follower ----

fn reply(bytes: &[u8]) -> vang_proto::vang::Reply {
    match incoming(frames(bytes).remove(0)).expect("ours") {
        Incoming::Reply(reply) => reply,
        Incoming::Event(event) => panic!("{event:?}"),
    }
}

fn heard(bytes: &[u8]) -> Event {
    match incoming(frames(bytes).remove(0)).expect("ours") {
        Incoming::Event(message) => message.event,
        Incoming::Reply(reply) => panic!("{reply:?}"),
    }
}

/// What the follower asks: read as the server reads it.
fn from(opening: &[u8]) -> FollowFrom {
    let mut s = session();
    s.handle_bytes(T0, opening);
    match s.poll_request(T0).expect("a request").1.action {
        Action::Follow { from, .. } => from,
        other => panic!("{other:?}"),
    }
}

fn ok(journal: &str, epoch: &str, seq: u64) -> vang_proto::vang::Reply {
    let keys = Following { journal: journal.to_owned(), epoch: epoch.to_owned(), seq };
    reply(&write_ok(Some("0"), &keys, "general"))
}

fn refused(error: ErrorReply) -> vang_proto::vang::Reply {
    reply(&write_error(Some("0"), &error))
}

fn at(journal: &str, epoch: Option<&str>, seq: u64) -> FollowFrom {
    FollowFrom::Position { journal: journal.to_owned(), epoch: epoch.map(str::to_owned), seq }
}

fn hole(seq: u64, room: &str, to: u64) -> Event {
    let what = RoomEvent::Hole { from: 1, to, why: "erased" };
    heard(&Event::Room { seq, room, what }.to_bytes())
}

fn following(rooms: &[&str], since: Option<Vec<u64>>) -> Follower {
    let rooms = rooms.iter().map(|&room| room.to_owned()).collect();
    let mut follower = Follower::new(Some("ada".to_owned()), rooms, since);
    assert!(matches!(follower.handle_reply(&ok("j", "e", 10)), Advice::Follows));
    follower
}

#[test]
fn a_new_follower_begins_now_or_after_the_numbers_given() {
    let rooms = || vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(from(&Follower::new(None, rooms(), None).opening()), FollowFrom::Now);
    let follower = Follower::new(None, rooms(), Some(vec![3, 4]));
    assert_eq!(from(&follower.opening()), FollowFrom::Numbers(vec![3, 4]));
    assert_eq!(follower.seq(), None);
    assert!(follower.is_mine(&ok("j", "e", 1)) && !follower.is_mine(&reply(&pong(1))));
}

#[test]
fn a_follower_resumes_after_the_last_event_that_it_was_given() {
    let mut follower = following(&["general"], None);
    assert_eq!(from(&follower.opening()), at("j", Some("e"), 10));
    assert!(follower.handle_event(&heard(&event(12))));
    assert_eq!(from(&follower.opening()), at("j", Some("e"), 12));
}

#[test]
fn an_event_is_given_once() {
    let mut follower = following(&["general"], None);
    let seen: Vec<bool> =
        [9, 10, 11, 11, 13, 12, 14].map(|seq| follower.handle_event(&heard(&event(seq)))).to_vec();
    assert_eq!(seen, [false, false, true, false, true, false, true]);
    let closing = Event::Connection(ConnectionEvent::Closing { why: "stopping" }).to_bytes();
    assert!(follower.handle_event(&heard(&closing)));
    assert_eq!(follower.seq(), Some(14));
}

#[test]
fn a_journal_set_back_is_resumed_from_what_is_common() {
    let mut follower = following(&["general"], None);
    assert!(follower.handle_event(&heard(&event(20))));
    let error = ErrorReply::new(Code::SeqAhead, "ahead").with("seq", 15).with("epoch", "f");
    let Advice::Send(bytes, notice) = follower.handle_reply(&refused(error)) else { panic!("not sent") };
    assert_eq!((from(&bytes), notice), (at("j", Some("f"), 15), NewStart::SetBack { seq: 15 }));
    // What came after it is sent again as it is now.
    assert!(matches!(follower.handle_reply(&ok("j", "f", 15)), Advice::Follows));
    assert!(!follower.handle_event(&heard(&event(15))));
    assert!(follower.handle_event(&heard(&event(16))));
}

#[test]
fn a_restored_journal_is_resumed_from_what_is_common_under_its_new_name() {
    let mut follower = following(&["general"], None);
    assert!(follower.handle_event(&heard(&event(20))));
    let error = ErrorReply::new(Code::JournalChanged, "restored").with("journal", "k");
    let error = error.with("seq", 15).with("epoch", "f");
    let Advice::Send(bytes, notice) = follower.handle_reply(&refused(error)) else { panic!("not sent") };
    assert_eq!((from(&bytes), notice), (at("k", Some("f"), 15), NewStart::SetBack { seq: 15 }));
    assert!(matches!(follower.handle_reply(&ok("k", "f", 15)), Advice::Follows));
    assert!(!follower.handle_event(&heard(&event(15))));
    assert!(follower.handle_event(&heard(&event(16))));
}

#[test]
fn without_anything_in_common_it_goes_on_from_room_numbers() {
    let other_journal = ErrorReply::new(Code::JournalChanged, "another").with("journal", "k");
    for error in [ErrorReply::new(Code::SeqAhead, "ahead"), other_journal] {
        let mut follower = following(&["a", "b"], None);
        assert!(follower.handle_event(&hole(11, "a", 7)));
        assert!(follower.handle_event(&hole(12, "b", 3)));
        let Advice::Send(bytes, notice) = follower.handle_reply(&refused(error.clone())) else { panic!() };
        assert_eq!((from(&bytes), notice), (FollowFrom::Numbers(vec![7, 3]), NewStart::OtherJournal));
        assert_eq!(follower.seq(), None);
        // A position of another journal says nothing: its small numbers are new.
        assert!(matches!(follower.handle_reply(&ok("k", "g", 2)), Advice::Follows));
        assert!(follower.handle_event(&heard(&event(3))));

        // A room of which only the beginning is known goes on from there.
        let mut follower = following(&["a", "b"], Some(vec![5, 6]));
        assert!(follower.handle_event(&hole(11, "a", 7)));
        let Advice::Send(bytes, _) = follower.handle_reply(&refused(error.clone())) else { panic!() };
        assert_eq!(from(&bytes), FollowFrom::Numbers(vec![7, 6]));

        // A room of which no number is known: from now on.
        let mut follower = following(&["a", "b"], None);
        assert!(follower.handle_event(&hole(11, "a", 7)));
        let Advice::Send(bytes, _) = follower.handle_reply(&refused(error)) else { panic!() };
        assert_eq!(from(&bytes), FollowFrom::Now);
    }
}

#[test]
fn passing_errors_are_tried_again_and_others_are_not() {
    let passing = [
        Code::Busy,
        Code::DiskFull,
        Code::Unavailable,
        Code::Unknown,
        Code::ClockAhead,
        Code::ViewBehind,
        Code::Stopping,
        Code::TooMany,
    ];
    for code in Code::ALL {
        let fresh = Follower::new(None, vec!["a".to_owned()], None);
        for mut follower in [fresh, following(&["a"], None)] {
            let resumes = follower.seq().is_some();
            match follower.handle_reply(&refused(ErrorReply::new(*code, "no"))) {
                Advice::Retry(why) => assert!(passing.contains(code) && why == "no", "{code}"),
                Advice::GiveUp { code: word, detail } => {
                    assert!(!passing.contains(code), "{code}");
                    assert_eq!((&*word, &*detail), (code.as_str(), "no"));
                }
                Advice::Send(..) => {
                    assert!(resumes && matches!(code, Code::SeqAhead | Code::JournalChanged), "{code}");
                }
                Advice::Follows => panic!("{code}"),
            }
        }
    }
}

#[test]
fn waits_double_from_a_quarter_second_to_fifteen_with_jitter_down_to_half() {
    let mut backoff = Backoff::default();
    for full in [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000] {
        for (random, ms) in [(0, full / 2), (full / 2, full), (full / 2 + 1, full / 2)] {
            assert_eq!(backoff.clone().next_ms(random), ms);
        }
        assert!((full / 2..=full).contains(&backoff.next_ms(u64::MAX)));
    }
    backoff.reset();
    assert_eq!(backoff.next_ms(125), 250);
}
