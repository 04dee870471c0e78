//! `vang sessions`: where an account is signed in. `vang token` and `vang admin` list and end with the same functions.

use clap::{Args, Subcommand};
use serde_json::value::RawValue;
use unicode_width::UnicodeWidthStr;
use vang_proto::terminal::{harmless_line, one_line};
use vang_proto::vang::{Action, Reply, SessionList, SessionRow, failed_in_words};

use crate::args::{ClientArgs, about};
use crate::clock::{Clock, by_pattern};
use crate::say::{CommandError, note, print_line, to_terminal};

const EXAMPLES: &str = "\
Examples:
  vang sessions                    devices, tokens of scripts, and other connections
  vang sessions --json
  vang sessions end 12             sign out a device, or end a token
  vang sessions end --others       all but this device";

#[derive(Args, Debug)]
#[command(about = about("sessions"), before_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    command: Option<SessionsCommand>,

    #[command(flatten)]
    list: ListArgs,

    #[command(flatten)]
    client: ClientArgs,
}

/// How a list is shown.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// One JSON object per line: `id`, `title`, `scope`, `rooms`, `created`, `used`, `address`, `until`,
    /// `connections`, `own`
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
enum SessionsCommand {
    End(EndArgs),
}

const END_EXAMPLES: &str = "\
Examples:
  vang sessions end 12
  vang sessions end --others";

/// Sign out a device, or end a token
#[derive(Args, Debug)]
#[command(before_help = END_EXAMPLES)]
struct EndArgs {
    /// Its ID, as vang sessions shows it
    #[arg(required_unless_present = "others")]
    id: Option<u64>,

    /// All but this device
    #[arg(long, conflicts_with = "id")]
    others: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(args: &SessionsArgs) -> anyhow::Result<()> {
    match &args.command {
        None => {
            let reply = args.client.ask(&Action::Sessions { name: None })?;
            show(&reply, Which::All, &args.list)
        }
        Some(SessionsCommand::End(EndArgs { id, others: _, client })) => {
            let reply = client.ask(&Action::EndSession { id: *id, name: None })?;
            Ok(print_line(&harmless_line(&reply.text))?)
        }
    }
}

/// Which rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// Tokens of scripts.
    Tokens,
}

const NOT_SESSIONS: &str = "the server's answer to 'sessions' is not a list of sessions";

/// Prints the answer to `sessions`.
pub(crate) fn show(reply: &Reply, which: Which, list: &ListArgs) -> anyhow::Result<()> {
    let wrong = |_| CommandError::new(NOT_SESSIONS);
    let found: Vec<Box<RawValue>> = serde_json::from_str(&reply.text).map_err(wrong)?;
    let mut rows = Vec::new();
    for raw in &found {
        let row: SessionRow = serde_json::from_str(raw.get()).map_err(wrong)?;
        if which == Which::All || (row.id.is_some() && row.scope != "device") {
            rows.push((raw, row));
        }
    }
    let clock = if to_terminal() { Clock::local() } else { Clock::utc() };
    if let Some(SessionList { failed: Some(failed), failed_last, failed_from, .. }) = reply.keys()
        && which == Which::All
    {
        note_failed(&clock, failed, failed_last.as_ref(), failed_from.as_deref());
    }
    if list.json {
        for (raw, _) in &rows {
            // JSON goes out unchanged, also keys that this program does not know.
            print_line(&one_line(raw.get()))?;
        }
        return Ok(());
    }
    let rows: Vec<SessionRow> = rows.into_iter().map(|(_, row)| row).collect();
    for line in table(&rows, &clock) {
        print_line(&line)?;
    }
    Ok(())
}

/// Tells the owner of failed sign-ins.
pub(crate) fn note_failed(clock: &Clock, count: u64, last: Option<&String>, from: Option<&str>) {
    let last = last.map(|last| shown_time(clock, last));
    note(&harmless_line(&failed_in_words(count, last.as_deref(), from)));
}

/// A time of the server, to the minute.
fn shown_time(clock: &Clock, time: &str) -> String {
    let at = clock.read(time).and_then(|at| by_pattern("%F %H:%M", &at).ok());
    at.unwrap_or_else(|| harmless_line(time))
}

/// What a cell without a value shows.
const NOTHING: &str = "-";

fn table(rows: &[SessionRow], clock: &Clock) -> Vec<String> {
    let head = ["id", "title", "scope", "rooms", "created", "used", "address", "until", "connections"];
    let head = head.map(str::to_owned);
    let time = |time: &Option<String>| time.as_ref().map_or(String::new(), |time| shown_time(clock, time));
    let cells = rows.iter().map(|row| {
        [
            row.id.map_or_else(String::new, |id| id.to_string()),
            harmless_line(&row.title),
            harmless_line(&row.scope),
            harmless_line(&row.rooms.join(",")),
            time(&row.created),
            time(&row.used),
            row.address.as_deref().map_or_else(String::new, harmless_line),
            time(&row.until),
            format!("{}{}", row.connections, if row.own { " (this one)" } else { "" }),
        ]
    });
    columns(std::iter::once(head).chain(cells).collect())
}

/// Lines of cells, the first of which are the heads of the columns.
pub(crate) fn columns<const N: usize>(mut lines: Vec<[String; N]>) -> Vec<String> {
    for cell in lines.iter_mut().flatten().filter(|cell| cell.is_empty()) {
        NOTHING.clone_into(cell);
    }
    let widths: [usize; N] =
        std::array::from_fn(|at| lines.iter().map(|line| line[at].width()).max().unwrap_or(0));
    let padded = |line: &[String; N]| {
        let cells = line.iter().zip(widths);
        let text: String =
            cells.map(|(cell, width)| format!("{cell}{}  ", " ".repeat(width - cell.width()))).collect();
        text.trim_end().to_owned()
    };
    lines.iter().map(padded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_one_line_of_a_table() {
        let rows = r#"[
            {"id": 8, "title": "máy\nbàn", "scope": "device", "created": "2026-05-01T00:00:00.001Z",
             "used": "2026-05-02T08:15:00.001Z", "address": "203.0.113.9", "connections": 2, "own": true},
            {"id": 1024, "title": "東京", "scope": "send", "rooms": ["ops", "lab"], "created": "2026-05-01T10:30:00.001Z",
             "used": "yesterday", "address": "\u001b[2J", "until": "soon\u001b[2J", "connections": 0, "more": 1},
            {"title": "", "scope": "device", "connections": 1}]"#;
        let rows: Vec<SessionRow> = serde_json::from_str(rows).unwrap();
        let expected = "\
id    title    scope   rooms    created           used              address      until          connections
8     máy bàn  device  -        2026-05-01 00:00  2026-05-02 08:15  203.0.113.9  -              2 (this one)
1024  東京     send    ops,lab  2026-05-01 10:30  yesterday         \\u{1b}[2J    soon\\u{1b}[2J  0
-     -        device  -        -                 -                 -            -              1";
        assert_eq!(table(&rows, &Clock::utc()).join("\n"), expected);
    }
}
