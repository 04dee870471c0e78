//! What the hub asks of the view and the journal for those who have fallen behind, and what comes
//! back. The hub's driver reads, on another thread; answers may come in any order.

use vang_chat::{Feed, FeedKey, RoomId, Seq};
use vang_journal::Checked;
use vang_view::{EventRow, Find, Found};

use crate::session::SessionId;

/// A question; its id comes back with the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadJob {
    /// Names the question.
    pub id: u64,
    pub session: SessionId,
    /// Wait until the view (for `Find`: the index) is complete up to here; at most a few seconds, then answer `ViewBehind`
    /// or, for a page, as far as they are.
    pub need: Seq,
    pub read: Read,
}

impl ReadJob {
    /// Must it be answered with what was read? A session that follows has one such question at most, and would ask
    /// again at once; the others may be refused.
    pub fn is_owed(&self) -> bool {
        matches!(self.read, Read::Events { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The entry that is this message of the room; number 0 is `Seq(0)`.
    Locate(Vec<(RoomId, u64)>),
    /// Events of these feeds, each after its position, merged by position; at the same one in the order of this list.
    Events {
        feeds: Vec<(Feed, Seq)>,
        /// Events at most.
        events_max: usize,
        /// Bytes of payload at most, or one event.
        bytes_max: usize,
    },
    /// Messages of a room after this number.
    Messages {
        room: RoomId,
        /// After this one.
        since: u64,
        limit: usize,
        /// Bytes of payload at most, or one message.
        bytes_max: usize,
    },
    /// These entries, as they stand in the journal.
    Entries(Vec<Seq>),
    /// Messages with these words; asked of the index, not of the view.
    Find(Box<Find>),
}

/// An event from the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdEvent {
    pub feed: Feed,
    /// As the hub gave it to the view.
    pub row: EventRow,
    /// The entry, or what is wrong with it.
    pub entry: Checked,
}

impl ColdEvent {
    /// The room that the event names. `None`: a newer program's key.
    pub(crate) fn room(&self) -> Option<RoomId> {
        room_of(self.feed, self.row.n)
    }

    /// The entry's place.
    pub fn seq(&self) -> Seq {
        self.row.seq
    }
}

/// Of an event about several rooms, which names none. No room has this id: it is no entry.
const NO_ROOM: RoomId = RoomId(0);

/// The room that an event in a feed names, whose place there has this number.
pub(crate) fn room_of(feed: Feed, n: u64) -> Option<RoomId> {
    match feed {
        Feed::Room(room) => Some(room),
        Feed::Account(_) | Feed::Server => match FeedKey::from_number(n)? {
            FeedKey::Room(room) => Some(room),
            FeedKey::Rooms => Some(NO_ROOM),
        },
    }
}

/// A part of what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColdPage {
    /// In rising order of their entries.
    pub events: Vec<ColdEvent>,
    /// Nothing is missing up to here.
    pub upto: Seq,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadAnswer {
    /// For `Locate`: in the order asked; `None` where there is no such message.
    Located(Vec<Option<Seq>>),
    /// For `Events` and `Messages`.
    Page(ColdPage),
    /// For `Entries`: in the order asked.
    Entries(Vec<Checked>),
    /// For `Find`.
    Found(Found),
}

impl ReadAnswer {
    pub(crate) fn located(self) -> Result<Vec<Option<Seq>>, ReadError> {
        if let ReadAnswer::Located(found) = self { Ok(found) } else { Err(ReadError::OtherAnswer) }
    }

    pub(crate) fn page(self) -> Result<ColdPage, ReadError> {
        if let ReadAnswer::Page(page) = self { Ok(page) } else { Err(ReadError::OtherAnswer) }
    }

    pub(crate) fn entries(self) -> Result<Vec<Checked>, ReadError> {
        if let ReadAnswer::Entries(entries) = self { Ok(entries) } else { Err(ReadError::OtherAnswer) }
    }

    pub(crate) fn found(self) -> Result<Found, ReadError> {
        if let ReadAnswer::Found(found) = self { Ok(found) } else { Err(ReadError::OtherAnswer) }
    }
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The view did not come up to date in time.
    #[error("the view is not up to date yet")]
    ViewBehind,
    /// More wait than can be answered.
    #[error("too many questions wait for the disk; try again")]
    Full,
    /// The memory for clients is used up, or the allocator has none for an answer.
    #[error("no memory is left for what would be read; try again")]
    NoMemory,
    /// It was stopped when its time was over.
    #[error(
        "looking for it took longer than {ms} ms and was stopped; ask for more or longer words, or add in:ROOM or after:DATE"
    )]
    OverTime {
        /// How much time it had, ms.
        ms: u64,
    },
    /// The disk, or what is on it.
    #[error("the journal cannot be read: {0}")]
    Unreadable(String),
    /// A defect of the program that drives the hub.
    #[error("the answer from the disk was of another kind")]
    OtherAnswer,
}
