//! `vang status`: the health of a server, for its operator. It asks over the data folder's own socket, because
//! the report has names of users. If no server runs, it prints what the folder contains.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use vang_client::{ClientError, Connection, Deadline, ServerAddr};
use vang_journal::{DataFolder, read_journal};
use vang_proto::terminal::harmless;
use vang_proto::text::{count, counted, duration, size};
use vang_proto::vang::{Action, ServerStatus};

use crate::args::{DataArgs, about, parse_time};
use crate::color;
use crate::running;
use crate::say::{CommandError, look_into, print, print_line};

const EXAMPLES: &str = "\
Examples:
  vang status                     the server of the default data folder
  vang status --data ./chat --watch
  vang status --json | jq .unread";

const AFTER: &str = "\
Exit codes: 0 a server runs, 1 no server runs, 2 wrong usage. Load balancers use /readyz, Prometheus uses /metrics.";

#[derive(Args, Debug)]
#[command(about = about("status"), before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    data: DataArgs,

    /// One JSON object per line
    #[arg(long)]
    json: bool,

    /// Repeat, with this time in between [default: 2s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", value_parser = parse_time)]
    watch: Option<Duration>,
}

/// How long to wait for the server's answer.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(args: StatusArgs) -> anyhow::Result<()> {
    let StatusArgs { data, json, watch } = args;
    let data = data.folder()?;
    let Some(pause) = watch else { return look(&data, json, false) };
    loop {
        // The server can come back, so a watch goes on, until nobody reads its output.
        if let Err(error) = look(&data, json, true) {
            if error.downcast_ref::<CommandError>().is_some_and(CommandError::is_silent) {
                return Err(error);
            }
            if json {
                print_line(&json!({"server": null, "error": error.to_string()}).to_string())?;
            } else {
                show(&format!("{}\n", harmless(&error.to_string())), true)?;
            }
        }
        std::thread::sleep(pause);
    }
}

/// Prints one report.
fn look(data: &Path, json: bool, again: bool) -> anyhow::Result<()> {
    match ask(data)? {
        // With all keys of the server, also those that this program does not know.
        Some(report) if json => print_line(&report.to_string()).map_err(Into::into),
        Some(report) => show(&page(&serde_json::from_value(report)?), again),
        None => {
            describe_folder(data, json)?;
            // The object says so already.
            if json && again { Ok(()) } else { Err(no_server(data)) }
        }
    }
}

/// The server's report; `None` if no server runs.
fn ask(data: &Path) -> anyhow::Result<Option<Value>> {
    let Ok(folder) = DataFolder::look(data) else { return Ok(None) };
    let deadline = Deadline::after(TIMEOUT);
    let asked = Connection::open(&ServerAddr::Unix(folder.socket()), deadline)
        .and_then(|mut connection| connection.ask(None, &Action::Status, deadline));
    match asked {
        Ok(reply) => Ok(Some(serde_json::from_str(&reply.text)?)),
        Err(ClientError::Unreachable { .. }) => Ok(None),
        Err(error) => Err(CommandError::from(error).into()),
    }
}

fn describe_folder(data: &Path, json: bool) -> anyhow::Result<()> {
    let folder = look_into(data)?;
    let (identity, mut reader) = read_journal(&folder.journal_db())?;
    let (journal, position) = (identity.id_hex(), reader.end()?.0);
    let len = std::fs::metadata(folder.journal_db()).map_or(0, |found| found.len());
    if json {
        let files = json!({"journal.db": len});
        let journal = json!({"id": journal, "position": position});
        print_line(&json!({"server": null, "journal": journal, "disk": {"files": files}}).to_string())?;
    } else {
        let entries = counted(position, "entry", "entries");
        print_line(&format!("journal      {journal}, {entries}, {}", size(len)))?;
    }
    Ok(())
}

fn no_server(data: &Path) -> anyhow::Error {
    CommandError::new(format!("no server runs on {}", data.display())).advise(running::advice(data)).into()
}

fn show(page: &str, again: bool) -> anyhow::Result<()> {
    // Clears the screen, as watch(1) does.
    let clear = if again && color::is_screen(&std::io::stdout()) { "\x1b[H\x1b[2J" } else { "" };
    Ok(print(format!("{clear}{page}").as_bytes())?)
}

/// One report as a page for people.
fn page(status: &ServerStatus) -> String {
    let mut page = String::new();
    let mut line = |head: &str, text: String| {
        page.push_str(harmless(&format!("{head:<12} {text}")).trim_end());
        page.push('\n');
    };

    let ready = match &status.not_ready {
        None => "ready".to_owned(),
        Some(why) => format!("NOT READY: {why}"),
    };
    line("server", format!("{}, up {}, {ready}", status.server, duration(status.up_ms)));

    let journal = &status.journal;
    let last = match journal.last_append_us {
        Some(us) => format!("; the last write took {}.{:03} ms", us / 1_000, us % 1_000),
        None => String::new(),
    };
    let messages = counted(status.messages, "message", "messages");
    let damaged = match journal.damaged.count {
        0 => String::new(),
        some => format!("; {} DAMAGED", count(some)),
    };
    line(
        "journal",
        format!(
            "{}, {}{damaged}; {messages} since the start{last}",
            journal.id,
            counted(journal.position, "entry", "entries")
        ),
    );
    for (name, progress) in [("view", &status.view), ("index", &status.find)] {
        if let Some(progress) = progress {
            let state = match (progress.behind, progress.stuck) {
                (_, true) => "cannot be written".to_owned(),
                (0, false) => "up to date".to_owned(),
                (behind, false) => format!("{} behind", counted(behind, "entry", "entries")),
            };
            line(name, state);
        }
    }

    let connections = &status.connections;
    line(
        "connections",
        format!(
            "{} (limit {}); {} since the start, {} of them refused",
            count(connections.open),
            count(connections.most),
            count(connections.accepted),
            count(connections.refused)
        ),
    );
    for door in &connections.doors {
        line("", format!("{:>6} {}", count(door.open), way(&door.door, &door.encryption, &door.origin)));
    }

    let unread = &status.unread;
    line(
        "unread data",
        match unread.connections {
            0 => "none".to_owned(),
            some => format!("{} for {}", size(unread.bytes), counted(some, "connection", "connections")),
        },
    );
    for reader in &unread.most {
        line(
            "",
            format!(
                "{:>11} for {} at {}, {}: read nothing for {}, {} behind",
                size(reader.bytes),
                reader.name,
                reader.from,
                way(&reader.door, &reader.encryption, &reader.origin),
                duration(reader.for_ms),
                counted(reader.behind, "entry", "entries")
            ),
        );
    }

    let refusals: Vec<String> =
        status.refusals.iter().map(|(code, &n)| format!("{} {code}", count(n))).collect();
    line("refused", if refusals.is_empty() { "no requests".to_owned() } else { refusals.join(", ") });

    let memory = &status.memory;
    line(
        "memory",
        format!(
            "{}; {} for recent messages, {} for messages not yet written",
            size(memory.resident_bytes.unwrap_or_default()),
            size(memory.tail_bytes),
            size(memory.queue_bytes)
        ),
    );
    line(
        "",
        format!(
            "for clients: {} of {} (half of the limit memory); {} closed to free memory",
            size(memory.held_bytes),
            size(memory.held_bytes_max),
            counted(memory.shed, "connection", "connections")
        ),
    );
    let files = &status.open_files;
    let [now, most] = [files.now, files.most].map(Option::unwrap_or_default);
    line("open files", format!("{} (limit {})", count(now), count(most)));

    let disk = &status.disk;
    let [free, total] = [disk.free_bytes, disk.size_bytes].map(Option::unwrap_or_default);
    line("disk", format!("{} free of {}", size(free), size(total)));
    let sizes: Vec<String> = disk.files.iter().map(|(name, &len)| format!("{name} {}", size(len))).collect();
    line("", sizes.join(", "));

    if !status.meaning.is_empty() {
        page.push_str("\nwhat this means\n");
        for sentence in &status.meaning {
            page.push_str(&format!("  - {}\n", harmless(sentence)));
        }
    }
    page
}

/// A connection's protocol, whether it uses TLS, and where it comes from.
fn way(door: &str, encryption: &str, origin: &str) -> String {
    let tls = if encryption == "tls" { " in TLS" } else { "" };
    let from = if origin == "local" { "this machine" } else { "other machines" };
    format!("{door}{tls} from {from}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_is_wrong_without_control_characters() {
        let report = json!({
            "server": "vang/0.1.0", "up_ms": 11_520_000, "not_ready": "the disk has 3.0 MiB free",
            "journal": {"id": "a1b2", "position": 10_482, "last_append_us": 312, "damaged": {"count": 2, "first": [7, 9]}}, "messages": 9_310,
            "view": {"behind": 1_204, "stuck": false},
            "connections": {"open": 12, "most": 65_280, "accepted": 1_204, "refused": 3, "doors": [
                {"door": "native", "encryption": "none", "origin": "local", "open": 9},
                {"door": "websocket", "encryption": "tls", "origin": "remote", "open": 3},
            ]},
            "unread": {"bytes": 12_390, "connections": 1, "most": [{
                "name": "guest:\u{1b}[2Jbob", "from": "192.0.2.7:51512", "door": "websocket", "encryption": "tls",
                "origin": "remote", "bytes": 12_390, "for_ms": 240_000, "behind": 1_302,
            }]},
            "refusals": {"no-room": 3},
            "memory": {"resident_bytes": 24_200_000, "tail_bytes": 1_300_000, "queue_bytes": 0,
                "held_bytes": 1_400_000, "held_bytes_max": 3_000_000_000_u64, "shed": 2},
            "open_files": {"now": 31, "most": 65_536},
            "disk": {"free_bytes": 3 << 20, "size_bytes": 1u64 << 30, "files": {"journal.db": 4_096}},
            "meaning": ["the disk is almost full"],
        });
        let expected = "\
server       vang/0.1.0, up 3 h 12 min, NOT READY: the disk has 3.0 MiB free
journal      a1b2, 10,482 entries; 2 DAMAGED; 9,310 messages since the start; the last write took 0.312 ms
view         1,204 entries behind
connections  12 (limit 65,280); 1,204 since the start, 3 of them refused
                  9 native from this machine
                  3 websocket in TLS from other machines
unread data  12.1 KiB for 1 connection
                12.1 KiB for guest:\\u{1b}[2Jbob at 192.0.2.7:51512, websocket in TLS from other machines: read nothing for 4 min, 1,302 entries behind
refused      3 no-room
memory       23.1 MiB; 1.2 MiB for recent messages, 0 bytes for messages not yet written
             for clients: 1.3 MiB of 2.8 GiB (half of the limit memory); 2 connections closed to free memory
open files   31 (limit 65,536)
disk         3.0 MiB free of 1.0 GiB
             journal.db 4.0 KiB

what this means
  - the disk is almost full
";
        assert_eq!(page(&serde_json::from_value(report).unwrap()), expected);
    }
}
