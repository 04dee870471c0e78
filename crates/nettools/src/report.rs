//! The output of a tool: records, each a line of text or, with `--json`, an object; explanations under `--explain`; and a
//! sentence about what a bad result means. The tool does not know which of the two forms is written.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use vang_proto::terminal::{harmless, indented, one_line};

/// Something that a tool found or did. `Display` is its text, without a line end; further lines are indented.
pub trait Record: fmt::Display + Serialize {
    /// The kind of record: the value of the key `event` in its object.
    const EVENT: &'static str;
}

/// A gathering report writes its lines when this many bytes have come together: 64 KiB.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// Writes records. Threads can share it, and clones write to the same output. Each record is written whole, and
/// immediately unless the report gathers them.
#[derive(Clone)]
pub struct Report {
    out: SharedOutput,
    aside: SharedOutput,
    json: bool,
    explains: bool,
    gathers: bool,
    /// The process that is named in every line.
    process: Option<u32>,
}

type SharedOutput = Arc<Mutex<Output>>;

/// An output, and the lines that are not written yet.
struct Output {
    to: Box<dyn Write + Send>,
    lines: Vec<u8>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("json", &self.json)
            .field("explains", &self.explains)
            .finish_non_exhaustive()
    }
}

impl Report {
    /// Records go to `out`, as objects if `json`. Explanations, if `explains`, go to `aside`, or with `json` to `out` as
    /// records.
    pub fn new(
        out: impl Write + Send + 'static,
        aside: impl Write + Send + 'static,
        json: bool,
        explains: bool,
    ) -> Report {
        let shared = |to: Box<dyn Write + Send>| Arc::new(Mutex::new(Output { to, lines: Vec::new() }));
        Report {
            out: shared(Box::new(out)),
            aside: shared(Box::new(aside)),
            json,
            explains,
            gathers: false,
            process: None,
        }
    }

    /// The same, for a tool with much output: lines are gathered. The tool calls `flush` before it waits and at its end,
    /// so that no finished line is held back.
    pub fn gathering(&self) -> Report {
        Report { gathers: true, ..self.clone() }
    }

    /// The same, for one of several processes: each line names it.
    pub fn of_process(&self, process: u32) -> Report {
        Report { process: Some(process), ..self.clone() }
    }

    /// Writes the gathered lines.
    pub fn flush(&self) -> io::Result<()> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }

    /// With `--json` nothing is drawn: no progress line, no picture.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Under `--explain`.
    pub fn explains(&self) -> bool {
        self.explains
    }

    /// Writes a record. An error comes from stdout: a closed pipe ends a tool.
    pub fn record<R: Record>(&self, record: &R) -> io::Result<()> {
        if !self.json {
            let line = indented(&harmless(&record.to_string()), "  ");
            return self.write_line(&format!("{}{line}", self.by_whom()));
        }
        self.write_object(R::EVENT, serde_json::to_value(record).map_err(io::Error::other)?)
    }

    /// Says what a bad result means.
    pub fn means(&self, text: &str) -> io::Result<()> {
        if self.json {
            return self.write_object("means", json!({ "text": text }));
        }
        self.write_line(&format!("what this means: {}", indented(&harmless(text), "  ")))
    }

    /// Explains what a socket does, under `--explain`. The text is made only then.
    pub fn explain(&self, text: impl FnOnce() -> String) -> io::Result<()> {
        match (self.explains, self.json) {
            (false, _) => Ok(()),
            (true, true) => self.write_object("explain", json!({ "text": text() })),
            (true, false) => {
                // A terminal shows both streams: keep their order.
                self.flush()?;
                let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
                aside.add(&format!("  · {}{}", self.by_whom(), indented(&harmless(&text()), "    ")));
                aside.flush()
            }
        }
    }

    /// A picture or a table, line by line; left out with `--json`, where the records hold the same numbers.
    pub fn draw(&self, lines: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { self.write_line(&harmless(lines)) }
    }

    fn by_whom(&self) -> String {
        self.process.map_or_else(String::new, |process| format!("process {process}: "))
    }

    fn write_object(&self, event: &str, value: Value) -> io::Result<()> {
        let mut object = serde_json::Map::from_iter([("event".to_owned(), Value::from(event))]);
        object.extend(self.process.map(|process| ("process".to_owned(), Value::from(process))));
        match value {
            Value::Object(fields) => object.extend(fields),
            other => drop(object.insert("value".to_owned(), other)),
        }
        self.write_line(&one_line(&Value::Object(object).to_string()))
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.add(line);
        if self.gathers && out.lines.len() < GATHERED_BYTES_MAX { Ok(()) } else { out.flush() }
    }
}

impl Output {
    fn add(&mut self, line: &str) {
        self.lines.extend_from_slice(line.as_bytes());
        self.lines.push(b'\n');
    }

    fn flush(&mut self) -> io::Result<()> {
        // Lines that could not be written are not tried again: the error ends the tool.
        let outcome = self.to.write_all(&self.lines);
        self.lines.clear();
        outcome.and_then(|()| self.to.flush())
    }
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

    fn printed(json: bool, explains: bool) -> (String, String) {
        let (out, aside) = (Page::default(), Page::default());
        let report = Report::new(out.clone(), aside.clone(), json, explains);
        report.record(&Closed { by: "the peer\u{1b}[2J", bytes: 7 }).unwrap();
        report.explain(|| "half-close: it may still receive".to_owned()).unwrap();
        report.means("nobody is there any more").unwrap();
        report.draw("▁▂▃").unwrap();
        (out.text(), aside.text())
    }

    #[test]
    fn lines_are_gathered_until_they_are_many_or_somebody_waits() {
        let page = Page::default();
        let report = Report::new(page.clone(), io::sink(), false, false).gathering();
        let line = Closed { by: "a peer", bytes: 7 };
        report.record(&line).unwrap();
        assert_eq!(page.text(), "");
        report.flush().unwrap();
        assert_eq!(page.text(), "a peer closed after 7 bytes\n");
        for _ in 0..3_000 {
            report.record(&line).unwrap();
        }
        // 28 bytes each: the first 2,341 made 64 KiB, and the line that did so is whole.
        assert_eq!(page.text().lines().count(), 1 + 2_341);
        assert!(page.text().ends_with("7 bytes\n"));
    }

    #[test]
    fn people_read_lines_and_programs_objects() {
        let lines =
            "the peer\\u{1b}[2J closed after 7 bytes\nwhat this means: nobody is there any more\n▁▂▃\n";
        assert_eq!(printed(false, false), (lines.to_owned(), String::new()));
        assert_eq!(
            printed(false, true),
            (lines.to_owned(), "  · half-close: it may still receive\n".to_owned())
        );
        let (out, aside) = printed(true, true);
        let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects[0], json!({"event": "closed", "by": "the peer\u{1b}[2J", "bytes": 7}));
        assert_eq!(objects[1]["event"], "explain");
        assert_eq!(objects[2], json!({"event": "means", "text": "nobody is there any more"}));
        assert_eq!((objects.len(), aside.as_str()), (3, ""));
        assert!(!out.contains('\u{1b}'), "{out}");
    }
}
