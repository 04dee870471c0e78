//! Who can read and speak in a room.

use minicbor::{Decode, Encode};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Access {
    /// Everybody, guests too.
    #[n(0)]
    Public,
    /// Members; they see what was said while they were members.
    #[n(1)]
    Private,
}

impl Access {
    pub const ALL: [Access; 2] = [Access::Public, Access::Private];

    /// Its number in the journal, which is never used again for another one.
    pub fn number(self) -> u8 {
        match self {
            Access::Public => 0,
            Access::Private => 1,
        }
    }

    /// The access with this number in the journal.
    pub fn from_number(number: u8) -> Option<Access> {
        Access::ALL.into_iter().find(|access| access.number() == number)
    }
}
