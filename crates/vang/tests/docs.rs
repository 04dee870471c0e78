//! Runs every command in our documents. The README's tour is one session from its first line to its last; so is each section of
//! OPERATING, and each block of the WORKBENCH course. The course in Vietnamese has the same commands and outputs, which is
//! compared, so they are run once.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "harness/console.rs"]
mod console;
#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use console::{blocks, run};
use harness::folder;

const COURSE: &str = "docs/WORKBENCH.md";
const OPERATING: &str = "docs/OPERATING.md";
const VIETNAMESE: &str = "docs/vi/WORKBENCH.md";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn every_command_in_readme_prints_what_it_shows() {
    let dir = folder();
    std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
    let steps: Vec<_> = blocks(&page("README.md")).into_iter().flatten().collect();
    assert!(steps.len() > 20, "the tour has {} commands", steps.len());
    run("README.md", &steps, dir.path());
}

#[test]
fn every_command_in_workbench_prints_what_the_page_shows() {
    let blocks = blocks(&page(COURSE));
    assert!(blocks.len() > 12, "the course has {} sessions", blocks.len());
    // Each is in a network of its own, and mostly waits: so some run side by side.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(steps) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let dir = folder();
                    std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
                    run(COURSE, steps, dir.path());
                }
            });
        }
    });
}

#[test]
fn every_command_in_operating_prints_what_it_shows() {
    let page = page(OPERATING);
    let mut count = 0;
    for (heading, text) in sections(&page) {
        let steps: Vec<_> = blocks(text).into_iter().flatten().collect();
        if !steps.is_empty() {
            run(&format!("{OPERATING}, {heading:?}"), &steps, folder().path());
            count += 1;
        }
    }
    assert!(count >= 2, "{count} sections have commands");
}

/// The sections of a page: each heading with its text.
fn sections(page: &str) -> Vec<(&str, &str)> {
    page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

#[test]
fn the_course_in_vietnamese_has_the_same_sections_commands_and_pictures() {
    let (english, vietnamese) = (page(COURSE), page(VIETNAMESE));
    let translated = sections(&vietnamese);
    let mut at = 0;
    for (heading, text) in sections(&english) {
        // Under its heading a translated section names the one that it translates.
        let name = format!("<!-- {heading} -->");
        let (_, theirs) =
            *translated.get(at).unwrap_or_else(|| panic!("{VIETNAMESE}: {heading:?} is missing"));
        assert!(
            theirs.trim_start().starts_with(&name),
            "{VIETNAMESE}: the next section must be {name}; it is {:?}",
            translated[at].0
        );
        let commands = |text| blocks(text).into_iter().flatten().collect::<Vec<_>>();
        let (ours, theirs_steps) = (commands(text), commands(theirs));
        for (ours, theirs) in ours.iter().zip(&theirs_steps) {
            assert_eq!(
                (&ours.command, ours.code, &ours.expected),
                (&theirs.command, theirs.code, &theirs.expected),
                "{VIETNAMESE}, {heading:?}: a command differs from the English page, which the tests run"
            );
        }
        assert_eq!(ours.len(), theirs_steps.len(), "{VIETNAMESE}, {heading:?}: the number of commands");
        let count = |text: &str, what: &str| text.matches(what).count();
        for what in ["```console", "<details>", "](pictures/", "| "] {
            let there = if what == "](pictures/" { "](../pictures/" } else { what };
            assert_eq!(
                count(text, what),
                count(theirs, there),
                "{VIETNAMESE}, {heading:?}: the number of {what:?}"
            );
        }
        at += 1;
    }
    assert_eq!(translated.len(), at, "{VIETNAMESE}: has a section that the English page does not have");
}

#[test]
fn links_and_pictures_in_both_courses_lead_to_something() {
    for name in [COURSE, VIETNAMESE] {
        let text = page(name);
        let folder = root().join(name).parent().unwrap().to_owned();
        let anchors: Vec<String> = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
        let links: Vec<&str> = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
        assert!(links.len() > 8, "{name} has {} links", links.len());
        for link in links {
            let leads_somewhere = match link.strip_prefix('#') {
                Some(inside) => anchors.iter().any(|one| one == inside),
                None => folder.join(link).exists(),
            };
            assert!(leads_somewhere, "{name}: {link} leads to nothing");
        }
    }
}

/// The name that a heading has as a target of links, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_pictures_are_as_their_script_draws_them() {
    let (dir, pictures) = (folder(), root().join("docs/pictures"));
    let drawn = Command::new("python3").arg(pictures.join("draw.py")).arg(dir.path()).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let names = |folder: &Path| -> BTreeSet<OsString> {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        files.filter(|name| name.to_str().unwrap().ends_with(".svg")).collect()
    };
    assert_eq!(names(dir.path()), names(&pictures), "run python3 docs/pictures/draw.py");
    for name in names(&pictures) {
        let same =
            std::fs::read(pictures.join(&name)).unwrap() == std::fs::read(dir.path().join(&name)).unwrap();
        assert!(same, "{} was changed, or its script: run python3 docs/pictures/draw.py", name.display());
    }
}
