//! What clients stand in: the network, what has become of the journal, and what everybody may know.
//! Here every byte that reaches a client is looked at for what it may not see (P9).

use std::collections::{BTreeMap, BTreeSet};

use vang_proto::Frame;

use crate::fate::Fate;
use crate::model::Model;
use crate::wire::Lines;

/// An older copy that was put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetBack {
    /// Runs of the server up to this one knew what was lost.
    pub(crate) before: u32,
    /// The last entry that was kept.
    pub(crate) to: u64,
    /// Openings of the journal that were lost.
    pub(crate) openings: usize,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Chance, time, record.
    pub(crate) fate: Fate,
    /// The network.
    pub(crate) lines: Lines,
    /// What is true.
    pub(crate) model: Model,
    /// Which run of the server this is.
    pub(crate) run: u32,
    /// The last entry that the server knows of.
    pub(crate) applied: u64,
    /// Can the server be called?
    pub(crate) is_up: bool,
    /// Was it told to stop?
    pub(crate) is_stopping: bool,
    /// Older copies that were put back.
    pub(crate) set_backs: Vec<SetBack>,
    /// Events as every reader must get them: hash of the bytes by their place.
    pub(crate) frames: BTreeMap<u64, u64>,
    /// Rooms that anybody may talk of.
    pub(crate) public: Vec<String>,
    /// Private rooms that were made, by their marks.
    pub(crate) private: BTreeMap<u64, String>,
    /// Accounts that members may bring into private rooms.
    pub(crate) guests_of_rooms: Vec<String>,
    /// Makes marks, ids and names that are used once.
    pub(crate) next_mark: u64,
}

/// What begins every mark of what is private.
const MARK: &[u8] = b"zq";

impl Scene {
    /// A new mark.
    pub(crate) fn mark(&mut self) -> u64 {
        self.next_mark += 1;
        self.next_mark
    }

    /// Is what a run of the server said of this entry still so?
    pub(crate) fn survives(&self, run: u32, seq: u64) -> bool {
        self.common(run, seq) == seq
    }

    /// How far somebody who was told up to `seq` by this run agrees with the journal as it is.
    pub(crate) fn common(&self, run: u32, seq: u64) -> u64 {
        let after = self.set_backs.iter().filter(|back| back.before >= run);
        after.map(|back| back.to).fold(seq, u64::min)
    }

    /// Have so many openings been lost since that nothing in common need be known?
    pub(crate) fn may_be_lost(&self, run: u32) -> bool {
        let after = self.set_backs.iter().filter(|back| back.before >= run);
        after.map(|back| back.openings).sum::<usize>() >= vang_hub::limits::EPOCH_OPENINGS
    }

    /// The same event is the same bytes for every reader.
    pub(crate) fn check_bytes(&mut self, seq: u64, frame: &Frame) {
        let print = crate::fate::print(crate::fate::print(7, frame.header.json()), &frame.content);
        let first = *self.frames.entry(seq).or_insert(print);
        assert_eq!(first, print, "event {seq} is not the same bytes for every reader");
    }

    /// P9: is there anything in this frame that this client may not see? `typed`: marks that it wrote
    /// itself and may get back.
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
                self.fate.count("private mark seen by who may");
                self.check_mark(who, account, typed, kind, mark);
            }
        }
    }

    fn check_mark(&self, who: &str, account: Option<u64>, typed: &BTreeSet<u64>, kind: u8, mark: u64) {
        match kind {
            b'r' => {
                let allowed = typed.contains(&mark) || self.model.knows(account, &private_room(mark));
                assert!(allowed, "{who} was told the name of private room {mark}");
            }
            b'm' => {
                let allowed = self.model.posted(&private_word(mark)).iter().any(|posted| {
                    posted
                        .audience
                        .as_ref()
                        .is_none_or(|inside| account.is_some_and(|one| inside.contains(&one)))
                });
                assert!(allowed, "{who} was told private message {mark}");
            }
            b'v' => {
                let other = self.model.account(&veiled_name(mark));
                let shares = |one, other| one == other || self.model.share_a_room(one, other);
                let allowed = typed.contains(&mark)
                    || other.is_none_or(|other| account.is_some_and(|one| shares(one, other)));
                assert!(allowed, "{who} was told of member {mark} of a private room");
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

/// The name of a private room with this mark.
pub(crate) fn private_room(mark: u64) -> String {
    format!("zqr{mark}zq")
}

/// The first word of a private message with this mark.
pub(crate) fn private_word(mark: u64) -> String {
    format!("zqm{mark}zq")
}

/// The name of a veiled person with this mark.
pub(crate) fn veiled_name(mark: u64) -> String {
    format!("zqv{mark}zq")
}
