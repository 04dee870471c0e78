//! The guide's application server with tokio, a task for each connection (`cargo run -p vang-proto --example async_server`).
//! The steps are those of `selector_server.rs`; where that one goes back to its selector, this one waits in `await`.

use std::error::Error;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use vang_proto::guide::{Arguments, answer, binary_content, text_content};
use vang_proto::{Connection, Step, compose::result_content};

/// A peer that neither sends nor takes anything for so long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// One request, one answer, close. For a protocol of your own, change this function.
fn process(connection: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
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

async fn converse(mut stream: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut connection, mut buffer) = (Connection::default(), [0; 4096]);
    loop {
        match connection.step() {
            Step::Close => return Ok(()),
            Step::Process => process(&mut connection)?,
            Step::Write => {
                // May take less than all; the step stays the same until all is written.
                let taken = timeout(IDLE, stream.write(connection.unsent())).await??;
                connection.handle_written(taken);
            }
            Step::Length | Step::Header | Step::Content => {
                let len = timeout(IDLE, stream.read(&mut buffer)).await??;
                connection.handle_read(&buffer[..len]);
            }
        }
    }
}

pub(crate) async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => drop(tokio::spawn(async move {
                converse(stream).await.unwrap_or_else(|error| eprintln!("{peer}: {error}"));
            })),
            Err(error) => {
                // Too many open files, for example: wait until some are closed.
                eprintln!("cannot accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[allow(dead_code)] // a test calls `serve`
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:65432").await?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener).await
}
