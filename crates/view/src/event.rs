//! An entry that a feed's readers see, as the view keeps it: integers, since SQLite copies a value of any other type before
//! it stores it.

use vang_chat::{Access, AccountId, Feed, NameKey, Principal, Seq};

use crate::connect::key;

/// The longest `EventData`, bytes: a kind and a room's access need 3.
const DATA_BYTES_MAX: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub seq: Seq,
    /// In a room: a message's number, for other events the room's newest number at that time. In a keyed feed: the number
    /// of its key.
    pub n: u64,
    pub class: EventClass,
    pub who: Principal,
    pub data: EventData,
}

impl EventRow {
    pub fn is_message(&self) -> bool {
        matches!(self.class, EventClass::Message(_))
    }

    /// Its columns, but for the seal.
    pub(crate) fn columns(&self, feed: Feed) -> Columns {
        let (sort, who, rest) = match self.who {
            Principal::Operator => (OPERATOR, 0, 0),
            Principal::Account(account) => (ACCOUNT, key(account.0), 0),
            Principal::Guest(NameKey(name)) => {
                let (who, rest) = halves(u128::from_be_bytes(name));
                (GUEST, who, rest)
            }
        };
        let class = self.class.number() * SORTS + sort;
        [key(feed.number()), key(self.seq.0), key(self.n), key(class), who, rest, self.data.packed()]
    }

    /// `None`: they are not what `columns` gives, or a newer program's.
    pub(crate) fn from_columns(columns: Columns) -> Option<(Feed, EventRow)> {
        let [feed, seq, n, class, who, rest, data] = columns;
        let class = u64::try_from(class).ok()?;
        let speaker = match class % SORTS {
            OPERATOR => Principal::Operator,
            ACCOUNT => Principal::Account(AccountId(u64::try_from(who).ok()?)),
            GUEST => Principal::Guest(NameKey(whole(who, rest).to_be_bytes())),
            _ => return None,
        };
        let event = EventRow {
            seq: Seq(u64::try_from(seq).ok()?),
            n: u64::try_from(n).ok()?,
            class: EventClass::from_number(class / SORTS)?,
            who: speaker,
            data: EventData::from_packed(data)?,
        };
        Some((Feed::from_number(u64::try_from(feed).ok()?)?, event))
    }
}

/// The columns of a row before its seal: feed, seq, n, class, who, rest, data.
pub(crate) type Columns = [i64; 7];

/// The sorts of speakers, in `class`: so many times the number of the class, and one of these.
const SORTS: u64 = 4;
const OPERATOR: u64 = 0;
/// `who` is its id.
const ACCOUNT: u64 = 1;
/// `who` and `rest` are the halves of the key of its name.
const GUEST: u64 = 2;

fn halves(number: u128) -> (i64, i64) {
    ((number >> 64) as i64, number as i64)
}

fn whole(high: i64, low: i64) -> u128 {
    u128::from(high as u64) << 64 | u128::from(low as u64)
}

/// What the view must know about an event to count and to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventClass {
    Other,
    /// A message; the room had this access then.
    Message(Access),
}

impl EventClass {
    /// Its number in the view: 0, or one more than the access has in the journal.
    pub(crate) fn number(self) -> u64 {
        match self {
            EventClass::Other => 0,
            EventClass::Message(access) => 1 + u64::from(access.number()),
        }
    }

    /// `None`: a newer program wrote it.
    pub(crate) fn from_number(number: u64) -> Option<EventClass> {
        match number.checked_sub(1) {
            None => Some(EventClass::Other),
            Some(access) => Access::from_number(u8::try_from(access).ok()?).map(EventClass::Message),
        }
    }
}

/// What a reader needs to show the event beside who did it and its payload, as the hub encodes it. The view keeps it as
/// it is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct EventData {
    len: u8,
    bytes: [u8; DATA_BYTES_MAX],
}

impl EventData {
    /// `None`: too many bytes.
    pub fn new(data: &[u8]) -> Option<EventData> {
        let mut bytes = [0; DATA_BYTES_MAX];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        Some(EventData { len: data.len() as u8, bytes })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// In one number: the length, then the bytes.
    fn packed(&self) -> i64 {
        let [a, b, c, d, e, f, g] = self.bytes;
        i64::from_le_bytes([self.len, a, b, c, d, e, f, g])
    }

    fn from_packed(packed: i64) -> Option<EventData> {
        let [len, bytes @ ..] = packed.to_le_bytes();
        let data = EventData::new(bytes.get(..usize::from(len))?)?;
        (data.bytes == bytes).then_some(data)
    }
}

impl std::fmt::Debug for EventData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use vang_chat::RoomId;

    use super::*;

    #[test]
    fn a_row_is_read_from_its_columns_and_other_columns_are_none() {
        let key = NameKey([0xff, 1, 2, 3, 4, 5, 6, 7, 0x80, 9, 10, 11, 12, 13, 14, 0xfe]);
        let data = EventData::new(&[0x81, 3]).unwrap();
        let speakers = [Principal::Operator, Principal::Account(AccountId(7)), Principal::Guest(key)];
        for (who, class) in speakers.into_iter().zip([
            EventClass::Other,
            EventClass::Message(Access::Public),
            EventClass::Message(Access::Private),
        ]) {
            for data in [EventData::default(), data, EventData::new(&[0xff; DATA_BYTES_MAX]).unwrap()] {
                let event = EventRow { seq: Seq(9), n: 4, class, who, data };
                let columns = event.columns(Feed::Room(RoomId(3)));
                assert_eq!(EventRow::from_columns(columns), Some((Feed::Room(RoomId(3)), event)));
                // A sort of speaker, a length, a class, and a feed that there is none of.
                for (at, wrong) in [(0, 3), (3, 3), (6, 8), (6, 0x0100), (3, 400), (1, -1)] {
                    let mut other = columns;
                    other[at] = wrong;
                    assert_eq!(EventRow::from_columns(other), None, "column {at}: {wrong}");
                }
            }
        }
    }
}
