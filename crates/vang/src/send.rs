//! `vang send`: reads what to say, sends it until it is durable, prints its address.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use vang_client::patience::written;
use vang_client::send::fresh_id;
use vang_client::trouble::plain;
use vang_client::{ClientError, Message, NotSent};
use vang_proto::limits::CLIENT_CONTENT_BYTES_MAX;

use crate::args::SendArgs;
use vang_proto::terminal::harmless_line;

use crate::say::{Failure, note, print_line};

pub(crate) fn run(args: SendArgs) -> anyhow::Result<()> {
    let content = content(args.text, args.file.as_deref())?;
    let (content_type, content_encoding) = kind(args.content_type, &content)?;
    let id = match args.id {
        Some(id) => id,
        None => fresh_id()?,
    };
    let message = Message {
        room: &args.room,
        id: &id,
        content_type: &content_type,
        content_encoding,
        content: &content,
    };
    let timeout = args.reach.timeout;
    let mut said = false;
    let mut watch = |fault: &ClientError| {
        if !std::mem::replace(&mut said, true) {
            note(&trying_again(fault, timeout));
        }
    };
    let (server, speaker) = (args.reach.server()?, args.reach.speaker());
    match vang_client::send::send(&server, Some(&speaker), message, timeout, &mut watch) {
        Ok(posted) => Ok(print_line(&harmless_line(&posted.address))?),
        Err(NotSent::NotPosted(fault)) => Err(Failure::from(fault).into()),
        Err(NotSent::Unknown(fault)) => Err(unknown(&fault, &id).into()),
    }
}

fn content(text: Option<String>, file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    if let Some(text) = text {
        return Ok(text.into_bytes());
    }
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        if io::stdin().is_terminal() {
            note(FROM_TERMINAL);
        }
        let mut content = read("stdin", io::stdin().lock())?;
        // Who types or echoes a line does not mean its end to be said.
        if file.is_none() && content.last() == Some(&b'\n') {
            content.pop();
            if content.last() == Some(&b'\r') {
                content.pop();
            }
        }
        return Ok(content);
    };
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| cannot_read(&name, &error))?;
    read(&name, file)
}

fn read(name: &str, from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(CLIENT_CONTENT_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(|error| cannot_read(name, &error))?;
    if content.len() as u64 > CLIENT_CONTENT_BYTES_MAX {
        return Err(too_long(name).into());
    }
    Ok(content)
}

/// The content's type and encoding: text is what is UTF-8, unless somebody says what it is.
fn kind(told: Option<String>, content: &[u8]) -> Result<(String, &'static str), Failure> {
    let is_text = std::str::from_utf8(content).is_ok();
    match told {
        None if is_text => Ok(("text/plain".to_owned(), "utf-8")),
        None => Ok(("application/octet-stream".to_owned(), "binary")),
        Some(told) if !told.starts_with("text/") => Ok((told, "binary")),
        Some(told) if is_text => Ok((told, "utf-8")),
        Some(told) => Err(not_text(&told)),
    }
}

const FROM_TERMINAL: &str = "type what to say; Ctrl-D at the beginning of a line ends it";

fn trying_again(fault: &ClientError, timeout: Duration) -> String {
    format!("{fault}; trying again for {}", written(timeout))
}

fn unknown(fault: &ClientError, id: &str) -> Failure {
    Failure::timed_out(format!("unknown whether it was posted: {fault}"))
        .advise(format!("send the same again with --id {id}: it is posted once, however often it comes"))
}

fn cannot_read(name: &str, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read {name}: {}", plain(error)))
}

fn too_long(name: &str) -> Failure {
    Failure::new(format!("{name} has more than {CLIENT_CONTENT_BYTES_MAX} bytes: no message is that long"))
}

fn not_text(told: &str) -> Failure {
    Failure::new(format!("the content is not UTF-8, so it cannot be sent as {told}"))
        .advise("leave --type away, or name a type that does not begin with text/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_utf8_is_text_unless_somebody_says_otherwise() {
        let kind = |told: Option<&str>, content: &[u8]| {
            let told = told.map(str::to_owned);
            kind(told, content)
                .map(|(kind, encoding)| format!("{kind} {encoding}"))
                .map_err(|f| f.to_string())
        };
        assert_eq!(kind(None, "chào".as_bytes()), Ok("text/plain utf-8".to_owned()));
        assert_eq!(kind(None, b"\xff"), Ok("application/octet-stream binary".to_owned()));
        assert_eq!(kind(Some("text/html"), b"<p>"), Ok("text/html utf-8".to_owned()));
        assert_eq!(kind(Some("image/png"), b"\x89PNG"), Ok("image/png binary".to_owned()));
        let refused = "the content is not UTF-8, so it cannot be sent as text/html".to_owned();
        assert_eq!(kind(Some("text/html"), b"\xff"), Err(refused));
    }
}
