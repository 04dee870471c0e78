//! A connection of any layer, and a vang ping over it.

use std::io::{self, Read, Write};
use std::time::Instant;

use vang_client::trouble::{Doing, Trouble};
use vang_proto::vang::{Action, Incoming, RequestWriter, incoming};
use vang_proto::{Decoder, Limits};

use crate::deadline_stream::DeadlineStream;
use crate::error::explain;
use crate::{Stopped, quoted};

/// Limits of the answer to a ping: one short message.
const LIMITS: Limits = Limits { header: 4_096, content: 4_096 };

/// Why a layer failed.
pub(super) enum Ended {
    Failed(Trouble),
    Stopped(Stopped),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Ended {
        Ended::Failed(trouble)
    }
}

/// A connection of any layer.
pub(super) trait Channel: Read + Write {
    /// Reads and writes fail with `TimedOut` from this time on.
    fn until(&mut self, until: Instant);
    /// The stop that ended the last read or write, if one did.
    fn stopped(&self) -> Option<Stopped>;
}

impl Channel for DeadlineStream<'_> {
    fn until(&mut self, until: Instant) {
        self.set_deadline(until);
    }

    fn stopped(&self) -> Option<Stopped> {
        DeadlineStream::stopped(self)
    }
}

impl<C: Channel + ?Sized> Channel for Box<C> {
    fn until(&mut self, until: Instant) {
        (**self).until(until);
    }

    fn stopped(&self) -> Option<Stopped> {
        (**self).stopped()
    }
}

impl<C: Channel> Channel for rustls::StreamOwned<rustls::ClientConnection, C> {
    fn until(&mut self, until: Instant) {
        self.sock.until(until);
    }

    fn stopped(&self) -> Option<Stopped> {
        self.sock.stopped()
    }
}

/// Sends a ping to a vang server and waits for the answer.
pub(super) fn ask(channel: &mut dyn Channel) -> Result<(), Ended> {
    let exchange = |channel: &mut dyn Channel| -> io::Result<Result<(), Trouble>> {
        channel.write_all(&RequestWriter { name: None }.write(1, &Action::Ping))?;
        channel.flush()?;
        let mut decoder = Decoder::new(LIMITS);
        let mut head = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let n = match channel.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => n,
            };
            head.extend_from_slice(&buffer[..n.min(40_usize.saturating_sub(head.len()))]);
            // Every message has `{` after its length; another byte means another protocol, whatever the length says.
            if head.get(2).is_some_and(|third| *third != b'{') {
                return Ok(Err(foreign(&format!("it sent {}", quoted(&head, 40)))));
            }
            decoder.feed(&buffer[..n]);
            match decoder.poll_frame() {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    return Ok(match incoming(frame) {
                        // A refusal is also an answer of a vang server.
                        Ok(Incoming::Reply(_)) => Ok(()),
                        Ok(Incoming::Event(_)) | Err(_) => {
                            Err(foreign("it speaks the tutorial's protocol, but does not answer a ping"))
                        }
                    });
                }
                Err(malformed) => return Ok(Err(foreign(&malformed.to_string()))),
            }
        }
    };
    match exchange(channel) {
        Ok(answer) => answer.map_err(Ended::Failed),
        Err(error) => Err(ended(channel.stopped(), &error, |error| explain(error, Doing::Read))),
    }
}

pub(super) fn ended(
    stopped: Option<Stopped>,
    error: &io::Error,
    name: impl FnOnce(&io::Error) -> Trouble,
) -> Ended {
    stopped.map_or_else(|| Ended::Failed(name(error)), Ended::Stopped)
}

pub(super) fn no_tls(why: &str) -> Trouble {
    Trouble {
        name: format!("no TLS: {why}").into(),
        likely: "the port speaks another protocol, or an incompatible version of TLS",
        advice: "check the port; --tcp PORT tests without TLS",
        retryable: false,
    }
}

pub(super) fn foreign(why: &str) -> Trouble {
    Trouble {
        name: format!("not a vang server: {why}").into(),
        likely: "another kind of server listens there",
        advice: "check the port",
        retryable: false,
    }
}
