//! What a tool tells: records, each a line for people or an object for programs; narration under `--explain`; and,
//! where something is off, what that means. The tool does not know which of the two it is read by.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use vang_proto::terminal::{harmless, indented, one_line};

/// Something that a tool found or did. `Display` is the line for people, without a line's end; it may have more
/// lines, which are indented.
pub trait Record: fmt::Display + Serialize {
    /// What kind of record this is: the key `event` of its object.
    const EVENT: &'static str;
}

/// Where records go. Threads share one, and clones write to the same place: each record is written whole.
#[derive(Clone)]
pub struct Report {
    out: Shared,
    aside: Shared,
    json: bool,
    explains: bool,
}

type Shared = Arc<Mutex<Box<dyn Write + Send>>>;

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("json", &self.json)
            .field("explains", &self.explains)
            .finish_non_exhaustive()
    }
}

impl Report {
    /// Records to `out` as `json` objects or lines; narration, if `explains`, to `aside` (with `json` it is records too).
    pub fn new(
        out: impl Write + Send + 'static,
        aside: impl Write + Send + 'static,
        json: bool,
        explains: bool,
    ) -> Report {
        let shared = |to: Box<dyn Write + Send>| Arc::new(Mutex::new(to));
        Report { out: shared(Box::new(out)), aside: shared(Box::new(aside)), json, explains }
    }

    /// Are objects wanted? Then nothing is drawn: no progress, no picture.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Tells a record. An error is stdout's: a closed pipe ends a tool.
    pub fn tell<R: Record>(&self, record: &R) -> io::Result<()> {
        if !self.json {
            return write_line(&self.out, &indented(&harmless(&record.to_string()), "  "));
        }
        self.tell_object(R::EVENT, serde_json::to_value(record).map_err(io::Error::other)?)
    }

    /// Says what something that was told means, where it is not as it should be.
    pub fn means(&self, text: &str) -> io::Result<()> {
        if self.json {
            return self.tell_object("means", json!({ "text": text }));
        }
        write_line(&self.out, &format!("what this means: {}", indented(&harmless(text), "  ")))
    }

    /// Narrates what a socket does, if that is wanted. The text is made only then.
    pub fn explain(&self, text: impl FnOnce() -> String) -> io::Result<()> {
        match (self.explains, self.json) {
            (false, _) => Ok(()),
            (true, true) => self.tell_object("explain", json!({ "text": text() })),
            (true, false) => {
                write_line(&self.aside, &format!("  · {}", indented(&harmless(&text()), "    ")))
            }
        }
    }

    /// A picture or a table for people, line by line as it is; programs have the records.
    pub fn draw(&self, lines: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { write_line(&self.out, &harmless(lines)) }
    }

    fn tell_object(&self, event: &str, value: Value) -> io::Result<()> {
        let mut object = serde_json::Map::from_iter([("event".to_owned(), Value::from(event))]);
        match value {
            Value::Object(fields) => object.extend(fields),
            other => drop(object.insert("value".to_owned(), other)),
        }
        write_line(&self.out, &one_line(&Value::Object(object).to_string()))
    }
}

fn write_line(to: &Shared, line: &str) -> io::Result<()> {
    let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
    to.write_all(format!("{line}\n").as_bytes())?;
    to.flush()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Serialize)]
    struct Closed {
        by: &'static str,
        bytes: u64,
    }

    impl Record for Closed {
        const EVENT: &'static str = "closed";
    }

    impl fmt::Display for Closed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} closed after {} bytes", self.by, self.bytes)
        }
    }

    fn told(json: bool, explains: bool) -> (String, String) {
        let (out, aside) = (Page::default(), Page::default());
        let report = Report::new(out.clone(), aside.clone(), json, explains);
        report.tell(&Closed { by: "the peer\u{1b}[2J", bytes: 7 }).unwrap();
        report.explain(|| "half-close: it may still receive".to_owned()).unwrap();
        report.means("nobody is there any more").unwrap();
        report.draw("▁▂▃").unwrap();
        (out.text(), aside.text())
    }

    #[test]
    fn people_read_lines_and_programs_objects() {
        let lines =
            "the peer\\u{1b}[2J closed after 7 bytes\nwhat this means: nobody is there any more\n▁▂▃\n";
        assert_eq!(told(false, false), (lines.to_owned(), String::new()));
        assert_eq!(
            told(false, true),
            (lines.to_owned(), "  · half-close: it may still receive\n".to_owned())
        );
        let (out, aside) = told(true, true);
        let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects[0], json!({"event": "closed", "by": "the peer\u{1b}[2J", "bytes": 7}));
        assert_eq!(objects[1]["event"], "explain");
        assert_eq!(objects[2], json!({"event": "means", "text": "nobody is there any more"}));
        assert_eq!((objects.len(), aside.as_str()), (3, ""));
        assert!(!out.contains('\u{1b}'), "{out}");
    }
}
