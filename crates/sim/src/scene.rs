//! What all clients share: the network, the journal's history, and public knowledge. Every byte that reaches a
//! client is checked for what the client must not see (P9).

use std::collections::{BTreeMap, BTreeSet};

use vang_proto::Frame;

use crate::environment::Environment;
use crate::feeds::LostValue;
use crate::model::Model;
use crate::network::Network;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SetBack {
    /// The last run of the server that knew the lost entries.
    pub(crate) before: u32,
    /// The last kept entry.
    pub(crate) to: u64,
    /// Lost openings of the journal.
    pub(crate) openings: usize,
}

/// What all devices know of each other.
#[derive(Debug, Default)]
pub(crate) struct SharedSecrets {
    /// Codes of invitations, with their numbers.
    pub(crate) codes: Vec<(u64, String)>,
    /// Tokens, with the names of their accounts; also those that have ended.
    pub(crate) tokens: Vec<(String, String)>,
}

/// The shared state of all clients.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) env: Environment,
    pub(crate) network: Network,
    pub(crate) model: Model,
    /// The number of the server's run.
    pub(crate) run: u32,
    /// The server's last applied entry.
    pub(crate) applied: u64,
    /// Does the server accept connections?
    pub(crate) is_up: bool,
    pub(crate) is_stopping: bool,
    pub(crate) set_backs: Vec<SetBack>,
    /// What the set-backs lost of feeds with values.
    pub(crate) lost_values: Vec<LostValue>,
    /// A hash of each event's bytes, which every reader must get, by position.
    pub(crate) frames: BTreeMap<u64, u64>,
    /// Public rooms.
    pub(crate) public: Vec<String>,
    /// Private rooms by their marks.
    pub(crate) private: BTreeMap<u64, String>,
    /// Accounts that members can bring into private rooms.
    pub(crate) invitable: Vec<String>,
    /// The next unique mark, for ids and names.
    pub(crate) next_mark: u64,
    /// What those know who sign in.
    pub(crate) shared: SharedSecrets,
    /// Names that newcomers with a code give themselves.
    pub(crate) newcomers: Vec<String>,
}

/// The start of every private mark.
const MARK: &[u8] = b"zq";

impl Scene {
    pub(crate) fn mark(&mut self) -> u64 {
        self.next_mark += 1;
        self.next_mark
    }

    /// Does this entry, known by this run of the server, still exist?
    pub(crate) fn survives(&self, run: u32, seq: u64) -> bool {
        self.common(run, seq) == seq
    }

    /// The last common position of the journal and a reader that received up to `seq` from this run.
    pub(crate) fn common(&self, run: u32, seq: u64) -> u64 {
        let after = self.set_backs.iter().filter(|back| back.before >= run);
        after.map(|back| back.to).fold(seq, u64::min)
    }

    /// The server is set back to this entry: keeps which values are lost. The model still has them.
    pub(crate) fn lose_values_after(&mut self, to: u64) {
        for feed in self.model.keyed_feeds() {
            let lost = self.model.values(feed).into_iter().filter(|value| value.seen.seq > to);
            let keys: BTreeSet<u64> = lost.map(|value| value.key).collect();
            let lost = keys.into_iter().map(|key| LostValue { before: self.run, feed, key, to });
            self.lost_values.extend(lost);
        }
    }

    /// Were so many openings lost since that the server need not know a common position?
    pub(crate) fn may_be_lost(&self, run: u32) -> bool {
        let after = self.set_backs.iter().filter(|back| back.before >= run);
        after.map(|back| back.openings).sum::<usize>() >= vang_hub::limits::EPOCH_OPENINGS
    }

    /// Checks that an event has the same bytes for every reader.
    pub(crate) fn check_bytes(&mut self, seq: u64, frame: &Frame) {
        let print =
            crate::environment::print(crate::environment::print(7, frame.header.json()), &frame.content);
        let first = *self.frames.entry(seq).or_insert(print);
        assert_eq!(first, print, "event {seq} is not the same bytes for every reader");
    }

    /// P9: checks that this frame contains nothing that this client must not see. `typed`: marks that it wrote
    /// itself and can get back.
    pub(crate) fn check_secrets(
        &mut self,
        who: &str,
        account: Option<u64>,
        typed: &BTreeSet<u64>,
        frame: &Frame,
    ) {
        for bytes in [&frame.header.json()[..], &frame.content[..]] {
            let mut at = 0;
            while let Some(found) = find(&bytes[at..]) {
                at += found + MARK.len();
                let rest = &bytes[at..];
                let Some(&kind) = rest.first() else { continue };
                let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let text = std::str::from_utf8(&rest[1..=digits]).expect("digits");
                let Ok(mark) = text.parse::<u64>() else { continue };
                self.env.count("private mark seen by a member");
                self.check_mark(who, account, typed, kind, mark);
            }
        }
    }

    fn check_mark(&self, who: &str, account: Option<u64>, typed: &BTreeSet<u64>, kind: u8, mark: u64) {
        match kind {
            b'r' => {
                let allowed = typed.contains(&mark) || self.model.knows(account, &private_room(mark));
                assert!(allowed, "{who} received the name of private room {mark}");
            }
            b'm' => {
                let allowed = self.model.posted(&private_word(mark)).iter().any(|posted| {
                    posted
                        .audience
                        .as_ref()
                        .is_none_or(|inside| account.is_some_and(|one| inside.contains(&one)))
                });
                assert!(allowed, "{who} received private message {mark}");
            }
            b'v' => {
                let other = self.model.account(&hidden_name(mark));
                let shares = |one, other| one == other || self.model.share_a_room(one, other);
                let allowed = typed.contains(&mark)
                    || other.is_none_or(|other| account.is_some_and(|one| shares(one, other)));
                assert!(allowed, "{who} received the name of member {mark} of a private room");
            }
            _ => {}
        }
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == MARK[0]) {
        if bytes[from + at..].starts_with(MARK) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The name of the private room with this mark.
pub(crate) fn private_room(mark: u64) -> String {
    format!("zqr{mark}zq")
}

/// The first word of the private message with this mark.
pub(crate) fn private_word(mark: u64) -> String {
    format!("zqm{mark}zq")
}

/// The name of the `PrivateOnly` client with this mark.
pub(crate) fn hidden_name(mark: u64) -> String {
    format!("zqv{mark}zq")
}
