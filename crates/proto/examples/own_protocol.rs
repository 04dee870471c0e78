//! Somebody's own protocol on vang's frames (`cargo run -p vang-proto --example own_protocol`): a thermometer
//! reports readings, each is answered with the mean so far. Two header keys of its own; no `vang` module.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::BytesMut;
use vang_proto::{Composer, Decoder, Frame};

/// The next message; `None` when the other side has said all.
fn receive(stream: &mut TcpStream, decoder: &mut Decoder) -> io::Result<Option<Frame>> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = decoder.poll_frame().map_err(io::Error::other)? {
            return Ok(Some(frame));
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            n => decoder.feed(&buffer[..n]),
        }
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let (mut decoder, mut sum) = (Decoder::default(), 0.0);
    while let Some(frame) = receive(&mut stream, &mut decoder)? {
        let reading = std::str::from_utf8(&frame.content).map_err(io::Error::other)?;
        sum += reading.parse::<f64>().map_err(io::Error::other)?;
        let number = frame.header.number("reading").unwrap_or(1);
        let mean = format!("{:.2}", sum / number as f64);
        let mut out = BytesMut::new();
        Composer::new(&mut out, "text/plain", "utf-8", mean.len()).finish(mean.as_bytes());
        stream.write_all(&out)?;
    }
    Ok(())
}

/// Reports three readings and tells what came back.
pub(crate) fn run(print: &mut dyn Write) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let server = std::thread::spawn(move || serve(listener.accept()?.0));
    let mut decoder = Decoder::default();
    for (number, celsius) in (1..).zip(["20.5", "21.0", "19.1"]) {
        let mut out = BytesMut::new();
        let mut message = Composer::new(&mut out, "text/plain", "utf-8", celsius.len());
        message.text("sensor", "roof").number("reading", number);
        message.finish(celsius.as_bytes());
        stream.write_all(&out)?;
        let mean = receive(&mut stream, &mut decoder)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        writeln!(print, "{celsius} °C; mean so far {}", String::from_utf8_lossy(&mean.content))?;
    }
    drop(stream);
    server.join().expect("the server does not panic")
}

#[allow(dead_code)] // a test calls `run`
fn main() -> io::Result<()> {
    run(&mut io::stdout())
}
