//! Step `package`: `vang-proto` can be published, with the files that its users need.
//!
//! Only the list of files is made: without a network, and without building. A file that `.gitignore` or `exclude` hides is
//! missing in it, as it would be on crates.io.

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::run;

const NAME: &str = "vang-proto";
const NEEDED: [&str; 5] = ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT", "src/lib.rs"];

/// Lists the files of the package and checks them.
pub(crate) fn check() -> Result<Outcome> {
    // Uncommitted changes are allowed: the step is for developers, too.
    let args = ["package", "-p", NAME, "--list", "--offline", "--allow-dirty"];
    let output = run::answer(run::command("cargo").args(args))?;
    if !output.status.success() {
        bail!("{NAME} cannot be packaged:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    let files: Vec<&str> = listed.lines().collect();
    let problems = problems(&files);
    if !problems.is_empty() {
        bail!("the package of {NAME} is not as it must be\n  {}", problems.join("\n  "));
    }
    eprintln!("   {NAME}: {} files", files.len());
    Ok(Outcome::Passed)
}

fn problems(files: &[&str]) -> Vec<String> {
    let missing = NEEDED.iter().filter(|needed| !files.contains(needed));
    let missing = missing.map(|needed| {
        format!("{needed} is missing: is it in crates/proto and known to git, and not in `exclude` of its Cargo.toml?")
    });
    let tests = files.iter().filter(|file| file.starts_with("tests/"));
    let tests =
        tests.map(|file| format!("{file} is in it: add its folder to `exclude` of crates/proto/Cargo.toml"));
    missing.chain(tests).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_licence_and_a_test_are_named() {
        assert!(problems(&NEEDED).is_empty());
        let files = ["Cargo.toml", "README.md", "LICENSE-MIT", "src/lib.rs", "tests/fuzz.rs"];
        let found = problems(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("LICENSE-APACHE is missing"), "{found:?}");
        assert!(found[1].starts_with("tests/fuzz.rs is in it"), "{found:?}");
    }

    #[test]
    fn the_readme_links_to_files_that_are_there() {
        // Links relative to the crate: crates.io and git hosts resolve them in the repository.
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/proto"));
        let text = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(links.iter().any(|link| link.ends_with("docs/PROTOCOL.md")), "{links:?}");
        for link in links {
            assert!(folder.join(link).exists(), "{link} leads to nothing");
        }
    }
}
