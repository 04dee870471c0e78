//! Sends one message until it is durable or refused.
//!
//! ```text
//! connect ──▶ write, with an id ──▶ reply: the address
//!    ▲  └ cannot: not posted   └ no reply: perhaps posted ─┐
//!    └──────────── the same id, until the deadline ◀───────┘
//! ```
//!
//! The id makes retries safe: the server posts the message once, however often it is sent.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use vang_proto::vang::{Action, Code, Reply, Sent};

use crate::address::ServerAddr;
use crate::connection::{Connection, write_request};
use crate::retry::{Deadline, retry_until};
use crate::sign_in::{Identity, open};
use crate::trouble::ClientError;

/// The longest time for retries: 1 h. A server remembers ids longer than that, but not forever: a later
/// repetition may be posted twice.
pub const SEND_MAX: Duration = Duration::from_secs(3_600);

/// A message to send.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub room: &'a str,
    /// The same for every repetition of this message, and for no other message.
    pub id: &'a str,
    /// For example `text/plain`.
    pub content_type: &'a str,
    /// For example `utf-8`; `binary` for anything but text.
    pub content_encoding: &'a str,
    pub content: &'a [u8],
}

/// The message is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// For example `general#4812`.
    pub address: String,
    pub n: u64,
    /// Its position in the journal.
    pub seq: u64,
}

/// The message was not posted, or its outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not posted: the server was unreachable or refused.
    #[error("{0}")]
    NotPosted(ClientError),
    /// Sent without an answer. Send it again with the same id.
    #[error("{0}")]
    Unknown(ClientError),
}

/// A unique id: 128 random bits as 32 hexadecimal digits.
pub fn fresh_id() -> io::Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Sends `message` until it is durable, for at most `timeout`. `watch` sees each error before a retry.
pub fn send(
    place: &ServerAddr,
    identity: &Identity,
    message: Message<'_>,
    timeout: Duration,
    watch: &mut dyn FnMut(&ClientError),
) -> Result<Posted, SendError> {
    let request = request_bytes(identity.name.as_deref(), message).map_err(SendError::NotPosted)?;
    let deadline = Deadline::after(timeout.min(SEND_MAX));
    let mut may_be_posted = false;
    let outcome = retry_until(deadline, watch, || {
        let mut connection = open(place, identity, deadline)?;
        let reply = connection.exchange(RE, &request, deadline);
        may_be_posted |= match &reply {
            Ok(_) => true,
            Err(ClientError::Refused { code, .. }) => code == Code::Unknown.as_str(),
            Err(ClientError::Foreign { .. }) => false,
            // Also after a partial write: rare, and a repetition with the id is safe. A reply whose length has the wrong byte
            // order comes from a server that has read the message.
            Err(_) => true,
        };
        posted(&reply?, &connection)
    });
    outcome.map_err(|fault| match fault {
        // A refusal that is not retryable applies to every repetition: the same id would have got the first
        // result. But a token can end between two of them.
        ClientError::Refused { .. } if !fault.is_retryable() && !fault.is_sign_in_refused() => {
            SendError::NotPosted(fault)
        }
        _ if may_be_posted => SendError::Unknown(fault),
        _ => SendError::NotPosted(fault),
    })
}

/// Apart from the numbers of `Connection::ask`, which signs in.
const RE: u64 = 0;

fn request_bytes(name: Option<&str>, message: Message<'_>) -> Result<Bytes, ClientError> {
    let send = Action::Send {
        room: message.room.to_owned(),
        id: Some(message.id.to_owned()),
        content_type: message.content_type.to_owned(),
        content_encoding: message.content_encoding.to_owned(),
        content: Bytes::copy_from_slice(message.content),
    };
    write_request(name, RE, &send)
}

fn posted(reply: &Reply, connection: &Connection) -> Result<Posted, ClientError> {
    match reply.keys() {
        Some(Sent { address, n, seq, .. }) => Ok(Posted { address, n, seq }),
        None => {
            Err(connection.foreign("its answer to 'send' has no 'room', 'n', 'seq' or 'address'".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use vang_proto::vang::{SignedIn, write_sent};
    use vang_proto::{Frame, Secret};

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
        Step::Write(write_sent(Some(&RE.to_string()), "general", 7, 90).to_vec())
    }

    fn says_hi(request: &Frame) {
        assert_eq!(request.header.text("action").as_deref(), Some("send"));
        assert_eq!(request.header.text("id").as_deref(), Some("6f1c"));
        assert_eq!(request.header.text("as").as_deref(), Some("ada"));
        assert_eq!(request.content, "hi");
    }

    fn send_hi(place: &ServerAddr, timeout: Duration) -> (Result<Posted, SendError>, Vec<ClientError>) {
        let mut faults = Vec::new();
        let outcome =
            send(place, &Identity::named("ada"), HI, timeout, &mut |fault| faults.push(fault.clone()));
        (outcome, faults)
    }

    #[test]
    fn a_durable_message_has_an_address() {
        let server = Server::start(vec![vec![Step::Request, answer()]]);
        let (outcome, faults) = send_hi(&server.place(), SECONDS);
        let expected = Posted { address: "general#7".to_owned(), n: 7, seq: 90 };
        assert_eq!(outcome, Ok(expected));
        assert_eq!(faults, []);
        says_hi(&server.request());
    }

    #[test]
    fn a_connection_lost_before_the_reply_is_retried_with_the_same_id() {
        let server = Server::start(vec![vec![Step::Request], vec![Step::Request, answer()]]);
        let (outcome, faults) = send_hi(&server.place(), SECONDS);
        assert_eq!(outcome.map(|posted| posted.address), Ok("general#7".to_owned()));
        assert!(matches!(faults[..], [ClientError::Broken { .. }]), "{faults:?}");
        says_hi(&server.request());
        says_hi(&server.request());
    }

    #[test]
    fn only_a_retryable_refusal_is_retried() {
        let busy = Step::Write(error(RE, Code::Busy, "too much waits", &[("retry-after", 1.into())]));
        let no_room = Step::Write(error(RE, Code::NoRoom, "there is no such room", &[]));
        let server = Server::start(vec![vec![Step::Request, busy], vec![Step::Request, no_room]]);
        let (outcome, faults) = send_hi(&server.place(), SECONDS);
        let Err(SendError::NotPosted(fault)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(fault.to_string(), "there is no such room");
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn a_retry_after_beyond_the_deadline_gives_up() {
        let busy = Step::Write(error(RE, Code::Busy, "too much waits", &[("retry-after", 60_000.into())]));
        let server = Server::start(vec![vec![Step::Request, busy]]);
        let (outcome, _) = send_hi(&server.place(), SECONDS);
        assert!(matches!(outcome, Err(SendError::NotPosted(ClientError::Refused { .. }))), "{outcome:?}");
    }

    #[test]
    fn sent_without_an_answer_is_unknown() {
        let server = Server::start(vec![vec![Step::Request, Step::Hold]]);
        let (outcome, _) = send_hi(&server.place(), Duration::from_millis(50));
        assert!(matches!(outcome, Err(SendError::Unknown(ClientError::Silent { .. }))), "{outcome:?}");
        let unknown = Step::Write(error(RE, Code::Unknown, "ask again", &[("retry-after", 60_000.into())]));
        let server = Server::start(vec![vec![Step::Request, unknown]]);
        let (outcome, _) = send_hi(&server.place(), SECONDS);
        assert!(matches!(outcome, Err(SendError::Unknown(ClientError::Refused { .. }))), "{outcome:?}");
    }

    #[test]
    fn a_token_that_ends_between_two_attempts_leaves_the_outcome_unknown() {
        let signed_in =
            || Step::Write(ok(1, &SignedIn { name: "ada".to_owned(), ..SignedIn::default() }, "ada"));
        let ended = || Step::Write(error(1, Code::WrongSecret, "the token was ended", &[]));
        let identity = Identity::with_token(None, Secret::new("vang_1".to_owned()));
        let outcome = |scripts| {
            let server = Server::start(scripts);
            send(&server.place(), &identity, HI, SECONDS, &mut |_| {})
        };
        let sent =
            outcome(vec![vec![Step::Request, signed_in(), Step::Request], vec![Step::Request, ended()]]);
        assert!(matches!(sent, Err(SendError::Unknown(ClientError::Refused { .. }))), "{sent:?}");
        let not_sent = outcome(vec![vec![Step::Request, ended()]]);
        assert!(matches!(not_sent, Err(SendError::NotPosted(ClientError::Refused { .. }))), "{not_sent:?}");
    }

    #[test]
    fn an_unreachable_server_means_not_posted() {
        let (outcome, faults) = send_hi(&Server::closed_port(), Duration::from_secs(1));
        let Err(SendError::NotPosted(fault)) = outcome else { panic!("{outcome:?}") };
        assert!(!fault.timed_out() && fault.to_string().contains("connection refused"), "{fault}");
        assert!(!faults.is_empty());
    }

    #[test]
    fn a_refusal_is_read_although_not_all_bytes_could_be_written() {
        let content = vec![b'x'; 8 << 20];
        let long = Message { content: &content, ..HI };
        let refusal = vang_proto::vang::write_error(
            None,
            &vang_proto::vang::ErrorReply::new(
                Code::TooLong,
                "content of 8388608 bytes exceeds the limit of 9",
            ),
        );
        let server = Server::start(vec![vec![Step::Bytes(100), Step::Write(refusal.to_vec()), Step::Drain]]);
        let outcome = send(&server.place(), &Identity::default(), long, SECONDS, &mut |_| {});
        let Err(SendError::NotPosted(fault)) = outcome else { panic!("{outcome:?}") };
        assert!(fault.to_string().starts_with("content of 8388608"), "{fault}");
    }

    #[test]
    fn ids_differ() {
        let id = fresh_id().unwrap();
        assert_eq!(id.len(), 32);
        assert_ne!(id, fresh_id().unwrap());
    }
}
