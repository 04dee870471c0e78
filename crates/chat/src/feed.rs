//! Feeds: what somebody can follow. A room's feed has each event. The feeds of an account and of the server have values, each
//! under a key: who resumes one is given the newest value of each key (P3).

use smallvec::SmallVec;

use crate::permission::{self, ServerPower, ServerRole};
use crate::{Access, AccountId, Principal, Refusal, RoomId, Seq};

/// Where an event is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feed {
    /// What happens in a room.
    Room(RoomId),
    /// What concerns one account, on all its devices. Only the account reads it.
    Account(AccountId),
    /// What concerns everybody on this server.
    Server,
}

/// Sorts of feeds in `Feed::number`, which has so many for each id.
const SORTS: u64 = 4;
const ROOM: u64 = 0;
const ACCOUNT: u64 = 1;
const SERVER: u64 = 2;

/// `FeedKey::Rooms`.
const ROOMS: u64 = 1;

/// No id is so large that this saturates; what a damaged disk says may be.
fn sorted(id: u64, sort: u64) -> u64 {
    id.saturating_mul(SORTS).saturating_add(sort)
}

impl Feed {
    /// As one number, below 2^63 for every id that a journal gives. Feeds of rooms are in the order of the rooms.
    pub fn number(self) -> u64 {
        match self {
            Feed::Room(room) => sorted(room.0, ROOM),
            Feed::Account(account) => sorted(account.0, ACCOUNT),
            Feed::Server => SERVER,
        }
    }

    /// `None`: a newer program's.
    pub fn from_number(number: u64) -> Option<Feed> {
        let id = number / SORTS;
        match number % SORTS {
            ROOM => Some(Feed::Room(RoomId(id))),
            ACCOUNT => Some(Feed::Account(AccountId(id))),
            SERVER if id == 0 => Some(Feed::Server),
            _ => None,
        }
    }

    pub fn room(self) -> Option<RoomId> {
        match self {
            Feed::Room(room) => Some(room),
            Feed::Account(_) | Feed::Server => None,
        }
    }

    /// Does it have values under keys, of which only the newest is kept?
    pub fn is_keyed(self) -> bool {
        match self {
            Feed::Room(_) => false,
            Feed::Account(_) | Feed::Server => true,
        }
    }

    /// The feed of the account that asks; nobody names another one.
    pub fn own_account(who: &Principal) -> Result<Feed, Refusal> {
        match who {
            Principal::Account(account) => Ok(Feed::Account(*account)),
            Principal::Operator | Principal::Guest(_) => {
                check(ServerPower::FollowAccount, who, false).and(Err(Refusal::AccountNeeded))
            }
        }
    }

    /// Can somebody follow this keyed feed? What is read of a room follows from its access and the reader's stays.
    pub fn check(self, reader: &Principal) -> Result<(), Refusal> {
        match self {
            Feed::Room(_) => Err(Refusal::NoRoom),
            Feed::Account(account) => {
                check(ServerPower::FollowAccount, reader, *reader == Principal::Account(account))
            }
            Feed::Server => check(ServerPower::FollowServer, reader, false),
        }
    }

    /// Does this reader see a keyed feed's events?
    pub fn is_open_to(self, reader: &Principal) -> bool {
        self.check(reader).is_ok()
    }
}

/// To follow a feed it does not matter who manages the server.
fn check(power: ServerPower, who: &Principal, is_itself: bool) -> Result<(), Refusal> {
    let role = match who {
        Principal::Operator => ServerRole::Operator,
        Principal::Account(_) => ServerRole::Account,
        Principal::Guest(_) => ServerRole::Guest,
    };
    permission::check_server(power, role, is_itself)
}

/// What a value in a keyed feed is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeedKey {
    /// A room: in an account's feed whether the account is in it, in the server's feed that it is there.
    Room(RoomId),
    /// Several rooms at once, which are not named: the account is in others than before.
    Rooms,
}

impl FeedKey {
    /// As one number, below 2^63 for every id that a journal gives. Other sorts of keys take other remainders.
    pub fn number(self) -> u64 {
        match self {
            FeedKey::Room(room) => sorted(room.0, ROOM),
            FeedKey::Rooms => ROOMS,
        }
    }

    /// `None`: a newer program's.
    pub fn from_number(number: u64) -> Option<FeedKey> {
        match number {
            ROOMS => Some(FeedKey::Rooms),
            _ => number.is_multiple_of(SORTS).then_some(FeedKey::Room(RoomId(number / SORTS))),
        }
    }
}

/// An event's place in a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub feed: Feed,
    /// In a room: a message's number, for other events the room's newest one. In a keyed feed: `FeedKey::number`.
    pub n: u64,
    /// The feed's newest entry before this one.
    pub before: Seq,
    /// In a room: the room's access at this entry. In other feeds: without meaning, as their readers are fixed.
    pub access: Access,
}

/// The places of an event; of nearly every event it is one, which needs no allocation.
pub type Places = SmallVec<[Place; 1]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_read_from_its_number() {
        for feed in
            [Feed::Server, Feed::Room(RoomId(1)), Feed::Account(AccountId(1)), Feed::Room(RoomId(1 << 60))]
        {
            assert_eq!(Feed::from_number(feed.number()), Some(feed));
        }
        for number in [3, 6, 7] {
            assert_eq!(Feed::from_number(number), None, "{number}");
        }
        assert_eq!(FeedKey::from_number(FeedKey::Room(RoomId(9)).number()), Some(FeedKey::Room(RoomId(9))));
        assert_eq!(FeedKey::from_number(FeedKey::Rooms.number()), Some(FeedKey::Rooms));
        assert_eq!(FeedKey::from_number(37), None);
    }
}
