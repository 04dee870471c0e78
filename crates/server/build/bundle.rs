//! Puts the page's modules together: one file instead of twenty is one request, and compresses better.
//!
//! Each module becomes a function that returns its exports. Names stay as they are; comments and indentation are left
//! out. That is enough for the modules of `web/`, whose imports and exports have the few forms below; any other form is
//! an error of the build.
//!
//! ```text
//! import { h } from "./vendor/preact.mjs";        const { h } = m["vendor/preact.mjs"];
//! export function draw() {}                       function draw() {}     …     return { draw };
//! ```

use std::collections::BTreeMap;

/// A module that cannot be put into a bundle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BundleError {
    pub(crate) file: String,
    pub(crate) why: String,
}

impl std::fmt::Display for BundleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "web/{}: {}", self.file, self.why)
    }
}

impl std::error::Error for BundleError {}

/// A module as a part of a bundle.
struct Module {
    imports: Vec<String>,
    body: String,
    /// Public name, name inside.
    exports: Vec<(String, String)>,
}

/// The modules that `entry` needs and that are not in `others`, as one module; their names go into `others`. A later bundle
/// takes the others from the first one, `first`, and has the exports of its entry.
pub(crate) fn bundle(
    entry: &str,
    files: &BTreeMap<String, String>,
    others: &mut Vec<String>,
    first: Option<&str>,
) -> Result<String, BundleError> {
    let mut out = match first {
        None => "export const m = {};\n".to_owned(),
        Some(first) => format!("import {{ m }} from \"./{first}\";\n"),
    };
    let exports = add(entry, files, others, &mut Vec::new(), &mut out)?;
    if first.is_some() {
        let names: Vec<&str> = exports.iter().map(|(name, _)| name.as_str()).collect();
        out.push_str(&format!("export const {{ {} }} = m[\"{entry}\"];\n", names.join(", ")));
    }
    Ok(out)
}

/// What a module needs comes before it.
fn add(
    name: &str,
    files: &BTreeMap<String, String>,
    done: &mut Vec<String>,
    under_way: &mut Vec<String>,
    out: &mut String,
) -> Result<Vec<(String, String)>, BundleError> {
    let error = |why: &str| BundleError { file: name.to_owned(), why: why.to_owned() };
    if under_way.iter().any(|above| above == name) {
        return Err(error("it imports itself, through others"));
    }
    let source = files.get(name).ok_or_else(|| error("there is no such module"))?;
    let module = read(source).map_err(|why| error(&why))?;
    under_way.push(name.to_owned());
    for import in &module.imports {
        if !done.contains(import) {
            add(import, files, done, under_way, out)?;
        }
    }
    under_way.pop();
    let returned: Vec<String> = module
        .exports
        .iter()
        .map(|(public, inside)| match public == inside {
            true => public.clone(),
            false => format!("{public}: {inside}"),
        })
        .collect();
    let body = &module.body;
    out.push_str(&format!(
        "m[\"{name}\"] = (() => {{\n{body}return {{ {} }};\n}})();\n",
        returned.join(", ")
    ));
    done.push(name.to_owned());
    Ok(module.exports)
}

fn read(source: &str) -> Result<Module, String> {
    let mut module = Module { imports: Vec::new(), body: String::new(), exports: Vec::new() };
    for line in without_comments(source)?.lines() {
        let line = match line {
            _ if line.starts_with("import ") => module.import(line)?,
            _ if line.starts_with("export ")
                || line.contains(";export{")
                || line.contains(";export default ") =>
            {
                module.export(line)?
            }
            _ => line.to_owned(),
        };
        if !line.is_empty() {
            module.body.push_str(&line);
            module.body.push('\n');
        }
    }
    Ok(module)
}

impl Module {
    fn import(&mut self, line: &str) -> Result<String, String> {
        let parts = line.strip_prefix("import ").and_then(|rest| rest.split_once(" from \"./"));
        let Some((what, from)) = parts else { return Err(unknown(line)) };
        let from = from.strip_suffix("\";").ok_or_else(|| unknown(line))?;
        self.imports.push(from.to_owned());
        let what = match what.strip_prefix("* as ") {
            Some(all) => all.to_owned(),
            None if what.starts_with('{') => what.replace(" as ", ": "),
            None => format!("{{ default: {what} }}"),
        };
        Ok(format!("const {what} = m[\"{from}\"];"))
    }

    fn export(&mut self, line: &str) -> Result<String, String> {
        // As minifiers write it: at the end of a line.
        if let Some((code, names)) = line.rsplit_once(";export{") {
            let names = names.strip_suffix("};").ok_or_else(|| unknown(line))?;
            for name in names.split(',') {
                let (inside, public) = name.split_once(" as ").unwrap_or((name, name));
                self.exports.push((public.to_owned(), inside.to_owned()));
            }
            return Ok(format!("{code};"));
        }
        if let Some((code, value)) = line.split_once("export default ") {
            self.exports.push(("default".to_owned(), "defaultExport".to_owned()));
            return Ok(format!("{code}const defaultExport = {value}"));
        }
        let declared = line.strip_prefix("export ").unwrap_or(line);
        if declared.starts_with('{') {
            let (names, _) = declared.split_once('}').ok_or_else(|| unknown(line))?;
            for name in names.trim_start_matches('{').split(',').map(str::trim) {
                self.exports.push((name.to_owned(), name.to_owned()));
            }
            return self.import(&line.replacen("export ", "import ", 1));
        }
        let kinds = ["function ", "async function ", "class ", "const "];
        let name = kinds.iter().find_map(|kind| declared.strip_prefix(kind)).ok_or_else(|| unknown(line))?;
        let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
        if end == 0 {
            return Err(unknown(line));
        }
        self.exports.push((name[..end].to_owned(), name[..end].to_owned()));
        Ok(declared.to_owned())
    }
}

fn unknown(line: &str) -> String {
    format!("this form of import or export is not known: {}", line.chars().take(100).collect::<String>())
}

/// A comment behind code, if it surely is one: behind the end of a statement or of a list's item, and without quotes, which a
/// text would have behind it.
fn without_last_comment(line: &str) -> &str {
    match line.split_once(" // ") {
        Some((code, comment))
            if code.ends_with([';', ',', '{', '}', ')']) && !comment.contains(['"', '\'', '`']) =>
        {
            code
        }
        _ => line,
    }
}

/// Without comments that are lines of their own or at the end of a line, empty lines and indentation. For scripts and styles.
pub(crate) fn without_comments(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len());
    let mut is_comment = false;
    for line in source.lines() {
        let line = line.trim();
        let begins = line.starts_with("/*");
        is_comment |= begins;
        if is_comment {
            match line.find("*/") {
                Some(end) if end + 2 < line.len() => {
                    return Err(format!("there is code behind a comment: {line}"));
                }
                Some(_) => is_comment = false,
                None => {}
            }
            continue;
        }
        if !line.is_empty() && !line.starts_with("//") {
            out.push_str(without_last_comment(line));
            out.push('\n');
        }
    }
    match is_comment {
        true => Err("a comment does not end".to_owned()),
        false => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(modules: &[(&str, &str)]) -> BTreeMap<String, String> {
        modules.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect()
    }

    #[test]
    fn what_a_module_needs_comes_before_it_and_once() {
        let files = files(&[
            (
                "app.js",
                "// Begins.\nimport { draw as paint } from \"./view.js\";\nimport * as text from \"./text.js\";\n\npaint(text);\n",
            ),
            (
                "view.js",
                "import tag from \"./tag.mjs\";\nimport { read } from \"./text.js\";\n/** Draws. */\nexport function draw() {\n  return tag(read); // here\n}\n",
            ),
            (
                "text.js",
                "/**\n * Reads.\n */\nexport const read = 1;\nexport class Text {}\nexport async function load() {}\n",
            ),
            ("tag.mjs", "let a=1;export default function(s){return s}"),
            ("later.js", "export { Side } from \"./side.js\";\n"),
            ("side.js", "import { read } from \"./text.js\";\nfunction f(){};export{f as Side};\n"),
        ]);
        let mut used = Vec::new();
        let first = bundle("app.js", &files, &mut used, None).unwrap();
        assert_eq!(
            first,
            "export const m = {};\n\
             m[\"tag.mjs\"] = (() => {\nlet a=1;const defaultExport = function(s){return s}\nreturn { default: defaultExport };\n})();\n\
             m[\"text.js\"] = (() => {\nconst read = 1;\nclass Text {}\nasync function load() {}\nreturn { read, Text, load };\n})();\n\
             m[\"view.js\"] = (() => {\nconst { default: tag } = m[\"tag.mjs\"];\nconst { read } = m[\"text.js\"];\nfunction draw() {\nreturn tag(read);\n}\nreturn { draw };\n})();\n\
             m[\"app.js\"] = (() => {\nconst { draw: paint } = m[\"view.js\"];\nconst text = m[\"text.js\"];\npaint(text);\nreturn {  };\n})();\n"
        );
        let later = bundle("later.js", &files, &mut used, Some("app.js")).unwrap();
        assert!(later.starts_with("import { m } from \"./app.js\";\nm[\"side.js\"] = "), "{later}");
        assert!(later.ends_with("export const { Side } = m[\"later.js\"];\n"), "{later}");
        assert!(!later.contains("m[\"text.js\"] ="), "what is there already is taken from there");
    }

    #[test]
    fn what_can_be_a_text_is_no_comment() {
        let source = "a(\"b; // c\");\n  let d = 1; // e\nf(`; // g`);\nh // i\n// j\nk(1, // it's\n2);\n";
        assert_eq!(
            without_comments(source).unwrap(),
            "a(\"b; // c\");\nlet d = 1;\nf(`; // g`);\nh // i\nk(1, // it's\n2);\n"
        );
    }

    #[test]
    fn a_form_that_is_not_known_stops_the_build() {
        for (source, why) in [
            ("import \"./x.js\";", "this form of import or export is not known: import \"./x.js\";"),
            (
                "import { a } from \"../x.js\";",
                "this form of import or export is not known: import { a } from \"../x.js\";",
            ),
            ("export let a = 1;", "this form of import or export is not known: export let a = 1;"),
            (
                "export const { a } = b;",
                "this form of import or export is not known: export const { a } = b;",
            ),
            ("import { a } from \"./none.js\";", "there is no such module"),
            ("/* a */ code();", "there is code behind a comment: /* a */ code();"),
            ("/* a", "a comment does not end"),
            ("import { a } from \"./app.js\";", "it imports itself, through others"),
        ] {
            let error = bundle("app.js", &files(&[("app.js", source)]), &mut Vec::new(), None).unwrap_err();
            assert_eq!(error.why, why);
        }
    }
}
