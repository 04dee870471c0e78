//! Plays stories: every file of a crate's `tests/scripts`, each line with what comes of it. The tests of `chat` and of `hub`
//! use this file. `VANG_BLESS=1` writes down what happens instead of comparing; the diff is then to be reviewed like code.

use std::fmt::Write;
use std::path::Path;

/// Plays each script; `play` gets the name of its file and its text, and gives the text with what happened.
pub(crate) fn play_all(play: impl Fn(&str, &str) -> String) {
    // Of the crate that is tested: this file is compiled for each of them.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let bless = std::env::var_os("VANG_BLESS").is_some_and(|value| value == "1");
    let mut all = String::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let written = std::fs::read_to_string(&path).unwrap();
        let happened = play(&name, &written);
        if bless && written != happened {
            std::fs::write(&path, happened).unwrap();
        } else if written != happened {
            all += &differences(&name, &written, &happened);
        }
    }
    assert!(all.is_empty(), "rerun with VANG_BLESS=1 and review the diff\n{all}");
}

/// Every line that differs. Texts that differ have one at least: if it is only the end of the last line, that is said.
fn differences(name: &str, written: &str, happened: &str) -> String {
    let mut found = String::new();
    let (mut old, mut new) = (written.lines(), happened.lines());
    for number in 1.. {
        let (old, new) = (old.next(), new.next());
        if old.is_none() && new.is_none() {
            break;
        }
        if old != new {
            let [old, new] = [old, new].map(|line| line.unwrap_or("(the end)"));
            writeln!(found, "{name}:{number}\n  written:  {old}\n  happened: {new}").unwrap();
        }
    }
    if found.is_empty() {
        found = format!("{name}: the ends of lines differ\n");
    }
    found
}

#[test]
fn a_story_that_goes_on_or_ends_too_early_is_a_difference() {
    assert_eq!(differences("a", "1\n2\n", "1\n3\n"), "a:2\n  written:  2\n  happened: 3\n");
    assert_eq!(differences("a", "1\n2\n", "1\n"), "a:2\n  written:  2\n  happened: (the end)\n");
    assert_eq!(differences("a", "1\n", "1\n2\n"), "a:2\n  written:  (the end)\n  happened: 2\n");
    assert_eq!(differences("a", "1", "1\n"), "a: the ends of lines differ\n");
}
