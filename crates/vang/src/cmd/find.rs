//! `vang find`: messages with given words, newest first, each with the messages before and after it.
//!
//! ```text
//!   general#11 14:02 guest:bob: một con mèo          {"address": "general#12", …, "text": "Con chó của tôi",
//! general#12 14:03 guest:ada: Con chó của tôi         "marks": [[4, 7]], "before": {…}, "after": {…}}
//!   general#13 14:05 guest:bob: hai con mèo
//! ```

use clap::Args;
use jiff::civil::Date;
use vang_client::Search;
use vang_proto::terminal::{harmless, harmless_line, one_line};
use vang_proto::text::counted;
use vang_proto::vang::{Excerpt, Hit};

use crate::args::{ClientArgs, about};
use crate::clock::Clock;
use crate::color::{self, MATCH, PLAIN, Style};
use crate::say::{CommandError, indented, note, note_first_retry, print_line, to_terminal};

const EXAMPLES: &str = "\
Examples:
  vang find release notes                  messages with both words, in all rooms you can see
  vang find '\"release notes\" in:lab'       the two words in this order, in the room `lab`
  vang find 'deploy -test from:ada after:2026-05-01'
  vang find 東京 --json                    one JSON object per line";

const AFTER: &str = "\
Accents and case do not matter: cho finds Chó, strasse finds Straße. WORD* finds words that begin with WORD; -WORD \
excludes messages with WORD. from:NAME, in:ROOM; after:DAY (that day and later), before:DAY, days in UTC, or times such \
as 2026-05-01T14:00:00Z. Times are shown as by vang tail: local on a terminal, otherwise UTC. \
Newest first, each with the messages before and after. Exit code 1: nothing was found.";

#[derive(Args, Debug)]
#[command(about = about("find"), before_help = EXAMPLES, after_help = AFTER)]
pub(crate) struct FindArgs {
    /// The query: words, "phrases", from:NAME, in:ROOM, after:DATE, before:DATE
    #[arg(required = true)]
    query: Vec<String>,

    /// Maximum number of messages to find
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,

    /// Do not show the messages before and after
    #[arg(long)]
    no_context: bool,

    /// One JSON object per line, with `text` and `marks` (the matches, counted in characters)
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(args: FindArgs) -> anyhow::Result<()> {
    let timeout = args.client.timeout();
    let mut watch = note_first_retry(timeout);
    let query = args.query.join(" ");
    let server = args.client.server()?;
    let identity = args.client.identity(&server)?;
    let mut search = Search::new(server, identity, query, args.limit, timeout);
    let clock = if to_terminal() && !args.json { Clock::local() } else { Clock::utc() };
    let mark = if color::is_wanted(&std::io::stdout()) { MATCH } else { PLAIN };
    let shown = Shown { today: clock.today(), clock, mark };
    let (mut count, mut left_out, mut damaged, mut parted) = (0_u64, 0, 0_u64, false);
    while let Some(page) = search.next_page(&mut watch).map_err(CommandError::from)? {
        left_out = page.left_out;
        damaged = damaged.saturating_add(page.damaged);
        for hit in &page.hits {
            count += 1;
            if args.json {
                print_line(&one_line(hit.get()))?;
                continue;
            }
            let hit: Hit = serde_json::from_str(hit.get()).map_err(|_| CommandError::new(NOT_HITS))?;
            let lines = shown.lines(&hit, !args.no_context);
            // An empty line between two hits if one of them has several lines.
            if count > 1 && (parted || lines.len() > 1) {
                print_line("")?;
            }
            parted = lines.len() > 1;
            for line in &lines {
                print_line(line)?;
            }
        }
    }
    if left_out > 0 {
        note(&format!(
            "{left_out} of your older rooms and memberships were not searched; choose one with in:ROOM"
        ));
    }
    if damaged > 0 {
        let messages = counted(damaged, "message that was found is", "messages that were found are");
        note(&format!("{messages} damaged on the server's disk and cannot be shown"));
    }
    if count == 0 {
        return Err(CommandError::new("nothing found").into());
    }
    if search.has_more() {
        note(&format!("there are more; show them with --limit {}", args.limit.saturating_mul(2)));
    }
    Ok(())
}

const NOT_HITS: &str = "the server's answer to 'find' is not a list of messages";

/// Formats messages for people.
struct Shown {
    clock: Clock,
    today: Date,
    mark: Style,
}

impl Shown {
    fn lines(&self, hit: &Hit, with_context: bool) -> Vec<String> {
        let neighbour = |one: &Option<Excerpt>| {
            one.as_ref().filter(|_| with_context).map(|one| format!("  {}", self.line(one)))
        };
        let message = self.line(&hit.message);
        neighbour(&hit.before).into_iter().chain([message]).chain(neighbour(&hit.after)).collect()
    }

    fn line(&self, message: &Excerpt) -> String {
        let said = match &message.text {
            Some(said) => {
                let marks = message.marks.as_deref().unwrap_or_default();
                indented(&self.marked(said, marks), "    ")
            }
            None => format!("({})", harmless_line(&message.content_type)),
        };
        let (address, from) = (harmless_line(&message.address), harmless_line(&message.from));
        let time = self.clock.time_of_day(&harmless_line(&message.time), self.today);
        format!("{address} {time} {from}: {said}")
    }

    /// Marks count the characters of the original text, before control characters are escaped.
    fn marked(&self, text: &str, marks: &[(u64, u64)]) -> String {
        let offset = |count: u64| {
            let at = text.char_indices().nth(usize::try_from(count).unwrap_or(usize::MAX));
            at.map_or(text.len(), |(at, _)| at)
        };
        let (mut out, mut at) = (String::new(), 0);
        for &(from, to) in marks {
            let (from, to) = (offset(from), offset(to));
            if at <= from && from < to {
                out += &harmless(&text[at..from]);
                out += self.mark.0;
                out += &harmless(&text[from..to]);
                out += self.mark.1;
                at = to;
            }
        }
        out + &harmless(&text[at..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hit: &str, mark: Style) -> String {
        let shown = Shown { clock: Clock::utc(), today: "2026-05-01".parse().unwrap(), mark };
        shown.lines(&serde_json::from_str(hit).unwrap(), true).join("\n")
    }

    #[test]
    fn a_result_shows_its_neighbours_and_marks_the_match() {
        let hit = r#"{"address": "general#12", "time": "2026-05-01T14:03:59.123Z", "from": "guest:ada",
            "text": "Con chó của tôi", "marks": [[4, 7]],
            "before": {"address": "general#11", "time": "2026-04-30T14:02:00.000Z", "from": "bob", "text": "mèo"},
            "after": {"address": "general#13", "time": "2026-05-01T14:05:00.000Z", "from": "bob", "content-type": "image/png"}}"#;
        let expected = "  general#11 2026-04-30 14:02 bob: mèo\ngeneral#12 14:03 guest:ada: Con <chó> của tôi\n  general#13 14:05 bob: (image/png)";
        assert_eq!(shown(hit, ("<", ">")), expected);
        assert_eq!(shown(hit, ("", "")), expected.replace(['<', '>'], ""));
    }

    #[test]
    fn messages_cannot_forge_a_line_or_control_the_terminal() {
        let hit = r#"{"address": "a\u001b#1", "time": "2026-05-01T14:03:59.123Z", "from": "x\ny",
            "text": "one\ngeneral#2 14:04 bob: \u001b[2Jtwo", "marks": [[29, 30], [2, 1], [99, 100]]}"#;
        let expected = "a\\u{1b}#1 14:03 x y: one\n    general#2 14:04 bob: \\u{1b}[2J<t>wo";
        assert_eq!(shown(hit, ("<", ">")), expected);
    }
}
