//! The line that is being typed, and the lines that were sent. Keys in, what to do out; nothing is drawn here.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::{Input, InputRequest};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Longest line that can be typed: 4 KiB, as in a terminal that edits lines itself. Further characters are ignored; a pipe has
/// no limit.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Bytes of sent lines that are kept; the oldest go first.
const HISTORY_BYTES_MAX: usize = 64 << 10;

/// What a key means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    /// The line looks different now.
    Edited,
    /// A line to send, without its end.
    Line(String),
    /// No more lines follow.
    EndInput,
    EndProgram,
    Suspend,
    ClearScreen,
}

/// A line under construction.
#[derive(Debug, Default)]
pub(super) struct Line {
    input: Input,
    history: VecDeque<String>,
    history_bytes: usize,
    /// The shown line of the history; its length: the line that is typed.
    place: usize,
    /// What was typed before the history was looked at.
    draft: String,
}

impl Line {
    pub(super) fn press(&mut self, key: KeyEvent) -> Pressed {
        use InputRequest as Edit;
        let is_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let is_alt = key.modifiers.contains(KeyModifiers::ALT);
        let edit = match (key.code, is_ctrl, is_alt) {
            (KeyCode::Enter, ..) | (KeyCode::Char('j' | 'm'), true, _) => return Pressed::Line(self.take()),
            (KeyCode::Char('c'), true, _) => return Pressed::EndProgram,
            (KeyCode::Char('d'), true, _) if self.input.value().is_empty() => return Pressed::EndInput,
            (KeyCode::Char('z'), true, _) => return Pressed::Suspend,
            (KeyCode::Char('l'), true, _) => return Pressed::ClearScreen,
            (KeyCode::Up, ..) | (KeyCode::Char('p'), true, _) => {
                self.show_history(self.place.saturating_sub(1));
                return Pressed::Edited;
            }
            (KeyCode::Down, ..) | (KeyCode::Char('n'), true, _) => {
                self.show_history(self.place + 1);
                return Pressed::Edited;
            }
            (KeyCode::Left, true, _) | (KeyCode::Char('b'), _, true) => Edit::GoToPrevWord,
            (KeyCode::Right, true, _) | (KeyCode::Char('f'), _, true) => Edit::GoToNextWord,
            (KeyCode::Left, ..) | (KeyCode::Char('b'), true, _) => Edit::GoToPrevChar,
            (KeyCode::Right, ..) | (KeyCode::Char('f'), true, _) => Edit::GoToNextChar,
            (KeyCode::Home, ..) | (KeyCode::Char('a'), true, _) => Edit::GoToStart,
            (KeyCode::End, ..) | (KeyCode::Char('e'), true, _) => Edit::GoToEnd,
            (KeyCode::Backspace, _, true) | (KeyCode::Char('w'), true, _) => Edit::DeletePrevWord,
            (KeyCode::Char('d'), _, true) => Edit::DeleteNextWord,
            (KeyCode::Backspace, ..) | (KeyCode::Char('h'), true, _) => Edit::DeletePrevChar,
            (KeyCode::Delete, ..) | (KeyCode::Char('d'), true, _) => Edit::DeleteNextChar,
            (KeyCode::Char('u'), true, _) => Edit::DeleteFromStart,
            (KeyCode::Char('k'), true, _) => Edit::DeleteTillEnd,
            (KeyCode::Char('y'), true, _) => Edit::Yank,
            (KeyCode::Tab, ..) => Edit::InsertChar('\t'),
            (KeyCode::Char(c), false, false) => Edit::InsertChar(c),
            _ => return Pressed::Edited,
        };
        let grows = matches!(edit, Edit::InsertChar(_) | Edit::Yank);
        if !grows || self.input.value().len() < LINE_BYTES_MAX {
            self.input.handle(edit);
        }
        Pressed::Edited
    }

    fn take(&mut self) -> String {
        let line = self.input.value_and_reset();
        let is_new = self.history.back() != Some(&line);
        if !line.is_empty() && is_new {
            self.history_bytes += line.len();
            self.history.push_back(line.clone());
            while self.history_bytes > HISTORY_BYTES_MAX
                && let Some(oldest) = self.history.pop_front()
            {
                self.history_bytes -= oldest.len();
            }
        }
        self.place = self.history.len();
        self.draft.clear();
        line
    }

    fn show_history(&mut self, place: usize) {
        let place = place.min(self.history.len());
        if place == self.place {
            return;
        }
        if self.place == self.history.len() {
            self.draft = self.input.value().to_owned();
        }
        self.place = place;
        self.input = Input::new(self.history.get(place).unwrap_or(&self.draft).clone());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.input.value().is_empty()
    }

    /// The part of the line that fits into these columns, with the cursor in it, and the cursor's column.
    pub(super) fn view(&self, columns: usize) -> (String, usize) {
        // The cursor can be behind the last character.
        let columns = columns.saturating_sub(1).max(1);
        let scroll = self.input.visual_scroll(columns);
        let (mut at, mut shown) = (0, String::new());
        for grapheme in self.input.value().graphemes(true) {
            let width = grapheme.width();
            if at >= scroll && at + width <= scroll + columns {
                shown.push_str(&printable(grapheme));
            }
            at += width;
        }
        (shown, self.input.visual_cursor().saturating_sub(scroll))
    }
}

/// A text with a picture for each control character, of the same width: `␉` for a tab.
pub(super) fn printable(text: &str) -> String {
    let picture = |c: char| match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(' '),
        '\u{7f}' => '␡',
        c if vang_proto::terminal::speaks_to_terminal(c) => '�',
        c => c,
    };
    text.chars().map(picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(line: &mut Line, keys: &[KeyCode]) -> Vec<Pressed> {
        keys.iter()
            .map(|code| line.press((*code).into()))
            .filter(|pressed| *pressed != Pressed::Edited)
            .collect()
    }

    fn typed(line: &mut Line, text: &str) -> Vec<Pressed> {
        let keys: Vec<KeyCode> =
            text.chars().map(|c| if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) }).collect();
        press(line, &keys)
    }

    fn ctrl(line: &mut Line, key: char) -> Pressed {
        line.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL))
    }

    #[test]
    fn a_line_is_edited_and_sent() {
        let mut line = Line::default();
        typed(&mut line, "hllo wrld");
        press(&mut line, &[KeyCode::Home, KeyCode::Right]);
        typed(&mut line, "e");
        ctrl(&mut line, 'e');
        ctrl(&mut line, 'w');
        assert_eq!(typed(&mut line, "chào 🐶\n"), [Pressed::Line("hello chào 🐶".to_owned())]);
        assert!(line.is_empty());
        assert_eq!(ctrl(&mut line, 'd'), Pressed::EndInput);
        typed(&mut line, "x");
        press(&mut line, &[KeyCode::Home]);
        assert_eq!((ctrl(&mut line, 'd'), line.is_empty()), (Pressed::Edited, true));
        assert_eq!(ctrl(&mut line, 'c'), Pressed::EndProgram);
        assert_eq!(typed(&mut line, "\n"), [Pressed::Line(String::new())]);
    }

    #[test]
    fn sent_lines_come_back_and_the_draft_is_kept() {
        let mut line = Line::default();
        typed(&mut line, "one\ntwo\ntwo\ndraft");
        let shows = |line: &mut Line, key| {
            press(line, &[key]);
            line.view(80).0
        };
        let up_down = [KeyCode::Up, KeyCode::Up, KeyCode::Up, KeyCode::Down, KeyCode::Down, KeyCode::Down];
        let shown = up_down.map(|key| shows(&mut line, key));
        assert_eq!(shown, ["two", "one", "one", "two", "draft", "draft"]);
        press(&mut line, &[KeyCode::Up, KeyCode::Up]);
        assert_eq!(typed(&mut line, " more\n"), [Pressed::Line("one more".to_owned())]);
        assert_eq!(shows(&mut line, KeyCode::Up), "one more");
    }

    #[test]
    fn history_and_line_are_bounded() {
        let mut line = Line::default();
        for number in 10..30 {
            typed(&mut line, &format!("{number}{}", "x".repeat(LINE_BYTES_MAX)));
            assert_eq!(line.input.value().len(), LINE_BYTES_MAX);
            typed(&mut line, "\n");
        }
        assert_eq!((line.history.len(), line.history_bytes), (16, HISTORY_BYTES_MAX));
    }

    #[test]
    fn the_cursor_is_always_in_view() {
        let mut line = Line::default();
        typed(&mut line, "0123456789");
        assert_eq!(line.view(80), ("0123456789".to_owned(), 10));
        assert_eq!(line.view(5), ("6789".to_owned(), 4));
        press(&mut line, &[KeyCode::Home]);
        assert_eq!(line.view(5), ("0123".to_owned(), 0));
        let mut line = Line::default();
        typed(&mut line, "chào 🐶🐶");
        assert_eq!(line.view(80), ("chào 🐶🐶".to_owned(), 9));
        press(&mut line, &[KeyCode::Tab]);
        assert_eq!(line.view(80), ("chào 🐶🐶␉".to_owned(), 10));
        // A terminal of no width.
        assert!(line.view(0).1 <= 1);
    }
}
