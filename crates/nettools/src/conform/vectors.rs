//! The vector files as cases; `crates/proto/vectors/README.md` describes their format.

use super::case::{Strictness, VectorCase};
use super::options::Profile;

const GUIDE: &str = include_str!("../../../proto/vectors/guide.txt");
const FRAMES: &str = include_str!("../../../proto/vectors/frames.txt");
const SESSION: &str = include_str!("../../../proto/vectors/session.txt");

/// One request, one response.
pub(super) fn guide() -> Vec<VectorCase> {
    let case = |[name, sent, expected]: [&str; 3]| VectorCase {
        name: name.to_owned(),
        sent: bytes(sent),
        expected: bytes(expected),
        strictness: Strictness::Guide,
        ends: true,
        is_abuse: false,
    };
    fields(GUIDE).map(case).collect()
}

/// The cases of one suite.
pub(super) fn of_guide(suite: &str) -> Vec<VectorCase> {
    guide().into_iter().filter(|case| suite_of(&case.name) == suite).collect()
}

fn suite_of(case: &str) -> &'static str {
    const OTHER_VALUES: &[&str] =
        &["none", "true", "false", "zero", "minus", "integer", "float", "list", "dict", "missing", "number"];
    let asks = case.starts_with("no-match-") || case.starts_with("invalid-action-");
    match case {
        _ if case.starts_with("encoding-") => "encodings",
        _ if asks && case.split('-').any(|word| OTHER_VALUES.contains(&word)) => "values",
        _ => "guide",
    }
}

/// A plain exchange: the first case.
pub(super) fn plain_exchange() -> VectorCase {
    guide().swap_remove(0)
}

/// Invalid messages. A vang server answers with an error. A tutorial server must only end the connection, and only cases
/// that every JSON parser rejects are used for it.
pub(super) fn frames(profile: Profile) -> Vec<VectorCase> {
    let clear = [
        "no-",
        "empty-object",
        "not-utf-8-first",
        "not-json-cut-object",
        "not-an-object",
        "content-length-negative",
    ];
    let is_meant = |[name, _, expectation]: &[&str; 3]| {
        expectation.starts_with("malformed: ")
            && (profile == Profile::Vang || clear.iter().any(|beginning| name.starts_with(beginning)))
    };
    let case = |[name, sent, _]: [&str; 3]| VectorCase {
        name: name.to_owned(),
        sent: bytes(sent),
        expected: Vec::new(),
        strictness: match profile {
            Profile::Guide => Strictness::EndsOnly,
            Profile::Vang => Strictness::Refused,
        },
        ends: true,
        is_abuse: true,
    };
    fields(FRAMES).filter(is_meant).map(case).collect()
}

/// Answers of a vang server.
pub(super) fn session() -> Vec<VectorCase> {
    let case = |[name, sent, expected, then]: [&str; 4]| {
        let sent = bytes(sent);
        // The vectors assume that the protocol is known. At a port for several protocols, a first message whose header does
        // not begin with `{` is refused as unknown.
        let is_recognized = sent.get(2) == Some(&b'{');
        let strictness = if is_recognized { Strictness::Vang } else { Strictness::Refused };
        let name = name.to_owned();
        VectorCase {
            name,
            sent,
            expected: bytes(expected),
            strictness,
            ends: then == "ends",
            is_abuse: false,
        }
    };
    // A case that waits for the rest of a message has no answer to compare.
    fields(SESSION).map(case).filter(|case| !case.expected.is_empty()).collect()
}

fn fields<const N: usize>(file: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let mut fields = line.splitn(N, "  ");
        std::array::from_fn(|_| fields.next().expect("the tests have read every line of these files"))
    })
}

/// `7b+20*60000+7d`: `7b`, 60,000 times the byte `20`, `7d`.
fn bytes(written: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for part in written.split('+').filter(|part| *part != "-") {
        let (hex, times) =
            part.split_once('*').map_or((part, 1), |(hex, times)| (hex, times.parse().unwrap_or(1)));
        let digits = hex.as_bytes().chunks_exact(2);
        let one: Vec<u8> =
            digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
        out.extend(std::iter::repeat_n(one, times).flatten());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_case() {
        assert!(guide().len() > 70 && session().len() > 80 && frames(Profile::Vang).len() > 60);
        assert!(frames(Profile::Guide).len() >= 10);
        assert_eq!(bytes("7b+20*3+7d"), b"{   }");
        assert_eq!(bytes("-"), b"");
        for case in guide().iter().chain(&session()) {
            let len = usize::from(u16::from_be_bytes([case.expected[0], case.expected[1]]));
            assert!(case.expected.len() >= 2 + len, "{}", case.name);
        }
        for case in frames(Profile::Vang) {
            assert!(!case.sent.is_empty(), "{}", case.name);
        }
    }
}
