//! The lines of `/help`. They are made once: a client that asks for nothing else must cost no more than what it is sent.

use std::sync::LazyLock;

use crate::vang::ACTIONS;

/// What can be typed beside the forms of the table of actions.
const OTHER_FORMS: &[(&str, &str)] = &[
    ("/topic", "Show the topic"),
    ("/topic -", "Remove the topic"),
    ("/history [N]", "Show the last messages"),
    ("/nick NAME", "Change your name, before your first message"),
    ("/help", "Show this"),
    ("/quit", "End the connection"),
];

/// All lines, each with its end as the peer ends its own.
pub(super) fn text(line_end: &str) -> &'static str {
    static WITH_LF: LazyLock<String> = LazyLock::new(|| lines("\n"));
    static WITH_CRLF: LazyLock<String> = LazyLock::new(|| lines("\r\n"));
    if line_end == "\n" { &WITH_LF } else { &WITH_CRLF }
}

fn lines(line_end: &str) -> String {
    let message = format!(
        "-- type a message and press Enter: it goes to the room joined last; to begin with /, type //{line_end}"
    );
    let forms = ACTIONS.iter().filter_map(|info| Some((info.typed?, info.about)));
    let forms = forms.chain(OTHER_FORMS.iter().copied());
    forms.fold(message, |text, (form, about)| text + &format!("-- {form:<14}{about}{line_end}"))
}
