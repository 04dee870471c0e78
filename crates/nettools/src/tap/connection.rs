//! One connection through the tap. One `poll` waits for both sockets and for the simulated network. If one side does not
//! read, the other is not read either once the queue between them is full.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::Socket;
use vang_proto::text::size;

use super::shared::{Shared, TapClosed, TapOpened, address, opened_by};
use super::silence;
use super::weather::{Random, Silence, WeatherQueue};
use crate::capture::side::Side;
use crate::capture::write::{Recorded, UNIX_SERVER, Writer, unix_client};
use crate::destination::connect;
use crate::peer_name::{PeerName, canonical};
use crate::protocols::{Awaited, Reader};
use crate::{Stopped, Target, quoted};

/// Bytes of one read, or of one write of a replay.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Bytes shown under `--explain`.
const EXPLAINED_BYTES: usize = 24;

/// An incomplete line is shown after this silence.
const QUIET: Duration = Duration::from_millis(100);

/// One side of the connection.
struct Endpoint<'a> {
    side: Side,
    socket: &'a Socket,
    reader: Reader,
    bytes: u64,
    /// It has closed its sending half, or `--cut` ends the connection here.
    ended: bool,
    /// `--cut` resets the connection after the bytes before have been sent.
    cut: bool,
    /// The half-close of the other side was passed on.
    shut: bool,
    /// Closed in both directions: no longer polled, because poll would return immediately.
    gone: bool,
    /// The bytes it has sent, on their way to the other side.
    queue: WeatherQueue,
    /// When the last bytes came, if an incomplete line can be held.
    fresh: Option<Instant>,
}

pub(super) fn run(shared: &Shared<'_>, connection: u64, client: &Socket, peer_name: &PeerName, to: &Target) {
    let from = opened_by(peer_name);
    shared.record(&TapOpened { conversation: connection, from: from.clone() });
    shared.explain(|| "accept: takes a connection from the accept queue".to_owned());
    let server = match connect(to, shared.report, shared.stop, |_| Ok(())) {
        Ok(Some((_, server))) => server,
        Ok(None) => {
            reset(client);
            return;
        }
        Err(failure) => {
            shared.totals().not_connected += 1;
            let advice = failure.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            shared.means(&format!(
                "#{connection}: {failure}; its client is reset, as the server would{advice}"
            ));
            reset(client);
            return;
        }
    };
    let mut recorded = None;
    shared.capture(|writer, now| {
        // The address from accept: a socket that was reset since then has none.
        let [from_end, to_end] = match (peer_name, address(client.local_addr())) {
            (PeerName::Net(from), Some(to)) => [canonical(*from), to],
            _ => {
                let stands = unix_client(connection);
                writer.comment(format!(
                    "connection {connection}, opened by {from}; {stands} is a placeholder for its address"
                ));
                [stands, address(server.peer_addr()).unwrap_or(UNIX_SERVER)]
            }
        };
        recorded = Some(writer.open(now, from_end, to_end)?);
        Ok(())
    });
    for socket in [client, &server] {
        let _ = socket.set_nonblocking(true);
        // Without Nagle's algorithm, so that pieces are not merged.
        let _ = socket.set_tcp_nodelay(true);
    }
    let end = |side: Side, socket| Endpoint {
        side,
        socket,
        reader: Reader::default(),
        bytes: 0,
        ended: false,
        cut: false,
        shut: false,
        gone: false,
        queue: WeatherQueue::new(&shared.weather, Random::new(shared.weather.seed, connection, side as u64)),
        fresh: None,
    };
    let mut ends = [end(Side::Client, client), end(Side::Server, &server)];
    let began = Instant::now();
    let awaited = Awaited::default();
    let ending = Relay {
        shared,
        connection,
        ends: &mut ends,
        awaited,
        recorded: &mut recorded,
        closed: Vec::new(),
        began,
    }
    .pass();
    let [client, server] = &mut ends;
    for end in [&mut *client, &mut *server] {
        end.reader.end(&mut |decoded| shared.record_message(connection, end.side, &decoded));
    }
    let mut totals = shared.totals();
    totals.client_bytes += client.bytes;
    totals.server_bytes += server.bytes;
    drop(totals);
    let took_ns = began.elapsed().as_nanos() as u64;
    let (client_bytes, server_bytes) = (client.bytes, server.bytes);
    shared.record(&TapClosed {
        conversation: connection,
        opened_by: from,
        ending,
        client_bytes,
        server_bytes,
        took_ns,
    });
}

struct Relay<'a, 'b> {
    shared: &'a Shared<'a>,
    connection: u64,
    ends: &'a mut [Endpoint<'b>; 2],
    awaited: Awaited,
    recorded: &'a mut Option<Recorded>,
    closed: Vec<Side>,
    began: Instant,
}

/// Why a connection ended before both sides had closed.
enum EarlyEnd {
    Reset(Side),
    Cut,
}

impl Relay<'_, '_> {
    /// Forwards until the end; returns how it ended, as text.
    fn pass(mut self) -> String {
        loop {
            let now = Instant::now();
            for at in 0..2 {
                if let Err(over) = self.write(at, now) {
                    return self.over(&over);
                }
            }
            if self.ends.iter().all(|end| end.shut) {
                let [first, second] = [self.closed[0].name(), self.closed[1].name()];
                self.shared.explain(|| {
                    format!(
                        "#{}: both halves are closed; over TCP the {first} closed first and keeps TIME_WAIT for a minute; the \
                         tap does the same towards the {second}",
                        self.connection
                    )
                });
                return format!("{first} closed, then {second}");
            }
            if self.becomes_silent(now) {
                let sockets = [self.ends[0].socket, self.ends[1].socket];
                let ending = silence::hold(self.shared, self.connection, sockets, self.began);
                // The tap ends, as a machine that starts again: it knows no such connection.
                for socket in sockets {
                    reset(socket);
                }
                return ending;
            }
            let ready = match self.wait(now) {
                Ok(ready) => ready,
                Err(ending) => return ending,
            };
            for (at, flags) in ready.into_iter().enumerate() {
                let end = &mut self.ends[at];
                if end.ended && flags.contains(PollFlags::HUP) {
                    end.gone = true;
                }
                let fails = flags.contains(PollFlags::ERR);
                let speaks = !end.ended && flags.intersects(PollFlags::IN | PollFlags::HUP);
                if (fails || speaks)
                    && let Err(over) = self.read(at)
                {
                    return self.over(&over);
                }
            }
        }
    }

    /// Does the silence begin? Bytes that were counted for it have passed then.
    fn becomes_silent(&self, now: Instant) -> bool {
        match self.shared.silence {
            None => false,
            Some(Silence::After(after)) => now.saturating_duration_since(self.began) >= after,
            Some(Silence::Bytes(bytes)) => {
                self.ends.iter().all(|end| end.queue.is_empty())
                    && self.ends.iter().map(|end| end.bytes).sum::<u64>() >= bytes
            }
        }
    }

    /// Waits for the next event; `Err`: the tool was stopped.
    fn wait(&mut self, now: Instant) -> Result<[PollFlags; 2], String> {
        let mut wait = match self.shared.silence {
            Some(Silence::After(after)) => {
                Some(after.saturating_sub(now.saturating_duration_since(self.began)))
            }
            Some(Silence::Bytes(_)) | None => None,
        };
        let mut wants = [PollFlags::empty(); 2];
        for (at, want) in wants.iter_mut().enumerate() {
            if !self.ends[at].ended && !self.ends[at].queue.is_full() {
                *want |= PollFlags::IN;
            }
            let coming = &self.ends[1 - at].queue;
            if !self.ends[at].shut
                && let Some(next_at) = coming.next_at()
            {
                let left = next_at.saturating_duration_since(now);
                if left.is_zero() && !coming.is_empty() {
                    *want |= PollFlags::OUT;
                } else {
                    wait = Some(wait.unwrap_or(left).min(left));
                }
            }
            if let Some(fresh) = self.ends[at].fresh {
                let left = QUIET.saturating_sub(now.saturating_duration_since(fresh));
                wait = Some(wait.unwrap_or(left).min(left));
            }
        }
        let sockets = [self.ends[0].socket, self.ends[1].socket];
        let watched: Vec<usize> =
            (0..2).filter(|at| !self.ends[*at].gone || !wants[*at].is_empty()).collect();
        let mut fds: Vec<PollFd<'_>> =
            watched.iter().map(|at| PollFd::new(sockets[*at], wants[*at])).collect();
        let wait = wait.map(|wait| wait.max(Duration::from_micros(100)));
        match self.shared.stop.wait(&mut fds, wait) {
            Ok(None) => {}
            Ok(Some(Stopped::Requested)) => return Err("still open when tap was stopped".to_owned()),
            Ok(Some(Stopped::TimedOut)) => return Err("still open at the timeout".to_owned()),
            Err(error) => return Err(format!("given up: {error}")),
        }
        let mut ready = [PollFlags::empty(); 2];
        for (fd, at) in fds.iter().zip(&watched) {
            ready[*at] = fd.revents();
        }
        for end in self.ends.iter_mut() {
            // The simulated network also wakes the poll: only a silence of this socket counts.
            if ready[end.side as usize].is_empty() && end.fresh.is_some_and(|fresh| fresh.elapsed() >= QUIET)
            {
                end.fresh = None;
                end.reader
                    .flush(&mut |decoded| self.shared.record_message(self.connection, end.side, &decoded));
            }
        }
        Ok(ready)
    }

    fn read(&mut self, at: usize) -> Result<(), EarlyEnd> {
        let (shared, connection) = (self.shared, self.connection);
        let end = &mut self.ends[at];
        let side = end.side;
        let mut piece = [0; PIECE_BYTES];
        match (&mut &*end.socket).read(&mut piece) {
            Ok(0) if end.ended => end.gone = true,
            Ok(0) => {
                shared.explain(|| {
                    format!(
                        "#{connection}: read from the {} gives 0 bytes: it closed its sending half and can still \
                         receive",
                        side.name()
                    )
                });
                end.ended = true;
                end.reader.end(&mut |decoded| shared.record_message(connection, side, &decoded));
                end.queue.end(Instant::now());
                self.closed.push(side);
                self.capture(|writer, now, recorded| writer.close(now, recorded, side));
            }
            Ok(len) => {
                let bytes = &piece[..len];
                shared.explain(|| {
                    format!(
                        "#{connection}: the {} is readable: read gives {}: {}",
                        side.name(),
                        size(len as u64),
                        quoted(bytes, EXPLAINED_BYTES)
                    )
                });
                end.bytes += len as u64;
                end.fresh = Some(Instant::now());
                end.reader.feed(bytes, &mut self.awaited, &mut |decoded| {
                    shared.record_message(connection, side, &decoded);
                });
                let cut = end.queue.push(Instant::now(), bytes);
                self.capture(|writer, now, recorded| writer.say(now, recorded, side, bytes));
                if cut.is_some() {
                    let end = &mut self.ends[at];
                    (end.ended, end.cut) = (true, true);
                    end.queue.end(Instant::now());
                }
            }
            Err(error) if is_interruption(&error) => {}
            Err(_) => return Err(EarlyEnd::Reset(side)),
        }
        Ok(())
    }

    /// Writes to one side the bytes that are due.
    fn write(&mut self, at: usize, now: Instant) -> Result<(), EarlyEnd> {
        let (shared, connection) = (self.shared, self.connection);
        let (first, second) = self.ends.split_at_mut(1);
        let (end, from) =
            if at == 0 { (&mut first[0], &mut second[0]) } else { (&mut second[0], &mut first[0]) };
        let side = end.side;
        loop {
            let ready = from.queue.ready(now);
            if ready.is_empty() {
                break;
            }
            match (&mut &*end.socket).write(ready) {
                Ok(len) => {
                    let left = ready.len() - len;
                    from.queue.went(now, len);
                    if left > 0 {
                        shared.explain(|| {
                            format!(
                                "#{connection}: write to the {} took {len} bytes, {left} wait",
                                side.name()
                            )
                        });
                    }
                    if shared.weather.split.is_some() {
                        // One piece a turn, so that the reader can read it before the next one.
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    shared.explain(|| {
                        format!("#{connection}: write to the {} would block: it does not read", side.name())
                    });
                    break;
                }
                Err(error) if is_interruption(&error) => {}
                Err(_) => return Err(EarlyEnd::Reset(side)),
            }
        }
        if !end.shut && from.queue.is_over(now) {
            if from.cut {
                return Err(EarlyEnd::Cut);
            }
            end.shut = true;
            shared.explain(|| {
                format!("#{connection}: shutdown(SHUT_WR) passes the end on to the {}", side.name())
            });
            let _ = end.socket.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    fn over(&mut self, over: &EarlyEnd) -> String {
        for end in self.ends.iter() {
            reset(end.socket);
        }
        let by = match over {
            EarlyEnd::Reset(side) => *side,
            EarlyEnd::Cut => Side::Server,
        };
        self.capture(|writer, now, recorded| writer.reset(now, recorded, by));
        let mut totals = self.shared.totals();
        totals.resets += 1;
        match over {
            EarlyEnd::Reset(side) => {
                format!("reset by {}, passed on to {}", side.name(), side.other().name())
            }
            EarlyEnd::Cut => {
                totals.cut += 1;
                "cut by --cut: both sides are reset".to_owned()
            }
        }
    }

    fn capture(
        &mut self,
        write: impl FnOnce(&mut Writer<BufWriter<File>>, u64, &mut Recorded) -> io::Result<()>,
    ) {
        if let Some(recorded) = self.recorded {
            self.shared.capture(|writer, now| write(writer, now, recorded));
        }
    }
}

/// Makes close send RST instead of FIN; unsent bytes are dropped.
pub(super) fn reset(socket: &Socket) {
    let _ = socket.set_linger(Some(Duration::ZERO));
}

pub(super) fn is_interruption(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
