//! An entry that a room's readers see, as the view keeps it.

use vang_chat::{Access, Principal, Seq};

/// The longest `EventData`, bytes: a kind and a room's access need 3.
const DATA_BYTES_MAX: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub seq: Seq,
    /// A message's number; for other events the room's newest number at that time.
    pub n: u64,
    pub class: EventClass,
    pub who: Principal,
    pub data: EventData,
}

impl EventRow {
    pub fn is_message(&self) -> bool {
        matches!(self.class, EventClass::Message(_))
    }
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
}

impl std::fmt::Debug for EventData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
