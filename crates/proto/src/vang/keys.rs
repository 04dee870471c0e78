//! Keys of events and replies by their types: written into a header, and read from one.
//!
//! The structures are generic over their text: `&str` where they are written, `String` where they were read.

use crate::{Composer, Header};

/// A value that can be written under a key.
pub trait WriteKey {
    /// Writes it. `key` has everything between the value before and this one: `, "room": `. Nothing is written where
    /// there is no value.
    fn write(&self, key: &'static str, composer: &mut Composer<'_>);
}

/// A value that can be read from under a key.
pub(super) trait ReadKey: Sized {
    /// Can the key be missing?
    const IS_OPTIONAL: bool = false;

    /// `None`: it is missing, or of another type.
    fn read(header: &Header, key: &str) -> Option<Self>;
}

/// A key of an event or a reply, as `docs/PROTOCOL.md` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    pub key: &'static str,
    pub is_optional: bool,
}

impl WriteKey for &str {
    fn write(&self, key: &'static str, composer: &mut Composer<'_>) {
        composer.key_text(key, self);
    }
}

impl WriteKey for String {
    fn write(&self, key: &'static str, composer: &mut Composer<'_>) {
        composer.key_text(key, self);
    }
}

impl ReadKey for String {
    fn read(header: &Header, key: &str) -> Option<String> {
        Some(header.text(key)?.into_owned())
    }
}

impl WriteKey for u64 {
    fn write(&self, key: &'static str, composer: &mut Composer<'_>) {
        composer.key_number(key, *self);
    }
}

impl ReadKey for u64 {
    fn read(header: &Header, key: &str) -> Option<u64> {
        header.number(key)
    }
}

impl<V: WriteKey> WriteKey for Option<V> {
    fn write(&self, key: &'static str, composer: &mut Composer<'_>) {
        if let Some(value) = self {
            value.write(key, composer);
        }
    }
}

impl<V: ReadKey> ReadKey for Option<V> {
    const IS_OPTIONAL: bool = true;

    fn read(header: &Header, key: &str) -> Option<Option<V>> {
        Some(V::read(header, key))
    }
}

/// A field's key: its own name, or the one that is given.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

pub(super) use key;
