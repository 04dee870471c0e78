//! A QR code for a terminal. A character is two modules, one above the other, so that they are about square.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// How the light modules get light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Black on white by escape sequences, whatever the theme of the terminal is.
    Colors,
    /// Without escape sequences: right on a dark background. Most scanners read it on a light one, too.
    Plain,
}

/// The lines of the code, with the light margin that scanners need. `None`: the text is too long for a code.
pub(super) fn lines(text: &str, paint: Paint) -> Option<Vec<String>> {
    // A screen is not scratched or folded, so the lowest correction will do, and the code stays small.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let mut drawing = code.render::<Dense1x2>();
    if paint == Paint::Plain {
        // The blocks are what is bright.
        drawing.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    }
    let drawn = drawing.build();
    // 16 and 231 are black and white also where a theme changes the first sixteen colours.
    let painted = drawn.lines().map(|line| match paint {
        Paint::Colors => format!("\x1b[38;5;16;48;5;231m{line}\x1b[0m"),
        Paint::Plain => line.to_owned(),
    });
    Some(painted.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a scanner reads: each character is two modules; `ink` is what a block means.
    fn scanned(lines: &[String], ink_is_dark: bool) -> String {
        let rows: Vec<Vec<char>> = lines
            .iter()
            .map(|line| line.replace("\x1b[38;5;16;48;5;231m", "").replace("\x1b[0m", "").chars().collect())
            .collect();
        let is_dark = |x: usize, y: usize| {
            let (upper, lower) = match rows[y / 2][x] {
                ' ' => (false, false),
                '▀' => (true, false),
                '▄' => (false, true),
                '█' => (true, true),
                other => panic!("{other:?} is no part of a code"),
            };
            (if y.is_multiple_of(2) { upper } else { lower }) == ink_is_dark
        };
        // Scanners see pixels: five for each module.
        let (width, height) = (rows[0].len() * 5, rows.len() * 10);
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
            if is_dark(x / 5, y / 5) { 0 } else { 255 }
        });
        let found = picture.detect_grids();
        assert_eq!(found.len(), 1, "{lines:#?}");
        found[0].decode().unwrap().1
    }

    #[test]
    fn a_scanner_reads_the_same_url_in_both_paints() {
        for url in
            ["https://192.168.178.20:65432/", "https://[2001:db8:1234:5678:9abc:def0:1234:5678]:65432/"]
        {
            assert_eq!(scanned(&lines(url, Paint::Colors).unwrap(), true), url);
            assert_eq!(scanned(&lines(url, Paint::Plain).unwrap(), false), url);
        }
    }

    #[test]
    fn the_code_of_an_address_fits_on_a_small_terminal() {
        let lines = lines("https://192.168.178.20:65432/", Paint::Plain).unwrap();
        assert!(lines.len() <= 24 && lines[0].chars().count() <= 80, "{} lines", lines.len());
        assert!(super::lines(&"x".repeat(5_000), Paint::Plain).is_none());
    }
}
