//! A recording, played again: what its clients sent, to a server; or what its server sent, to clients. Each conversation
//! gets a connection of its own, one after the other as they were recorded. Turns are kept: before the played side goes
//! on, the other must have said as many bytes as it had in the recording, or have been silent for a while, for its
//! answers may have another length now. The recorded pauses are not kept: --delay makes some, and what is played goes
//! through the weather as all that passes does. Of a recording that was cut short or damaged, what stands before is played.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::Socket;
use vang_client::trouble::Doing;

use super::Shared;
use super::link::{Closed, PIECE_BYTES, is_interruption, reset};
use super::weather::{Chance, Way};
use crate::capture::conversations::{Side, Told};
use crate::capture::file::{self, Broken};
use crate::capture::formats;
use crate::decode::{Counted, read_capture};
use crate::failure::{Failure, explain};
use crate::wire::{Awaited, Reader};

/// Bytes of a recording that are held to be played: 64 MiB.
const SCRIPTS_BYTES_MAX: usize = 64 << 20;

/// So long the other side may be silent before it is not waited for any more.
const SILENCE: Duration = Duration::from_secs(2);

/// What was said, in turns.
pub(super) type Script = Vec<(Side, Vec<u8>)>;

/// Reads the conversations of a capture: at least one, and what is wrong behind them.
pub(super) fn read(path: &Path) -> Result<(Vec<Script>, Option<Broken>), Failure> {
    let what = || format!("cannot replay '{}'", path.display());
    let failed = |error: &io::Error| Failure::of(what(), error, Doing::Read);
    let mut source = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut first = [0; 4];
    let is_read = source.read_exact(&mut first);
    if is_read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
        is_read.map_err(|error| failed(&error))?;
    } else if is_read.is_err() || !file::is_capture(first) {
        let mut begun = first.to_vec();
        source.take(formats::BYTES_MAX as u64).read_to_end(&mut begun).map_err(|error| failed(&error))?;
        return Err(Failure::Usage(match formats::tell(&begun) {
            Some(format) => {
                format!("{}: it is {}: `{} > capture.pcap` first", what(), format.what, format.command)
            }
            None => format!("{}: it is no pcap or pcapng file", what()),
        }));
    }
    let (mut scripts, mut held): (Vec<Script>, usize) = (Vec::new(), 0);
    let mut counted = Counted::default();
    let outcome = read_capture(
        first,
        source,
        &mut counted,
        &mut |told| {
            if let Told::Bytes { conversation, side, bytes } = told {
                held += bytes.len();
                if held > SCRIPTS_BYTES_MAX {
                    return;
                }
                let at = conversation as usize;
                if scripts.len() < at {
                    scripts.resize_with(at, Vec::new);
                }
                match scripts[at - 1].last_mut() {
                    Some((last, said)) if *last == side => said.extend_from_slice(bytes),
                    _ => scripts[at - 1].push((side, bytes.to_vec())),
                }
            }
        },
        &mut || true,
    );
    if held > SCRIPTS_BYTES_MAX {
        let text = format!("{}: it holds more than {}", what(), crate::size(SCRIPTS_BYTES_MAX as u64));
        return Err(Failure::Usage(text));
    }
    let broken = match outcome {
        Err(Broken::Read(error)) => return Err(failed(&error)),
        outcome => outcome.err(),
    };
    scripts.retain(|script| !script.is_empty());
    match broken {
        Some(broken) if scripts.is_empty() => Err(Failure::Usage(format!("{}: {broken}", what()))),
        None if scripts.is_empty() => Err(Failure::Usage(format!("{}: nobody says anything in it", what()))),
        broken => Ok((scripts, broken)),
    }
}

/// Plays one side over a connection.
pub(super) fn play(
    shared: &Shared<'_>,
    connection: u64,
    script: &Script,
    own: Side,
    socket: &Socket,
    opened_by: String,
) {
    let began = Instant::now();
    let way = Way::new(&shared.weather, Chance::new(shared.weather.seed, connection, own as u64));
    let mut stage = Stage {
        shared,
        connection,
        own,
        socket,
        readers: Default::default(),
        awaited: Awaited::default(),
        way,
        bytes: [0; 2],
        ended: false,
    };
    let ending = match socket.set_nonblocking(true).and_then(|()| stage.play(script)) {
        Ok(ending) => ending,
        Err(error) => {
            shared.totals().resets += u64::from(error.kind() == io::ErrorKind::ConnectionReset);
            format!("broken off: {}", explain(&error, Doing::Read))
        }
    };
    for side in [Side::Client, Side::Server] {
        stage.readers[side as usize].end(&mut |heard| shared.hear(connection, side, &heard));
    }
    let [client_bytes, server_bytes] = stage.bytes;
    let mut totals = shared.totals();
    totals.client_bytes += client_bytes;
    totals.server_bytes += server_bytes;
    drop(totals);
    let took_ns = began.elapsed().as_nanos() as u64;
    shared.tell(&Closed { conversation: connection, opened_by, ending, client_bytes, server_bytes, took_ns });
}

struct Stage<'a> {
    shared: &'a Shared<'a>,
    connection: u64,
    own: Side,
    socket: &'a Socket,
    readers: [Reader; 2],
    awaited: Awaited,
    /// Of what is played.
    way: Way,
    bytes: [u64; 2],
    /// The other side has closed.
    ended: bool,
}

impl Stage<'_> {
    fn play(&mut self, script: &Script) -> io::Result<String> {
        let other = self.own.other();
        let mut due = 0;
        for (side, said) in script {
            if *side == other {
                due += said.len() as u64;
                if !self.await_bytes(due)? {
                    return Ok("stopped".to_owned());
                }
            } else {
                for piece in said.chunks(PIECE_BYTES) {
                    if let Some(ending) = self.say(piece)? {
                        return Ok(ending);
                    }
                }
            }
        }
        let _ = self.socket.shutdown(Shutdown::Write);
        self.shared.explain(|| format!("#{}: all is said: shutdown(SHUT_WR)", self.connection));
        self.await_bytes(u64::MAX)?;
        let ending = if self.ended { "then the other closed" } else { "the other stayed open" };
        Ok(format!("played the {} to its end, {ending}", self.own.name()))
    }

    /// Until the other side has said so many bytes in all, or is silent, or has closed; `false`: the tool must end.
    fn await_bytes(&mut self, due: u64) -> io::Result<bool> {
        while self.bytes[self.own.other() as usize] < due && !self.ended {
            let mut fds = [PollFd::new(self.socket, PollFlags::IN)];
            if self.shared.stop.wait(&mut fds, Some(SILENCE))?.is_some() {
                return Ok(false);
            }
            if fds[0].revents().is_empty() {
                self.shared.explain(|| format!("#{}: no answer for a while: going on", self.connection));
                return Ok(true);
            }
            self.read()?;
        }
        Ok(true)
    }

    /// How saying it ended the talk, if it did.
    fn say(&mut self, bytes: &[u8]) -> io::Result<Option<String>> {
        self.hear(self.own, bytes);
        let is_cut = self.way.push(Instant::now(), bytes).is_some();
        while let Some(next_at) = self.way.next_at() {
            let now = Instant::now();
            // Whoever does not read while it writes may wait for ever.
            let mut wants = if self.ended { PollFlags::empty() } else { PollFlags::IN };
            let late = next_at.saturating_duration_since(now);
            if late.is_zero() {
                wants |= PollFlags::OUT;
            }
            let mut fds = [PollFd::new(self.socket, wants)];
            let time = (!late.is_zero()).then(|| late.max(Duration::from_micros(100)));
            if self.shared.stop.wait(&mut fds, time)?.is_some() {
                return Ok(Some("stopped".to_owned()));
            }
            let ready = fds[0].revents();
            if ready.intersects(PollFlags::ERR | PollFlags::HUP)
                && let Some(error) = self.socket.take_error()?
            {
                return Err(error);
            }
            if ready.contains(PollFlags::IN) && !self.ended {
                self.read()?;
            }
            let part = self.way.ready(Instant::now());
            if part.is_empty() {
                continue;
            }
            match (&mut &*self.socket).write(part) {
                Ok(len) => self.way.went(Instant::now(), len),
                Err(error) if is_interruption(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if !is_cut {
            return Ok(None);
        }
        reset(self.socket);
        let mut totals = self.shared.totals();
        totals.resets += 1;
        totals.cut += 1;
        Ok(Some("cut by --cut: the connection is reset".to_owned()))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match (&mut &*self.socket).read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(len) => self.hear(self.own.other(), &piece[..len]),
            Err(error) if is_interruption(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn hear(&mut self, side: Side, bytes: &[u8]) {
        self.bytes[side as usize] += bytes.len() as u64;
        let (shared, connection) = (self.shared, self.connection);
        self.readers[side as usize]
            .feed(bytes, &mut self.awaited, &mut |heard| shared.hear(connection, side, &heard));
    }
}
