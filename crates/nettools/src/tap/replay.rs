//! Replays one side of a capture: its clients to a server, or its server to clients. Each conversation gets its own
//! connection, in the recorded order. Turns are kept: the replayed side goes on when the other side has sent as many bytes
//! as in the capture, or is silent for a while, because its answers can have another length now. Recorded pauses are not
//! kept; --delay and the other options of the simulated network apply. Of a damaged capture the part before the damage is
//! replayed.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::Socket;
use vang_client::trouble::Doing;

use super::connection::{PIECE_BYTES, is_interruption, reset};
use super::shared::{Shared, TapClosed};
use super::weather::{Random, WeatherQueue};
use crate::capture::conversations::ConversationEvent;
use crate::capture::file::{self, CaptureError};
use crate::capture::formats;
use crate::capture::side::Side;
use crate::decode::{Counted, read_capture};
use crate::error::{ToolError, explain};
use crate::protocols::{Awaited, Reader};

/// Bytes of a capture that are held for a replay: 64 MiB.
const SCRIPTS_BYTES_MAX: usize = 64 << 20;

/// After this silence of the other side the replay goes on.
const SILENCE: Duration = Duration::from_secs(2);

/// The bytes of a conversation, in turns.
pub(super) type Script = Vec<(Side, Vec<u8>)>;

/// Reads the conversations of a capture, at least one, and the damage after them.
pub(super) fn read(path: &Path) -> Result<(Vec<Script>, Option<CaptureError>), ToolError> {
    let what = || format!("cannot replay '{}'", path.display());
    let failed = |error: &io::Error| ToolError::of(what(), error, Doing::Read);
    let mut source = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut first = [0; 4];
    let is_read = source.read_exact(&mut first);
    if is_read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
        is_read.map_err(|error| failed(&error))?;
    } else if is_read.is_err() || !file::is_capture(first) {
        let mut begun = first.to_vec();
        source.take(formats::BYTES_MAX as u64).read_to_end(&mut begun).map_err(|error| failed(&error))?;
        return Err(ToolError::Usage(match formats::detect(&begun) {
            Some(format) => {
                format!("{}: it is {}: `{} > capture.pcap` first", what(), format.what, format.command)
            }
            None => format!("{}: it is not a pcap or pcapng file", what()),
        }));
    }
    let (mut scripts, mut held): (Vec<Script>, usize) = (Vec::new(), 0);
    let mut counted = Counted::default();
    let outcome = read_capture(
        first,
        source,
        &mut counted,
        &mut |event| {
            if let ConversationEvent::Bytes { conversation, side, bytes } = event {
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
        let text =
            format!("{}: it holds more than {}", what(), vang_proto::text::size(SCRIPTS_BYTES_MAX as u64));
        return Err(ToolError::Usage(text));
    }
    let broken = match outcome {
        Err(CaptureError::Read(error)) => return Err(failed(&error)),
        outcome => outcome.err(),
    };
    scripts.retain(|script| !script.is_empty());
    match broken {
        Some(broken) if scripts.is_empty() => Err(ToolError::Usage(format!("{}: {broken}", what()))),
        None if scripts.is_empty() => Err(ToolError::Usage(format!("{}: no TCP data in it", what()))),
        broken => Ok((scripts, broken)),
    }
}

/// Replays one side over a connection.
pub(super) fn play(
    shared: &Shared<'_>,
    connection: u64,
    script: &Script,
    own: Side,
    socket: &Socket,
    opened_by: String,
) {
    let began = Instant::now();
    let queue = WeatherQueue::new(&shared.weather, Random::new(shared.weather.seed, connection, own as u64));
    let mut playback = Playback {
        shared,
        connection,
        own,
        socket,
        readers: Default::default(),
        awaited: Awaited::default(),
        queue,
        bytes: [0; 2],
        ended: false,
    };
    let ending = match socket.set_nonblocking(true).and_then(|()| playback.play(script)) {
        Ok(ending) => ending,
        Err(error) => {
            shared.totals().resets += u64::from(error.kind() == io::ErrorKind::ConnectionReset);
            format!("ended by an error: {}", explain(&error, Doing::Read))
        }
    };
    for side in [Side::Client, Side::Server] {
        playback.readers[side as usize].end(&mut |decoded| shared.record_message(connection, side, &decoded));
    }
    let [client_bytes, server_bytes] = playback.bytes;
    let mut totals = shared.totals();
    totals.client_bytes += client_bytes;
    totals.server_bytes += server_bytes;
    drop(totals);
    let took_ns = began.elapsed().as_nanos() as u64;
    shared.record(&TapClosed {
        conversation: connection,
        opened_by,
        ending,
        client_bytes,
        server_bytes,
        took_ns,
    });
}

struct Playback<'a> {
    shared: &'a Shared<'a>,
    connection: u64,
    own: Side,
    socket: &'a Socket,
    readers: [Reader; 2],
    awaited: Awaited,
    /// The simulated network of the replayed side.
    queue: WeatherQueue,
    bytes: [u64; 2],
    /// The other side has closed.
    ended: bool,
}

impl Playback<'_> {
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
        self.shared.explain(|| format!("#{}: everything is sent: shutdown(SHUT_WR)", self.connection));
        self.await_bytes(u64::MAX)?;
        let ending = if self.ended { "then the other closed" } else { "the other stayed open" };
        Ok(format!("replayed the {} to its end, {ending}", self.own.name()))
    }

    /// Waits until the other side has sent this many bytes in all, is silent, or has closed; `false`: stopped.
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

    /// Sends bytes; returns the ending, if this ended the connection.
    fn say(&mut self, bytes: &[u8]) -> io::Result<Option<String>> {
        self.decode(self.own, bytes);
        let is_cut = self.queue.push(Instant::now(), bytes).is_some();
        while let Some(next_at) = self.queue.next_at() {
            let now = Instant::now();
            // Read while writing: two sides that only write block each other.
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
            let part = self.queue.ready(Instant::now());
            if part.is_empty() {
                continue;
            }
            match (&mut &*self.socket).write(part) {
                Ok(len) => self.queue.went(Instant::now(), len),
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
            Ok(len) => self.decode(self.own.other(), &piece[..len]),
            Err(error) if is_interruption(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn decode(&mut self, side: Side, bytes: &[u8]) {
        self.bytes[side as usize] += bytes.len() as u64;
        let (shared, connection) = (self.shared, self.connection);
        self.readers[side as usize]
            .feed(bytes, &mut self.awaited, &mut |decoded| shared.record_message(connection, side, &decoded));
    }
}
