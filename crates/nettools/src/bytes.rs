//! Byte order and encodings by example: a number in both byte orders, as `htons` and Python's `struct` write it; a text in
//! the encodings that vang knows, with its byte order mark; and bytes the other way, as numbers and as text.
//!
//! ```text
//!   512      ─▶ number.rs ─▶ 02 00 │ 00 02
//!   'xin'    ─▶ text.rs   ─▶ 78 69 6e │ 78 00 69 00 6e 00 │ …
//!   02 00    ─▶ apart.rs  ─▶ 512 │ 2, and the texts that the bytes can be
//! ```

mod number; // a number as bytes
mod text; // a text as bytes
mod apart; // bytes as numbers and texts

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;
use vang_client::trouble::Doing;
use vang_proto::encoding::{self, Encoding};

use crate::error::{Outcome, ToolError};
use crate::{Record, Report, Stop, Stopped, Verdict, hex};

/// Most bytes of stdin that are looked at: 1 MiB.
const INPUT_BYTES_MAX: usize = 1 << 20;

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesOptions {
    pub what: Asked,
    /// Only these encodings, by Python's names; `all` for every one.
    pub encodings: Vec<String>,
}

/// What was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A number if it is one, else a text.
    Value(String),
    Text(String),
    /// Bytes in hexadecimal.
    Hex(String),
    /// Bytes from stdin.
    Stdin,
}

/// Ctrl-C or the timeout came before the end of stdin.
#[derive(Debug, Serialize)]
struct Summary {
    bytes: usize,
    stopped: bool,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stopped before the end of stdin; {} bytes came", self.bytes)
    }
}

/// Shows it. `Bad`: an encoding that was asked for does not fit.
pub fn run(options: &BytesOptions, report: &Report, stop: &Stop) -> Outcome {
    let encodings = named(&options.encodings)?;
    match &options.what {
        Asked::Value(value) => match number::read(value) {
            Some(Ok(_)) if !encodings.is_empty() => Err(ToolError::Usage(format!(
                "'{value}' is a number, which has no encoding; for a text write --text '{value}'"
            ))),
            Some(number) => number::show(number.map_err(ToolError::Usage)?, report),
            None => text::show(value, &encodings, report),
        },
        Asked::Text(text) => text::show(text, &encodings, report),
        Asked::Hex(written) => {
            apart::show(&hex::read(written).map_err(ToolError::Usage)?, &encodings, report)
        }
        Asked::Stdin => {
            let (input, stopped) = stdin(stop)?;
            if let Some(stopped) = stopped {
                report.record(&Summary { bytes: input.len(), stopped: true })?;
                return Ok(if stopped == Stopped::TimedOut { Verdict::TimedOut } else { Verdict::Good });
            }
            apart::show(&input, &encodings, report)
        }
    }
}

/// The encodings that were asked for, each once; empty: the usual ones.
fn named(names: &[String]) -> Result<Vec<Encoding>, ToolError> {
    let mut found: Vec<Encoding> = Vec::new();
    for name in names {
        let these: Vec<Encoding> = match encoding::find(name) {
            Some(encoding) => vec![encoding],
            None if name == "all" => encoding::all().collect(),
            None => {
                return Err(ToolError::Usage(format!(
                    "unknown encoding '{name}'; vang knows most of Python's, by its names, as in utf-16-le, latin-1, cp1252 \
                     or shift_jis; `--encoding all` shows every one"
                )));
            }
        };
        found.extend(these.into_iter().filter(|encoding| !found.contains(encoding)).collect::<Vec<_>>());
    }
    Ok(found)
}

/// All of stdin, up to the limit.
fn stdin(stop: &Stop) -> Result<(Vec<u8>, Option<Stopped>), ToolError> {
    let failed = |error: io::Error| ToolError::of("cannot read stdin", &error, Doing::Read);
    // Without the buffer of `io::stdin`: poll does not see buffered bytes.
    let source = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let (mut input, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let mut fds = [PollFd::new(&source, PollFlags::IN)];
        if let Some(stopped) = stop.wait(&mut fds, None).map_err(failed)? {
            return Ok((input, Some(stopped)));
        }
        match io::Read::read(&mut &source, &mut buffer) {
            Ok(0) => return Ok((input, None)),
            Ok(n) => input.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if input.len() > INPUT_BYTES_MAX {
            return Err(ToolError::Usage(format!(
                "stdin has more than {INPUT_BYTES_MAX} bytes; give less, as in `head -c 64 FILE | vang net bytes -`"
            )));
        }
    }
}
