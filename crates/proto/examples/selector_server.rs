//! The guide's application server on one thread, with one selector (`cargo run -p vang-proto --example selector_server`).
//! A connection is read or written, never both: a socket that can always be written would wake the selector for nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};
use std::{collections::HashMap, error::Error, os::fd::AsRawFd};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use vang_proto::guide::{Arguments, answer, binary_content, text_content};
use vang_proto::{Connection, Step, compose::result_content};

/// A peer that neither sends nor takes anything for so long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// One request, one answer, close. For a protocol of your own, change this function.
fn process(connection: &mut Connection) -> Result<(), Box<dyn Error>> {
    let Some(request) = connection.poll_frame()? else { return Ok(()) };
    if request.header.content_type() == "text/json" {
        let arguments = Arguments::parse(&text_content(&request)?)?;
        connection.send("text/json", "utf-8", &result_content(&answer(&arguments)?))?;
    } else {
        let content = binary_content(&request.content);
        connection.send("binary/custom-server-binary-type", "binary", &content)?;
    }
    connection.close();
    Ok(())
}

/// Takes step after step until the socket would block; false when the connection is over.
fn advance(stream: &mut TcpStream, connection: &mut Connection) -> Result<bool, Box<dyn Error>> {
    loop {
        let mut buffer = [0; 4096];
        let moved = match connection.step() {
            Step::Close => return Ok(false),
            Step::Process => Ok(process(connection)?),
            Step::Write => stream.write(connection.unsent()).map(|taken| connection.handle_written(taken)),
            _ => stream.read(&mut buffer).map(|len| connection.handle_read(&buffer[..len])),
        };
        match moved {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            moved => moved?,
        }
    }
}

pub(crate) fn serve(mut listener: TcpListener) -> io::Result<()> {
    let (mut poll, mut events, mut peers) = (Poll::new()?, Events::with_capacity(256), HashMap::new());
    poll.registry().register(&mut listener, Token(usize::MAX), Interest::READABLE)?; // no peer has this token
    loop {
        match poll.poll(&mut events, Some(IDLE / 10)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {} // a time-out and a signal give no events
        }
        while let Ok((mut stream, _)) = listener.accept() {
            let token = Token(stream.as_raw_fd() as usize);
            poll.registry().register(&mut stream, token, Interest::READABLE)?;
            peers.insert(token, (stream, Connection::default(), Instant::now()));
        }
        for token in events.iter().map(mio::event::Event::token) {
            let Some((stream, connection, active_at)) = peers.get_mut(&token) else { continue };
            if advance(stream, connection).inspect_err(|e| eprintln!("closed: {e}")).unwrap_or(false) {
                let wants = if connection.step().is_read() { Interest::READABLE } else { Interest::WRITABLE };
                poll.registry().reregister(stream, token, wants)?;
                *active_at = Instant::now();
            } else {
                peers.remove(&token);
            }
        }
        peers.retain(|_, (_, _, active_at)| active_at.elapsed() < IDLE);
    }
}

#[allow(dead_code)] // a test calls `serve`
fn main() -> io::Result<()> {
    let listener = TcpListener::bind(([127, 0, 0, 1], 65432).into())?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener)
}
