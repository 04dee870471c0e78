//! Runs every command in our documents. The README's tour is one session from its first line to its last; each section
//! of the WORKBENCH course is a session of its own.

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
fn every_command_in_readme_prints_what_it_shows() {
    let dir = folder();
    std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
    let steps: Vec<_> = blocks(&page("README.md")).into_iter().flatten().collect();
    assert!(steps.len() > 20, "the tour has {} commands", steps.len());
    run("README.md", &steps, dir.path());
}

#[test]
fn every_command_in_workbench_prints_what_the_page_shows() {
    let blocks = blocks(&page("docs/WORKBENCH.md"));
    assert!(blocks.len() > 12, "the course has {} sections", blocks.len());
    for steps in blocks {
        let dir = folder();
        std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
        run("docs/WORKBENCH.md", &steps, dir.path());
    }
}
