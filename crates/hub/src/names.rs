//! What a name is, and who has which. Names are people's words: they are payload, shown to readers;
//! the rules only know a keyed hash of a name's canonical form.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use vang_chat::{AccountId, NameKey, RoomId};
use vang_journal::hash;
use vang_proto::limits::NAME_BYTES_MAX;

/// Not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing, or too much.
    #[error("a name of {len} bytes; it must be 1 to {NAME_BYTES_MAX}")]
    Length {
        /// Bytes of UTF-8.
        len: usize,
    },
    /// Something that no name has.
    #[error(
        "a name with {found:?} at byte {at}; it may have letters, digits, marks, '-', '_' and '.', and begins with a letter or digit"
    )]
    Character {
        /// Which.
        found: char,
        /// Where.
        at: usize,
    },
}

/// Makes the keys of names and ids. Keyed with the journal's own key.
#[derive(Clone)]
pub struct NameMaker {
    key: [u8; 32],
}

impl NameMaker {
    /// With the journal's key.
    pub fn new(key: [u8; 32]) -> NameMaker {
        NameMaker { key }
    }

    /// A name as it is shown (NFC), and its key: equal for names that are equal after NFKC and
    /// lower case.
    pub fn make(&self, typed: &str) -> Result<(String, NameKey), BadName> {
        // Looked at before normalising: that can make text much longer.
        if typed.is_empty() || typed.len() > NAME_BYTES_MAX {
            return Err(BadName::Length { len: typed.len() });
        }
        for (at, found) in typed.char_indices() {
            let inside =
                found.is_alphanumeric() || is_combining_mark(found) || matches!(found, '-' | '_' | '.');
            let allowed = if at == 0 { found.is_alphanumeric() } else { inside };
            if !allowed {
                return Err(BadName::Character { found, at });
            }
        }
        // ASCII is what it is in every normal form, and nearly every name is ASCII.
        let (shown, canonical) = if typed.is_ascii() {
            (typed.to_owned(), typed.to_ascii_lowercase())
        } else {
            (typed.nfc().collect(), typed.nfkc().flat_map(char::to_lowercase).nfkc().collect())
        };
        // A few characters become longer when they are normalised; what is shown must be a name too.
        if shown.len() > NAME_BYTES_MAX {
            return Err(BadName::Length { len: shown.len() });
        }
        Ok((shown, NameKey(self.hash("name", canonical.as_bytes()))))
    }

    /// A keyed hash of anything that must not be readable in the journal.
    pub(crate) fn hash(&self, what: &str, bytes: &[u8]) -> [u8; 16] {
        first_half(hash(Some(&self.key), &[what.as_bytes(), &[0], bytes]))
    }

    /// A hash of what is sent, keyed with the id that it is sent under (see `SendId`).
    pub(crate) fn print(&self, id: &str, parts: [&[u8]; 3]) -> [u8; 16] {
        let key = hash(Some(&self.key), &[b"print\0", id.as_bytes()]);
        let [a, b, c] = parts;
        let len = |part: &[u8]| (part.len() as u64).to_le_bytes();
        first_half(hash(Some(&key), &[&len(a), a, &len(b), b, &len(c), c]))
    }
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

/// Who has which name.
#[derive(Clone, Debug, Default)]
pub struct Book {
    rooms: HashMap<RoomId, String>,
    /// The same the other way round: a name typed as it is shown needs no key to be found.
    rooms_by_name: HashMap<String, RoomId>,
    accounts: HashMap<AccountId, String>,
}

impl Book {
    /// With the names that the tables know.
    pub fn new(rooms: Vec<(RoomId, String)>, accounts: Vec<(AccountId, String)>) -> Book {
        let rooms_by_name = rooms.iter().map(|(room, name)| (name.clone(), *room)).collect();
        Book { rooms: rooms.into_iter().collect(), rooms_by_name, accounts: accounts.into_iter().collect() }
    }

    pub(crate) fn add_room(&mut self, room: RoomId, name: String) {
        if let Some(old) = self.rooms.insert(room, name.clone()) {
            self.rooms_by_name.remove(&old);
        }
        self.rooms_by_name.insert(name, room);
    }

    pub(crate) fn add_account(&mut self, account: AccountId, name: String) {
        self.accounts.insert(account, name);
    }

    /// The room that is shown by exactly this name.
    pub(crate) fn room_shown_as(&self, name: &str) -> Option<RoomId> {
        self.rooms_by_name.get(name).copied()
    }

    /// A room's name; one whose name was erased goes by its id.
    pub fn room(&self, room: RoomId) -> std::borrow::Cow<'_, str> {
        match self.rooms.get(&room) {
            Some(name) => name.as_str().into(),
            None => format!("room-{}", room.0).into(),
        }
    }

    /// An account's name; one whose name was erased goes by its id.
    pub fn account(&self, account: AccountId) -> std::borrow::Cow<'_, str> {
        match self.accounts.get(&account) {
            Some(name) => name.as_str().into(),
            None => format!("account-{}", account.0).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_to_a_person_are_one_name() {
        let maker = NameMaker::new([7; 32]);
        let key = |typed| maker.make(typed).map(|(_, key)| key);
        assert_eq!(key("Đồng"), key("đồng"));
        assert_eq!(key("cho\u{301}"), key("chó"));
        assert_eq!(key("ＡＤＡ"), key("ada"));
        assert_ne!(key("ada"), key("adá"));
        assert_eq!(maker.make("cho\u{301}").unwrap().0, "chó");
    }

    #[test]
    fn what_is_no_name_is_told_where() {
        let maker = NameMaker::new([7; 32]);
        assert_eq!(maker.make("").unwrap_err(), BadName::Length { len: 0 });
        assert_eq!(maker.make(&"x".repeat(65)).unwrap_err(), BadName::Length { len: 65 });
        assert_eq!(maker.make(&"\u{958}".repeat(21)).unwrap_err(), BadName::Length { len: 126 });
        for (bad, found, at) in [("a b", ' ', 1), ("-a", '-', 0), ("a\u{7}", '\u{7}', 1), ("a#b", '#', 1)] {
            assert_eq!(maker.make(bad).unwrap_err(), BadName::Character { found, at });
        }
    }
}
