//! A WebSocket echo over the very codec of `/ws`, for a fuzzing client to judge it: Autobahn's needs a server that
//! says back what it hears, which a door of vang never does. `cargo xtask soak` runs the two against each other.
//!
//! Prints its address; a thread a connection; ends when its stdin does. For loopback and tests only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vang_proto::websocket::{WebSocket, WebSocketInput, message_header};

/// What RFC 6455 appends to a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                if let Err(error) = serve(stream) {
                    eprintln!("a connection was lost: {error}");
                }
            });
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut key = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("sec-websocket-key")
        {
            key = value.trim().to_owned();
        }
    }
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    );
    let accept = STANDARD.encode(digest);
    write!(
        writer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    echo(&mut reader, &mut writer)
}

/// Says every message back, whole and of its kind, until one side says goodbye.
fn echo(reader: &mut impl Read, writer: &mut impl Write) -> std::io::Result<()> {
    let mut ws = WebSocket::default();
    let mut message = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = reader.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        let mut out = Vec::new();
        let mut closed = false;
        ws.handle_bytes(&mut buffer[..len], &mut |heard| match heard {
            WebSocketInput::Payload(_, piece) => message.extend_from_slice(piece),
            WebSocketInput::End(kind) => out.push((kind, std::mem::take(&mut message))),
            WebSocketInput::Closed(_) => closed = true,
        });
        // Pongs before the next message; a goodbye behind what was heard before it.
        if !closed && let Some(pongs) = ws.take_answer() {
            writer.write_all(&pongs)?;
        }
        for (kind, payload) in out {
            let (header, len) = message_header(kind, payload.len() as u64);
            writer.write_all(&header[..len])?;
            writer.write_all(&payload)?;
        }
        if let Some(goodbye) = ws.take_answer() {
            writer.write_all(&goodbye)?;
        }
        if closed {
            return Ok(());
        }
    }
}
