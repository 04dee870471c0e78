//! What a name is, and who has which. Names are people's words: they are payload, shown to readers;
//! the rules only know keyed hashes of a name's canonical form and of what it looks like.
//!
//! Which names people take for each other, and which scripts may stand in one name, is defined by UTS 39 (Unicode Security
//! Mechanisms): sections 4, 5.1 and 5.2. Its tables are in the crate `unicode-security`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_script::{Script, UnicodeScript};
use unicode_security::mixed_script::AugmentedScriptSet;
use unicode_security::{UNICODE_VERSION, skeleton};
use vang_chat::{AccountId, LookKey, Name, NameKey, Principal, RoomId, ScriptCode, Scripts, SendId, State};
use vang_journal::hash;
use vang_proto::limits::NAME_BYTES_MAX;
use vang_proto::vang::Speaker;
use vang_view::TextOf;

/// Not a name. The text continues `the name '…'`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("is empty; {NAME_RULE}")]
    Empty,
    #[error("has {len} bytes; at most {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Bytes of UTF-8.
        len: usize,
    },
    /// Something that no name has.
    #[error("has {}; {NAME_RULE}", in_words(*found))]
    Character { found: char },
    /// Something that is allowed, but not there.
    #[error("starts with '{found}'; {NAME_RULE}")]
    Start { found: char },
    /// Something that nobody sees (Unicode's Default_Ignorable_Code_Point): two names would look like one.
    #[error("has the invisible character U+{:04X}, which is not allowed", u32::from(*found))]
    Invisible { found: char },
    /// Letters that look alike could stand for each other in it. More than UTS 39 calls "moderately restrictive" (5.2).
    #[error("mixes letters of different scripts ({}); {SCRIPT_RULE}", found.join(", "))]
    MixedScripts {
        /// The scripts' names, in the order of their first letters.
        found: Vec<&'static str>,
    },
    /// An account or a room of this name would pass for the server, for those without an account, or for several people.
    #[error("is reserved; choose another name")]
    Reserved,
    #[error("looks like '{word}', which is reserved; choose another name")]
    LikeReserved { word: &'static str },
}

const NAME_RULE: &str = "use letters, digits, - _ . and start with a letter or digit";

const SCRIPT_RULE: &str = "use one script, or Latin and one other (not Cyrillic or Greek)";

fn in_words(found: char) -> String {
    match found {
        ' ' => "a space".to_owned(),
        _ if found.is_control() || found.is_whitespace() => {
            format!("the character U+{:04X}", u32::from(found))
        }
        _ => format!("'{found}'"),
    }
}

/// So much of a typed text is looked at for a similar name, in characters.
const SIMILAR_CHARS_MAX: usize = 64;

/// A name that is similar to a text that is none: `ada-lovelace` for `ada lovelace`.
pub(crate) fn similar_name(typed: &str) -> Option<String> {
    let visible = typed.chars().take(SIMILAR_CHARS_MAX).filter(|c| !is_invisible(*c));
    let text: String = visible.map(|c| if is_inside(c) { c } else { '-' }).collect();
    let parts: Vec<&str> = text.split('-').filter(|part| !part.is_empty()).collect();
    let name = parts.join("-");
    let name = name.trim_start_matches(|c: char| !c.is_alphanumeric());
    (!name.is_empty() && name != typed && name.len() <= NAME_BYTES_MAX).then(|| name.to_owned())
}

/// May a name have this behind its first character?
fn is_inside(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c) || matches!(c, '-' | '_' | '.')
}

/// Names that no account and no room has: how the server shows itself, who gives no name, and what stands before a guest's; words
/// for a room, for everybody in it and for oneself; who runs the server, and who is gone.
const RESERVED: [&str; 12] = [
    "server", ANON, "guest", "room", "here", "all", "everyone", "channel", "me", "operator", "system",
    "deleted",
];

/// What the reserved words look like.
static RESERVED_LOOKS: LazyLock<[String; 12]> = LazyLock::new(|| RESERVED.map(look));

/// The guest name of a connection that gives none.
pub(crate) const ANON: &str = "anon";

/// Default_Ignorable_Code_Point (DerivedCoreProperties.txt): first and last of each range. All characters that change the
/// direction of text (Bidi_Control) are among them. Unassigned places are in it already, so it hardly grows; a test compares it with
/// the tables of `unicode-security`, which has them for itself only.
const INVISIBLE: [(char, char); 17] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

fn is_invisible(found: char) -> bool {
    INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&found))
}

/// What is equal for names that are one name: NFKC, its case folded (Unicode 16.0, 3.13, D146). Folding a letter may give
/// one that has another normal form, therefore twice.
fn folded(typed: &str) -> String {
    // ASCII is what it is in every normal form, and nearly every name is ASCII.
    if typed.is_ascii() {
        return typed.to_ascii_lowercase();
    }
    typed.nfd().default_case_fold().nfkc().default_case_fold().nfkc().collect()
}

/// What `folded` was before vang folded case: letters in lower case one by one, so that `ΣΑΣ` and `σας` were two names.
/// Keys of that time stay in journals.
fn lowered(typed: &str) -> String {
    typed.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

/// What a text looks like: texts that people take for each other have the same (UTS 39, section 4). Case is folded in between,
/// because capital letters can look alike where the small ones do not: `ВОТ` in Cyrillic letters is `BOT`, which is `bot` here. The
/// order in which right-to-left text is drawn is left out (`bidiSkeleton`): it makes texts of one script look alike, not of two.
fn look(text: &str) -> String {
    let drawn: String = skeleton(text).collect();
    skeleton(&folded(&drawn)).collect()
}

/// What a name looks like: as it is shown, and in small letters.
fn looks(shown: &str) -> [String; 2] {
    let (plain, small): (String, String) = (shown.nfkc().collect(), folded(shown));
    let as_small = look(&small);
    [if plain == small { as_small.clone() } else { look(&plain) }, as_small]
}

/// The scripts in each of which all of a name can be written, if it mixes no others than a name may.
pub(crate) fn scripts(shown: &str) -> Result<Scripts, NameError> {
    if shown.is_ascii() {
        let has_letter = shown.bytes().any(|byte| byte.is_ascii_alphabetic());
        return Ok(if has_letter { Scripts::new([*b"Latn"]) } else { Scripts::ANY });
    }
    // Another spelling of the same name has the same scripts.
    let name = folded(shown);
    let (mut all, mut beside_latin) = (AugmentedScriptSet::default(), AugmentedScriptSet::default());
    for set in name.chars().map(AugmentedScriptSet::for_char) {
        all.intersect_with(set);
        if !set.base.contains_script(Script::Latin) {
            beside_latin.intersect_with(set);
        }
    }
    if all.is_all() {
        return Ok(Scripts::ANY);
    }
    if !all.is_empty() {
        let augmented = [(all.hanb, *b"Hanb"), (all.jpan, *b"Jpan"), (all.kore, *b"Kore")];
        let augmented = augmented.into_iter().filter_map(|(has, code)| has.then_some(code));
        return Ok(Scripts::new(all.base.iter().map(code).chain(augmented)));
    }
    let is_east_asian = beside_latin.hanb || beside_latin.jpan || beside_latin.kore;
    let may_stand_beside_latin =
        |script: Script| script.is_recommended() && !matches!(script, Script::Cyrillic | Script::Greek);
    if is_east_asian || beside_latin.base.iter().any(may_stand_beside_latin) {
        return Ok(Scripts::NONE);
    }
    let mut found = Vec::new();
    for script in name.chars().map(|c| c.script()) {
        let is_common = matches!(script, Script::Common | Script::Inherited);
        if !is_common && !found.contains(&script.full_name()) {
            found.push(script.full_name());
        }
    }
    Err(NameError::MixedScripts { found })
}

fn code(script: Script) -> ScriptCode {
    script.as_iso15924_tag().to_be_bytes()
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

    /// A name as it is shown (NFC), and its key: equal for names that are equal after NFKC and folding of case.
    pub fn make(&self, typed: &str) -> Result<(String, NameKey), NameError> {
        // Looked at before normalising: that can make text much longer.
        if typed.is_empty() {
            return Err(NameError::Empty);
        }
        if typed.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { len: typed.len() });
        }
        for (at, found) in typed.char_indices() {
            match found {
                _ if is_invisible(found) => return Err(NameError::Invisible { found }),
                _ if !is_inside(found) => return Err(NameError::Character { found }),
                _ if at == 0 && !found.is_alphanumeric() => return Err(NameError::Start { found }),
                _ => {}
            }
        }
        let shown = if typed.is_ascii() { typed.to_owned() } else { typed.nfc().collect() };
        // A few characters become longer when they are normalised; what is shown must be a name too.
        if shown.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { len: shown.len() });
        }
        let key = self.key(&shown);
        Ok((shown, key))
    }

    /// The same for a new account or room, with what it looks like. What it looks like costs a few microseconds: it is made for
    /// new names only.
    pub fn make_new(&self, typed: &str) -> Result<(String, Box<Name>), NameError> {
        let (shown, key) = self.make(typed)?;
        let scripts = scripts(&shown)?;
        let looks = looks(&shown);
        if let Some(at) = RESERVED_LOOKS.iter().position(|word| looks.contains(word)) {
            let word = RESERVED[at];
            return Err(if folded(&shown) == word {
                NameError::Reserved
            } else {
                NameError::LikeReserved { word }
            });
        }
        Ok((shown, Box::new(self.name(key, &looks, scripts))))
    }

    /// A guest's name with what it looks like. The reserved words are no harm there: others see `guest:NAME`.
    pub(crate) fn guest(&self, shown: &str, key: NameKey, scripts: Scripts) -> Name {
        self.name(key, &looks(shown), scripts)
    }

    fn name(&self, key: NameKey, looks: &[String; 2], scripts: Scripts) -> Name {
        let (major, minor, _) = UNICODE_VERSION;
        let looks = [&looks[0], &looks[1]].map(|look| LookKey(self.hash("look", look.as_bytes())));
        Name { key, looks, scripts, unicode: [major as u8, minor as u8] }
    }

    /// The key of a name that may be older than today's rules.
    pub(crate) fn key(&self, name: &str) -> NameKey {
        NameKey(self.hash("name", folded(name).as_bytes()))
    }

    /// The key that this name had before case was folded, where that is another.
    pub(crate) fn old_key(&self, name: &str) -> Option<NameKey> {
        let old = lowered(name);
        (old != folded(name)).then(|| NameKey(self.hash("name", old.as_bytes())))
    }

    /// A keyed hash of anything that must not be readable in the journal.
    pub(crate) fn hash(&self, what: &str, bytes: &[u8]) -> [u8; 16] {
        first_half(hash(Some(&self.key), &[what.as_bytes(), &[0], bytes]))
    }

    /// The two hashes of a send's id: its key, and its print, a hash of what is sent. Both come from the id's keyed hash: the
    /// first half is the key and stands in the journal; the second half is stored nowhere and keys the print.
    pub(crate) fn send_id(&self, id: &str, parts: [&[u8]; 3]) -> SendId {
        let of_id = hash(Some(&self.key), &[b"id\0", id.as_bytes()]);
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(&of_id[16..]);
        let [a, b, c] = parts;
        let len = |part: &[u8]| (part.len() as u64).to_le_bytes();
        let print = hash(Some(&secret), &[&len(a), a, &len(b), b, &len(c), c]);
        SendId { key: first_half(of_id), print: first_half(print) }
    }
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

/// What a deleted account is called. No name has a space.
const DELETED: &str = "deleted account";

/// The names and the other texts of rooms and accounts.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Of those that have one: none is empty.
    texts: HashMap<TextOf, String, foldhash::fast::RandomState>,
    /// Names the other way round: a name typed as it is shown needs no key to be found.
    rooms_by_name: HashMap<String, RoomId>,
    accounts_by_name: HashMap<String, AccountId>,
    /// By today's key, those that the journal knows by an older one.
    old_rooms: HashMap<NameKey, RoomId>,
    old_accounts: HashMap<NameKey, AccountId>,
}

impl Book {
    /// With the texts that the view knows.
    pub fn new(texts: impl IntoIterator<Item = (TextOf, String)>) -> Book {
        let mut book = Book::default();
        texts.into_iter().for_each(|(of, text)| book.keep(of, text));
        book
    }

    /// Takes a text in place of the one before. Empty: there is none any more.
    pub(crate) fn keep(&mut self, of: TextOf, text: String) {
        let before = self.texts.remove(&of);
        if let TextOf::RoomName(room) = of {
            rename(&mut self.rooms_by_name, before.as_deref(), &text, room);
        }
        if let TextOf::AccountName(account) = of {
            rename(&mut self.accounts_by_name, before.as_deref(), &text, account);
        }
        if !text.is_empty() {
            self.texts.insert(of, text);
        }
    }

    /// Looks for names whose keys in the journal are older than today's rules, so that they are still reached: by exactly
    /// the name that is shown, and by every spelling of it that no other name has. Of several the oldest.
    pub(crate) fn find_old_keys(&mut self, names: &NameMaker, state: &State) {
        for (name, &room) in self.rooms_by_name.iter().filter(|(name, _)| !name.is_ascii()) {
            let key = names.key(name);
            if state.room_named(&key, &Principal::Operator) != Ok(room) {
                self.old_rooms.entry(key).and_modify(|old| *old = room.min(*old)).or_insert(room);
            }
        }
        for (name, &account) in self.accounts_by_name.iter().filter(|(name, _)| !name.is_ascii()) {
            let key = names.key(name);
            if state.account(&key) != Some(account) {
                self.old_accounts.entry(key).and_modify(|old| *old = account.min(*old)).or_insert(account);
            }
        }
    }

    /// The room that this key means, where the journal has another for it.
    pub(crate) fn old_room(&self, key: &NameKey) -> Option<RoomId> {
        self.old_rooms.get(key).copied()
    }

    /// The account that this key means, where the journal has another for it.
    pub(crate) fn old_account(&self, key: &NameKey) -> Option<AccountId> {
        self.old_accounts.get(key).copied()
    }

    /// The account that is shown by exactly this name.
    pub(crate) fn account_shown_as(&self, name: &str) -> Option<AccountId> {
        self.accounts_by_name.get(name).copied()
    }

    /// The room that is shown by exactly this name.
    pub(crate) fn room_shown_as(&self, name: &str) -> Option<RoomId> {
        self.rooms_by_name.get(name).copied()
    }

    /// The text, if there is one.
    pub(crate) fn text(&self, of: TextOf) -> Option<&str> {
        self.texts.get(&of).map(String::as_str)
    }

    /// A room's name; one whose name was erased goes by its id.
    pub fn room(&self, room: RoomId) -> Cow<'_, str> {
        match self.text(TextOf::RoomName(room)) {
            Some(name) => name.into(),
            None => format!("room-{}", room.0).into(),
        }
    }

    /// An account's name. A deleted one has none: all are called alike, as no name can be.
    pub fn account(&self, account: AccountId) -> Cow<'_, str> {
        self.text(TextOf::AccountName(account)).unwrap_or(DELETED).into()
    }

    /// Who somebody is to readers. Only here a principal becomes what is shown, in events, replies, lists and the status alike;
    /// how it is written is `Speaker`'s. A guest's name is not in the book: its connection knows it, or its message.
    pub(crate) fn speaker<'a>(&'a self, who: &Principal, guest: Option<&'a str>) -> Speaker<Cow<'a, str>> {
        match who {
            Principal::Account(account) => Speaker::Account(self.account(*account)),
            Principal::Guest(_) => Speaker::Guest(guest.unwrap_or(ANON).into()),
            Principal::Operator => Speaker::Operator,
        }
    }
}

fn rename<Id: Copy + PartialEq>(by_name: &mut HashMap<String, Id>, before: Option<&str>, name: &str, id: Id) {
    if let Some(before) = before
        && by_name.get(before) == Some(&id)
    {
        by_name.remove(before);
    }
    if !name.is_empty() {
        by_name.insert(name.to_owned(), id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_name_are_one_name() {
        let maker = NameMaker::new([7; 32]);
        let key = |typed| maker.make(typed).map(|(_, key)| key);
        assert_eq!(key("Đồng"), key("đồng"));
        assert_eq!(key("cho\u{301}"), key("chó"));
        assert_eq!(key("ＡＤＡ"), key("ada"));
        assert_ne!(key("ada"), key("adá"));
        assert_eq!(key("ΣΑΣ"), key("σας"));
        assert_eq!(key("STRASSE"), key("Straße"));
        assert_eq!(maker.make("cho\u{301}").unwrap().0, "chó");
        for name in
            ["Đặng-Thị-Hồng", "Nguyễn", "Phượng", "Ưu", "Nguyễn.Văn_A", "Ångström", "άλφα", "йод", "각", "が"]
        {
            let decomposed: String = name.nfd().collect();
            assert_eq!(maker.make_new(name).unwrap(), maker.make_new(&decomposed).unwrap(), "{name}");
        }
        // The dotless i is a letter of its own, in every language. A capital with a dot is an i with a dot.
        assert_eq!(key("I"), key("i"));
        assert_ne!(key("ı"), key("i"));
        assert_eq!(key("İ"), key("i\u{307}"));
        assert_ne!(key("İ"), key("i"));
    }

    #[test]
    fn a_name_has_letters_of_one_script_or_of_latin_and_another() {
        let maker = NameMaker::new([7; 32]);
        for (name, codes) in [
            ("ada", "Latn"),
            ("2024", "Zyyy"),
            ("1-2_3.4", "Zyyy"),
            ("Đặng-Thị-Hồng", "Latn"),
            ("ＡＤＡ", "Latn"),
            ("владимир-2", "Cyrl"),
            ("Ελλάδα", "Grek"),
            ("नमस्ते", "Deva"),
            ("ᏣᎳᎩ", "Cher"),
            ("東京", "HanbHaniJpanKore"),
            ("東京タワー", "Jpan"),
            ("ひらがなとカタカナと漢字", "Jpan"),
            ("ㄅㄆ", "BopoHanb"),
            ("漢字ㄅ", "Hanb"),
            ("한국어", "HangKore"),
            ("한국漢字", "Kore"),
            // Latin and another: no script can write all of it.
            ("東京tower", ""),
            ("東京タワー-tower", ""),
            ("漢字ㄅabc", ""),
            ("한국-abc", ""),
            ("नमस्ते-ada", ""),
            ("ada-ไทย", ""),
            // A mark that many scripts use, and no letter.
            ("1\u{951}", ""),
        ] {
            assert_eq!(maker.make_new(name).unwrap().1.scripts.as_str(), codes, "{name}");
        }
        for (name, first, second) in [
            ("аda", "Cyrillic", "Latin"),
            ("раypal", "Cyrillic", "Latin"),
            ("adа", "Latin", "Cyrillic"),
            ("megaω", "Latin", "Greek"),
            ("µtorrent", "Greek", "Latin"),
            ("ᏣᎳ-ada", "Cherokee", "Latin"),
            ("αа", "Greek", "Cyrillic"),
            ("한ひ", "Hangul", "Hiragana"),
            ("ひㄅ", "Hiragana", "Bopomofo"),
            ("אب", "Hebrew", "Arabic"),
        ] {
            let found = vec![first, second];
            assert_eq!(maker.make_new(name), Err(NameError::MixedScripts { found }), "{name}");
        }
        let refusal = maker.make_new("аda").unwrap_err().to_string();
        let expected = "mixes letters of different scripts (Cyrillic, Latin); use one script, or Latin and one other (not \
                        Cyrillic or Greek)";
        assert_eq!(refusal, expected);
        // The short way for ASCII finds what the tables say.
        for letter in (' '..='~').filter(|c| is_inside(*c)) {
            let all = AugmentedScriptSet::for_char(letter);
            let expected = if all.is_all() { Scripts::ANY } else { Scripts::new(all.base.iter().map(code)) };
            assert_eq!(scripts(&letter.to_string()), Ok(expected), "{letter}");
        }
    }

    /// Accounts of these names, in their order: which of them there are.
    fn accounts(names: &[&str]) -> Vec<Result<(), vang_chat::Refusal>> {
        use vang_chat::{AccountCommand, Command, Node, Position, Time};

        let maker = NameMaker::new([7; 32]);
        let mut state = State::default();
        let mut add = |name: &&str| {
            let at = Position { seq: state.seq().next(), time: Time(0), node: Node(1) };
            let (_, name) = maker.make_new(name).unwrap_or_else(|bad| panic!("the name '{name}' {bad}"));
            state
                .apply(at, &Command::Account(AccountCommand::Add { name, by: Principal::Operator }))
                .map(drop)
        };
        names.iter().map(&mut add).collect()
    }

    #[test]
    fn names_of_different_scripts_must_not_look_alike() {
        use vang_chat::Refusal::NameConfusable;

        // One of each pair is in Cyrillic or Greek letters, but for the last two.
        for (one, other) in [
            ("pay", "рау"),
            ("ada", "аԁа"),
            ("oca", "оса"),
            ("PAY", "рау"),
            ("pay", "РАУ"),
            // In capital letters only.
            ("bot", "ВОТ"),
            ("Tom", "ТОМ"),
            ("TOM", "ТОМ"),
            ("vo", "νο"),
            ("кот", "ΚΟΤ"),
            // Latin with a digit of another script, and with a digit that looks like it.
            ("a8", "a৪"),
            // A name of two scripts shares no script with another of the same two.
            ("go東京", "g0東京"),
        ] {
            assert_eq!(accounts(&[one, other]), [Ok(()), Err(NameConfusable)], "{one} {other}");
            assert_eq!(accounts(&[other, one]), [Ok(()), Err(NameConfusable)], "{other} {one}");
        }
        for (one, other) in [
            // In one script.
            ("modern", "modem"),
            ("go", "g0"),
            ("paypal", "paypa1"),
            ("Ian", "lan"),
            ("ısparta", "isparta"),
            ("adá", "ada"),
            ("11", "ll"),
            // Han and Katakana are both Japanese.
            ("カ", "力"),
            // They do not look alike in small letters, and are shown in these.
            ("bot", "вот"),
            ("tom", "том"),
            ("東京", "东京"),
        ] {
            assert_eq!(accounts(&[one, other]), [Ok(()), Ok(())], "{one} {other}");
        }
    }

    /// Letters that look alike, in several scripts and cases.
    fn look_alikes() -> impl Strategy<Value = String> {
        prop_oneof!["[aAoO0pPbBl1IirnmtT]{1,3}", "[аАоО0рРвВ1ІітТмМ]{1,3}", "[αΑοΟ0ρΡβΒ1ΙιτΤ]{1,3}"]
    }

    proptest! {
        #[test]
        fn whether_two_names_can_exist_does_not_depend_on_their_order(one in look_alikes(), other in look_alikes()) {
            let maker = NameMaker::new([7; 32]);
            prop_assume!(maker.make_new(&one).is_ok() && maker.make_new(&other).is_ok());
            prop_assert_eq!(accounts(&[&one, &other]), accounts(&[&other, &one]));
        }

        #[test]
        fn a_name_is_the_same_name_each_time_it_is_made(typed in any::<String>(), letters in "\\p{L}{1,12}") {
            let maker = NameMaker::new([7; 32]);
            for typed in [typed, letters] {
                let made = maker.make_new(&typed);
                prop_assert_eq!(&maker.make_new(&typed), &made);
                let Ok((shown, name)) = made else { continue };
                prop_assert_eq!(maker.make(&typed), Ok((shown.clone(), name.key)));
                prop_assert_eq!(maker.make_new(&shown), Ok((shown.clone(), name.clone())));
                // Another spelling has the same scripts, and looks the same in small letters.
                if let Ok((_, other)) = maker.make_new(&folded(&shown)) {
                    prop_assert_eq!((other.key, other.scripts, other.looks[1]), (name.key, name.scripts, name.looks[1]));
                }
            }
        }
    }

    #[test]
    fn what_nobody_sees_is_what_the_tables_say() {
        // A skeleton leaves out what nobody sees.
        let is_left_out = |c: char| skeleton(c.encode_utf8(&mut [0; 4])).next().is_none();
        let other: Vec<char> = ('\0'..=char::MAX).filter(|c| is_invisible(*c) != is_left_out(*c)).collect();
        assert_eq!(other, []);
        let directions = ["\u{61c}", "\u{200e}", "\u{200f}", "\u{202a}", "\u{202e}", "\u{2066}", "\u{2069}"];
        assert!(directions.iter().all(|direction| direction.chars().all(is_invisible)));
        assert_eq!(
            unicode_script::UNICODE_VERSION,
            UNICODE_VERSION,
            "looks and scripts come from one version"
        );
    }

    #[test]
    fn a_name_with_an_older_key_is_still_reached() {
        use vang_chat::{AccountCommand, Command, Node, Position, Seq, Time};

        let maker = NameMaker::new([7; 32]);
        let mut state = State::default();
        let shown = ["σας", "ΣΑΣ", "Straße", "đồng"];
        for (seq, name) in (1..).zip(shown) {
            let name = Name::only(maker.old_key(name).unwrap_or_else(|| maker.key(name)));
            let at = Position { seq: Seq(seq), time: Time(0), node: Node(1) };
            state
                .apply(at, &Command::Account(AccountCommand::Add { name, by: Principal::Operator }))
                .unwrap();
        }
        let names =
            (1..).zip(shown).map(|(seq, name)| (TextOf::AccountName(AccountId(seq)), name.to_owned()));
        let mut book = Book::new(names);
        book.find_old_keys(&maker, &state);
        let found = |typed: &str| {
            let key = maker.key(typed);
            book.account_shown_as(typed).or_else(|| state.account(&key)).or_else(|| book.old_account(&key))
        };
        // Both are one name today; each is still itself.
        assert_eq!((found("σας"), found("ΣΑΣ")), (Some(AccountId(1)), Some(AccountId(2))));
        assert_eq!((found("strasse"), found("STRASSE")), (Some(AccountId(3)), Some(AccountId(3))));
        assert_eq!(found("ĐỒNG"), Some(AccountId(4)));
        assert_eq!(book.old_account(&maker.key("đồng")), None, "its key is today's");
    }

    #[test]
    fn a_bad_name_is_refused_with_what_is_wrong() {
        let maker = NameMaker::new([7; 32]);
        assert_eq!(maker.make("").unwrap_err(), NameError::Empty);
        assert_eq!(maker.make(&"x".repeat(65)).unwrap_err(), NameError::TooLong { len: 65 });
        assert_eq!(maker.make(&"\u{958}".repeat(21)).unwrap_err(), NameError::TooLong { len: 126 });
        for (bad, found) in [("a b", ' '), (" a", ' '), ("a\u{7}", '\u{7}'), ("a#b", '#')] {
            assert_eq!(maker.make(bad).unwrap_err(), NameError::Character { found });
        }
        assert_eq!(maker.make("-a").unwrap_err(), NameError::Start { found: '-' });
        // One of each range, those that count as letters or marks among them.
        for (first, last) in INVISIBLE {
            for found in [first, last] {
                let bad = format!("ada{found}");
                assert_eq!(maker.make(&bad).unwrap_err(), NameError::Invisible { found });
            }
        }
        let refusal = maker.make("ada\u{34f}").unwrap_err().to_string();
        assert_eq!(refusal, "has the invisible character U+034F, which is not allowed");
        for (bad, similar) in [
            ("ada lovelace", Some("ada-lovelace")),
            ("#lab", Some("lab")),
            (" - _a--b! ", Some("a-b")),
            ("đồng nghiệp", Some("đồng-nghiệp")),
            ("ada\u{34f}", Some("ada")),
            ("!", None),
            ("", None),
        ] {
            assert_eq!(similar_name(bad).as_deref(), similar, "{bad}");
            assert!(similar.is_none_or(|similar| maker.make(similar).is_ok()), "{bad}");
        }
        assert!(similar_name(&"a ".repeat(1 << 16)).is_some_and(|name| name.len() <= NAME_BYTES_MAX));
    }

    #[test]
    fn reserved_words_and_what_looks_like_them_are_no_accounts_and_no_rooms() {
        let maker = NameMaker::new([7; 32]);
        for reserved in RESERVED.into_iter().chain(["Anon", "ＧＵＥＳＴ", "EVERYONE"]) {
            assert_eq!(maker.make_new(reserved), Err(NameError::Reserved), "{reserved}");
            // Guests are shown as guests.
            assert!(maker.make(reserved).is_ok());
        }
        for (like, word) in [
            ("roorn", "room"),
            ("a11", "all"),
            ("AII", "all"),
            ("0perator", "operator"),
            ("rne", "me"),
            ("ΑΝΟΝ", "anon"),
        ] {
            assert_eq!(maker.make_new(like), Err(NameError::LikeReserved { word }), "{like}");
        }
        for free in ["general", "rooms", "ada", "servers", "anonymous", "meme", "alle", "ops", "lab"] {
            assert!(maker.make_new(free).is_ok(), "{free}");
        }
    }
}
