//! The echo server over UDP: one socket, no connections. Each datagram is sent back to its source, from the address that it
//! was sent to.

use std::io;

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags};
use socket2::Socket;

use super::accept::ServerContext;
use super::peer::{BUFFER, NARRATED_MAX};
use crate::datagram::{receive, report_destinations, send};
use crate::listener::Listener;
use crate::peer_name::PeerName;
use crate::{Stopped, quoted};

/// Datagrams between two checks for the end.
const AT_ONCE: usize = 64;

pub(super) fn serve(listener: &Listener, context: &ServerContext) -> io::Result<Option<Stopped>> {
    let socket = &listener.socket;
    report_destinations(socket)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        if let Some(stopped) = context.stop.wait(&mut fds, None)? {
            return Ok(Some(stopped));
        }
        for _ in 0..AT_ONCE {
            match give_back(socket, &mut buffer, context) {
                Ok(()) if context.once => return Ok(None),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

fn give_back(socket: &Socket, buffer: &mut [u8], context: &ServerContext) -> io::Result<()> {
    let datagram = loop {
        match receive(socket, buffer) {
            // An ICMP error for an earlier answer; its client has gone.
            Err(Errno::ECONNREFUSED | Errno::EINTR) => {}
            other => break other?,
        }
    };
    let bytes = &buffer[..datagram.len];
    let reporter = &context.reporter;
    let said = datagram.peer().map_or(PeerName::Unnamed, PeerName::Net).to_string();
    if !reporter.is_quiet() {
        reporter.explain(|| {
            let (len, shown) = (bytes.len(), quoted(bytes, NARRATED_MAX));
            format!(
                "readable: recvmsg: a whole datagram of {len} bytes from {said}, without a connection: {shown}"
            )
        });
        reporter.echoed(None, &said, bytes, "echoed");
    }
    reporter.datagram(bytes.len() as u64);
    context.work.run(&context.stop);
    if let Err(error) = send(socket, bytes, &datagram.from, datagram.answer_from) {
        // UDP: an answer that cannot be sent now is lost.
        let why = vang_client::trouble::plain(&error.into());
        reporter.means(&format!("the answer to {said} is lost: {why}"));
    }
    Ok(())
}
