//! The servers that are compared, and what each does as a process of its own.

use std::path::Path;

use vang_server::{Config, Limits, Server};

use crate::common::process::{Running, announce};
use crate::floor;

impl Running {
    /// vang's server with a new data folder.
    pub(crate) fn vang() -> Running {
        Running::start("serve", &[])
    }

    /// The server of another build of this bench.
    pub(crate) fn older(program: &Path) -> Running {
        Running::start_program(program, "serve", &[])
    }

    /// The floor: `sync` for one `fdatasync` a round.
    pub(crate) fn floor(sync: bool, event_bytes: usize, reply_bytes: usize) -> Running {
        let sync = if sync { "sync" } else { "-" };
        Running::start("floor", &[sync, &event_bytes.to_string(), &reply_bytes.to_string()])
    }

    /// A bare tokio echo.
    pub(crate) fn echo() -> Running {
        Running::start("echo", &[])
    }
}

/// What a child does.
pub(crate) fn play(role: &str, args: &[String]) {
    let folder = Path::new(&args[0]);
    match role {
        "serve" => serve(folder),
        "floor" => {
            let number = |at: usize| args[at].parse().expect("a number of bytes");
            let log = (args[1] == "sync").then(|| folder.join("log"));
            floor::run(announce, log.as_deref(), number(2), number(3));
        }
        "echo" => echo(),
        other => panic!("no role {other}"),
    }
}

fn serve(folder: &Path) {
    let mut limits = Limits::default();
    // What is measured is the server, not its quotas.
    for quota in ["messages-per-second", "bytes-per-second", "questions-per-second"] {
        limits.set(&format!("{quota}=1000000000")).expect("a limit");
    }
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        data: folder.join("data"),
        limits,
        ..Config::new("bench".to_owned())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::open(config).expect("a server");
        let addr = server.addresses()[0].clone();
        server.run(|| announce(&addr)).await.expect("a good end");
    });
}

/// The peer of `ping`: whatever comes is written back, with tokio on one thread.
fn echo() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        announce(&listener.local_addr().expect("an address").to_string());
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}
