//! A recording, played again: what its clients sent, to a server; or what its server sent, to clients. Each conversation
//! gets a connection of its own, one after the other as they were recorded. Turns are kept: before the played side goes
//! on, the other must have said as many bytes as it had in the recording, or have been silent for a while, for its
//! answers may have another length now. The recorded pauses are not kept: use --delay for that.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::explain;
use rustix::event::{PollFd, PollFlags};
use socket2::Socket;
use vang_client::trouble::Doing;

use super::Shared;
use super::link::{Closed, is_passing};
use crate::capture::conversations::{Side, Told};
use crate::capture::file;
use crate::decode::{Counted, read_capture};
use crate::failure::Failure;
use crate::wire::{Awaited, Reader};

/// Bytes of a recording that are held to be played: 64 MiB.
const SCRIPTS_BYTES_MAX: usize = 64 << 20;

/// So long the other side may be silent before it is not waited for any more.
const SILENCE: Duration = Duration::from_secs(2);

/// What was said, in turns.
pub(super) type Script = Vec<(Side, Vec<u8>)>;

/// Reads the conversations of a capture; at least one.
pub(super) fn read(path: &Path) -> Result<Vec<Script>, Failure> {
    let what = || format!("cannot replay '{}'", path.display());
    let failed = |error: &io::Error| Failure::of(what(), error, Doing::Read);
    let mut source = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut first = [0; 4];
    source.read_exact(&mut first).map_err(|error| failed(&error))?;
    if !file::is_capture(first) {
        return Err(Failure::Usage(format!("{}: it is no pcap or pcapng file", what())));
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
    outcome.map_err(|broken| Failure::Usage(format!("{}: {broken}", what())))?;
    scripts.retain(|script| !script.is_empty());
    if scripts.is_empty() {
        return Err(Failure::Usage(format!("{}: nobody says anything in it", what())));
    }
    Ok(scripts)
}

/// Plays one side over a connection.
pub(super) fn play(shared: &Shared<'_>, connection: u64, script: &Script, own: Side, socket: &Socket) {
    let began = Instant::now();
    let mut stage = Stage {
        shared,
        connection,
        own,
        socket,
        readers: Default::default(),
        awaited: Awaited::default(),
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
    shared.tell(&Closed { conversation: connection, ending, client_bytes, server_bytes, took_ns });
}

struct Stage<'a> {
    shared: &'a Shared<'a>,
    connection: u64,
    own: Side,
    socket: &'a Socket,
    readers: [Reader; 2],
    awaited: Awaited,
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
                self.say(said)?;
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

    fn say(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hear(self.own, bytes);
        while !bytes.is_empty() {
            let mut fds = [PollFd::new(self.socket, PollFlags::OUT | PollFlags::IN)];
            if self.shared.stop.wait(&mut fds, None)?.is_some() {
                return Ok(());
            }
            // Whoever does not read while it writes may wait for ever.
            if fds[0].revents().contains(PollFlags::IN) && !self.ended {
                self.read()?;
            }
            match (&mut &*self.socket).write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match (&mut &*self.socket).read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(len) => self.hear(self.own.other(), &piece[..len]),
            Err(error) if is_passing(&error) => {}
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
