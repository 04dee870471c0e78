//! Circles between the files of a crate: `a.rs` uses `b.rs`, which uses `a.rs`.
//!
//! A reader of a circle must read all of it to understand one file. Cargo refuses circles of crates; inside a
//! crate nothing does, so the step `house` does, except for the circles in `ALLOWED`.
//!
//! ```text
//! use crate::queue::Queue;   an arrow to queue.rs
//! super::Asked               an arrow to the file of the parent module
//! child::run()               an arrow to the file of the child module
//! pub use child::Thing;      a re-export: no arrow; `crate::Thing` is then an arrow to child.rs
//! ```
//!
//! Code under `#[cfg(test)]` does not count. Macros are not expanded.
//!
//! Only paths are followed. A call of a method names no file: if an inherent `impl` in another file has this method, the call
//! is an arrow that is not seen here. To find it, the types of all expressions would have to be known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::rust::{crate_folders, is_word, length_of_group, rust_files, tokens};

/// Circles that are allowed: the crate's folder, and the files below its `src`. There are none, and none may come.
const ALLOWED: &[(&str, &[&str])] = &[];

/// Words that only one crate may use: what is behind its public functions.
const OWN_NAMES: &[(&str, &str)] = &[("in_sqlite", "crates/journal")];

/// Every circle of the workspace that is not in `ALLOWED`, and every row of it that is not a circle any more.
pub(crate) fn problems() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in crate_folders()? {
        for circle in Files::read(&Path::new(&folder).join("src"))?.circles() {
            found.push((folder.clone(), circle));
        }
    }
    let mut problems = differences(&found, ALLOWED);
    for (name, owner) in OWN_NAMES {
        for folder in crate_folders()?.iter().filter(|folder| folder != owner && *folder != "xtask") {
            for file in rust_files(Path::new(folder))? {
                if fs::read_to_string(&file)?.contains(name) {
                    problems.push(format!("{}: names {name}, which is for {owner} alone", file.display()));
                }
            }
        }
    }
    Ok(problems)
}

fn differences(found: &[(String, Vec<String>)], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let is_allowed =
        |(folder, files): &(String, Vec<String>)| allowed.iter().any(|row| row.0 == folder && row.1 == files);
    let is_found =
        |(folder, files): &(&str, &[&str])| found.iter().any(|one| one.0 == *folder && one.1 == *files);
    let new = found.iter().filter(|one| !is_allowed(one)).map(|(folder, files)| {
        format!(
            "{folder}/src: these files use each other: {} (move what both need into a file below)",
            files.join(", ")
        )
    });
    let gone = allowed.iter().filter(|row| !is_found(row)).map(|(folder, files)| {
        format!(
            "{folder}/src: not this circle any more: {} (correct ALLOWED in xtask/src/circles.rs)",
            files.join(", ")
        )
    });
    new.chain(gone).collect()
}

/// A module's path below the crate, as `["hub", "asking"]`; the root is empty.
type Module = Vec<String>;

/// The files of one crate.
#[derive(Default)]
struct Files {
    by_module: BTreeMap<Module, File>,
}

/// One file: its name, and every path in it.
#[derive(Default)]
struct File {
    name: String,
    children: BTreeSet<String>,
    test_children: BTreeSet<String>,
    /// Names that this file re-exports, with the path that each stands for.
    exports: BTreeMap<String, Vec<String>>,
    paths: Vec<Vec<String>>,
}

impl Files {
    fn read(src: &Path) -> Result<Files> {
        let mut files = Files::default();
        files.read_folder(src, &mut Vec::new(), "")?;
        Ok(files)
    }

    fn read_folder(&mut self, folder: &Path, above: &mut Module, shown: &str) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                above.push(name.clone());
                self.read_folder(&path, above, &format!("{shown}{name}/"))?;
                above.pop();
            } else if let Some(stem) = name.strip_suffix(".rs") {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let mut module = above.clone();
                if !["lib", "main", "mod"].contains(&stem) {
                    module.push(stem.to_owned());
                }
                self.by_module.insert(module, File::parse(&format!("{shown}{name}"), &text));
            }
        }
        Ok(())
    }

    /// Groups of files that reach each other, sorted.
    fn circles(&self) -> Vec<Vec<String>> {
        let arrows: BTreeMap<&Module, BTreeSet<&Module>> = self
            .by_module
            .iter()
            .filter(|(module, _)| !self.is_for_tests(module))
            .map(|(module, file)| {
                let targets = file.paths.iter().filter_map(|path| self.target(module, path));
                (module, targets.filter(|target| *target != module && !self.is_for_tests(target)).collect())
            })
            .collect();
        let reach: BTreeMap<&Module, BTreeSet<&Module>> =
            arrows.keys().map(|module| (*module, reachable(&arrows, module))).collect();
        let mut circles = BTreeSet::new();
        for (module, reached) in &reach {
            let mut circle: Vec<String> = reached
                .iter()
                .filter(|other| reach[*other].contains(module))
                .map(|other| self.by_module[*other].name.clone())
                .collect();
            if circle.len() > 1 {
                circle.sort();
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn is_for_tests(&self, module: &Module) -> bool {
        (0..module.len()).any(|at| {
            self.by_module.get(&module[..at]).is_some_and(|above| above.test_children.contains(&module[at]))
        })
    }

    /// The module that a path in this module leads into; none for a path into another crate.
    fn target(&self, from: &Module, path: &[String]) -> Option<&Module> {
        let first = path.first()?.as_str();
        let is_ours =
            ["crate", "self", "super"].contains(&first) || self.by_module[from].children.contains(first);
        let module = is_ours.then(|| self.resolve(from.clone(), path, 0))?;
        self.by_module.get_key_value(&module).map(|(module, _)| module)
    }

    fn resolve(&self, mut at: Module, path: &[String], depth: u8) -> Module {
        let mut rest = path;
        while let Some((name, after)) = rest.split_first() {
            match name.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => {
                    let exported = self.by_module.get(&at).and_then(|file| file.exports.get(name));
                    at.push(name.clone());
                    if self.by_module.contains_key(&at) {
                        rest = after;
                        continue;
                    }
                    at.pop();
                    return match exported {
                        // Re-exports can lead to each other.
                        Some(exported) if depth < 8 => {
                            self.resolve(at, &[exported.as_slice(), after].concat(), depth + 1)
                        }
                        _ => at,
                    };
                }
            }
            rest = after;
        }
        at
    }
}

fn reachable<'a>(
    arrows: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    from: &'a Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(at) = waiting.pop() {
        for next in arrows.get(&at).into_iter().flatten() {
            if reached.insert(*next) {
                waiting.push(*next);
            }
        }
    }
    reached
}

impl File {
    fn parse(name: &str, text: &str) -> File {
        let mut file = File { name: name.to_owned(), ..File::default() };
        let tokens = tokens(text);
        let mut at = 0;
        let mut is_public = false;
        let mut is_for_tests = false;
        while at < tokens.len() {
            let rest = &tokens[at..];
            if rest.starts_with(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                is_for_tests = true;
                at += 7;
            } else if rest[0] == "#" && rest.get(1) == Some(&"[") {
                at += 1 + length_of_group(&rest[1..]);
            } else if rest[0] == "pub" {
                is_public = true;
                at += 1;
                if tokens.get(at) == Some(&"(") {
                    at += length_of_group(&tokens[at..]);
                }
            } else if rest[0] == "mod" && rest.get(2) == Some(&";") {
                let children = if is_for_tests { &mut file.test_children } else { &mut file.children };
                children.insert(rest[1].to_owned());
                (is_public, is_for_tests, at) = (false, false, at + 3);
            } else if is_for_tests {
                // The item ends with its first `;`, or with the brace that it opens.
                let end = rest.iter().position(|token| [";", "{"].contains(token)).unwrap_or(rest.len() - 1);
                at += end + if rest[end] == "{" { length_of_group(&rest[end..]) } else { 1 };
                (is_public, is_for_tests) = (false, false);
            } else if rest[0] == "use" {
                let end = rest.iter().position(|token| *token == ";").unwrap_or(rest.len());
                let mut used = Vec::new();
                read_use(&rest[1..end], &[], &mut used);
                for (name, path) in used {
                    match is_public {
                        true => drop(file.exports.insert(name, path)),
                        false => file.paths.push(path),
                    }
                }
                (is_public, at) = (false, at + end + 1);
            } else if is_word(rest[0]) {
                let mut path = vec![rest[0].to_owned()];
                let mut length = 1;
                while rest.get(length) == Some(&"::")
                    && rest.get(length + 1).is_some_and(|token| is_word(token))
                {
                    path.push(rest[length + 1].to_owned());
                    length += 2;
                }
                if path.len() > 1 {
                    file.paths.push(path);
                }
                (is_public, at) = (false, at + length);
            } else {
                at += 1;
            }
        }
        file
    }
}

/// Reads the tree of a `use`: `a::{b, c::D as E, self}`. Gives each name with its path.
fn read_use(tokens: &[&str], above: &[String], out: &mut Vec<(String, Vec<String>)>) {
    let mut path = above.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at] {
            "::" => {}
            "{" => {
                let end = at + length_of_group(&tokens[at..]) - 1;
                let inside = &tokens[at + 1..end];
                let mut begin = 0;
                let mut depth = 0;
                for (index, token) in inside.iter().enumerate() {
                    match *token {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        "," if depth == 0 => {
                            read_use(&inside[begin..index], &path, out);
                            begin = index + 1;
                        }
                        _ => {}
                    }
                }
                return read_use(&inside[begin..], &path, out);
            }
            "as" => {
                let name = tokens.get(at + 1).copied().unwrap_or_default();
                return out.push((name.to_owned(), path));
            }
            "*" => return out.push(("*".to_owned(), path)),
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if path.len() > above.len() || tokens == ["self"] {
        let name = path.last().cloned().unwrap_or_default();
        out.push((name, path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = Files::default();
        for (name, text) in files {
            let stem = name.trim_end_matches(".rs").trim_end_matches("/mod");
            let module =
                if stem == "lib" { Vec::new() } else { stem.split('/').map(str::to_owned).collect() };
            all.by_module.insert(module, File::parse(name, text));
        }
        all.circles().iter().map(|circle| circle.join(" ")).collect()
    }

    #[test]
    fn files_that_use_each_other_are_a_circle() {
        let lib = ("lib.rs", "mod a; mod b; mod c;");
        let a = ("a.rs", "use crate::b::{self, Thing};");
        assert_eq!(circles(&[lib, a, ("b.rs", "fn f() { crate::a::g() }")]), ["a.rs b.rs"]);
        assert_eq!(circles(&[lib, a, ("b.rs", "use super::c::C;"), ("c.rs", "")]), [""; 0]);
        assert_eq!(
            circles(&[lib, a, ("b.rs", "use super::c::C;"), ("c.rs", "use crate::a as x;")]),
            ["a.rs b.rs c.rs"]
        );
    }

    #[test]
    fn a_parent_that_calls_its_child_and_lends_it_types_is_a_circle() {
        let child = ("a/child.rs", "use super::Asked;");
        let parent = "mod child; pub struct Asked; pub fn run() { child::run() }";
        assert_eq!(circles(&[("lib.rs", "mod a;"), ("a.rs", parent), child]), ["a.rs a/child.rs"]);
        let parent = "mod child; pub struct Asked; pub use child::run;";
        assert_eq!(
            circles(&[("lib.rs", "mod a;"), ("a.rs", parent), child]),
            [""; 0],
            "a re-export is no use"
        );
    }

    #[test]
    fn a_re_export_stands_for_the_file_of_its_thing() {
        let lib = ("lib.rs", "mod a; mod b; pub use b::Thing;");
        assert_eq!(
            circles(&[lib, ("a.rs", "use crate::Thing;"), ("b.rs", "use crate::a::A;")]),
            ["a.rs b.rs"]
        );
    }

    #[test]
    fn tests_comments_and_strings_do_not_count() {
        let lib = ("lib.rs", "mod a; mod b; #[cfg(test)] mod c;");
        let a = "use crate::b; // use crate::b\nconst A: &str = \"crate::b::x\"; #[cfg(test)] mod tests { use crate::b; }";
        let b = "/// [crate::a]\n#[cfg(test)]\nuse crate::a; const B: &[u8] = br#\"crate::a::\"x\"#; fn f<'a>(x: &'a str) {} const C: char = '\\'';";
        assert_eq!(circles(&[lib, ("a.rs", a), ("b.rs", b)]), [""; 0]);
        assert_eq!(
            circles(&[lib, ("a.rs", "use crate::c;"), ("c.rs", "use crate::a;")]),
            [""; 0],
            "c is for tests"
        );
    }

    #[test]
    fn the_list_of_circles_can_only_shrink() {
        let found = [("crates/x".to_owned(), vec!["a.rs".to_owned(), "b.rs".to_owned()])];
        assert_eq!(differences(&found, &[("crates/x", &["a.rs", "b.rs"])]), [""; 0]);
        let new = differences(&found, &[]);
        assert!(new[0].starts_with("crates/x/src: these files use each other: a.rs, b.rs"), "{new:?}");
        let gone = differences(&[], &[("crates/x", &["a.rs", "b.rs"])]);
        assert!(gone[0].starts_with("crates/x/src: not this circle any more: a.rs, b.rs"), "{gone:?}");
    }
}
