//! The echo server over UDP: one socket, no connections, each datagram given back to where it says it is from.

use std::io;
use std::net::UdpSocket;

use rustix::event::{PollFd, PollFlags};

use super::peer::BUFFER;
use super::serve::Works;
use crate::Stopped;
use crate::place::Door;

/// Datagrams before the end is looked for.
const AT_ONCE: usize = 64;

pub(super) fn serve(door: &Door, works: &Works) -> io::Result<Option<Stopped>> {
    let socket = UdpSocket::from(door.socket.try_clone()?);
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        if let Some(stopped) = works.stop.wait(&mut fds, None)? {
            return Ok(Some(stopped));
        }
        for _ in 0..AT_ONCE {
            match give_back(&socket, &mut buffer, works) {
                Ok(()) if works.once => return Ok(None),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

fn give_back(socket: &UdpSocket, buffer: &mut [u8], works: &Works) -> io::Result<()> {
    let (len, from) = loop {
        match socket.recv_from(buffer) {
            // A report about one that was sent earlier; its sender is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    let teller = &works.teller;
    if !teller.is_quiet() {
        teller
            .explain(|| format!("recvfrom: a datagram of {len} bytes, whole, from {from}; nobody connected"));
        teller.echoed(None, &from.to_string(), &buffer[..len], "echoed");
    }
    teller.datagram(len as u64);
    if let Err(error) = socket.send_to(&buffer[..len], from) {
        // As the network does it: what cannot be sent now is lost.
        teller.means(&format!("the answer to {from} is lost: {}", vang_client::trouble::plain(&error)));
    }
    Ok(())
}
