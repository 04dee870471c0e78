//! An entry that a room's readers see, as the view keeps it.

use vang_chat::Seq;

/// The longest `EventData`, bytes: a kind and an id need 12.
const DATA_BYTES_MAX: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub seq: Seq,
    /// A message's number; for other events the room's newest number at that time.
    pub n: u64,
    pub message: bool,
    pub data: EventData,
}

/// What a reader needs to show the event beside its payload, as the hub encodes it. The view keeps it as it is.
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
