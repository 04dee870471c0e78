//! `vang send`: posts a message, repeats it until the server has stored it, and prints its address.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use vang_client::send::fresh_id;
use vang_client::trouble::plain;
use vang_client::{ClientError, Message, SendError};
use vang_proto::limits::CLIENT_CONTENT_BYTES_MAX;
use vang_proto::terminal::harmless_line;

use crate::args::{ClientArgs, about};
use crate::say::{CommandError, note, note_first_retry, print_line};
use crate::shell::quoted;

const EXAMPLES: &str = "\
Examples:
  vang send general 'hello, all'
  uptime | vang send general --as monitor
  vang send general --file photo.png --type image/png";

const AFTER: &str = "\
The address is printed when the message is on the server's disk: it then survives a crash. If the time is over and \
it is not known whether the message was posted, the exit code is 124 and the id for sending it again is printed.";

#[derive(Args, Debug)]
#[command(about = about("send"), before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct SendArgs {
    /// Room to post to
    room: String,

    /// Message text [default: stdin without its final newline]
    #[arg(conflicts_with = "file")]
    text: Option<String>,

    /// Send the bytes of this file unchanged; - reads stdin
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// Content type [default: text/plain if it is UTF-8, else application/octet-stream]
    #[arg(long = "type", value_name = "TYPE")]
    content_type: Option<String>,

    /// Id of the message: sent again with the same id, it is posted only once [default: random]
    #[arg(long, value_name = "NONCE")]
    id: Option<String>,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(args: SendArgs) -> anyhow::Result<()> {
    let content = content(args.text, args.file.as_deref())?;
    if content.is_empty() {
        return Err(empty(&args.room).into());
    }
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
    let timeout = args.client.timeout();
    let server = args.client.server()?;
    let identity = args.client.identity(&server)?;
    match vang_client::send::send(&server, &identity, message, timeout, &mut note_first_retry(timeout)) {
        Ok(posted) => Ok(print_line(&harmless_line(&posted.address))?),
        Err(SendError::NotPosted(error)) => Err(CommandError::from(error).into()),
        Err(SendError::Unknown(error)) => Err(unknown(&error, &id).into()),
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
        // The newline of `echo` or of a typed line is not part of the message.
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

/// The content's type and encoding. Without a given type, UTF-8 is text.
fn kind(given: Option<String>, content: &[u8]) -> Result<(String, &'static str), CommandError> {
    let is_text = std::str::from_utf8(content).is_ok();
    match given {
        None if is_text => Ok(("text/plain".to_owned(), "utf-8")),
        None => Ok(("application/octet-stream".to_owned(), "binary")),
        Some(given) if !given.starts_with("text/") => Ok((given, "binary")),
        Some(given) if is_text => Ok((given, "utf-8")),
        Some(given) => Err(not_text(&given)),
    }
}

/// A shell makes an empty text of a variable that is not set, and a command that fails has an empty output.
fn empty(room: &str) -> CommandError {
    CommandError::usage("the message is empty, so nothing was posted")
        .advise(format!("give a text, as in: vang send {} 'hello, all'", quoted(room)))
}

const FROM_TERMINAL: &str = "type the message; Ctrl-D at the beginning of a line ends it";

fn unknown(error: &ClientError, id: &str) -> CommandError {
    CommandError::timed_out(format!("unknown whether the message was posted: {error}"))
        .advise(format!("send it again with --id {id}: it is posted only once"))
}

fn cannot_read(name: &str, error: &io::Error) -> CommandError {
    CommandError::new(format!("cannot read {name}: {}", plain(error)))
}

fn too_long(name: &str) -> CommandError {
    CommandError::new(format!(
        "{name} has more than {CLIENT_CONTENT_BYTES_MAX} bytes, the maximum for a message"
    ))
}

fn not_text(given: &str) -> CommandError {
    CommandError::new(format!("the content is not UTF-8, so it cannot be sent as {given}"))
        .advise("remove --type, or give a type that does not begin with text/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_is_text_unless_a_type_is_given() {
        let kind = |given: Option<&str>, content: &[u8]| {
            kind(given.map(str::to_owned), content)
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
