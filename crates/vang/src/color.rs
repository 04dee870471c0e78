//! What a terminal can do, for every command and the server's log: whether output is coloured, and whether a line on the
//! screen can be drawn again. By NO_COLOR, CLICOLOR_FORCE and CLICOLOR (bixense.com/clicolors), and TERM.

use std::io::IsTerminal;

/// Starts and ends a style.
pub(crate) type Style = (&'static str, &'static str);

/// As it is.
pub(crate) const PLAIN: Style = ("", "");
/// Matches, as in `grep`.
pub(crate) const MATCH: Style = ("\x1b[1;31m", "\x1b[0m");
pub(crate) const BOLD: Style = ("\x1b[1m", "\x1b[0m");
/// What matters less.
pub(crate) const DIM: Style = ("\x1b[2m", "\x1b[0m");
/// What is missing.
pub(crate) const WARNING: Style = ("\x1b[33m", "\x1b[0m");

/// Names: the colours that can be read on dark and on light. Red is for matches and errors.
const NAMES: [Style; 5] = [
    ("\x1b[32m", "\x1b[0m"),
    ("\x1b[34m", "\x1b[0m"),
    ("\x1b[35m", "\x1b[0m"),
    ("\x1b[36m", "\x1b[0m"),
    ("\x1b[1m", "\x1b[0m"),
];

/// Is what goes there coloured?
pub(crate) fn is_wanted(stream: &impl IsTerminal) -> bool {
    decide(
        anstyle_query::no_color(),
        anstyle_query::clicolor_force(),
        anstyle_query::clicolor() != Some(false) && is_screen(stream),
    )
}

/// Can a line that was written there be erased and written again? Not on a terminal that says it is dumb.
pub(crate) fn is_screen(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && anstyle_query::term_supports_color()
}

fn decide(is_never: bool, is_always: bool, is_usual: bool) -> bool {
    !is_never && (is_always || is_usual)
}

/// The same for the same name, here and on every machine.
pub(crate) fn of_name(name: &str) -> Style {
    // FNV-1a: any hash does that never changes.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    NAMES[((hash >> 32) % NAMES.len() as u64) as usize]
}

/// A text in a style.
pub(crate) fn styled((start, end): Style, text: &str) -> String {
    format!("{start}{text}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_is_stronger_than_force_and_force_than_a_pipe() {
        assert!(decide(false, false, true) && decide(false, true, false));
        assert!(!decide(false, false, false) && !decide(true, true, true));
    }

    #[test]
    fn a_name_has_its_colour_and_names_differ() {
        let styles: Vec<Style> = ["ada", "bob", "cy", "guest:ada", "guest:bob"].map(of_name).to_vec();
        assert_eq!(of_name("ada"), styles[0]);
        assert!(styles.iter().any(|style| *style != styles[0]));
    }
}
