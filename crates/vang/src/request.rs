//! One question, one answer: `vang rooms`, `create`, `join`, `leave`, and `vang request`, the guide's client.

use serde_json::Value as Json;
use serde_json::value::RawValue;
use vang_client::guide::Response;
use vang_client::{Connection, Deadline};
use vang_proto::vang::{Reply, Value};

use crate::args::{ClientArgs, CreateArgs, JoinArgs, LeaveArgs, RequestArgs, RoomsArgs};
use vang_proto::terminal::{harmless, harmless_line, one_line};

use crate::say::{Failure, print, print_line, to_terminal};

pub(crate) fn rooms(args: &RoomsArgs) -> anyhow::Result<()> {
    let reply = ask(&args.reach, "rooms", &[])?;
    let rooms: Vec<Box<RawValue>> = serde_json::from_str(&reply.text).map_err(|_| Failure::new(NOT_ROOMS))?;
    for room in &rooms {
        // As it came, whatever keys it has.
        print_line(&if args.json { one_line(room.get()) } else { room_line(room.get())? })?;
    }
    Ok(())
}

pub(crate) fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let access = if args.private { "private" } else { "public" };
    tell(&args.reach, "create", &[("room", Value::from(&*args.room)), ("access", access.into())])
}

pub(crate) fn join(args: &JoinArgs) -> anyhow::Result<()> {
    let mut arguments = vec![("room", Value::from(&*args.room))];
    arguments.extend(args.who.as_deref().map(|who| ("who", who.into())));
    tell(&args.reach, "join", &arguments)
}

pub(crate) fn leave(args: &LeaveArgs) -> anyhow::Result<()> {
    tell(&args.reach, "leave", &[("room", Value::from(&*args.room))])
}

pub(crate) fn guide(args: &RequestArgs) -> anyhow::Result<()> {
    let deadline = Deadline::after(args.timeout);
    match vang_client::guide::request(&args.place, &args.action, &args.value, deadline)
        .map_err(Failure::from)?
    {
        Response::Result(text) if to_terminal() => print_line(&harmless(&text))?,
        Response::Result(text) => print_line(&text)?,
        Response::Binary(bytes) if to_terminal() => print_line(&harmless(&String::from_utf8_lossy(&bytes)))?,
        // To the byte, as the guide's client would hand it on.
        Response::Binary(bytes) => print(&bytes)?,
    }
    Ok(())
}

/// Asks, and prints the answer: the room's name.
fn tell(reach: &ClientArgs, action: &str, arguments: &[(&str, Value)]) -> anyhow::Result<()> {
    let reply = ask(reach, action, arguments)?;
    Ok(print_line(&harmless_line(&reply.text))?)
}

/// Once: who creates a room twice would be told that it is taken.
fn ask(reach: &ClientArgs, action: &str, arguments: &[(&str, Value)]) -> Result<Reply, Failure> {
    let deadline = Deadline::after(reach.timeout);
    let mut connection = Connection::open(&reach.server()?, deadline)?;
    Ok(connection.ask(Some(&reach.speaker()), action, arguments, deadline)?)
}

const NOT_ROOMS: &str = "the server's answer to 'rooms' is no list of rooms";

/// `general  public, member, 12 messages`
fn room_line(room: &str) -> Result<String, Failure> {
    let room: Json = serde_json::from_str(room).map_err(|_| Failure::new(NOT_ROOMS))?;
    let text = |key: &str| harmless_line(room[key].as_str().unwrap_or_default());
    let member = if room["member"] == Json::Bool(true) { ", member" } else { "" };
    let messages = match room["n"].as_u64().unwrap_or(0) {
        0 => "no messages".to_owned(),
        1 => "1 message".to_owned(),
        n => format!("{n} messages"),
    };
    Ok(format!("{}  {}{member}, {messages}", text("room"), text("access")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_one_line() {
        let line = |json: &str| room_line(json).unwrap();
        let member = r#"{"room": "cellar", "access": "private", "n": 12, "member": true}"#;
        assert_eq!(line(member), "cellar  private, member, 12 messages");
        let other = r#"{"room": "general", "access": "public", "n": 0, "member": false}"#;
        assert_eq!(line(other), "general  public, no messages");
        let hostile = r#"{"room": "general  public\nlab", "access": "a\r\nb", "n": 1}"#;
        assert_eq!(line(hostile), "general  public lab  a b, 1 message");
    }
}
