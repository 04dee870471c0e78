//! What the rules know of a name: keyed hashes of what it is and of what it looks like, and in which scripts it is written.
//! All of it is made at the door and stands in the entry, with the version of the tables it comes from: the rules compare it, so
//! that a program with newer Unicode tables decides old entries alike.

use std::collections::BTreeSet;
use std::fmt;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use smallvec::SmallVec;

use crate::{NameKey, Refusal};

/// The name of a room or an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Name {
    /// Names of one kind with the same key are one name.
    #[n(0)]
    pub key: NameKey,
    /// What it looks like as it is shown, and in small letters. Often both are the same.
    #[n(1)]
    pub looks: [LookKey; 2],
    #[n(2)]
    pub scripts: Scripts,
    /// The Unicode version, major and minor, of the tables that gave looks and scripts. No rule asks for it.
    #[n(3)]
    pub unicode: [u8; 2],
}

impl Name {
    /// A name that looks like no other: for those who have only a key.
    pub fn only(key: NameKey) -> Box<Name> {
        let looks = [LookKey(key.0); 2];
        Box::new(Name { key, looks, scripts: Scripts::ANY, unicode: [0, 0] })
    }
}

/// What a name looks like: a keyed hash of its skeleton (UTS 39, section 4), which is the same for names that people take for
/// each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct LookKey(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl fmt::Debug for LookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookKey({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// A script's code by ISO 15924, as `Latn`.
pub type ScriptCode = [u8; 4];

/// Scripts that a name can have beside others: of Han there are four (Han, and how Chinese, Japanese and Korean are written).
const SCRIPTS_MAX: usize = 4;

/// The scripts in each of which all of a name can be written: its resolved script set (UTS 39, section 5.1), in the order of
/// their codes. The code of a name that all scripts can write, as one of digits, is that of characters common to them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scripts {
    /// Codes, one behind the other, then zeros.
    codes: [ScriptCode; SCRIPTS_MAX],
}

impl Scripts {
    /// No script can write all of it, as a name of Latin and Han.
    pub const NONE: Scripts = Scripts { codes: [[0; 4]; SCRIPTS_MAX] };

    /// Every script can write all of it, as a name of digits.
    pub const ANY: Scripts = Scripts { codes: [*b"Zyyy", [0; 4], [0; 4], [0; 4]] };

    /// With more scripts than fit it is `NONE`. So is a name without any letter of its own script, as one of a mark that many
    /// Indian scripts use.
    pub fn new(codes: impl IntoIterator<Item = ScriptCode>) -> Scripts {
        let mut sorted: SmallVec<[ScriptCode; SCRIPTS_MAX]> = codes.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut scripts = Scripts::NONE;
        if sorted.len() <= SCRIPTS_MAX {
            scripts.codes[..sorted.len()].copy_from_slice(&sorted);
        }
        scripts
    }

    /// What `as_str` gave, or nothing else.
    pub fn parse(text: &str) -> Option<Scripts> {
        let (codes, rest) = text.as_bytes().as_chunks();
        let is_list = rest.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        Some(Scripts::new(codes.iter().copied())).filter(|scripts| is_list && scripts.as_str() == text)
    }

    /// The codes, one behind the other.
    pub fn as_str(&self) -> &str {
        let bytes = self.codes.as_flattened();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        str::from_utf8(&bytes[..end]).unwrap_or_default()
    }

    /// Is there a script that can write both names?
    pub fn share_one(&self, other: &Scripts) -> bool {
        if *self == Scripts::NONE || *other == Scripts::NONE {
            return false;
        }
        let is_any = *self == Scripts::ANY || *other == Scripts::ANY;
        is_any || self.codes.iter().any(|code| *code != [0; 4] && other.codes.contains(code))
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scripts({})", self.as_str())
    }
}

impl<C> Encode<C> for Scripts {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Scripts {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Scripts, minicbor::decode::Error> {
        Scripts::parse(d.str()?).ok_or_else(|| minicbor::decode::Error::message("not a list of scripts"))
    }
}

/// What the names of one kind look like. Follows from the names; no part of the state's hash nor of its snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    /// With the same look there are at most a few sets of scripts, however many names: each two have a script in common.
    known: BTreeSet<(LookKey, Scripts)>,
    scripts: BTreeSet<Scripts>,
}

impl Looks {
    pub(crate) fn add(&mut self, name: &Name) {
        self.known.extend(name.looks.map(|look| (look, name.scripts)));
        self.scripts.insert(name.scripts);
    }

    /// Can the name be told from all others? In one script people can do that themselves, and `modem` is not `modern`.
    pub(crate) fn check(&self, name: &Name) -> Result<(), Refusal> {
        let is_like = |look: LookKey| {
            let mut same = self.known.range((look, Scripts::NONE)..).take_while(|(there, _)| *there == look);
            same.any(|(_, scripts)| !scripts.share_one(&name.scripts))
        };
        if name.looks.into_iter().any(is_like) { Err(Refusal::NameConfusable) } else { Ok(()) }
    }

    /// Is any name written in other scripts? If not, there is no need to ask what a name looks like.
    pub(crate) fn has_other_scripts(&self, scripts: &Scripts) -> bool {
        self.scripts.iter().any(|there| !there.share_one(scripts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_as_they_are_written_and_in_no_other_form() {
        let han = Scripts::new([*b"Kore", *b"Hani", *b"Jpan", *b"Hanb", *b"Hani"]);
        assert_eq!(han.as_str(), "HanbHaniJpanKore");
        for scripts in [han, Scripts::ANY, Scripts::NONE, Scripts::new([*b"Latn"])] {
            assert_eq!(Scripts::parse(scripts.as_str()), Some(scripts));
        }
        for bad in ["Lat", "LatnL", "LatnCyrl", "LatnLatn", "AaaaBbbbCcccDdddEeee", "éée", "éé", "\0\0\0\0"]
        {
            assert_eq!(Scripts::parse(bad), None, "{bad}");
        }
        assert_eq!(Scripts::new((b'A'..=b'E').map(|first| [first, b'a', b'a', b'a'])), Scripts::NONE);
    }

    #[test]
    fn names_are_in_one_script_if_one_can_write_both() {
        let scripts = |codes: &str| Scripts::parse(codes).unwrap_or_else(|| panic!("{codes}"));
        let [latin, cyrillic] = ["Latn", "Cyrl"].map(scripts);
        let [han, kana, hangul] = ["HanbHaniJpanKore", "HiraJpan", "HangKore"].map(scripts);
        let (any, none) = (Scripts::ANY, Scripts::NONE);
        for (one, other, expected) in [
            (latin, latin, true),
            (latin, cyrillic, false),
            (han, kana, true),
            (han, hangul, true),
            (kana, hangul, false),
            (any, any, true),
            (any, latin, true),
            (any, none, false),
            (none, none, false),
            (none, latin, false),
        ] {
            assert_eq!(one.share_one(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.share_one(&one), expected, "{other:?} {one:?}");
        }
    }
}
