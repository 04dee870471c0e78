//! Lines of text as a person or a careless program sends them: too long, without an end, with bytes that are no text.

use super::hostile;
use super::random::Random;

/// Lines, and what is wrong with them.
pub(super) fn generate(random: &mut Random) -> (String, Vec<u8>) {
    let (what, bytes): (&str, Vec<u8>) = match random.below(9) {
        0 => ("a long line", vec![b'a'; 1 + hostile::length(random)]),
        1 => ("a line without an end", hostile::text(random).into_bytes()),
        2 => ("line ends of other kinds", {
            let end = *random.pick(&["\r", "\n\r", "\r\r\n", "\u{85}", "\u{2028}", "\0"]);
            format!("one{end}two{end}three{end}\n").into_bytes()
        }),
        3 => (
            "thousands of empty lines",
            random.pick(&["\n", "\r\n"]).repeat(1 + random.below(5_000)).into_bytes(),
        ),
        4 => ("a line that is not UTF-8", [b"ada\n", &hostile::not_utf8(random)[..], b"\n"].concat()),
        5 => ("NUL bytes", [b"ada\n", &vec![0; 1 + random.below(300)][..], b"\n"].concat()),
        6 => ("commands with hostile arguments", {
            let command = *random
                .pick(&["/join", "/topic", "/find", "/help", "/quit", "/", "//", "/\u{1b}", "QUIT", "USER"]);
            format!("ada\n{command} {}\n", hostile::text(random)).into_bytes()
        }),
        7 => ("hostile texts", {
            let texts: String = (0..1 + random.below(8)).map(|_| hostile::text(random) + "\n").collect();
            texts.into_bytes()
        }),
        _ => ("random bytes", {
            let len = 1 + random.below(600);
            random.bytes(len)
        }),
    };
    (what.to_owned(), bytes)
}

/// A line that servers of lines answer: a name to a chat server, a text to an echo server.
pub(super) fn honest() -> Vec<u8> {
    b"ada\n".to_vec()
}
