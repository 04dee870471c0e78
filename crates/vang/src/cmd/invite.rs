//! `vang invite`: invitations. `vang admin invitation` makes, lists and ends them with the same functions.

use std::io::IsTerminal as _;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;
use serde_json::value::RawValue;
use vang_proto::terminal::{harmless_line, one_line};
use vang_proto::vang::{Action, InvitationRow, Invited, Reply, Role};

use super::sessions::columns;
use crate::args::{ClientArgs, about};
use crate::clock::{Clock, by_pattern};
use crate::say::{CommandError, note, print_line, to_terminal};

const EXAMPLES: &str = "\
Examples:
  vang invite                                  one account, within 7 days
  vang invite --room ops --days 1              its owner is in the room ops
  vang invite --uses 30 --title 'class of 2027'
  vang invite list
  vang invite end 12";

const AFTER: &str = "\
The code is printed alone on stdout. Who has it makes an account: vang accept NAME, or in a browser with the link that is shown.";

#[derive(Args, Debug)]
#[command(about = about("invite"), before_help = EXAMPLES, after_help = AFTER, args_conflicts_with_subcommands = true)]
pub(crate) struct InviteArgs {
    #[command(subcommand)]
    command: Option<InviteCommand>,

    #[command(flatten)]
    new: NewInvitationArgs,

    #[command(flatten)]
    client: ClientArgs,
}

const LIST_EXAMPLES: &str = "\
Examples:
  vang invite list
  vang invite list --json";

const END_EXAMPLES: &str = "\
Examples:
  vang invite end 12";

#[derive(Subcommand, Debug)]
enum InviteCommand {
    /// List the invitations that can be used
    #[command(before_help = LIST_EXAMPLES)]
    List {
        #[command(flatten)]
        list: InvitationListArgs,

        #[command(flatten)]
        client: ClientArgs,
    },
    /// Withdraw an invitation
    #[command(before_help = END_EXAMPLES)]
    End {
        /// Its ID, as vang invite list shows it
        id: u64,

        #[command(flatten)]
        client: ClientArgs,
    },
}

/// A new invitation.
#[derive(Args, Debug)]
pub(crate) struct NewInvitationArgs {
    /// What the invitation is for, at most 128 bytes
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,

    /// How many accounts can be made with it [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    uses: Option<u64>,

    /// How long it can be used, in days [default: 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,

    /// The new account joins this room
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,

    /// What the new account is
    #[arg(long, value_name = "ROLE", value_parser = role())]
    role: Option<Role>,

    /// One JSON object instead of the code alone: `code`, `id` (to withdraw it), `link` (for a browser, if it is known)
    #[arg(long)]
    json: bool,
}

/// How invitations are listed.
#[derive(Args, Debug)]
pub(crate) struct InvitationListArgs {
    /// One JSON object per line: `id`, `title`, `from`, `uses`, `name`, `room`, `role`, `created`, `until`
    #[arg(long)]
    json: bool,
}

pub(crate) fn role() -> impl TypedValueParser<Value = Role> {
    let words = PossibleValuesParser::new(Role::ALL.iter().map(|role| role.as_str()));
    words.map(|word| Role::named(&word).expect("one of the words"))
}

impl NewInvitationArgs {
    pub(crate) fn action(&self) -> Action {
        let NewInvitationArgs { title, uses, days, room, role, json: _ } = self;
        Action::Invite {
            title: title.clone(),
            uses: *uses,
            days: *days,
            room: room.clone(),
            role: *role,
            name: None,
        }
    }

    pub(crate) fn show(&self, reply: &Reply) -> anyhow::Result<()> {
        show_code(reply, self.json, "who has it makes an account with vang accept NAME")
    }
}

/// Prints a new code alone on stdout.
pub(crate) fn show_code(reply: &Reply, is_json: bool, what_for: &str) -> anyhow::Result<()> {
    let Invited { id, link, .. } =
        reply.keys().ok_or_else(|| CommandError::new("the server's answer to 'invite' has no 'id'"))?;
    if is_json {
        let mut shown = json!({"code": reply.text, "id": id});
        if let Some(link) = link {
            shown["link"] = link.into();
        }
        return Ok(print_line(&shown.to_string())?);
    }
    print_line(&harmless_line(&reply.text))?;
    note(&format!("this is invitation {id}. Its code is shown only once: {what_for}"));
    // Where the code went to a file, a log of errors must not have it.
    if let Some(link) = link.filter(|_| std::io::stderr().is_terminal()) {
        note(&format!("in a browser: {}", harmless_line(&link)));
    }
    Ok(())
}

pub(crate) fn run(args: &InviteArgs) -> anyhow::Result<()> {
    match &args.command {
        None => args.new.show(&args.client.ask(&args.new.action())?),
        Some(InviteCommand::List { list, client }) => show_list(&client.ask(&Action::Invitations)?, list),
        Some(InviteCommand::End { id, client }) => {
            let reply = client.ask(&Action::EndInvitation { id: *id })?;
            Ok(print_line(&harmless_line(&reply.text))?)
        }
    }
}

const NOT_INVITATIONS: &str = "the server's answer to 'invitations' is not a list of invitations";

/// Prints the answer to `invitations`.
pub(crate) fn show_list(reply: &Reply, list: &InvitationListArgs) -> anyhow::Result<()> {
    let wrong = |_| CommandError::new(NOT_INVITATIONS);
    let found: Vec<Box<RawValue>> = serde_json::from_str(&reply.text).map_err(wrong)?;
    if list.json {
        for raw in &found {
            // JSON goes out unchanged, also keys that this program does not know.
            print_line(&one_line(raw.get()))?;
        }
        return Ok(());
    }
    let rows = found.iter().map(|raw| serde_json::from_str(raw.get()));
    let rows: Vec<InvitationRow> = rows.collect::<Result<_, _>>().map_err(wrong)?;
    let clock = if to_terminal() { Clock::local() } else { Clock::utc() };
    for line in table(&rows, &clock) {
        print_line(&line)?;
    }
    Ok(())
}

fn table(rows: &[InvitationRow], clock: &Clock) -> Vec<String> {
    let head = ["id", "title", "for", "room", "uses", "until", "from"].map(str::to_owned);
    let time = |time: &Option<String>| {
        let time = time.as_deref().unwrap_or_default();
        let at = clock.read(time).and_then(|at| by_pattern("%F %H:%M", &at).ok());
        at.unwrap_or_else(|| harmless_line(time))
    };
    let cells = rows.iter().map(|row| {
        let what_for = match &row.name {
            Some(name) => format!("the account {name}"),
            None => format!("a new {}", row.role),
        };
        [
            row.id.to_string(),
            harmless_line(&row.title),
            harmless_line(&what_for),
            harmless_line(row.room.as_deref().unwrap_or_default()),
            row.uses.to_string(),
            time(&row.until),
            harmless_line(&row.from),
        ]
    });
    columns(std::iter::once(head).chain(cells).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_one_line_of_a_table() {
        let rows = r#"[
            {"id": 8, "title": "class\n", "from": "ada", "uses": 30, "role": "person", "room": "lab", "until": "2026-05-01T00:00:00.001Z"},
            {"id": 12, "title": "", "from": "server", "uses": 1, "role": "person", "name": "bob", "until": "2026-05-02T10:30:00Z"}]"#;
        let rows: Vec<InvitationRow> = serde_json::from_str(rows).unwrap();
        let expected = "\
id  title   for              room  uses  until             from
8   class   a new person     lab   30    2026-05-01 00:00  ada
12  -       the account bob  -     1     2026-05-02 10:30  server";
        assert_eq!(table(&rows, &Clock::utc()).join("\n"), expected);
    }
}
