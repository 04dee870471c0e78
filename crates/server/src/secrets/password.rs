//! Passwords: which new ones are allowed, and their verifiers of Argon2id (RFC 9106), written as PHC strings:
//!
//! ```text
//! $argon2id$v=19$m=19456,t=2,p=1$salt$hash      salt of 16 bytes, hash of 32, in base64 without padding
//! ```
//!
//! **As bytes** a password is what RFC 8265 calls an OpaqueString: other spaces become U+0020, then Unicode's form NFC; no
//! letter is folded. So a keyboard that sends `e` with an accent behind it and one that sends `é` mean the same. NFC and not
//! NFKC, which SASLprep (RFC 4013) takes: it makes different passwords alike, `²` and `2`. A new password has no control
//! characters and none that Unicode has not assigned, since its next version may give those another NFC form. It may have
//! joiners and variation selectors, unlike in the RFC: emoji and Persian are typed with them.
//!
//! **A new one** follows NIST SP 800-63B: at least 8 characters, none of the commonest, not the account's name, and no rules
//! of composition. These rules hold for new passwords only: whoever has one can sign in.
//!
//! **What a file says is not believed.** A verifier whose numbers would cost more memory or time than any program of ours
//! ever asked for is refused, and not run.

use std::fmt;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_public_assigned;
use vang_proto::Secret;
use zeroize::Zeroizing;

/// What new verifiers cost: 19 MiB and 22 ms of one processor here (a Xeon with AVX2). It is one of the choices that OWASP's
/// Password Storage Cheat Sheet calls equal. Its 46 MiB with one pass take 67 ms here, and RFC 9106's second choice, 64 MiB
/// with 3 passes, 170 ms: a small machine, with one thread for this, would check 6 passwords a second instead of 45. One
/// lane: the library computes lanes one after the other, so more of them would only help whoever guesses on many processors.
pub(crate) const CURRENT: Cost = Cost { memory_kib: 19 << 10, passes: 2, lanes: 1 };

/// A verifier with more memory than 64 MiB is refused: RFC 9106's second choice. A thread of the pool never takes more.
pub(crate) const MEMORY_KIB_MAX: u32 = 64 << 10;

/// More passes than in any recommendation.
const PASSES_MAX: u32 = 10;

const LANES_MAX: u32 = 4;

/// Memory times passes: RFC 9106's second choice, five times what `CURRENT` takes.
const WORK_KIB_MAX: u32 = 192 << 10;

const _: () = assert!(CURRENT.memory_kib <= MEMORY_KIB_MAX && CURRENT.passes <= PASSES_MAX);
const _: () = assert!(CURRENT.lanes <= LANES_MAX && CURRENT.memory_kib * CURRENT.passes <= WORK_KIB_MAX);
const _: () = assert!(MEMORY_KIB_MAX as u64 * PASSES_MAX as u64 <= u32::MAX as u64);

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// The longest verifier within the bounds above has 141 bytes.
pub(crate) const VERIFIER_BYTES_MAX: usize = 160;

/// Bytes of a password: 1 KiB. A longer one is refused before it costs anything; the longest phrase that somebody types is
/// far below.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;

/// Characters of a new password, of NIST SP 800-63B.
pub(crate) const PASSWORD_CHARS_MIN: usize = 8;

/// The commonest ones of at least 8 characters, in lower case and sorted; sequences and repetitions are found without it.
const COMMON: &str = include_str!("common_passwords.txt");

/// Memory, passes and lanes of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={},t={},p={}", self.memory_kib, self.passes, self.lanes)
    }
}

/// A new password is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("the password is empty; it must have at least {PASSWORD_CHARS_MIN} characters")]
    Empty,
    #[error(
        "the password has {found} characters; it must have at least {PASSWORD_CHARS_MIN}: several words are easy to remember"
    )]
    TooShort { found: usize },
    #[error("the password has {found} bytes; it can have at most {PASSWORD_BYTES_MAX}")]
    TooLong { found: usize },
    #[error("the password contains a control character (a tab or a line break, for instance); leave it out")]
    Control,
    #[error("the password contains a character that Unicode has not assigned; leave it out")]
    Unassigned,
    #[error("the password is one of the first that are guessed; choose another, such as several words")]
    Common,
    #[error("the password is the account's name; choose another, such as several words")]
    IsName,
}

/// What a verifier's text is refused for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VerifierError {
    #[error("a verifier is malformed: {0}")]
    Malformed(&'static str),
    #[error(
        "a verifier asks for {cost}; allowed are at most m={MEMORY_KIB_MAX}, t={PASSES_MAX}, p={LANES_MAX} and m × t = {WORK_KIB_MAX}"
    )]
    TooCostly { cost: Cost },
}

/// A hash could not be computed. It says nothing about the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    #[error("there is no memory to check a password: {0} KiB are needed")]
    NoMemory(u32),
    #[error("a new password needs random numbers, and the system gave none: {0}")]
    NoRandom(String),
    #[error(transparent)]
    Verifier(#[from] VerifierError),
}

/// A new password that the rules allow.
#[derive(Clone, Debug)]
pub(crate) struct NewPassword(Prepared);

impl NewPassword {
    /// Checks the rules; `name` is the account's. Its cost is in proportion to the password's bytes, of which at most
    /// `PASSWORD_BYTES_MAX` are looked at.
    pub(crate) fn new(password: &Secret, name: &str) -> Result<NewPassword, PasswordError> {
        if password.is_empty() {
            return Err(PasswordError::Empty);
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong { found: password.len() });
        }
        if password.expose().chars().any(char::is_control) {
            return Err(PasswordError::Control);
        }
        if !password.expose().chars().all(is_public_assigned) {
            return Err(PasswordError::Unassigned);
        }
        let prepared = Prepared::new(password);
        let text = prepared.0.expose();
        let found = text.chars().count();
        if found < PASSWORD_CHARS_MIN {
            return Err(PasswordError::TooShort { found });
        }
        let folded = Zeroizing::new(text.to_lowercase());
        if is_name(&folded, &name.to_lowercase()) {
            return Err(PasswordError::IsName);
        }
        if is_common(&folded) {
            return Err(PasswordError::Common);
        }
        Ok(NewPassword(prepared))
    }
}

/// The name, or the name with digits and marks behind it.
fn is_name(folded: &str, name: &str) -> bool {
    let behind = folded.strip_prefix(name);
    !name.is_empty() && behind.is_some_and(|behind| !behind.chars().any(char::is_alphabetic))
}

/// One of the list, or characters that are all the same or all follow each other.
fn is_common(folded: &str) -> bool {
    let follow_by = |step: i64| {
        let pairs = folded.chars().zip(folded.chars().skip(1));
        let mut steps = pairs.map(|(a, b)| i64::from(u32::from(b)) - i64::from(u32::from(a)));
        steps.all(|found| found == step)
    };
    // In "1234567890" the last one begins again.
    let is_sequence = |text: &str| "123456789012345678901234567890".contains(text);
    COMMON.lines().any(|common| common == folded)
        || [-1, 0, 1].into_iter().any(follow_by)
        || is_sequence(folded)
}

/// A password in the one form in which it is hashed.
#[derive(Clone, Debug)]
struct Prepared(Secret);

impl Prepared {
    fn new(password: &Secret) -> Prepared {
        // NFC of a character has at most three times its bytes (UAX 15): the text never moves, which would leave a copy.
        let mut text = String::with_capacity(3 * password.len());
        text.extend(password.expose().chars().map(space).nfc());
        Prepared(Secret::new(text))
    }

    fn bytes(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

/// Every space is U+0020 (Unicode's category Zs; RFC 8265, section 4.2.2).
fn space(char: char) -> char {
    match char {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    }
}

/// What proves a password: a PHC string within the bounds of this file. It is a secret itself, since passwords can be
/// guessed against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verifier(Secret);

/// The numbers of a verifier.
struct Parts {
    cost: Cost,
    params: Params,
    salt: Salt,
    hash: Output,
}

impl Verifier {
    /// Reads what was stored.
    pub(crate) fn parse(text: &str) -> Result<Verifier, VerifierError> {
        let verifier = Verifier(Secret::new(text.to_owned()));
        verifier.parts()?;
        Ok(verifier)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.expose()
    }

    fn parts(&self) -> Result<Parts, VerifierError> {
        let malformed = VerifierError::Malformed;
        if self.0.len() > VERIFIER_BYTES_MAX {
            return Err(malformed("it is longer than any"));
        }
        let phc = PasswordHash::new(self.as_str()).map_err(|_| malformed("it is not a PHC string"))?;
        if phc.algorithm != ARGON2ID_IDENT || phc.version != Some(Version::V0x13.into()) {
            return Err(malformed("it is not of Argon2id in version 19"));
        }
        let params =
            Params::try_from(&phc).map_err(|_| malformed("its parameters are not those of Argon2id"))?;
        if !params.keyid().is_empty() || !params.data().is_empty() {
            return Err(malformed("it names a key or data of another program"));
        }
        let cost = Cost { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() };
        let work = u64::from(cost.memory_kib) * u64::from(cost.passes);
        if cost.memory_kib > MEMORY_KIB_MAX
            || cost.passes > PASSES_MAX
            || cost.lanes > LANES_MAX
            || work > u64::from(WORK_KIB_MAX)
        {
            return Err(VerifierError::TooCostly { cost });
        }
        let salt =
            phc.salt.filter(|salt| salt.len() >= SALT_BYTES).ok_or(malformed("its salt is too short"))?;
        let hash = phc.hash.filter(|hash| hash.len() == HASH_BYTES);
        let hash = hash.ok_or(malformed("its hash is not of 32 bytes"))?;
        Ok(Parts { cost, params, salt, hash })
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    No,
    Yes,
    /// Yes, against a verifier that costs less than today's. This one is to be stored instead.
    YesButOld(Verifier),
}

/// Makes and checks verifiers. Each call takes as long as its `Cost` says: not for the thread that decides.
pub(crate) struct Hasher {
    cost: Cost,
    /// What is checked when there is no verifier, so that the time does not tell which accounts there are. No password is
    /// known that fits, and if one did, the answer would be no.
    dummy: Verifier,
}

impl Hasher {
    /// With `CURRENT`; tests take less.
    pub(crate) fn new(cost: Cost) -> Hasher {
        let dummy = phc(cost, &[0; SALT_BYTES], &[0; HASH_BYTES]);
        Hasher { cost, dummy }
    }

    /// The verifier of a new password.
    pub(crate) fn make(&self, password: &NewPassword) -> Result<Verifier, HashError> {
        self.make_of(&password.0)
    }

    fn make_of(&self, password: &Prepared) -> Result<Verifier, HashError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| HashError::NoRandom(error.to_string()))?;
        let hash = run(params(self.cost), password, &salt)?;
        Ok(phc(self.cost, &salt, &*hash))
    }

    /// Is this the account's password? `None`: there is no such account, or it has no password; this takes as long.
    pub(crate) fn check(&self, verifier: Option<&Verifier>, password: &Secret) -> Result<Checked, HashError> {
        // The asker knows how long his own password is.
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Ok(Checked::No);
        }
        let prepared = Prepared::new(password);
        let Parts { cost, params, salt, hash } = verifier.unwrap_or(&self.dummy).parts()?;
        let found = run(params, &prepared, &salt)?;
        let is_same = verify_slices_are_equal(&*found, hash.as_bytes()).is_ok();
        if !is_same || verifier.is_none() {
            return Ok(Checked::No);
        }
        if cost.memory_kib < self.cost.memory_kib || cost.passes < self.cost.passes {
            return Ok(self.make_of(&prepared).map_or(Checked::Yes, Checked::YesButOld));
        }
        Ok(Checked::Yes)
    }
}

fn params(cost: Cost) -> Params {
    let Cost { memory_kib, passes, lanes } = cost;
    Params::new(memory_kib, passes, lanes, Some(HASH_BYTES)).expect("a cost is a constant of this program")
}

fn run(params: Params, password: &Prepared, salt: &[u8]) -> Result<Zeroizing<[u8; HASH_BYTES]>, HashError> {
    let memory_kib = params.m_cost();
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    match argon2.hash_password_into(password.bytes(), salt, &mut *hash) {
        Ok(()) => Ok(hash),
        Err(argon2::Error::OutOfMemory) => Err(HashError::NoMemory(memory_kib)),
        Err(_) => Err(VerifierError::Malformed("Argon2id refuses it").into()),
    }
}

fn phc(cost: Cost, salt: &[u8], hash: &[u8]) -> Verifier {
    let params = params(cost);
    let text = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: (&params).try_into().expect("the parameters are those of `params`"),
        salt: Some(Salt::new(salt).expect("a salt has 16 bytes")),
        hash: Some(Output::new(hash).expect("a hash has 32 bytes")),
    };
    Verifier(Secret::new(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn allowed(text: &str) -> Result<NewPassword, PasswordError> {
        NewPassword::new(&secret(text), "ada")
    }

    fn made(hasher: &Hasher, text: &str) -> Verifier {
        hasher.make(&allowed(text).unwrap()).unwrap()
    }

    #[test]
    fn only_the_password_fits_its_verifier() {
        let hasher = Hasher::new(SMALL);
        let verifier = made(&hasher, "correct horse");
        let check = |text: &str| hasher.check(Some(&verifier), &secret(text)).unwrap();
        assert_eq!(check("correct horse"), Checked::Yes);
        for other in ["", "correct", "correct horse ", "Correct horse", "correct  horse", &"x".repeat(1_025)]
        {
            assert_eq!(check(other), Checked::No, "{other:?}");
        }
        assert_ne!(verifier, made(&hasher, "correct horse"), "each has its own salt");
    }

    #[test]
    fn nobody_signs_in_without_a_verifier() {
        let hasher = Hasher::new(SMALL);
        assert_eq!(hasher.check(None, &secret("correct horse")), Ok(Checked::No));
        assert_eq!(hasher.dummy.parts().unwrap().cost, SMALL, "and it costs as much as another");
    }

    #[test]
    fn a_verifier_of_lower_cost_is_made_anew_when_the_password_fits() {
        let raised = Cost { passes: 2, ..SMALL };
        let (before, now) = (Hasher::new(SMALL), Hasher::new(raised));
        let old = made(&before, "correct horse");
        assert_eq!(now.check(Some(&old), &secret("correct hors")), Ok(Checked::No));
        let Ok(Checked::YesButOld(new)) = now.check(Some(&old), &secret("correct horse")) else {
            panic!("not made anew")
        };
        assert_eq!(new.parts().unwrap().cost, raised);
        assert_eq!(now.check(Some(&new), &secret("correct horse")), Ok(Checked::Yes));
        // An older program does not lower it.
        assert_eq!(before.check(Some(&new), &secret("correct horse")), Ok(Checked::Yes));
    }

    #[test]
    fn a_password_is_the_same_from_every_keyboard() {
        let hasher = Hasher::new(SMALL);
        for (set, typed) in [
            ("caf\u{e9} au lait", "cafe\u{301} au lait"),
            ("cafe\u{301} au lait", "caf\u{e9} au lait"),
            ("two words", "two\u{a0}words"),
            ("two\u{3000}words", "two words"),
            ("mật khẩu của tôi", "ma\u{302}\u{323}t kha\u{302}\u{309}u cu\u{309}a to\u{302}i"),
        ] {
            let verifier = made(&hasher, set);
            assert_eq!(hasher.check(Some(&verifier), &secret(typed)), Ok(Checked::Yes), "{typed}");
        }
        let verifier = made(&hasher, "m² per head");
        assert_eq!(hasher.check(Some(&verifier), &secret("m2 per head")), Ok(Checked::No));
    }

    #[test]
    fn a_new_password_follows_the_rules() {
        use PasswordError::{Common, Control, Empty, IsName, TooLong, TooShort, Unassigned};
        let long = "long enough ".repeat(100);
        for (text, refusal) in [
            ("", Empty),
            ("7 chars", TooShort { found: 7 }),
            // Eight bytes more than characters.
            ("ééééééé", TooShort { found: 7 }),
            ("e\u{301}e\u{301}e\u{301}e\u{301}", TooShort { found: 4 }),
            (&long, TooLong { found: 1_200 }),
            ("with a\ttab", Control),
            ("with a line\n", Control),
            ("not \u{378} assigned", Unassigned),
            ("password", Common),
            ("PassWord123", Common),
            ("matkhau123", Common),
            ("11111111", Common),
            ("12345678", Common),
            ("1234567890", Common),
            ("hgfedcba", Common),
            ("ADA-1815!", IsName),
        ] {
            assert_eq!(allowed(text).unwrap_err(), refusal, "{text:?}");
        }
        for text in [
            "8 chars!",
            "adamantine",
            "correct horse",
            "密码密码密码密码",
            "👩‍💻👩‍💻👩‍💻 emoji",
            &"x y".repeat(341),
        ] {
            assert!(allowed(text).is_ok(), "{text:?}");
        }
        let nameless = NewPassword::new(&secret("correct horse"), "");
        assert!(nameless.is_ok());
    }

    #[test]
    fn the_list_of_common_passwords_has_what_it_can_find() {
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!(lines.is_sorted() && lines.len() > 100);
        for line in lines {
            assert!(line.chars().count() >= PASSWORD_CHARS_MIN && line == line.to_lowercase(), "{line}");
        }
    }

    #[test]
    fn a_verifier_with_absurd_numbers_is_refused() {
        let salt = "c29tZXNhbHRzb21lc2FsdA";
        let hash = "UIKKzXoTxIY3hPYcXjhBR1EYhUTWZ2PdWmOkWVsYzPA";
        let parse = |text: String| Verifier::parse(&text).map(|_| ());
        assert_eq!(parse(format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")), Ok(()));
        assert_eq!(parse(format!("$argon2id$v=19$m=65536,t=3,p=4${salt}${hash}")), Ok(()));
        for cost in
            ["m=65537,t=1,p=1", "m=4294967295,t=1,p=1", "m=8,t=11,p=1", "m=65536,t=4,p=1", "m=64,t=1,p=5"]
        {
            let refused = parse(format!("$argon2id$v=19${cost}${salt}${hash}"));
            assert!(matches!(refused, Err(VerifierError::TooCostly { .. })), "{cost}: {refused:?}");
        }
        for text in [
            String::new(),
            "password".to_owned(),
            format!("$argon2i$v=19$m=64,t=1,p=1${salt}${hash}"),
            format!("$argon2id$v=16$m=64,t=1,p=1${salt}${hash}"),
            format!("$argon2id$m=64,t=1,p=1${salt}${hash}"),
            format!("$argon2id$v=19$m=0,t=1,p=1${salt}${hash}"),
            format!("$argon2id$v=19$m=64,t=0,p=1${salt}${hash}"),
            format!("$argon2id$v=19$m=64,t=1,p=0${salt}${hash}"),
            format!("$argon2id$v=19$m=99999999999,t=1,p=1${salt}${hash}"),
            format!("$argon2id$v=19$m=64,t=1,p=1,keyid=Hj5+dsK0${salt}${hash}"),
            format!("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ${hash}"),
            format!("$argon2id$v=19$m=64,t=1,p=1${salt}$UIKKzXoTxIY3hPYcXjhBRw"),
            format!("$argon2id$v=19$m=64,t=1,p=1${salt}"),
            format!("$argon2id$v=19$m=64,t=1,p=1${salt}${hash}{hash}{hash}"),
        ] {
            let refused = parse(text.clone());
            assert!(matches!(refused, Err(VerifierError::Malformed(_))), "{text}: {refused:?}");
        }
    }

    #[test]
    fn the_current_cost_is_written_as_phc() {
        let verifier = made(&Hasher::new(CURRENT), "correct horse");
        assert!(verifier.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", verifier.as_str());
        assert!(!format!("{verifier:?}").contains("argon2"), "it is a secret");
        assert!(verifier.as_str().len() <= VERIFIER_BYTES_MAX);
    }
}
