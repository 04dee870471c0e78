//! `vang tail`: the messages of a room, each once.
//!
//! ```text
//! on a terminal, in local time and colour     in a pipe                          --json
//! --- Friday, 2026-05-01 ---
//! general#12 14:03 guest:ada: hello           general#12 12:03 guest:ada: hello  {"event": "message", "seq": 31, …
//! general#5-9 (not shown: you were not a member)
//! ```

mod shown; // an event as a line

use std::io;
use std::thread;

use clap::Args;
use vang_client::{ClientError, ConnectionChange, Follow, History, Identity, ServerAddr, Update, output};

use self::shown::{Format, Shown};
use crate::args::ClientArgs;
use crate::clock::Clock;
use crate::color;
use crate::say::{CommandError, note, note_first_retry, to_terminal};

const EXAMPLES: &str = "\
Examples:
  vang tail general                          new messages
  vang tail general -n 10                    the last ten, then new ones
  vang tail general --since 0 --no-follow    all messages until now
  vang tail general --format '%F %T'         with date and time, as in date(1)
  vang tail general --since 12 --json        from message 13 on, one JSON object per line";

const AFTER: &str = "\
Formats: short (the default), iso (2026-05-01T14:03:59.123+02:00), cat (the text only), json, or a pattern of date(1) for \
the time, such as '%F %T' or '%s'.

On a terminal times are local (of $TZ, or of this machine), each day begins with a line, and names have colours \
(NO_COLOR, CLICOLOR_FORCE and TERM=dumb are obeyed). In a pipe times are UTC, with the date if it is not today; with \
--format they are local there too. --utc: always UTC.

Reconnects automatically and shows each message once. Messages that you are not allowed to see are shown as holes. Ctrl-C \
ends it, with the usual exit code 130.";

/// Show the messages of a room
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct TailArgs {
    /// Room to show
    room: String,

    /// Show messages after number N (0: all) [default: only new messages]
    #[arg(long, value_name = "N", value_parser = parse_since)]
    since: Option<u64>,

    /// Begin with the last N messages
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "since")]
    lines: Option<u64>,

    /// Show what is there now, then exit
    #[arg(long)]
    no_follow: bool,

    /// How a message is shown: short, iso, cat, json, or a pattern for the time, such as '%F %T' [default: short]
    #[arg(long, value_name = "FORMAT", value_parser = Format::parse)]
    format: Option<Format>,

    /// Show times in UTC
    #[arg(long)]
    utc: bool,

    /// One JSON object per line: the keys of the header, and `text`, or `base64` for content that is not text
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Also show who created the room, joins and leaves, and topics; not with --no-follow, which shows stored messages only
    #[arg(long, conflicts_with = "no_follow")]
    events: bool,

    #[command(flatten)]
    client: ClientArgs,
}

fn parse_since(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "give a message's number; 0 shows all".to_owned())
}

pub(crate) fn run(args: TailArgs) -> anyhow::Result<()> {
    let timeout = args.client.timeout();
    let mut watch = note_first_retry(timeout);
    let mut shown = shown(&args);
    let server = args.client.server()?;
    let identity = args.client.identity(&server)?;
    let since = match args.lines {
        Some(count) => Some(before_last(count, &server, identity.clone(), &args, &mut watch)?),
        None => args.since,
    };
    if args.no_follow {
        let mut history = History::new(server, identity, args.room, since.unwrap_or(0), timeout);
        if since.is_none() {
            // There are no new messages yet, but a missing room is an error.
            history.check(&mut watch).map_err(CommandError::from)?;
            return Ok(());
        }
        while let Some(events) = history.next_page(&mut watch).map_err(CommandError::from)? {
            for event in &events {
                shown.print(event)?;
            }
        }
        return Ok(());
    }
    let since = since.map(|since| vec![since]);
    let mut follow = Follow::start(server, identity, vec![args.room], since, timeout, &mut watch)
        .map_err(CommandError::from)?;
    end_with_reader();
    loop {
        match follow.next().map_err(CommandError::from)? {
            Update::Event(event) => shown.print(&event)?,
            Update::Connection(change) => note(&change_text(&change)),
        }
    }
}

/// How events are shown, by the flags and by where stdout goes.
fn shown(args: &TailArgs) -> Shown {
    let format = match args.json {
        true => Format::Json,
        false => args.format.clone().unwrap_or(Format::Short),
    };
    let is_local = format.has_time() && !args.utc && (args.format.is_some() || to_terminal());
    let clock = if is_local { Clock::local() } else { Clock::utc() };
    Shown::new(format, args.events, clock, to_terminal(), color::is_wanted(&io::stdout()))
}

/// The number before the last `count` messages.
fn before_last(
    count: u64,
    server: &ServerAddr,
    identity: Identity,
    args: &TailArgs,
    watch: &mut dyn FnMut(&ClientError),
) -> Result<u64, CommandError> {
    let mut history = History::new(server.clone(), identity, args.room.clone(), 0, args.client.timeout());
    Ok(history.check(watch)?.saturating_sub(count))
}

/// Ends the process when the reader of stdout has gone, so that `vang tail … | head -1` ends with `head`,
/// not at the next message.
fn end_with_reader() {
    thread::spawn(|| {
        if output::wait_until_reader_is_gone(io::stdout()).is_ok() {
            std::process::exit(0);
        }
    });
}

fn change_text(change: &ConnectionChange) -> String {
    match change {
        ConnectionChange::Lost(error) => format!("{error}; trying again until it works"),
        ConnectionChange::Again => "connected again".to_owned(),
        ConnectionChange::SetBack { seq } => format!(
            "the server's journal went back to position {seq}, perhaps from a backup; \
             showing the messages from there on"
        ),
        ConnectionChange::OtherJournal => {
            "the server has another journal now; messages in between can be missing".to_owned()
        }
        ConnectionChange::Closing { why } if why == "stopping" => "the server is shutting down".to_owned(),
        ConnectionChange::Closing { why } if why == "signed-out" => {
            "the server signed this connection out: its token has ended, or the password has changed"
                .to_owned()
        }
        ConnectionChange::Closing { why } => format!("the server closes this connection: {why}"),
    }
}
