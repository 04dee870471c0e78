//! What people do in a random world: talk, in bursts and at length, join and leave, bring others, read old
//! pages, repeat messages, probe. Only their role and random numbers decide.

use vang_proto::limits::INLINE_BYTES_MAX;
use vang_proto::vang::{Access, Action};

use crate::client::{Client, Role};
use crate::feeds::some_feeds;
use crate::following::Since;
use crate::scene::{Scene, hidden_name, private_room, private_word};

/// Perhaps does something.
pub(crate) fn act(client: &mut Client, scene: &mut Scene) {
    if !scene.env.rng.happens(scene.env.weather.act) {
        return;
    }
    match client.role {
        Role::Person | Role::PrivateOnly => talk_or_walk(client, scene),
        Role::Prober => {
            let rooms: Vec<_> = scene.private.values().cloned().collect();
            let there: Vec<_> = rooms.into_iter().filter(|room| scene.model.has_room(room)).collect();
            match scene.env.rng.pick(&there).cloned() {
                _ if client.account(scene).is_none() && scene.env.rng.happens(50) => {
                    client.probe_account_feed(scene);
                }
                Some(room) => client.probe(scene, &room),
                None => client.look(scene),
            }
        }
        Role::Operator => {
            // A day would make the server forget what they repeat.
            if scene.env.weather.days == 0 && scene.env.rng.happens(60) {
                let mark = scene.mark();
                let hidden = scene.env.rng.happens(400);
                let name = if hidden { hidden_name(mark) } else { format!("late{mark}") };
                if client.added.len() < 4 {
                    client.act(scene, &Action::AddAccount { name });
                }
            }
        }
    }
}

fn talk_or_walk(client: &mut Client, scene: &mut Scene) {
    let account = client.account(scene);
    let hidden = client.role == Role::PrivateOnly;
    match scene.env.rng.below(100) {
        0..48 => drop(say(client, scene)),
        48..53 => {
            let many = scene.env.rng.between(5, 60);
            scene.env.count("burst of sends");
            for _ in 0..many {
                say(client, scene);
            }
        }
        53..62 => client.repeat(scene),
        62..65 => {
            let word = word(scene, client, false);
            // Only public messages: a private word has its own mark.
            if !hidden {
                client.reuse_id(scene, word);
            }
        }
        65..74 => {
            let Some(room) = some_room(client, scene, false) else { return };
            let newest = scene.model.newest(&room);
            let times = if scene.env.rng.happens(150) { 24 } else { 1 };
            for _ in 0..times {
                let since = if times > 1 { 0 } else { scene.env.rng.below(newest + 2).min(newest) };
                let limit = if scene.env.rng.happens(500) { 256 } else { scene.env.rng.between(1, 9) };
                client.history(scene, &room, since, limit);
            }
        }
        74..77 => client.look(scene),
        77..80 => create(client, scene, account),
        80..86 => bring(client, scene, account),
        86..91 => come_or_go(client, scene, account),
        91..95 => turn_to_rooms(client, scene, account),
        95 => set_topic(client, scene, account),
        96 => {
            if !hidden {
                client.follow_more(scene);
            }
        }
        97..98 => client.half_close(scene),
        _ => {
            if client.is_half_closed() {
                client.cut(scene);
            }
        }
    }
}

/// A room that the client can know of, or can send to.
fn some_room(client: &Client, scene: &mut Scene, to_speak: bool) -> Option<String> {
    let account = client.account(scene);
    let fits = |room: &&String| match to_speak {
        true => scene.model.is_member(account, room),
        false => scene.model.knows(account, room),
    };
    let private: Vec<String> = scene.private.values().filter(fits).cloned().collect();
    let among = match client.role {
        Role::PrivateOnly => private,
        _ if !private.is_empty() && scene.env.rng.happens(500) => private,
        _ => scene.public.iter().filter(|room| scene.model.has_room(room)).cloned().collect(),
    };
    scene.env.rng.pick(&among).cloned()
}

fn word(scene: &mut Scene, client: &Client, private: bool) -> String {
    let mark = scene.mark();
    if private {
        private_word(mark)
    } else {
        format!("{}-{mark}", if client.role == Role::PrivateOnly { "v" } else { &client.label })
    }
}

fn say(client: &mut Client, scene: &mut Scene) -> Option<usize> {
    let room = some_room(client, scene, true)?;
    let word = word(scene, client, scene.private.values().any(|private| *private == room));
    let long = scene.env.rng.happens(scene.env.weather.long);
    let len = if long { scene.env.rng.between(1_000, scene.env.weather.long_bytes.max(1_001)) } else { 0 };
    if len > INLINE_BYTES_MAX {
        scene.env.count("message over the limit");
    }
    let id = (!scene.env.rng.happens(150)).then(|| format!("id {word}"));
    let types = [("text/plain", "utf-8"), ("text/plain", "latin-1"), ("application/x", "binary")];
    let types = *scene.env.rng.pick(&types).expect("three");
    Some(client.send(scene, &room, (word, len as usize), id, types))
}

fn create(client: &mut Client, scene: &mut Scene, account: Option<u64>) {
    if account.is_none() || scene.public.len() + scene.private.len() > 12 {
        return;
    }
    let mark = scene.mark();
    if client.role == Role::PrivateOnly || scene.env.rng.happens(600) {
        let name = private_room(mark);
        if client.act(scene, &Action::Create { access: Access::Private, room: name.clone() }) {
            scene.private.insert(mark, name);
        }
    } else {
        // Two of the names look alike, in Latin and in Cyrillic letters: only one of them becomes a room.
        let name = match mark % 6 {
            0 => "oca".to_owned(),
            1 => "\u{43e}\u{441}\u{430}".to_owned(),
            _ => format!("hall{mark}"),
        };
        let asked = client.act(scene, &Action::Create { access: Access::Public, room: name.clone() });
        if asked && !scene.public.contains(&name) {
            scene.public.push(name);
        }
    }
}

fn bring(client: &mut Client, scene: &mut Scene, account: Option<u64>) {
    let mine = scene.private.values().filter(|room| scene.model.is_member(account, room)).cloned();
    let mine: Vec<_> = mine.collect();
    let Some(room) = scene.env.rng.pick(&mine).cloned() else { return };
    let others: Vec<_> =
        scene.invitable.iter().filter(|name| Some(*name) != client.name.as_ref()).cloned().collect();
    let Some(other) = scene.env.rng.pick(&others).cloned() else { return };
    client.act(scene, &Action::Join { room, who: Some(other) });
}

/// Also where it is refused.
fn set_topic(client: &mut Client, scene: &mut Scene, account: Option<u64>) {
    let Some(room) = some_room(client, scene, false) else { return };
    let topic = if scene.env.rng.happens(200) { String::new() } else { format!("about {}", scene.mark()) };
    client.act(scene, &Action::SetTopic { room: room.clone(), topic });
    scene.env.count(if scene.model.is_member(account, &room) { "topic set" } else { "topic refused" });
}

fn come_or_go(client: &mut Client, scene: &mut Scene, account: Option<u64>) {
    if account.is_none() {
        return;
    }
    let Some(room) = some_room(client, scene, false) else { return };
    let inside = scene.model.is_member(account, &room);
    let asked = room.clone();
    let action = if inside { Action::Leave { room: asked } } else { Action::Join { room: asked, who: None } };
    client.act(scene, &action);
    if inside {
        // This send races with the leave.
        let word = word(scene, client, scene.private.values().any(|private| *private == room));
        let id = Some(format!("id {word}"));
        client.send(scene, &room, (word, 0), id, ("text/plain", "utf-8"));
        scene.env.count("send races with a leave");
    }
}

pub(crate) fn turn_to_rooms(client: &mut Client, scene: &mut Scene, account: Option<u64>) {
    let known = |room: &&String| scene.model.knows(account, room);
    let mut rooms: Vec<String> = scene.private.values().filter(known).cloned().collect();
    if client.role != Role::PrivateOnly {
        rooms.extend(scene.public.iter().filter(known).cloned());
    }
    let leave_out = scene.env.rng.below(600) as u32;
    rooms.retain(|_| !scene.env.rng.happens(leave_out));
    let feeds = some_feeds(&mut scene.env.rng, account.is_some());
    if !feeds.is_empty() && scene.env.rng.happens(150) {
        rooms.clear();
    }
    if rooms.is_empty() && feeds.is_empty() {
        return;
    }
    if rooms.len() > 1 {
        scene.env.count("several rooms followed");
    }
    let since = match scene.env.rng.below(3) {
        _ if rooms.is_empty() => Since::Now,
        0 => Since::Now,
        1 => Since::Beginning,
        _ => {
            scene.env.count("followed from numbers");
            let newest: Vec<_> = rooms.iter().map(|room| scene.model.newest(room)).collect();
            Since::Numbers(newest.into_iter().map(|newest| scene.env.rng.below(newest + 1)).collect())
        }
    };
    client.follow(scene, (rooms, feeds), since);
}
