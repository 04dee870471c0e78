//! What a command asked for, as lines: rooms, a topic, people.

use super::words::count;
use crate::vang::{People, Person, Reply, RoomRow};

/// The lines for `/rooms`. `read`: the rooms that this person follows; `talks_in`: the room of new messages.
pub(super) fn room_lines(reply: &Reply, read: &[String], talks_in: &str) -> Vec<String> {
    let rooms: Vec<RoomRow> = serde_json::from_str(&reply.text).unwrap_or_default();
    let line = |RoomRow { room: name, access, n, topic, .. }| {
        let private = if access == "private" { ", private" } else { "" };
        let here = match (name == talks_in, read.contains(&name)) {
            (true, _) => ", you talk here",
            (false, true) => ", you read it",
            (false, false) => "",
        };
        let topic = topic.map_or(String::new(), |topic| format!(" {topic}"));
        format!("-- #{name} ({}{private}{here}){topic}", count(n, "message"))
    };
    rooms.into_iter().map(line).collect()
}

/// The line for `/topic`; `None`: the room is not in this page of the rooms.
pub(super) fn topic_line(room: &str, reply: &Reply) -> Option<String> {
    let rooms: Vec<RoomRow> = serde_json::from_str(&reply.text).unwrap_or_default();
    let row = rooms.into_iter().find(|row| row.room == room)?;
    Some(match row.topic {
        Some(topic) => format!("-- the topic of #{room}: {topic}"),
        None => format!("-- #{room} has no topic"),
    })
}

/// `/who`
pub(super) fn people_lines(room: &str, reply: &Reply) -> Vec<String> {
    let people: Vec<Person> = serde_json::from_str(&reply.text).unwrap_or_default();
    let (mut here, mut away) = (Vec::new(), Vec::new());
    for Person { name, present, .. } in people {
        match present {
            0 => away.push(name),
            1 => here.push(name),
            several => here.push(format!("{name} ({several} times)")),
        }
    }
    let list = |names: &[String]| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let mut lines = vec![format!("-- in #{room} now: {}", list(&here))];
    if !away.is_empty() {
        lines.push(format!("-- members who are away: {}", list(&away)));
    }
    if let Some(left_out) = reply.keys::<People>().and_then(|people| people.left_out) {
        lines.push(format!("-- and {left_out} more"));
    }
    lines
}
