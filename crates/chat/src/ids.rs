//! What things are called. Every id is its own type; none of them is a bare number.

use std::fmt;

use minicbor::data::Type;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// A position in the journal: the first entry is 1, and every entry takes one. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Seq(#[n(0)] pub u64);

impl Seq {
    /// The position after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since 1970-01-01 UTC, as the orderer stamped them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Time(#[n(0)] pub u64);

/// Which version of the rules decides an entry. Old versions stay runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Rules(#[n(0)] pub u16);

/// One opening of the journal by one server process: random, never used twice. On the wire it is
/// the `epoch`; with a counter it names every command that the process ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Node(#[n(0)] pub u64);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A room: the `seq` of the entry that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct RoomId(#[n(0)] pub u64);

/// An account: the `seq` of the entry that added it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct AccountId(#[n(0)] pub u64);

/// A name as the rules know it: a keyed hash of its canonical form, made at the door.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct NameKey(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameKey({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The one who runs the server; also the server itself.
    Operator,
    /// A registered account.
    Account(AccountId),
    /// A session with a name and no account: it speaks in public rooms and owns nothing.
    Guest(NameKey),
}

impl<C> Encode<C> for Principal {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Principal::Operator => e.null()?.ok(),
            Principal::Account(account) => account.encode(e, context),
            Principal::Guest(name) => name.encode(e, context),
        }
    }
}

impl<'b, C> Decode<'b, C> for Principal {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Principal, minicbor::decode::Error> {
        match d.datatype()? {
            Type::Null => d.null().map(|()| Principal::Operator),
            Type::Bytes => NameKey::decode(d, context).map(Principal::Guest),
            _ => AccountId::decode(d, context).map(Principal::Account),
        }
    }
}

/// Where in the journal something is decided, and by which process it was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The entry's place.
    pub seq: Seq,
    /// The orderer's stamp. The state's time is the largest so far.
    pub time: Time,
    /// The process that ordered it.
    pub node: Node,
}
