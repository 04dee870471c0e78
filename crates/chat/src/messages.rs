//! Messages: what is said in rooms. A send with an id can be repeated without posting twice (P4).

use crate::accounts::Accounts;
use crate::permission::Power;
use crate::rooms::Rooms;
use crate::sent::{SendId, Sent, SentRow};
use crate::{Places, Position, Principal, Refusal, RoomId, Seq};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageCommand {
    Send {
        room: RoomId,
        from: Principal,
        /// Makes it safe to repeat.
        id: Option<SendId>,
    },
}

impl MessageCommand {
    pub(crate) fn room(&self) -> RoomId {
        match *self {
            MessageCommand::Send { room, .. } => room,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageEvent {
    Sent {
        room: RoomId,
        /// Its number in the room.
        n: u64,
        from: Principal,
        id: Option<SendId>,
    },
    /// The same send came again; nothing changed.
    Repeated {
        room: RoomId,
        /// The number that it got the first time.
        n: u64,
        /// The entry that it was the first time.
        seq: Seq,
    },
}

pub(crate) fn decide(
    rooms: &Rooms,
    accounts: &Accounts,
    sent: &Sent,
    at: Position,
    command: &MessageCommand,
) -> Result<MessageEvent, Refusal> {
    match *command {
        MessageCommand::Send { room, from, id } => {
            let there = rooms.get(room).ok_or(Refusal::NoRoom)?;
            // A repetition gets the first result again, also if the sender has left the room.
            if let Some(id) = id
                && let Some(first) = sent.find(from, room, &id, at.time)
            {
                if first.id.print != id.print {
                    return Err(Refusal::IdReused);
                }
                return Ok(MessageEvent::Repeated { room, n: first.n, seq: first.seq });
            }
            there.check(Power::Speak, &from)?;
            if let Principal::Account(who) = from {
                accounts.check(who)?;
            }
            Ok(MessageEvent::Sent { room, n: there.n + 1, from, id })
        }
    }
}

pub(crate) fn evolve(
    rooms: &mut Rooms,
    sent: &mut Sent,
    at: Position,
    event: &MessageEvent,
    places: &mut Places,
) {
    match *event {
        MessageEvent::Sent { room, n, from, id } => {
            rooms.show(room, at.seq, Some(n), places);
            if let Some(id) = id {
                sent.remember(SentRow { from, room, id, seq: at.seq, n, time: at.time }, at.time);
            }
        }
        MessageEvent::Repeated { .. } => {}
    }
}
