//! One message, until it is durable or known not to be.
//!
//! ```text
//! connect ──▶ write, with an id ──▶ reply: the address
//!    ▲  └ cannot: not posted   └ no reply: perhaps posted ─┐
//!    └──────────── the same id, until the deadline ◀───────┘
//! ```
//!
//! The id makes it safe: the server posts it once, however often it comes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use vang_proto::vang::{Code, Reply, RequestWriter, Value};

use crate::address::ServerAddr;
use crate::connection::{Connection, check_arguments};
use crate::patience::{Deadline, persist};
use crate::trouble::ClientError;

/// The longest that a send is tried: 1 h. A server remembers ids longer than that, but not for ever; who
/// repeats a send later may post it twice.
pub const SEND_MAX: Duration = Duration::from_secs(3_600);

/// What to post, and where.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The room's name.
    pub room: &'a str,
    /// The same for every repetition of this message, and for no other.
    pub id: &'a str,
    /// Such as `text/plain`.
    pub content_type: &'a str,
    /// Such as `utf-8`; `binary` for what is no text.
    pub content_encoding: &'a str,
    /// What is said.
    pub content: &'a [u8],
}

/// It is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Such as `general#4812`.
    pub address: String,
    /// Its number in the room.
    pub n: Option<u64>,
    /// Its place in the journal.
    pub seq: Option<u64>,
}

/// It was not posted, or nobody can tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Certainly not posted: the server was not reached, or said no.
    #[error("{0}")]
    NotPosted(ClientError),
    /// It was written, and no answer came. Send again with the same id.
    #[error("{0}")]
    Unknown(ClientError),
}

/// An id that nobody else makes: 128 random bits.
pub fn fresh_id() -> io::Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Sends until it is durable, for at most this time. `watch` hears of every failure after which it is
/// tried again.
pub fn send(
    place: &ServerAddr,
    name: Option<&str>,
    message: Message<'_>,
    timeout: Duration,
    watch: &mut dyn FnMut(&ClientError),
) -> Result<Posted, NotSent> {
    let request = request_bytes(name, message).map_err(NotSent::NotPosted)?;
    let deadline = Deadline::after(timeout.min(SEND_MAX));
    let mut perhaps_posted = false;
    let outcome = persist(deadline, watch, || {
        let mut connection = Connection::open(place, deadline)?;
        let reply = connection.exchange(RE, &request, deadline);
        perhaps_posted |= match &reply {
            Ok(_) => true,
            Err(ClientError::Refused { code, .. }) => code == Code::Unknown.as_str(),
            Err(ClientError::Foreign { .. }) => false,
            // Also what broke in the middle of writing: rare, and repeating it with the id is safe.
            Err(_) => true,
        };
        posted(&reply?, &connection)
    });
    outcome.map_err(|fault| match fault {
        // A lasting refusal holds for every repetition: the same id would have got the first result.
        ClientError::Refused { .. } if !fault.is_retryable() => NotSent::NotPosted(fault),
        _ if perhaps_posted => NotSent::Unknown(fault),
        _ => NotSent::NotPosted(fault),
    })
}

/// The `re` of the only request on its connection.
const RE: u64 = 1;

fn request_bytes(name: Option<&str>, message: Message<'_>) -> Result<Bytes, ClientError> {
    let arguments = [("room", Value::from(message.room)), ("id", Value::from(message.id))];
    let types = [("", Value::from(message.content_type)), ("", Value::from(message.content_encoding))];
    check_arguments(name, &[arguments.clone(), types].concat())?;
    let writer = RequestWriter { name: name.map(str::to_owned) };
    let content = (message.content_type, message.content_encoding, message.content);
    Ok(writer.write_with(RE, "send", &arguments, content))
}

fn posted(reply: &Reply, connection: &Connection) -> Result<Posted, ClientError> {
    let address = reply.header.text("address").map(std::borrow::Cow::into_owned);
    match address {
        Some(address) => Ok(Posted { address, n: reply.header.number("n"), seq: reply.header.number("seq") }),
        None => Err(connection.foreign("its answer to 'send' has no address".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use vang_proto::Frame;

    use super::*;
    use crate::scripted::{Server, Step, error, ok};

    const SECONDS: Duration = Duration::from_secs(20);
    const HI: Message<'_> = Message {
        room: "general",
        id: "6f1c",
        content_type: "text/plain",
        content_encoding: "utf-8",
        content: b"hi",
    };

    fn answer() -> Step {
        let keys = [
            ("room", Value::from("general")),
            ("n", 7.into()),
            ("seq", 90.into()),
            ("address", "general#7".into()),
        ];
        Step::Play(ok(RE, &keys, "general#7"))
    }

    fn says_hi(request: &Frame) {
        assert_eq!(request.header.text("action").as_deref(), Some("send"));
        assert_eq!(request.header.text("id").as_deref(), Some("6f1c"));
        assert_eq!(request.header.text("as").as_deref(), Some("ada"));
        assert_eq!(request.content, "hi");
    }

    fn send_hi(place: &ServerAddr, timeout: Duration) -> (Result<Posted, NotSent>, Vec<ClientError>) {
        let mut faults = Vec::new();
        let outcome = send(place, Some("ada"), HI, timeout, &mut |fault| faults.push(fault.clone()));
        (outcome, faults)
    }

    #[test]
    fn a_durable_message_has_an_address() {
        let server = Server::start(vec![vec![Step::Request, answer()]]);
        let (outcome, faults) = send_hi(&server.place(), SECONDS);
        let expected = Posted { address: "general#7".to_owned(), n: Some(7), seq: Some(90) };
        assert_eq!(outcome, Ok(expected));
        assert_eq!(faults, []);
        says_hi(&server.request());
    }

    #[test]
    fn a_connection_that_dies_before_the_reply_is_followed_by_the_same_id() {
        let server = Server::start(vec![vec![Step::Request], vec![Step::Request, answer()]]);
        let (outcome, faults) = send_hi(&server.place(), SECONDS);
        assert_eq!(outcome.map(|posted| posted.address), Ok("general#7".to_owned()));
        assert!(matches!(faults[..], [ClientError::Broken { .. }]), "{faults:?}");
        says_hi(&server.request());
        says_hi(&server.request());
    }

    #[test]
    fn a_passing_refusal_is_repeated_and_a_lasting_one_is_not() {
        let busy = Step::Play(error(RE, Code::Busy, "too much waits", &[("retry-after", 1.into())]));
        let no_room = Step::Play(error(RE, Code::NoRoom, "there is no such room", &[]));
        let server = Server::start(vec![vec![Step::Request, busy], vec![Step::Request, no_room]]);
        let (outcome, faults) = send_hi(&server.place(), SECONDS);
        let Err(NotSent::NotPosted(fault)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(fault.to_string(), "refused: no-room: there is no such room");
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn who_is_told_to_come_back_after_the_deadline_gives_up() {
        let busy = Step::Play(error(RE, Code::Busy, "too much waits", &[("retry-after", 60_000.into())]));
        let server = Server::start(vec![vec![Step::Request, busy]]);
        let (outcome, _) = send_hi(&server.place(), SECONDS);
        assert!(matches!(outcome, Err(NotSent::NotPosted(ClientError::Refused { .. }))), "{outcome:?}");
    }

    #[test]
    fn written_without_an_answer_is_unknown() {
        let server = Server::start(vec![vec![Step::Request, Step::Stay]]);
        let (outcome, _) = send_hi(&server.place(), Duration::from_millis(50));
        assert!(matches!(outcome, Err(NotSent::Unknown(ClientError::Silent { .. }))), "{outcome:?}");
        // Also when the server itself does not know.
        let unknown = Step::Play(error(RE, Code::Unknown, "ask again", &[("retry-after", 60_000.into())]));
        let server = Server::start(vec![vec![Step::Request, unknown]]);
        let (outcome, _) = send_hi(&server.place(), SECONDS);
        assert!(matches!(outcome, Err(NotSent::Unknown(ClientError::Refused { .. }))), "{outcome:?}");
    }

    #[test]
    fn a_server_that_is_never_there_got_nothing() {
        let (outcome, faults) = send_hi(&Server::closed_port(), Duration::from_millis(100));
        let Err(NotSent::NotPosted(fault)) = outcome else { panic!("{outcome:?}") };
        assert!(!fault.timed_out() && fault.to_string().contains("connection refused"), "{fault}");
        assert!(!faults.is_empty());
    }

    #[test]
    fn a_refusal_of_the_bytes_themselves_is_read_although_not_all_could_be_written() {
        let content = vec![b'x'; 8 << 20];
        let long = Message { content: &content, ..HI };
        let refusal = vang_proto::vang::write_error(
            None,
            &vang_proto::vang::ErrorReply::new(
                Code::TooLong,
                "content of 8388608 bytes exceeds the limit of 9",
            ),
        );
        let server = Server::start(vec![vec![Step::Bytes(100), Step::Play(refusal.to_vec()), Step::Drain]]);
        let outcome = send(&server.place(), None, long, SECONDS, &mut |_| {});
        let Err(NotSent::NotPosted(fault)) = outcome else { panic!("{outcome:?}") };
        assert!(fault.to_string().starts_with("refused: too-long: content of 8388608"), "{fault}");
    }

    #[test]
    fn ids_differ() {
        let id = fresh_id().unwrap();
        assert_eq!(id.len(), 32);
        assert_ne!(id, fresh_id().unwrap());
    }
}
