//! The thread that keeps `seen.db`: what was seen of accounts and tokens, which is no fact for ever.
//!
//! ```text
//! about(one, journal)                                    one row: whose file this is
//! account(id, last, address, failed, failed_last, failed_address)
//!                                                        when a connection last spoke as it; failed sign-ins
//! token(account, id, last, address)                      when each was last used
//! known(account, what, last)                             signed in before; `what`: 4 or 16 bytes are an address, 32 the hash of a
//!                                                        device's token
//! ```
//!
//! Times are milliseconds since 1970. No secret is in it. Disposable: a file that is damaged, of another journal or of another
//! format is made anew, and where there can be none the server goes on without. The thread that decides gives it one list of rows
//! at a time and never waits for it.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction};
use tokio::sync::mpsc::UnboundedSender;
use vang_chat::{AccountId, Time, TokenId, TokenKey};
use vang_hub::{AccountSeen, Failed, Known, SeenKey, SeenRow, Sighting};
use vang_journal::WAL_BYTES_MAX;

use super::{Answer, spawn};

/// The layout of the tables, stored as the file's `user_version`.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE about(one INTEGER PRIMARY KEY CHECK (one = 1), journal BLOB NOT NULL) STRICT;
    CREATE TABLE account(
        id INTEGER PRIMARY KEY, last INTEGER, address TEXT, failed INTEGER NOT NULL, failed_last INTEGER,
        failed_address TEXT
    ) STRICT;
    CREATE TABLE token(
        account INTEGER NOT NULL, id INTEGER NOT NULL, last INTEGER NOT NULL, address TEXT, PRIMARY KEY (account, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE known(
        account INTEGER NOT NULL, what BLOB NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (account, what)
    ) STRICT, WITHOUT ROWID;
";

/// Rows of one table that are loaded: no file can fill the memory.
const ROWS_MAX: usize = 1_000_000;

/// A pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Wait for another connection's lock: somebody may look at the file.
const BUSY: Duration = Duration::from_millis(200);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
enum SeenError {
    #[error("it cannot be created: {0}")]
    Create(io::Error),
    #[error("it belongs to another journal")]
    OtherJournal,
    #[error("it has format {found}; this program writes {FORMAT}")]
    OtherFormat { found: i64 },
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it cannot be opened: {0}")]
    NotOpened(rusqlite::Error),
    #[error("{0}")]
    Unavailable(rusqlite::Error),
}

impl SeenError {
    /// Is another file the way out?
    fn is_of_the_file(&self) -> bool {
        match self {
            SeenError::OtherJournal | SeenError::OtherFormat { .. } | SeenError::Damaged(_) => true,
            // Also a process with too many open files cannot open one.
            SeenError::NotOpened(_) | SeenError::Create(_) | SeenError::Unavailable(_) => false,
        }
    }
}

impl From<rusqlite::Error> for SeenError {
    fn from(error: rusqlite::Error) -> SeenError {
        let code = error.sqlite_error_code();
        let is_damage = matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
        // Without a code it is a value of another type, or out of range; with this one a table that is not there.
        if is_damage || code.is_none() || code == Some(ErrorCode::Unknown) {
            return SeenError::Damaged(error.to_string());
        }
        if let Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) = code {
            return SeenError::NotOpened(error);
        }
        SeenError::Unavailable(error)
    }
}

/// Where rows are given to the thread.
#[derive(Debug)]
pub(crate) struct SeenWriter {
    rows: Sender<Vec<SeenRow>>,
    /// It has not written yet what it was given.
    is_busy: Arc<AtomicBool>,
}

impl SeenWriter {
    pub(crate) fn new(rows: Sender<Vec<SeenRow>>) -> SeenWriter {
        SeenWriter { rows, is_busy: Arc::default() }
    }

    /// Can it be given more?
    pub(crate) fn is_free(&self) -> bool {
        !self.is_busy.load(Ordering::Acquire)
    }

    /// One transaction.
    pub(crate) fn write(&self, rows: Vec<SeenRow>) {
        if rows.is_empty() {
            return;
        }
        self.is_busy.store(true, Ordering::Release);
        // A thread that is gone takes the process with it; see `spawn`.
        drop(self.rows.send(rows));
    }
}

/// Opens the file, and starts the thread, which ends when its `SeenWriter` is dropped. And what the file has.
pub(crate) fn seen(
    path: PathBuf,
    journal: [u8; 16],
    answers: UnboundedSender<Answer>,
) -> io::Result<(SeenWriter, Vec<SeenRow>, JoinHandle<()>)> {
    let mut file = SeenFile { path, journal, open: None };
    let found = file.load();
    let (rows, inbox) = channel();
    let writer = SeenWriter::new(rows);
    let is_busy = writer.is_busy.clone();
    let thread = spawn("seen", answers, move || serve(&mut file, &inbox, &is_busy))?;
    Ok((writer, found, thread))
}

fn serve(file: &mut SeenFile, inbox: &Receiver<Vec<SeenRow>>, is_busy: &AtomicBool) {
    let mut is_failing = false;
    while let Ok(mut rows) = inbox.recv() {
        while let Err(error) = file.write(&rows) {
            if !std::mem::replace(&mut is_failing, true) {
                let path = file.path.display();
                tracing::warn!(%error, "{path} cannot be written; trying again until it works");
            }
            match inbox.recv_timeout(RETRY) {
                // Only the last rows of all come while it is busy.
                Ok(more) => rows.extend(more),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if std::mem::take(&mut is_failing) {
            tracing::info!("{} can be written again", file.path.display());
        }
        is_busy.store(false, Ordering::Release);
    }
}

struct SeenFile {
    path: PathBuf,
    journal: [u8; 16],
    /// `None`: it could not be opened.
    open: Option<Connection>,
}

impl SeenFile {
    /// What an earlier process wrote. If the file is of no use there is a new one, or none.
    fn load(&mut self) -> Vec<SeenRow> {
        let error = match self.open().and_then(load) {
            Ok(rows) => return rows,
            Err(error) => error,
        };
        let is_replaced = error.is_of_the_file() || matches!(error, SeenError::NotOpened(_));
        if !(is_replaced && self.renew(&error)) {
            let path = self.path.display();
            tracing::warn!(%error, "the server goes on without {path}: what it sees of sign-ins is kept in memory only");
        }
        Vec::new()
    }

    fn write(&mut self, rows: &[SeenRow]) -> Result<(), SeenError> {
        let mut outcome = self.open().and_then(|conn| write(conn, rows));
        if let Err(error) = &outcome
            && error.is_of_the_file()
            && self.renew(error)
        {
            outcome = self.open().and_then(|conn| write(conn, rows));
        }
        if outcome.is_err() {
            // Opened again for the next try: the file may have been moved or removed.
            self.open = None;
        }
        outcome
    }

    /// A new file in the place of one that is of no use. `false`: there can be none.
    fn renew(&mut self, why: &SeenError) -> bool {
        self.open = None;
        for end in ["", "-wal", "-shm"] {
            let mut file = self.path.clone().into_os_string();
            file.push(end);
            // What cannot be removed cannot be opened either.
            let _ = fs::remove_file(file);
        }
        let is_new = self.open().is_ok();
        if is_new {
            let path = self.path.display();
            tracing::warn!(error = %why, "{path} is made anew: when and from where accounts signed in before is forgotten");
        }
        is_new
    }

    fn open(&mut self) -> Result<&mut Connection, SeenError> {
        let conn = match self.open.take() {
            Some(conn) => conn,
            None => open(&self.path, &self.journal)?,
        };
        Ok(self.open.insert(conn))
    }
}

fn open(path: &Path, journal: &[u8; 16]) -> Result<Connection, SeenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(0o600)).map_err(SeenError::Create)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(SeenError::Create(error)),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    let _: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    // Synced at checkpoints only: a power cut costs the last minutes.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == 0 {
        let change = conn.transaction()?;
        change.execute_batch(SCHEMA)?;
        change.execute("INSERT INTO about VALUES (1, ?1)", [&journal[..]])?;
        change.pragma_update(None, "user_version", FORMAT)?;
        change.commit()?;
        return Ok(conn);
    }
    if found != FORMAT {
        return Err(SeenError::OtherFormat { found });
    }
    let of: Vec<u8> = conn.query_row("SELECT journal FROM about", [], |row| row.get(0))?;
    if of != journal {
        return Err(SeenError::OtherJournal);
    }
    Ok(conn)
}

fn load(conn: &mut Connection) -> Result<Vec<SeenRow>, SeenError> {
    let mut rows = Vec::new();
    let mut read = |what: &str, row: fn(&Row<'_>) -> Result<SeenRow, SeenError>| {
        let mut question = conn.prepare(&format!("SELECT {what} LIMIT {ROWS_MAX}"))?;
        let mut found = question.query([])?;
        while let Some(next) = found.next()? {
            rows.push(row(next)?);
        }
        Ok::<_, SeenError>(())
    };
    read("id, last, address, failed, failed_last, failed_address FROM account", |row| {
        let seen = AccountSeen {
            last: sighting(row, 1)?,
            failed: match (number(row, 3)?, sighting(row, 4)?) {
                (0, _) | (_, None) => None,
                (count, Some(last)) => Some(Failed { count, last }),
            },
        };
        Ok(SeenRow::Account(AccountId(number(row, 0)?), seen))
    })?;
    read("account, id, last, address FROM token", |row| {
        let used = sighting(row, 2)?.ok_or_else(|| SeenError::Damaged("no time in it".to_owned()))?;
        Ok(SeenRow::Token(AccountId(number(row, 0)?), TokenId(number(row, 1)?), used))
    })?;
    read("account, last, what FROM known ORDER BY last DESC", |row| {
        Ok(SeenRow::Known(
            AccountId(number(row, 0)?),
            known(row.get_ref(2)?.as_blob())?,
            Time(number(row, 1)?),
        ))
    })?;
    Ok(rows)
}

fn number(row: &Row<'_>, at: usize) -> Result<u64, SeenError> {
    let found: i64 = row.get(at)?;
    u64::try_from(found).map_err(|_| SeenError::Damaged(format!("{found} instead of a positive number")))
}

/// A time, and the address behind it.
fn sighting(row: &Row<'_>, at: usize) -> Result<Option<Sighting>, SeenError> {
    if row.get_ref(at)? == ValueRef::Null {
        return Ok(None);
    }
    let time = number(row, at)?;
    let address: Option<String> = row.get(at + 1)?;
    let read = |text: String| text.parse().map_err(|_| SeenError::Damaged(format!("no address: {text:?}")));
    Ok(Some(Sighting { at: Time(time), ip: address.map(read).transpose()? }))
}

fn known(what: Result<&[u8], rusqlite::types::FromSqlError>) -> Result<Known, SeenError> {
    let what = what.map_err(|error| SeenError::Damaged(error.to_string()))?;
    if let Ok(ip) = <[u8; 4]>::try_from(what) {
        return Ok(Known::Address(IpAddr::from(ip)));
    }
    if let Ok(ip) = <[u8; 16]>::try_from(what) {
        return Ok(Known::Address(IpAddr::from(ip)));
    }
    let key = what.try_into().map_err(|_| SeenError::Damaged(format!("no place of {} bytes", what.len())))?;
    Ok(Known::Device(TokenKey(key)))
}

fn write(conn: &mut Connection, rows: &[SeenRow]) -> Result<(), SeenError> {
    let change = conn.transaction()?;
    for row in rows {
        put(&change, row)?;
    }
    Ok(change.commit()?)
}

fn put(change: &Transaction<'_>, row: &SeenRow) -> Result<(), rusqlite::Error> {
    let run =
        |sql: &str, values: &[&dyn rusqlite::ToSql]| change.prepare_cached(sql)?.execute(values).map(drop);
    let address = |seen: Option<Sighting>| seen.and_then(|seen| seen.ip).map(|ip| ip.to_string());
    let time = |seen: Option<Sighting>| seen.map(|seen| stored(seen.at.0));
    match *row {
        SeenRow::Account(who, AccountSeen { last, failed }) => {
            let (count, failed) = (failed.map_or(0, |failed| failed.count), failed.map(|failed| failed.last));
            run(
                "INSERT OR REPLACE INTO account VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                &[
                    &stored(who.0),
                    &time(last),
                    &address(last),
                    &stored(count),
                    &time(failed),
                    &address(failed),
                ],
            )
        }
        SeenRow::Token(who, id, used) => run(
            "INSERT OR REPLACE INTO token VALUES (?1, ?2, ?3, ?4)",
            &[&stored(who.0), &stored(id.0), &time(Some(used)), &address(Some(used))],
        ),
        SeenRow::Known(who, known, at) => run(
            "INSERT OR REPLACE INTO known VALUES (?1, ?2, ?3)",
            &[&stored(who.0), &what(known), &stored(at.0)],
        ),
        SeenRow::Gone(SeenKey::Account(who)) => run("DELETE FROM account WHERE id = ?1", &[&stored(who.0)]),
        SeenRow::Gone(SeenKey::Token(who, id)) => {
            run("DELETE FROM token WHERE account = ?1 AND id = ?2", &[&stored(who.0), &stored(id.0)])
        }
        SeenRow::Gone(SeenKey::Known(who, known)) => {
            run("DELETE FROM known WHERE account = ?1 AND what = ?2", &[&stored(who.0), &what(known)])
        }
    }
}

/// SQLite's integers are signed. No journal has 2^63 entries.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn what(known: Known) -> Vec<u8> {
    match known {
        Known::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Known::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
        Known::Device(key) => key.0.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const ADA: AccountId = AccountId(2);

    /// What is done to the file of an earlier process.
    type Spoil = Box<dyn Fn(&Path)>;

    fn file(folder: &TempDir) -> SeenFile {
        SeenFile { path: folder.path().join("seen.db"), journal: [1; 16], open: None }
    }

    fn rows() -> Vec<SeenRow> {
        let at = |time, ip: &str| Sighting { at: Time(time), ip: ip.parse().ok() };
        let failed = Some(Failed { count: 3, last: at(6, "2001:db8::7") });
        vec![
            SeenRow::Account(ADA, AccountSeen { last: Some(at(5, "192.0.2.7")), failed }),
            SeenRow::Account(AccountId(4), AccountSeen { last: Some(at(5, "")), failed: None }),
            SeenRow::Token(ADA, TokenId(9), at(5, "192.0.2.7")),
            SeenRow::Known(ADA, Known::Address("2001:db8::".parse().unwrap()), Time(7)),
            SeenRow::Known(ADA, Known::Address("192.0.2.7".parse().unwrap()), Time(6)),
            SeenRow::Known(ADA, Known::Device(TokenKey([3; 32])), Time(5)),
        ]
    }

    #[test]
    fn what_was_written_is_loaded_and_what_is_gone_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut writing = file(&folder);
        assert_eq!(writing.load(), []);
        writing.write(&rows()).unwrap();
        writing.write(&rows()).unwrap();
        assert_eq!(file(&folder).load(), rows());
        let gone = [SeenKey::Account(AccountId(4)), SeenKey::Token(ADA, TokenId(9))];
        let known = SeenKey::Known(ADA, Known::Device(TokenKey([3; 32])));
        let gone: Vec<SeenRow> = gone.into_iter().chain([known]).map(SeenRow::Gone).collect();
        writing.write(&gone).unwrap();
        drop(writing);
        let left: Vec<SeenRow> = rows()
            .into_iter()
            .enumerate()
            .filter(|(n, _)| [0, 3, 4].contains(n))
            .map(|(_, row)| row)
            .collect();
        assert_eq!(file(&folder).load(), left);
        let mode = fs::metadata(folder.path().join("seen.db")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_of_no_use_is_made_anew_and_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.db");
        let change = |sql: &'static str| {
            move |path: &Path| Connection::open(path).unwrap().execute_batch(sql).unwrap()
        };
        let spoil: [Spoil; 9] = [
            Box::new(|path| fs::write(path, b"no database, but long enough".repeat(100)).unwrap()),
            Box::new(|path| fs::write(path, b"").unwrap()),
            Box::new(change("PRAGMA user_version = 2")),
            Box::new(change("PRAGMA user_version = -1")),
            Box::new(change("DROP TABLE known")),
            Box::new(change("UPDATE account SET address = 'nowhere'")),
            Box::new(change("UPDATE known SET what = x'00' WHERE last = 5")),
            Box::new(change("UPDATE token SET last = -1")),
            Box::new(change("UPDATE about SET journal = x'00'")),
        ];
        for (n, spoil) in spoil.iter().enumerate() {
            let mut writing = file(&folder);
            writing.load();
            writing.write(&rows()).unwrap();
            drop(writing);
            spoil(&path);
            let mut again = file(&folder);
            assert_eq!(again.load(), [], "spoiled by {n}");
            again.write(&rows()).unwrap();
            drop(again);
            assert_eq!(file(&folder).load(), rows(), "spoiled by {n}");
        }
    }

    #[test]
    fn a_file_that_is_damaged_under_a_running_server_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut writing = file(&folder);
        writing.load();
        change_schema(&folder);
        writing.write(&rows()).unwrap();
        drop(writing);
        assert_eq!(file(&folder).load(), rows());
    }

    fn change_schema(folder: &TempDir) {
        Connection::open(folder.path().join("seen.db")).unwrap().execute_batch("DROP TABLE token").unwrap();
    }

    #[test]
    fn what_cannot_be_made_anew_is_an_error_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.db");
        fs::create_dir(&path).unwrap();
        let mut writing = file(&folder);
        assert_eq!(writing.load(), []);
        assert!(writing.write(&rows()).is_err());
        fs::remove_dir(&path).unwrap();
        writing.write(&rows()).unwrap();
        drop(writing);
        assert_eq!(file(&folder).load(), rows());
    }
}
