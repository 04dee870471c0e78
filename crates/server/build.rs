//! Makes the page's files of `web/`: modules in bundles, everything compressed, in a folder whose name is made of their
//! contents, so that a browser never asks for them again. Here and not at the first request: it takes time, and the
//! compressor is not needed in the binary.

#[path = "build/bundle.rs"]
mod bundle;

use std::collections::BTreeMap;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs};

use brotli::enc::BrotliEncoderParams;
use bundle::{BundleError, bundle, without_comments};

/// What a browser gets first, and what the page loads by itself afterwards.
const FIRST: &str = "app.js";
const LATER: &str = "later.js";
/// The texts of a language are loaded alone.
const WORDS: &str = "words/";

fn main() -> Result<(), Box<dyn Error>> {
    let web = Path::new("../../web");
    println!("cargo::rerun-if-changed={}", web.display());
    println!("cargo::rerun-if-changed=build");
    let mut scripts = BTreeMap::new();
    for folder in ["", "vendor/", WORDS] {
        for entry in fs::read_dir(web.join(folder))? {
            let name = entry?.file_name().into_string().map_err(|_| "a file's name is not UTF-8")?;
            if name.ends_with(".js") || name.ends_with(".mjs") {
                scripts.insert(format!("{folder}{name}"), fs::read_to_string(web.join(folder).join(&name))?);
            }
        }
    }

    let mut used = Vec::new();
    let mut files = vec![
        (FIRST.to_owned(), bundle(FIRST, &scripts, &mut used, None)?),
        (LATER.to_owned(), bundle(LATER, &scripts, &mut used, Some(FIRST))?),
    ];
    for (name, source) in &scripts {
        if name.starts_with(WORDS) {
            files.push((name.clone(), stripped(name, source)?));
        } else if !used.contains(name) {
            return Err(BundleError { file: name.clone(), why: "no module imports it".to_owned() }.into());
        }
    }
    files.push(("app.css".to_owned(), stripped("app.css", &fs::read_to_string(web.join("app.css"))?)?));
    files.push(("icon.svg".to_owned(), fs::read_to_string(web.join("icon.svg"))?));

    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    let folder = format!("page-{:016x}", hasher.finish());
    let mut html = fs::read_to_string(web.join("index.html"))?;
    for (name, _) in &files {
        html = html.replace(&format!("=\"/{name}\""), &format!("=\"/{folder}/{name}\""));
    }
    let mut rows = String::new();
    let made = files.iter().map(|(name, text)| (format!("/{folder}/{name}"), name.as_str(), text));
    for (at, (path, name, text)) in made.chain([("/".to_owned(), "index.html", &html)]).enumerate() {
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join(at.to_string());
        let compressed = out.with_extension("br");
        fs::write(&out, text)?;
        fs::write(&compressed, compress(text.as_bytes())?)?;
        let kind = match name.rsplit_once('.') {
            Some((_, "html")) => "HTML",
            Some((_, "css")) => "CSS",
            Some((_, "svg")) => "SVG",
            _ => "SCRIPT",
        };
        rows.push_str(&format!(
            "    File {{ path: {path:?}, kind: {kind}, plain: include_bytes!({out:?}), brotli: include_bytes!({compressed:?}) }},\n"
        ));
    }
    let table = format!("/// Every file of the page.\nconst FILES: &[File] = &[\n{rows}];\n");
    fs::write(PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("page.rs"), table)?;
    Ok(())
}

fn stripped(name: &str, source: &str) -> Result<String, BundleError> {
    without_comments(source).map_err(|why| BundleError { file: name.to_owned(), why })
}

fn compress(mut text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut text, &mut compressed, &BrotliEncoderParams::default())?;
    Ok(compressed)
}
