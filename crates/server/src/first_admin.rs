//! The first administrator of a new server: whoever reads the start of the server, or the data folder, gets a link for it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use vang_proto::Secret;

use crate::pump::Pump;

/// The file in the data folder that has the link, until the next start.
const FILE: &str = "first-admin";

/// Invites the first administrator, once the server is ready.
pub struct FirstAdmin {
    pump: Rc<Pump>,
    file: PathBuf,
}

/// What an invited administrator is shown.
pub struct FirstAdminLink {
    pub link: Secret,
    /// It is there, too, for the operator alone; `None`: it could not be written.
    pub file: Option<PathBuf>,
}

impl FirstAdmin {
    pub(crate) fn new(pump: Rc<Pump>, data: &std::path::Path) -> FirstAdmin {
        FirstAdmin { pump, file: data.join(FILE) }
    }

    /// While there is no account: a link that makes an administrator's, once and within an hour. `link` makes it of the code.
    pub fn invite(self, link: impl FnOnce(&Secret) -> Secret) -> Option<FirstAdminLink> {
        self.forget();
        let link = link(&self.pump.invite_first_admin()?);
        let written = self.write(&link);
        if let Err(error) = &written {
            tracing::warn!(%error, file = %self.file.display(), "the first administrator's link is not in the data folder");
        }
        Some(FirstAdminLink { link, file: written.is_ok().then_some(self.file) })
    }

    /// What an earlier start wrote.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.file);
    }

    fn write(&self, link: &Secret) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        writeln!(file, "{}", link.expose())
    }
}
