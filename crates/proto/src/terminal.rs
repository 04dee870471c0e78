//! What others said, on its way to a terminal: escape sequences could rewrite the screen or type into it,
//! so they are spelled out. Every text of somebody else's passes here before a person sees it.

/// A text of somebody else's: what speaks to a terminal instead of a reader is spelled out. Line ends and tabs
/// stay.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\t' => out.push(c),
            _ if speaks_to_terminal(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// The same in one line, for what stands in a line of ours: a name, an address.
pub fn harmless_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

/// Control characters (of which some begin escape sequences), other line ends, and what turns the direction of
/// writing for all that follows.
pub fn speaks_to_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON that is one line for everybody, and harmless on a terminal. Between values a control character is
/// a space; inside a string, where JSON allows the others, it is written as an escape.
pub fn one_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            _ if speaks_to_terminal(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

/// With every line but the first indented: none can be taken for a line of ours.
pub fn indented(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n{indent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_others_are_spelled_out() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{9b}1m\u{7}\u{7f}"), "a\\u{1b}[2Jb\\u{9b}1m\\u{7}\\u{7f}");
        assert_eq!(harmless("x\u{202e}y\u{2028}z"), "x\\u{202e}y\\u{2028}z");
        assert_eq!(harmless("one\r\ntwo\tthree\rfour"), "one\ntwo\tthree\\u{d}four");
        assert_eq!(harmless("xin chào 🐰"), "xin chào 🐰");
        assert_eq!(
            harmless_line("general#1\r\nada: hi\u{1b}\ttab\u{2028}"),
            "general#1 ada: hi\\u{1b} tab\\u{2028}"
        );
    }
}
