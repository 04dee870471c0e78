//! From a data folder to a hub that is ready: lock, journal, view, replay. Nothing is served before
//! the whole chain from the newest snapshot on has been looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use vang_chat::{Seq, State};
use vang_hub::{Book, Delta, Recovered, ReplayError, replay};
use vang_journal::{
    Damages, DataFolder, Durability, FolderError, Identity, JournalError, Maintain, Reader, Store,
    hold_journal, open_journal, read_journal,
};
use vang_view::{Chains, Opened, RebuildReason, View, ViewError};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder is held by somebody, or cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The journal cannot be opened.
    #[error("cannot open {}: {fault}", path.display())]
    Open { path: PathBuf, fault: JournalError },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The view cannot be opened.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The journal does not replay.
    #[error("the journal does not replay: {0} (vang admin check tells more)")]
    Replay(#[from] ReplayError),
}

/// An opened data folder: everything that its threads need.
pub struct OpenedFolder {
    /// Holds the lock as long as it lives.
    pub folder: DataFolder,
    /// For the journal's thread.
    pub journal: Box<dyn Maintain>,
    /// For all that read it.
    pub store: Arc<dyn Store>,
    /// For the view's thread.
    pub view: View,
    pub recovered: Recovered,
    /// What the view could not take yet: to be applied before anything else.
    pub pending: Vec<Delta>,
}

/// Opens a data folder, alone.
pub fn open(path: &Path) -> Result<OpenedFolder, StartError> {
    let began = Instant::now();
    let folder = DataFolder::open(path)?;
    let opened = match open_files(&folder) {
        Err(
            StartError::Open { fault: JournalError::Full(_), .. }
            | StartError::Journal(JournalError::Full(_))
            | StartError::View(ViewError::Unavailable(_)),
        ) if folder.reserve().give_up() => {
            tracing::warn!("no disk space to open the journal; using the reserve");
            open_files(&folder)
        }
        outcome => outcome,
    };
    let (journal, store, view, recovered, pending) = opened?;
    folder.reserve().keep();
    let (id, seq) = (journal.identity().id_hex(), recovered.state.seq());
    let took_ms = began.elapsed().as_millis() as u64;
    tracing::info!(journal = id, seq = seq.0, replayed = recovered.replayed, took_ms, "journal open");
    Ok(OpenedFolder { folder, journal, store, view, recovered, pending })
}

type Files = (Box<dyn Maintain>, Arc<dyn Store>, View, Recovered, Vec<Delta>);

fn open_files(folder: &DataFolder) -> Result<Files, StartError> {
    let path = folder.journal_db();
    let journal =
        open_journal(&path, Durability::default()).map_err(|fault| StartError::Open { path, fault })?;
    let identity = journal.identity();
    let (mut view, opened) = View::open(&folder.view_db(), identity.id, chains(folder.journal_db()))?;
    if let Opened::Fresh(reason) = &opened
        && *reason != RebuildReason::Missing
    {
        tracing::warn!(%reason, "rebuilding the view from the journal");
    }
    let damages = Damages::new(|damage| {
        let (seq, error) = (damage.seq.0, &damage.why);
        tracing::error!(seq, error, "an entry of the journal is damaged; run `vang admin check`");
    });
    let store = hold_journal(&folder.journal_db(), Arc::new(damages))?;
    let mut pending = Vec::new();
    let recovered = recover(&mut *store.reader()?, &identity, &mut view, &mut pending)?;
    Ok((journal, store, view, recovered, pending))
}

/// What binds a view to the journal in this file: its cursor, and the journal's chain there. Reads with a
/// connection of its own, opened when first needed, and again after a failure.
pub fn chains(journal_db: PathBuf) -> impl Chains + 'static {
    let mut open: Option<Box<dyn Reader + Send>> = None;
    move |seq: Seq| {
        let mut reader = match open.take() {
            Some(reader) => reader,
            None => read_journal(&journal_db).map_err(|fault| fault.to_string())?.1,
        };
        let chain = reader.chain_at(seq).map_err(|fault| fault.to_string())?;
        open = Some(reader);
        Ok(chain.map(|chain| chain.0))
    }
}

/// Replays the journal from the newest snapshot that is any good, and brings the view up to date. What it
/// cannot take, because the disk is full, is `pending`.
pub fn recover(
    reader: &mut dyn Reader,
    identity: &Identity,
    view: &mut View,
    pending: &mut Vec<Delta>,
) -> Result<Recovered, StartError> {
    let reason = match replay_from_snapshot(reader, identity, view, pending) {
        // The snapshot, or what the view holds, does not belong to this journal.
        Err(StartError::Replay(ReplayError::Chain { .. } | ReplayError::State { .. }))
            if view.cursor() > Seq(0) =>
        {
            "it does not belong to this journal".to_owned()
        }
        Err(StartError::View(ViewError::Corrupt(why)) | StartError::Replay(ReplayError::View(why))) => why,
        outcome => return outcome,
    };
    tracing::warn!(reason, "rebuilding the view from the journal");
    view.reset()?;
    pending.clear();
    replay_from(reader, identity, view, State::default(), pending)
}

fn replay_from_snapshot(
    reader: &mut dyn Reader,
    identity: &Identity,
    view: &mut View,
    pending: &mut Vec<Delta>,
) -> Result<Recovered, StartError> {
    let mut state = State::default();
    if let Some((seq, bytes)) = view.snapshot()? {
        match State::from_snapshot(&bytes) {
            Ok(good) if good.seq() == seq => state = good,
            Ok(_) => tracing::warn!(
                seq = seq.0,
                "the snapshot belongs to another entry; replaying the whole journal"
            ),
            Err(error) => tracing::warn!(%error, "the snapshot is damaged; replaying the whole journal"),
        }
    }
    replay_from(reader, identity, view, state, pending)
}

fn replay_from(
    reader: &mut dyn Reader,
    identity: &Identity,
    view: &mut View,
    state: State,
    pending: &mut Vec<Delta>,
) -> Result<Recovered, StartError> {
    let texts = view.texts()?.into_iter().map(|(of, _, text)| (of, text));
    let book = Book::new(texts);
    let view_cursor = view.cursor();
    let mut apply_delta = |delta: Delta| {
        let deltas = [delta];
        // In their order: after one that was not applied, none is.
        let applied =
            if pending.is_empty() { view.apply(&deltas) } else { Err(ViewError::Unavailable(String::new())) };
        match applied {
            Ok(()) => {}
            Err(ViewError::Unavailable(error)) => {
                if pending.is_empty() {
                    tracing::warn!(error, "the view cannot be written now; it will be updated later");
                }
                pending.extend(deltas);
            }
            Err(error) => return Err(ReplayError::View(error.to_string())),
        }
        Ok(())
    };
    Ok(replay(reader, identity, (state, book), view_cursor, &mut apply_delta)?)
}
