//! Somebody's own protocol on vang's messages (`cargo run -p vang-proto --example own_protocol`): a thermometer
//! reports readings, each is answered with the mean so far. Two header keys of its own; blocking sockets.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use vang_proto::{Connection, Frame, Step};

/// Writes what is to be sent, then reads the next message; `None` when the connection is over.
fn receive(stream: &mut TcpStream, connection: &mut Connection) -> io::Result<Option<Frame>> {
    let mut buffer = [0; 4096];
    loop {
        match connection.step() {
            Step::Close => return Ok(None),
            Step::Process => return connection.poll_frame().map_err(io::Error::other),
            Step::Write => {
                let taken = stream.write(connection.unsent())?;
                connection.handle_written(taken);
            }
            Step::Length | Step::Header | Step::Content => {
                let len = stream.read(&mut buffer)?;
                connection.handle_read(&buffer[..len]);
            }
        }
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let (mut connection, mut sum) = (Connection::default(), 0.0);
    while let Some(message) = receive(&mut stream, &mut connection)? {
        let reading = std::str::from_utf8(&message.content).map_err(io::Error::other)?;
        sum += reading.parse::<f64>().map_err(io::Error::other)?;
        let number = message.header.number("reading").unwrap_or(1);
        let mean = format!("{:.2}", sum / number as f64);
        connection.send("text/plain", "utf-8", mean.as_bytes()).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Reports three readings and tells what came back.
pub(crate) fn run(print: &mut dyn Write) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let server = std::thread::spawn(move || serve(listener.accept()?.0));
    let mut connection = Connection::default();
    for (number, celsius) in (1..).zip(["20.5", "21.0", "19.1"]) {
        let sent = connection.send_with("text/plain", "utf-8", celsius.as_bytes(), |header| {
            header.text("sensor", "roof").number("reading", number);
        });
        sent.map_err(io::Error::other)?;
        let mean = receive(&mut stream, &mut connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        writeln!(print, "{celsius} °C; mean so far {}", String::from_utf8_lossy(&mean.content))?;
    }
    drop(stream);
    server.join().expect("the server does not panic")
}

#[allow(dead_code)] // a test calls `run`
fn main() -> io::Result<()> {
    run(&mut io::stdout())
}
