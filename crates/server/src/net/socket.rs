//! A connection's socket, whatever its family and whether TLS is around it: reads and writes that never wait,
//! readiness to wait for, and the options that every connection has.

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags};
use rustls::{ServerConfig, ServerConnection};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;

use crate::fairness::turns::{Credit, wake_next_turn};
#[cfg(test)]
use crate::net::memory_peer::MemoryPeer;

/// Unsent bytes in the kernel beyond which a socket is not writable: what is sent late can still be
/// chosen late. 16 KiB keeps a gigabit link busy between two rounds.
const NOTSENT_LOWAT_BYTES: u32 = 16 << 10;

/// Who sends so many bytes at once is likely to go on: the socket is read again when its requests have been taken, so that
/// what comes meanwhile is in the same batch. 2 KiB, about eight messages; for fewer one more read is not worth it.
pub(crate) const MORE_BYTES: usize = 2 << 10;

/// Encrypted bytes that may wait for the kernel: two TLS records. What is not encrypted yet is shared.
const TLS_WAITING_BYTES_MAX: usize = 32 << 10;

/// Reads of encrypted bytes in a row, each of 4 KiB at the most: a record may hold a single byte of what was sent. A
/// first message of a handshake is shorter than one.
const TLS_READS_AT_ONCE: usize = 16;
const TLS_HANDSHAKE_READS_AT_ONCE: usize = 2;

/// Bytes of a handshake from the peer: 8 KiB. With the longest keys it has two. Until it is over they are kept, and with
/// each record, which may have a single byte, some more.
const TLS_HANDSHAKE_BYTES_MAX: usize = 8 << 10;

/// What TLS holds for a connection, about, bytes: a record that is read, its keys.
const TLS_BYTES: usize = 16 << 10;

/// What TLS reads at once of a socket, bytes.
const TLS_READ_BYTES: usize = 4 << 10;

/// Silence after which the kernel asks whether the peer's host is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What the kernel has.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(test)]
    Memory(Rc<MemoryPeer>),
}

/// A connection.
pub(crate) struct Socket {
    stream: Stream,
    /// Read already, and to be read again before what the stream has.
    put_back: Vec<u8>,
    tls: Option<Box<ServerConnection>>,
    /// What is moved is charged.
    credit: Rc<Credit>,
    /// TLS ended without its goodbye: somebody between may have cut off what was still to come.
    cut_off: bool,
    /// TLS may have more that it has read already, so the kernel does not tell of it: bytes, or the end.
    has_more: bool,
}

impl Stream {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
            #[cfg(test)]
            Stream::Memory(peer) => return peer.try_read(buffer),
        };
        if read.as_ref().is_ok_and(|&n| 0 < n && n < buffer.len().min(MORE_BYTES)) {
            // With edge-triggered epoll(7) a short read of a stream means that there is nothing more, so that no
            // second read needs to find out.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = match self {
                Stream::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
                Stream::Unix(stream) => stream.try_io(Interest::READABLE, nothing),
                #[cfg(test)]
                Stream::Memory(_) => nothing(),
            };
        }
        read
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write_vectored(slices),
            Stream::Unix(stream) => stream.try_write_vectored(slices),
            #[cfg(test)]
            Stream::Memory(peer) => peer.try_write(slices),
        }
    }

    /// `None`: it is not the kernel's.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Stream::Tcp(stream) => Some(stream.as_fd()),
            Stream::Unix(stream) => Some(stream.as_fd()),
            #[cfg(test)]
            Stream::Memory(_) => None,
        }
    }
}

/// As TLS reads and writes it: an error says that nothing is there, or no room. What is moved is charged.
struct Raw<'a>(&'a Stream, &'a mut Vec<u8>, &'a Credit);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(self.1.len());
        if n > 0 {
            buffer[..n].copy_from_slice(&self.1[..n]);
            self.1.drain(..n);
            if self.1.is_empty() {
                *self.1 = Vec::new();
            }
            return Ok(n);
        }
        self.0.try_read(buffer).inspect(|&n| self.2.note_read(n))
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write(slices).inspect(|&n| self.2.note_written(n))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    pub(crate) fn new(stream: Stream, credit: Rc<Credit>) -> Socket {
        Socket { stream, put_back: Vec::new(), tls: None, credit, cut_off: false, has_more: false }
    }

    /// Sets what every connection has; a peer that is gone already is found out later.
    pub(crate) fn prepare(&self, stall: Duration) {
        if let Stream::Tcp(stream) = &self.stream {
            let socket = SockRef::from(stream);
            // Nagle's algorithm costs 40 ms at every hundredth delivery.
            let _ = socket.set_tcp_nodelay(true);
            let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES);
            let _ = socket
                .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4));
            let _ = socket.set_tcp_user_timeout(Some(stall));
        }
    }

    /// These bytes were read too much: they are read next. Only where nothing else is put back.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.put_back = bytes.to_vec();
    }

    /// Puts TLS around what comes from here on; `first` is what was read of it already.
    pub(crate) fn begin_tls(&mut self, config: Arc<ServerConfig>, mut first: &[u8]) -> io::Result<()> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(TLS_WAITING_BYTES_MAX));
        while !first.is_empty() {
            tls.read_tls(&mut first)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Turns the handshake until both sides agree; gives the protocol that the client asked for by ALPN.
    pub(crate) async fn shake_hands(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut left = TLS_HANDSHAKE_BYTES_MAX;
        std::future::poll_fn(|cx| {
            for _ in 0..TLS_HANDSHAKE_READS_AT_ONCE {
                let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
                let processed = tls.process_new_packets();
                // Also when it failed: the peer gets the reason.
                let flushed = self.try_flush();
                processed.map_err(io::Error::other)?;
                if !flushed? {
                    ready!(self.poll_write_ready(cx))?;
                    continue;
                }
                let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
                if !tls.is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                match tls.read_tls(&mut Raw(&self.stream, &mut self.put_back, &self.credit)) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Ok(read) if read > left => {
                        return Poll::Ready(Err(io::Error::other("a TLS handshake of more than 8 KiB")));
                    }
                    Ok(read) => left -= read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(self.poll_read_ready(cx))?;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            // Records may be as small as the peer likes: others come first, then the rest of them.
            wake_next_turn(cx);
            Poll::Pending
        })
        .await?;
        Ok(self.tls.as_ref().and_then(|tls| tls.alpn_protocol()).map(<[u8]>::to_vec))
    }

    /// The time that it may still use.
    pub(crate) fn credit(&self) -> &Rc<Credit> {
        &self.credit
    }

    /// Bytes of memory that it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        if self.tls.is_some() { TLS_BYTES } else { 0 }
    }

    /// Is TLS around it?
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads what is there. Fewer bytes than there is room for: there is no more now, or with TLS that it was so much
    /// work for so few that others should come first; then the socket is still ready.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return Raw(&self.stream, &mut self.put_back, &self.credit).read(buffer);
        };
        let mut read = 0;
        self.has_more = false;
        // Two for a whole record, and one for each 4 KiB that there is room for.
        let reads = (2 + buffer.len().div_ceil(TLS_READ_BYTES)).min(TLS_READS_AT_ONCE);
        for _ in 0..reads {
            match tls.reader().read(&mut buffer[read..]) {
                Ok(0) => {
                    self.has_more = read > 0;
                    return Ok(read);
                }
                Ok(n) => {
                    read += n;
                    if read == buffer.len() {
                        self.has_more = true;
                        return Ok(read);
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.cut_off = true;
                    self.has_more = read > 0;
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
            match tls.read_tls(&mut Raw(&self.stream, &mut self.put_back, &self.credit)) {
                Ok(_) => {
                    if let Err(error) = tls.process_new_packets() {
                        let _ = tls.write_tls(&mut Raw(&self.stream, &mut self.put_back, &self.credit));
                        return Err(io::Error::other(error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && read > 0 => return Ok(read),
                Err(error) => return Err(error),
            }
        }
        // What was decrypted last must not stay behind: nobody would come back for it.
        match tls.reader().read(&mut buffer[read..]) {
            Ok(n) => {
                self.has_more = read + n > 0;
                Ok(read + n)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut_off = true;
                Ok(read)
            }
            Err(error) if read == 0 => Err(error),
            Err(_) => Ok(read),
        }
    }

    /// Did its bytes end without the peer's having said so? A message that was cut is found out by its length; what
    /// only an end completes is not complete.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// Writes what there is room for.
    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // It would be tried again and again, on the thread of everybody: a mistake here ends this connection alone.
        if slices.iter().all(|slice| slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        loop {
            let Some(tls) = &mut self.tls else {
                return Raw(&self.stream, &mut self.put_back, &self.credit).write_vectored(slices);
            };
            let taken = tls.writer().write_vectored(slices)?;
            let flushed = self.try_flush()?;
            match taken {
                0 if !flushed => return Err(io::ErrorKind::WouldBlock.into()),
                0 => {}
                taken => return Ok(taken),
            }
        }
    }

    /// Writes what TLS still has. `false`: there was no room for all of it.
    pub(crate) fn try_flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut Raw(&self.stream, &mut self.put_back, &self.credit)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Has TLS something that must be written?
    pub(crate) fn wants_flush(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// The last bytes of TLS; call `try_flush` then.
    pub(crate) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_more || !self.put_back.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            #[cfg(test)]
            Stream::Memory(peer) => peer.poll_read_ready(cx),
        }
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Unix(stream) => stream.poll_write_ready(cx),
            #[cfg(test)]
            Stream::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    /// Has the peer's host said that there is nobody any more? A peer that only shut its sending half
    /// is still there.
    pub(crate) fn is_gone(&self) -> bool {
        let Some(fd) = self.stream.fd() else { return false };
        let mut polled = [PollFd::new(&fd, PollFlags::empty())];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&now)).is_ok()
            && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    pub(crate) fn shut_down_writing(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Stream::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            #[cfg(test)]
            Stream::Memory(_) => Ok(()),
        }
    }
}

/// A socket with the bytes that were read to tell its kind, as a stream again. A peer that takes no bytes for as long as
/// `stall` loses it: between hosts the kernel sees to that (`prepare`), on a Unix socket nobody does.
pub(crate) struct Rewound {
    first: Bytes,
    pub(crate) socket: Socket,
    stall: Duration,
    /// While bytes wait for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Rewound {
    pub(crate) fn new(first: Bytes, socket: Socket, stall: Duration) -> Rewound {
        Rewound { first, socket, stall, stalled: None }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(ready) = self.socket.poll_write_ready(cx) {
            self.stalled = None;
            return Poll::Ready(ready);
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.stall)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(n));
            return Poll::Ready(Ok(()));
        }
        for _ in 0..2 {
            match self.socket.try_read(buffer.initialize_unfilled()) {
                Ok(n) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        // Bytes come that amount to nothing, as empty TLS records do: others come first.
        wake_next_turn(cx);
        Poll::Pending
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.socket.try_write(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_room(cx))?;
                }
                written => {
                    // Something was taken: the time starts again.
                    self.stalled = None;
                    return Poll::Ready(written);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.socket.try_flush()? {
            ready!(self.poll_room(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.say_goodbye();
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(self.socket.shut_down_writing())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::time::Instant;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_something_has_the_whole_time_again() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = Socket::new(Stream::Unix(ours), Rc::new(Credit::new(Instant::now())));
        let mut rewound = Rewound::new(Bytes::new(), socket, Duration::from_secs(3_600));
        let full = |rewound: &mut Rewound, cx: &mut Context<'_>| {
            while Pin::new(&mut *rewound).poll_write(cx, &[7; 4_096]).is_ready() {}
            Poll::Ready(())
        };
        for _ in 0..3 {
            poll_fn(|cx| full(&mut rewound, cx)).await;
            assert!(rewound.stalled.is_some(), "it waits for its reader");
            let taken = theirs.read(&mut [0; 1 << 20]).await.unwrap();
            assert!(taken > 0);
            poll_fn(|cx| Pin::new(&mut rewound).poll_write(cx, &[7])).await.unwrap();
            assert!(rewound.stalled.is_none(), "its time starts again");
        }
        let mut rewound = Rewound::new(Bytes::new(), rewound.socket, Duration::ZERO);
        let refused = poll_fn(|cx| {
            loop {
                match Pin::new(&mut rewound).poll_write(cx, &[7; 4_096]) {
                    Poll::Ready(Ok(_)) => {}
                    other => return other,
                }
            }
        });
        assert_eq!(refused.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
