//! A connection of whatever layer, and the question that a vang server is asked in it. Nothing but a ping is said.

use std::io::{self, Read, Write};
use std::time::Instant;

use vang_client::trouble::{Doing, Trouble};
use vang_proto::vang::{Incoming, RequestWriter, incoming};
use vang_proto::{Decoder, Limits};

use crate::connect::Patient;
use crate::failure::explain;
use crate::{Stopped, quoted};

/// What a server may answer to a ping: it is one short message.
const LIMITS: Limits = Limits { header: 4_096, content: 4_096 };

/// Why a step ended a probe.
pub(super) enum Ended {
    Failed(Trouble),
    Stopped(Stopped),
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Ended {
        Ended::Failed(trouble)
    }
}

/// A connection of whatever layer.
pub(super) trait Channel: Read + Write {
    /// From now on reading and writing end then.
    fn until(&mut self, until: Instant);
    /// Did the tool's end interrupt it?
    fn stopped(&self) -> Option<Stopped>;
}

impl Channel for Patient<'_> {
    fn until(&mut self, until: Instant) {
        self.ends_at(until);
    }

    fn stopped(&self) -> Option<Stopped> {
        Patient::stopped(self)
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

/// Asks a vang server for its pong.
pub(super) fn ask(channel: &mut dyn Channel) -> Result<(), Ended> {
    let exchange = |channel: &mut dyn Channel| -> io::Result<Result<(), Trouble>> {
        channel.write_all(&RequestWriter { name: None }.write(1, "ping", &[]))?;
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
            // Behind the length every message begins so; told before a wrong length is waited for.
            if head.get(2).is_some_and(|third| *third != b'{') {
                return Ok(Err(foreign(&format!("it says {}", quoted(&head, 40)))));
            }
            decoder.feed(&buffer[..n]);
            match decoder.poll_frame() {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    return Ok(match incoming(frame) {
                        // Also when it wants to know who asks: it has answered in vang's own words.
                        Ok(Incoming::Reply(_)) => Ok(()),
                        Ok(Incoming::Event(_)) | Err(_) => {
                            Err(foreign("it answers in the guide's way, but not to a ping"))
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
        likely: "another protocol is spoken at this port, or another TLS than ours",
        advice: "check the port; --tcp PORT leaves TLS out",
        passing: false,
    }
}

pub(super) fn foreign(why: &str) -> Trouble {
    Trouble {
        name: format!("no vang server: {why}").into(),
        likely: "another kind of server listens there",
        advice: "check the port",
        passing: false,
    }
}
