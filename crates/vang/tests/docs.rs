//! Every command that our pages show, run as it stands there. The README's tour is one session from its first line to its
//! last, as a stranger takes it; the course's sections are each complete.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on ends there

#[path = "harness/console.rs"]
mod console;
#[path = "harness/mod.rs"]
mod harness;

use std::path::Path;

use console::{blocks, run};
use harness::folder;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn every_line_of_the_readme_s_tour_is_true() {
    let dir = folder();
    std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
    let steps: Vec<_> = blocks(&page("README.md")).into_iter().flatten().collect();
    assert!(steps.len() > 20, "the tour has {} commands", steps.len());
    run("README.md", &steps, dir.path());
}

#[test]
fn every_command_of_the_course_does_what_the_page_shows() {
    let blocks = blocks(&page("docs/WORKBENCH.md"));
    assert!(blocks.len() > 12, "the course has {} sections", blocks.len());
    for steps in blocks {
        let dir = folder();
        std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
        run("docs/WORKBENCH.md", &steps, dir.path());
    }
}
