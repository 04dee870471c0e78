//! `vang rooms`, `vang create` and `vang topic`.

use clap::Args;
use serde_json::value::RawValue;
use vang_proto::terminal::{harmless_line, one_line};
use vang_proto::text::counted;
use vang_proto::vang::{Access, Action, Code, RoomList, RoomRow};

use crate::args::{ClientArgs, about};
use crate::say::{CommandError, print_line};

const ROOMS_EXAMPLES: &str = "\
Examples:
  vang rooms
  vang rooms --as ada --json";

#[derive(Args, Debug)]
#[command(about = about("rooms"), before_help = ROOMS_EXAMPLES)]
pub(crate) struct RoomsArgs {
    /// One JSON object per line: `room`, `access`, `n` (number of its newest message), `role`, `topic`
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

const AS_OPERATOR: &str = "\
Needs an account. Without --as, on the data folder's own socket, the operator does it (for create: a public room \
without members).";

const CREATE_EXAMPLES: &str = "\
Examples:
  vang create garden --as ada
  vang create cellar --private --as ada --data ./chat";

#[derive(Args, Debug)]
#[command(about = about("create"), before_help = CREATE_EXAMPLES, after_help = AS_OPERATOR)]
pub(crate) struct CreateArgs {
    /// Name of the new room
    room: String,

    /// Hidden: only members can see the room
    #[arg(long)]
    private: bool,

    #[command(flatten)]
    client: ClientArgs,
}

const TOPIC_EXAMPLES: &str = "\
Examples:
  vang topic garden 'what grows, and when' --as ada
  vang topic garden '' --as ada                      remove it";

#[derive(Args, Debug)]
#[command(about = about("topic"), before_help = TOPIC_EXAMPLES, after_help = AS_OPERATOR)]
pub(crate) struct TopicArgs {
    /// Room
    room: String,

    /// The topic, at most 512 bytes; empty to remove it
    topic: String,

    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn set_topic(args: &TopicArgs) -> anyhow::Result<()> {
    let action = Action::SetTopic { room: args.room.clone(), topic: args.topic.clone() };
    let reply = args.client.ask_also_as_operator(&action)?;
    Ok(print_line(&harmless_line(&reply.text))?)
}

pub(crate) fn list(args: &RoomsArgs) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let reply = args.client.ask(&Action::rooms_after(after))?;
        let rooms: Vec<Box<RawValue>> =
            serde_json::from_str(&reply.text).map_err(|_| CommandError::new(NOT_ROOMS))?;
        for room in &rooms {
            // JSON goes out unchanged, also keys that this program does not know.
            print_line(&if args.json { one_line(room.get()) } else { room_line(room.get())? })?;
        }
        let next = reply.keys::<RoomList>().and_then(|list| list.next);
        // A place that is not further on would give the same page for ever.
        after = next.filter(|next| after.is_none_or(|after| *next > after));
        if after.is_none() {
            return Ok(());
        }
    }
}

pub(crate) fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let access = if args.private { Access::Private } else { Access::Public };
    let action = Action::Create { room: args.room.clone(), access };
    let asked = args.client.ask_also_as_operator(&action);
    let reply = asked.map_err(|error| match args.private && error.is_refused(Code::AccountNeeded) {
        true => error.advise("a private room needs an account as its first member: --as NAME"),
        false => error,
    })?;
    Ok(print_line(&harmless_line(&reply.text))?)
}

const NOT_ROOMS: &str = "the server's answer to 'rooms' is not a list of rooms";

/// `general  public, member, 12 messages  what we are up to`
fn room_line(room: &str) -> Result<String, CommandError> {
    let room: RoomRow = serde_json::from_str(room).map_err(|_| CommandError::new(NOT_ROOMS))?;
    let role = room.role.map_or(String::new(), |role| format!(", {}", harmless_line(&role)));
    let messages = match room.n {
        0 => "no messages".to_owned(),
        n => counted(n, "message", "messages"),
    };
    let topic = room.topic.map_or(String::new(), |topic| format!("  {}", harmless_line(&topic)));
    Ok(format!("{}  {}{role}, {messages}{topic}", harmless_line(&room.room), harmless_line(&room.access)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_one_line() {
        let line = |json: &str| room_line(json).unwrap();
        let member = r#"{"room": "cellar", "access": "private", "n": 12, "role": "member"}"#;
        assert_eq!(line(member), "cellar  private, member, 12 messages");
        let with_topic = r#"{"room": "garden", "access": "public", "n": 1, "topic": "what\ngrows"}"#;
        assert_eq!(line(with_topic), "garden  public, 1 message  what grows");
        let other = r#"{"room": "general", "access": "public", "n": 0}"#;
        assert_eq!(line(other), "general  public, no messages");
        let hostile = r#"{"room": "general  public\nlab", "access": "a\r\nb", "n": 1}"#;
        assert_eq!(line(hostile), "general  public lab  a b, 1 message");
    }
}
