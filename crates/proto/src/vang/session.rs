//! The server's side of a connection: bytes in; requests out; replies in, in any order; bytes out, in
//! the order of the requests. It answers the guide's requests itself, knows every deadline of the
//! connection, and how it ends. It does not know rooms.
//!
//! ```text
//! Open ──last request, fault, end of stream, goodbye──▶ Finishing ──all written──▶ HalfClosed ──▶ Done
//! ```

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::action::ActionInfo;
use super::request::{Request, RequestError};
use super::{Code, ConnectionEvent, ErrorReply, Event, reply};
use crate::frame::{Limits, Part};
use crate::guide::{self, Arguments, ContentError};
use crate::limits::{
    ANSWERED_AT_ONCE, CONTENT_MS, DETACH_MS, DRAIN_BYTES_MAX, DRAIN_MS, HEADER_MS, IDLE_MS,
    PENDING_REQUEST_BYTES_MAX, PENDING_REQUESTS_MAX, STALL_MS, UNSENT_REPLY_BYTES_MAX,
};
use crate::memory::can_allocate;
use crate::{Decoder, Frame, FrameError, Millis};

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Bytes of a message's parts.
    pub frame: Limits,
    /// From a header's first byte to its last, ms.
    pub header_ms: u64,
    /// From a header's end to the content's, ms.
    pub content_ms: u64,
    /// Without a request, ms.
    pub idle_ms: u64,
    /// Without the peer taking what waits, ms.
    pub stall_ms: u64,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            frame: Limits::default(),
            header_ms: HEADER_MS,
            content_ms: CONTENT_MS,
            idle_ms: IDLE_MS,
            stall_ms: STALL_MS,
        }
    }
}

/// Names a request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the socket's owner does next, besides reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStep {
    /// Nothing.
    Wait,
    /// Shut the sending half; then read and drop until `Close`.
    ShutDown,
    /// Close the socket.
    Close,
}

/// Content above this is long, bytes: 64 KiB. What is made of shorter content is small as well.
const LONG_CONTENT_BYTES: usize = 64 << 10;

/// What is made of content while it is read and answered takes up to so many times its bytes, about: the text, its JSON
/// values, the text as Python prints it, where a byte can become four, and that as JSON in the reply.
const WORK_FACTOR: usize = 16;

/// After how long a client for whose content there is no memory may try again, ms.
const NO_MEMORY_RETRY_MS: u64 = 1_000;

/// What a request, reply or event that waits takes beside its bytes: its place, and what the allocator needs.
const QUEUED_BYTES: usize = 64;

struct Pending {
    /// Bytes that it holds: the request's, and the reply's while that waits for an earlier one.
    weight: usize,
    last: bool,
    reply: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Finishing,
    HalfClosed { until: Millis, dropped: u64 },
    Done,
}

pub struct ServerSession {
    limits: ServerLimits,
    decoder: Decoder,
    phase: Phase,
    peer_ended: bool,
    follows: bool,
    pending: VecDeque<Pending>,
    first_pending: u64,
    pending_weight: usize,
    /// Bytes of replies that wait for earlier ones.
    ready_bytes: usize,
    answered_early: usize,
    out: VecDeque<(Bytes, Sort)>,
    unsent_replies: usize,
    /// When the first byte of the unfinished part came.
    part_since: Millis,
    part: Part,
    active_at: Millis,
    written_at: Millis,
    /// No request is taken before this time.
    paused_until: Option<Millis>,
    refused: Option<(Code, String)>,
    /// Codes said without anybody's asking the hub, and how often.
    refusals: Vec<(Code, u64)>,
    /// The last event, written when nothing is pending any more.
    goodbye: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Reply,
    /// Shared with the room's other readers.
    Event,
    /// A copy of this session's own.
    OwnEvent,
}

impl ServerSession {
    /// A session at the beginning of its stream.
    pub fn new(now: Millis, limits: ServerLimits) -> ServerSession {
        ServerSession {
            limits,
            decoder: Decoder::new(limits.frame),
            phase: Phase::Open,
            peer_ended: false,
            follows: false,
            pending: VecDeque::new(),
            first_pending: 0,
            pending_weight: 0,
            ready_bytes: 0,
            answered_early: 0,
            out: VecDeque::new(),
            unsent_replies: 0,
            part_since: now,
            part: Part::Nothing,
            active_at: now,
            written_at: now,
            paused_until: None,
            refused: None,
            refusals: Vec::new(),
            goodbye: None,
        }
    }

    /// Bytes came. Then poll for requests.
    pub fn handle_bytes(&mut self, _now: Millis, bytes: &[u8]) {
        match &mut self.phase {
            Phase::Open if !self.peer_ended => self.decoder.feed(bytes),
            Phase::HalfClosed { dropped, .. } => *dropped += bytes.len() as u64,
            Phase::Open | Phase::Finishing | Phase::Done => {}
        }
    }

    /// The peer sends no more. What it asked is still answered, what it follows still told.
    pub fn handle_end(&mut self, _now: Millis) {
        self.peer_ended = true;
    }

    /// The peer has said that it reads no more: nothing is sent to it from here on, but what it asked still happens.
    /// To be said again whenever there may be output.
    pub fn hang_up(&mut self) {
        self.peer_ended = true;
        self.follows = false;
        self.out = VecDeque::new();
        self.unsent_replies = 0;
    }

    /// Would `poll_request` have something to do without another byte?
    pub fn wants_poll(&self) -> bool {
        self.takes_requests() && self.decoder.has_whole()
    }

    /// The next request that is not of the guide's kind; `None` until more bytes, replies or room come, or when many
    /// were answered here already: then `wants_poll` says so.
    pub fn poll_request(&mut self, now: Millis) -> Option<(Ticket, Request)> {
        for _ in 0..ANSWERED_AT_ONCE {
            if !self.takes_requests() {
                return None;
            }
            match self.decoder.poll_frame() {
                Ok(Some(frame)) => {
                    self.active_at = now;
                    // Whatever is unfinished now is another message: its time starts again.
                    self.part = Part::Nothing;
                    let len = frame.content.len();
                    if len > LONG_CONTENT_BYTES && !can_allocate(len.saturating_mul(WORK_FACTOR)) {
                        self.fail(now, &frame_error(&FrameError::NoMemory { len: len as u64 }));
                        return None;
                    }
                    if let Some(request) = self.interpret(now, &frame) {
                        return Some(request);
                    }
                }
                Ok(None) => {
                    let part = self.decoder.waits_for();
                    if part != self.part {
                        self.part = part;
                        self.part_since = now;
                    }
                    if self.peer_ended {
                        self.handle_truncation(now, part);
                    }
                    return None;
                }
                Err(malformed) => {
                    let error = frame_error(&malformed);
                    self.fail(now, &error);
                    self.refused = Some((error.code, frame_cause(&malformed)));
                    return None;
                }
            }
        }
        None
    }

    fn handle_truncation(&mut self, now: Millis, part: Part) {
        if part != Part::Nothing {
            let part = part_name(part);
            let detail = self.unfinished(format!("the stream ended in the middle of a {part}"));
            self.fail(now, &ErrorReply::new(Code::Malformed, detail).with("part", part));
        } else if !self.follows && self.pending.is_empty() && self.phase == Phase::Open {
            // Not while a reply is due: it may be that to `follow`, and then the telling goes on.
            self.phase = Phase::Finishing;
        }
    }

    fn takes_requests(&self) -> bool {
        self.phase == Phase::Open
            && self.paused_until.is_none()
            && self.pending.len() < PENDING_REQUESTS_MAX
            && self.pending_weight < PENDING_REQUEST_BYTES_MAX
            && self.unsent_replies <= UNSENT_REPLY_BYTES_MAX
    }

    fn interpret(&mut self, now: Millis, frame: &Frame) -> Option<(Ticket, Request)> {
        let in_header = frame.header.raw("action").is_some();
        let last = !in_header && frame.header.text("connection").as_deref() != Some("keep-alive");
        let request = if in_header {
            Request::from_header(frame)
        } else {
            match self.answer_guide(now, frame, last) {
                Ok(None) => return None,
                Ok(Some(arguments)) => Request::from_content(frame, &arguments),
                Err(malformed) => Err(RequestError::Malformed(malformed)),
            }
        };
        match request {
            Ok(request) => {
                let ticket = self.admit(request.weight(), last);
                Some((ticket, request))
            }
            Err(RequestError::Refused { re, error }) => {
                self.count(error.code);
                let ticket = self.admit(0, last);
                self.reply(now, ticket, reply::write_error(re.as_deref(), &error));
                None
            }
            Err(RequestError::Malformed(malformed)) => {
                let error = content_error(&malformed);
                self.fail(now, &error);
                self.refused = Some((error.code, content_cause(&malformed)));
                None
            }
        }
    }

    /// Answers a request of the guide; gives back the arguments of one that is vang's.
    fn answer_guide(
        &mut self,
        now: Millis,
        frame: &Frame,
        last: bool,
    ) -> Result<Option<Arguments>, ContentError> {
        let response = if frame.header.content_type() == "text/json" {
            let arguments = Arguments::parse(&guide::text_content(frame)?)?;
            match arguments.text("action").as_deref() {
                Some(action) if ActionInfo::named(action).is_some() => return Ok(Some(arguments)),
                _ => guide::json_response(&guide::answer(&arguments)?),
            }
        } else {
            guide::binary_response(&frame.content)
        };
        let ticket = self.admit(0, last);
        self.reply(now, ticket, response);
        Ok(None)
    }

    fn admit(&mut self, weight: usize, last: bool) -> Ticket {
        let ticket = Ticket(self.first_pending + self.pending.len() as u64);
        self.pending_weight += weight;
        self.pending.push_back(Pending { weight, last, reply: None });
        if last {
            self.phase = Phase::Finishing;
            // What follows the last request is dropped.
            self.decoder = Decoder::new(self.limits.frame);
        }
        ticket
    }

    /// Takes no request before `until`, and asks for no bytes: the peer was told to come back later, or asks more
    /// than its share. What it asked before is answered, and it gets the events that it follows.
    pub fn pause(&mut self, until: Millis) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Until when no request is taken, if it was paused.
    pub fn paused_until(&self) -> Option<Millis> {
        self.paused_until
    }

    /// Answers a request. The reply waits for those of earlier requests.
    pub fn reply(&mut self, now: Millis, ticket: Ticket, reply: Bytes) {
        let paused = !self.takes_requests();
        let Some(index) = ticket.0.checked_sub(self.first_pending) else { return };
        let Some(pending) = self.pending.get_mut(index as usize) else { return };
        if pending.reply.is_some() {
            return;
        }
        pending.weight += reply.len();
        self.pending_weight += reply.len();
        self.ready_bytes += reply.len();
        pending.reply = Some(reply);
        self.answered_early += 1;
        while let Some(Pending { reply: Some(_), .. }) = self.pending.front() {
            let Some(Pending { weight, last, reply: Some(reply) }) = self.pending.pop_front() else { break };
            self.first_pending += 1;
            self.pending_weight -= weight;
            self.ready_bytes -= reply.len();
            self.answered_early -= 1;
            self.active_at = now;
            self.unsent_replies += reply.len();
            self.put(now, reply, Sort::Reply);
            if last {
                self.phase = Phase::Finishing;
            }
        }
        self.resume(now, paused);
    }

    /// While the socket is not read nobody can be late: the time of an unfinished part starts again.
    fn resume(&mut self, now: Millis, paused: bool) {
        if paused && self.takes_requests() {
            self.part_since = now;
        }
    }

    /// May events be written now? A sender gets its reply before its own event, so not while a reply
    /// waits for an earlier one; a reader with unread bytes gets no more of them; and nothing comes
    /// after the last reply or goodbye.
    pub fn takes_events(&self) -> bool {
        self.follows
            && self.answered_early == 0
            && self.out.is_empty()
            && (self.phase == Phase::Open || self.phase == Phase::Finishing && !self.pending.is_empty())
    }

    /// Events to write, behind what waits already.
    pub fn push_event(&mut self, now: Millis, bytes: Bytes) {
        self.put(now, bytes, Sort::Event);
    }

    fn put(&mut self, now: Millis, bytes: Bytes, sort: Sort) {
        if bytes.is_empty() {
            return;
        }
        if self.out.is_empty() {
            self.written_at = now;
        }
        self.out.push_back((bytes, sort));
    }

    /// From now on the connection follows rooms: it may be silent.
    pub fn set_follows(&mut self) {
        self.follows = true;
    }

    /// The connection ends after what is pending, with an error as the last that the peer reads.
    pub fn fail(&mut self, now: Millis, error: &ErrorReply) {
        if self.phase != Phase::Open {
            return;
        }
        self.refused = Some((error.code, error.detail.clone()));
        self.count(error.code);
        let ticket = self.admit(0, true);
        self.reply(now, ticket, reply::write_error(None, error));
    }

    /// Gives up what this session holds: there is no memory for it. A peer that was told everything so far reads
    /// why; one that has not taken its replies is cut off.
    pub fn shed(&mut self, now: Millis, error: &ErrorReply) {
        self.decoder = Decoder::new(self.limits.frame);
        if self.out.is_empty() && self.pending.is_empty() && self.phase == Phase::Open {
            return self.fail(now, error);
        }
        self.refused = Some((error.code, error.detail.clone()));
        self.count(error.code);
        self.out = VecDeque::new();
        self.unsent_replies = 0;
        // What is answered later finds nobody.
        self.first_pending += self.pending.len() as u64;
        self.pending = VecDeque::new();
        (self.pending_weight, self.ready_bytes, self.answered_early) = (0, 0, 0);
        self.phase = Phase::Done;
    }

    /// The server ends the connection, after what is pending. Says so where somebody listens for it.
    pub fn close(&mut self, why: &str) {
        if self.phase == Phase::Open {
            // What is still pending may be a follow.
            self.goodbye = Some(Event::Connection(ConnectionEvent::Closing { why }).to_bytes());
            self.phase = Phase::Finishing;
        }
    }

    /// What to write, first bytes first: whole messages, but for the first after a partial write. Then call
    /// `wrote`.
    pub fn output(&self) -> impl Iterator<Item = &[u8]> {
        self.out.iter().map(|(bytes, _)| &**bytes)
    }

    /// How many bytes there are to write.
    pub fn output_len(&self) -> usize {
        self.out.iter().map(|(bytes, _)| bytes.len()).sum()
    }

    /// The socket took this many bytes.
    pub fn wrote(&mut self, now: Millis, mut n: usize) {
        if n > 0 {
            self.written_at = now;
            self.active_at = now;
        }
        let paused = !self.takes_requests();
        while n > 0 {
            let Some((bytes, sort)) = self.out.front_mut() else { break };
            let taken = n.min(bytes.len());
            if *sort == Sort::Reply {
                self.unsent_replies -= taken;
            }
            bytes.advance(taken);
            n -= taken;
            if bytes.is_empty() {
                self.out.pop_front();
            }
        }
        if self.out.is_empty() {
            self.out = VecDeque::new();
        }
        self.resume(now, paused);
    }

    /// Is there anything to write?
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Should the socket be read?
    pub fn wants_input(&self) -> bool {
        match self.phase {
            // Nothing is read while a whole message waits to be taken.
            Phase::Open => !self.peer_ended && self.takes_requests() && !self.decoder.has_whole(),
            // Also while it finishes: a peer that still sends must get to read the refusal.
            // After so much it is left to wait: closing at once would reset the connection, and the reset
            // could overtake what the peer has not read yet.
            Phase::HalfClosed { dropped, .. } => !self.peer_ended && dropped < DRAIN_BYTES_MAX,
            Phase::Finishing | Phase::Done => false,
        }
    }

    /// The peer sends no more, but still follows.
    pub fn is_half_closed_reader(&self) -> bool {
        self.phase == Phase::Open && self.peer_ended && self.follows
    }

    /// What else is to be done. It may have given more to write.
    pub fn step(&mut self, now: Millis) -> SessionStep {
        if self.phase == Phase::Finishing
            && self.pending.is_empty()
            && let Some(goodbye) = self.goodbye.take()
            && self.follows
        {
            self.put(now, goodbye, Sort::OwnEvent);
        }
        match self.phase {
            Phase::Finishing if self.pending.is_empty() && self.out.is_empty() => {
                if self.peer_ended {
                    self.phase = Phase::Done;
                    return SessionStep::Close;
                }
                self.phase = Phase::HalfClosed { until: now + DRAIN_MS, dropped: 0 };
                SessionStep::ShutDown
            }
            Phase::HalfClosed { until, .. } => {
                if self.peer_ended || now >= until {
                    self.phase = Phase::Done;
                    return SessionStep::Close;
                }
                SessionStep::Wait
            }
            Phase::Done => SessionStep::Close,
            Phase::Open | Phase::Finishing => SessionStep::Wait,
        }
    }

    /// When to call `handle_time`, if nothing else happens before.
    pub fn deadline(&self) -> Option<Millis> {
        let stalled = self.has_output().then(|| self.written_at + self.limits.stall_ms);
        let stalled = self.detach_at().or(stalled);
        let own = match self.phase {
            Phase::HalfClosed { until, .. } => Some(until),
            Phase::Open if self.paused_until.is_some() => self.paused_until,
            Phase::Open if !self.takes_requests() || self.peer_ended => None,
            Phase::Open => match self.part {
                Part::Header => Some(self.part_since + self.limits.header_ms),
                Part::Content => Some(self.part_since + self.limits.content_ms),
                Part::Nothing if !self.follows && self.pending.is_empty() && self.out.is_empty() => {
                    Some(self.active_at + self.limits.idle_ms)
                }
                Part::Nothing => None,
            },
            Phase::Finishing | Phase::Done => None,
        };
        match (stalled, own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Why a part did not become whole, where its length tells that.
    fn unfinished(&self, detail: String) -> String {
        match self.decoder.swapped_length() {
            Some(length) => format!("{detail}: its length is {length}"),
            None => detail,
        }
    }

    /// Time passed: what is over is ended.
    pub fn handle_time(&mut self, now: Millis) {
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
            // Nobody was late meanwhile.
            self.part_since = now;
        }
        if self.detach_at().is_some_and(|at| now >= at) {
            self.detach();
        }
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.has_output() && now >= self.written_at + self.limits.stall_ms {
            let why = format!("took nothing for {} ms", self.limits.stall_ms);
            self.refused = Some((Code::TimedOut, why));
            self.phase = Phase::Done;
        } else if self.phase == Phase::Open && self.part != Part::Nothing {
            let (part, limit) = match self.part {
                Part::Content => ("content", self.limits.content_ms),
                Part::Header | Part::Nothing => ("header", self.limits.header_ms),
            };
            let detail = self.unfinished(format!("the {part} was not whole within {limit} ms"));
            self.fail(now, &ErrorReply::new(Code::TimedOut, detail).with("part", part));
        } else if self.phase == Phase::Open {
            self.phase = Phase::Finishing;
        }
    }

    /// Why the session refused the peer's bytes, for the log: quotes nothing that the peer sent.
    pub fn refusal(&self) -> Option<&str> {
        self.refused.as_ref().map(|(_, why)| &**why)
    }

    /// Nothing more is taken from the peer: it was refused, or the server says goodbye.
    pub fn is_ending(&self) -> bool {
        self.refused.is_some() || self.phase != Phase::Open
    }

    /// The code of that refusal, to count by.
    pub fn refusal_code(&self) -> Option<Code> {
        self.refused.as_ref().map(|(code, _)| *code)
    }

    /// When events that the peer does not take are copied out of the buffers that all readers share.
    fn detach_at(&self) -> Option<Millis> {
        let shares = self.out.iter().any(|(_, sort)| *sort == Sort::Event);
        shares.then(|| self.written_at + DETACH_MS)
    }

    /// A reader that takes nothing must not keep whole runs of a room in memory: what waits for it becomes its own.
    fn detach(&mut self) {
        for (bytes, sort) in &mut self.out {
            if *sort == Sort::Event {
                *bytes = Bytes::copy_from_slice(bytes);
                *sort = Sort::OwnEvent;
            }
        }
    }

    fn count(&mut self, code: Code) {
        match self.refusals.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => self.refusals.push((code, 1)),
        }
    }

    /// What it refused by itself so far, by code.
    pub fn refusals(&self) -> &[(Code, u64)] {
        &self.refusals
    }

    /// Bytes that the peer has not taken yet, and since when it took none; `None` when it has taken all.
    pub fn unread(&self) -> Option<(usize, Millis)> {
        let bytes = self.out.iter().map(|(bytes, _)| bytes.len()).sum();
        (bytes > 0).then_some((bytes, self.written_at))
    }

    /// Bytes of memory that this session alone holds for its peer: unfinished messages, replies, and events that are
    /// not shared with other readers any more. What a request holds until it is answered is its answerer's.
    pub fn held_bytes(&self) -> usize {
        let own = self.out.iter().filter(|(_, sort)| *sort != Sort::Event);
        self.decoder.held_bytes()
            + own.map(|(bytes, _)| bytes.len() + QUEUED_BYTES).sum::<usize>()
            + self.ready_bytes
            + self.pending.len() * QUEUED_BYTES
    }
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Content => "content",
        Part::Header | Part::Nothing => "header",
    }
}

fn frame_error(malformed: &FrameError) -> ErrorReply {
    let detail = malformed.to_string();
    match malformed {
        FrameError::UnknownProtocol { .. } => {
            ErrorReply::new(Code::Malformed, detail).with("part", "protocol")
        }
        FrameError::HeaderTooLong { len, max } => ErrorReply::new(Code::TooLong, detail)
            .with("part", "header")
            .with("found", u64::from(*len))
            .with("limit", u64::from(*max)),
        FrameError::NoMemory { .. } => ErrorReply::new(Code::Busy, format!("{detail}; try again"))
            .with("retry-after", NO_MEMORY_RETRY_MS),
        FrameError::ContentTooLong { len, max } => ErrorReply::new(Code::TooLong, detail)
            .with("part", "content")
            .with("found", *len)
            .with("limit", *max),
        FrameError::MissingKey { key } | FrameError::WrongKind { key, .. } => {
            ErrorReply::new(Code::Malformed, detail).with("part", "header").with("key", *key)
        }
        FrameError::HeaderTooShort { .. }
        | FrameError::WrongByteOrder(_)
        | FrameError::HeaderNotUtf8 { .. }
        | FrameError::HeaderNotJson { .. }
        | FrameError::HeaderNotObject { .. } => {
            ErrorReply::new(Code::Malformed, detail).with("part", "header")
        }
    }
}

fn content_error(malformed: &ContentError) -> ErrorReply {
    let code = match malformed {
        ContentError::UnknownEncoding { .. } => Code::UnknownEncoding,
        ContentError::NotDecodable(_)
        | ContentError::NotJson { .. }
        | ContentError::NotObject { .. }
        | ContentError::TooDeep { .. } => Code::Malformed,
    };
    ErrorReply::new(code, malformed.to_string()).with("part", "content")
}

/// What the log says of it: the same as the peer gets, without the peer's own words.
fn frame_cause(malformed: &FrameError) -> String {
    match malformed {
        FrameError::HeaderNotObject { .. } => "header is JSON, but not an object".to_owned(),
        FrameError::WrongKind { key, expected, .. } => format!("header '{key}' is not {expected}"),
        FrameError::UnknownProtocol { .. }
        | FrameError::HeaderTooShort { .. }
        | FrameError::HeaderTooLong { .. }
        | FrameError::WrongByteOrder(_)
        | FrameError::HeaderNotUtf8 { .. }
        | FrameError::HeaderNotJson { .. }
        | FrameError::MissingKey { .. }
        | FrameError::NoMemory { .. }
        | FrameError::ContentTooLong { .. } => malformed.to_string(),
    }
}

fn content_cause(malformed: &ContentError) -> String {
    match malformed {
        ContentError::UnknownEncoding { .. } => "unknown content-encoding".to_owned(),
        ContentError::NotObject { .. } => "content is JSON, but not an object".to_owned(),
        ContentError::NotDecodable(_) | ContentError::NotJson { .. } | ContentError::TooDeep { .. } => {
            malformed.to_string()
        }
    }
}

impl ServerSession {
    /// The one refusal for bytes of no known kind.
    pub fn refuse_protocol(&mut self, now: Millis, third: u8) {
        self.fail(now, &frame_error(&FrameError::UnknownProtocol { third }));
    }
}
