//! A snapshot of the state that is being written.

use vang_chat::SnapshotWriter;

#[derive(Debug)]
pub(crate) struct UnfinishedSnapshot {
    pub(crate) writer: SnapshotWriter,
    pub(crate) pieces: Vec<Vec<u8>>,
}
