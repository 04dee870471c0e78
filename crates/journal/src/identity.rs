//! Which journal this is: its id and its secret key.

use std::fmt;

use crate::hash::hex;

/// A journal's id and key, random from its creation. A restored copy gets a new id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Clients see it: a `seq` means something only together with it.
    pub id: [u8; 16],
    /// Keys the hashes of names and ids. It leaves the server in backups only.
    pub key: [u8; 32],
    /// The id at its creation. The chain begins with it, so a restored copy keeps it.
    pub born: [u8; 16],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id_hex()).finish_non_exhaustive()
    }
}

impl Identity {
    /// The identity of a journal that is not a restored copy.
    pub fn new(id: [u8; 16], key: [u8; 32]) -> Identity {
        Identity { id, key, born: id }
    }

    pub(crate) fn random() -> Result<Identity, getrandom::Error> {
        Ok(Identity::new(random()?, random()?))
    }

    /// This journal's copy under a new random id.
    pub(crate) fn with_random_id(self) -> Result<Identity, getrandom::Error> {
        Ok(Identity { id: random()?, ..self })
    }

    /// The id as clients see it: 32 hexadecimal digits.
    pub fn id_hex(&self) -> String {
        hex(&self.id)
    }
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
