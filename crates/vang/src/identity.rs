//! Who a command speaks as, and from where it has what proves it:
//!
//! ```text
//! VANG_TOKEN or --token-file     a token of a script
//! what `vang login` stored       for this server, and for the name of --as
//! the name alone                 a guest; an account where a name is enough, as on the data folder's own socket
//! ```

use std::path::{Path, PathBuf};

use vang_client::{Identity, ServerAddr};
use vang_journal::DataFolder;

use crate::say::CommandError;
use crate::secret_input::{token_of_file, token_of_variable};
use crate::shell::TOKEN_VARIABLE;
use crate::token_store::{TokenStore, address_of, identity};

/// From where a proof came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// There is none: the name alone.
    Name,
    Variable,
    File(PathBuf),
    Login,
}

/// Is it a data folder's own socket, where an account's name is enough?
pub(crate) fn is_folders_own(server: &ServerAddr) -> bool {
    matches!(server, ServerAddr::Unix(path) if path.file_name() == Some(DataFolder::SOCKET.as_ref()))
}

/// Who speaks. `name` is the one that was typed, `guest` the name of who has no token.
pub(crate) fn find(
    server: &ServerAddr,
    name: Option<&str>,
    guest: &str,
    file: Option<&Path>,
) -> Result<(Identity, Source), CommandError> {
    let typed = || name.map(str::to_owned);
    let variable = token_of_variable()?;
    if let Some(file) = file {
        if variable.is_some() {
            let what = format!("--token-file and {TOKEN_VARIABLE} both name a token");
            return Err(CommandError::usage(what).advise(format!("use one: unset {TOKEN_VARIABLE}")));
        }
        return Ok((Identity::with_token(typed(), token_of_file(file)?), Source::File(file.to_owned())));
    }
    let by_name = |name: &str| (Identity::named(name), Source::Name);
    if let Some(name) = name.filter(|_| is_folders_own(server)) {
        return Ok(by_name(name));
    }
    if let Some(token) = variable {
        return Ok((Identity::with_token(typed(), token), Source::Variable));
    }
    let stored = match TokenStore::of_user() {
        Some(store) => identity(&store.of_server(&address_of(server))?, name),
        None => None,
    };
    Ok(match stored {
        Some(identity) => (identity, Source::Login),
        None => by_name(name.unwrap_or(guest)),
    })
}
