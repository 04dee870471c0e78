//! The server's feed: how far it is. What stands in it follows from rooms, and is in the view.

use crate::{Access, Feed, FeedKey, Place, Places, Seq};

/// As hash and snapshot contain it: one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerFeed {
    /// Its newest entry; 0 before the first.
    pub(crate) seq: Seq,
}

impl ServerFeed {
    /// Everybody who follows the server's feed sees this entry.
    pub(crate) fn show(&mut self, seq: Seq, key: FeedKey, places: &mut Places) {
        let before = std::mem::replace(&mut self.seq, seq);
        places.push(Place { feed: Feed::Server, n: key.number(), before, access: Access::Public });
    }
}
