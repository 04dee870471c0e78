//! The guide's exchange (`docs/PROTOCOL.md` section 2): what its server answers, byte for byte.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::compose::{Composer, result_content};
use crate::encoding::{self, DecodeError};
use crate::header::{excerpt, text_of};
use crate::limits::JSON_DEPTH_MAX;
use crate::{Frame, python};

/// The answers that every fresh server holds.
pub const ANSWERS: [(&str, &str); 3] = [
    ("morpheus", "Follow the white rabbit. \u{1f430}"),
    ("ring", "In the caves beneath the Misty Mountains. \u{1f48d}"),
    ("\u{1f436}", "\u{1f43e} Playing ball! \u{1f3d0}"),
];

/// Content that is not what its header says. Fatal to the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Nobody knows this encoding.
    #[error("unknown content-encoding '{name}'")]
    UnknownEncoding {
        /// As sent, shortened.
        name: String,
    },
    /// The bytes are not in the encoding named.
    #[error("{0}")]
    NotDecodable(#[from] DecodeError),
    /// Text, but not JSON.
    #[error("content is not JSON: {why}")]
    NotJson {
        /// What the parser found, and where.
        why: String,
    },
    /// JSON, but not an object.
    #[error("content must be a JSON object, not {found}")]
    NotObject {
        /// The beginning of what it is.
        found: String,
    },
    /// Nested beyond reason.
    #[error("content is nested {depth} levels deep; at most {JSON_DEPTH_MAX} are read")]
    TooDeep {
        /// As found.
        depth: usize,
    },
}

/// A frame's content as text, in whatever encoding its header names.
///
/// # Errors
/// The encoding is unknown, or the bytes are not text in it; the error names the first wrong byte.
///
/// ```
/// use vang_proto::guide::text_content;
/// use vang_proto::{Connection, Frame};
///
/// let mut connection = Connection::default();
/// connection.send("text/plain", "utf-16-le", b"h\0i\0")?;
/// # let bytes = connection.unsent().to_vec();
/// # connection.handle_written(bytes.len());
/// # connection.handle_read(&bytes);
/// // The peer receives:
/// let frame: Frame = connection.poll_frame()?.expect("a whole message");
/// assert_eq!(text_content(&frame)?, "hi");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn text_content(frame: &Frame) -> Result<Cow<'_, str>, ContentError> {
    let name = frame.header.content_encoding();
    let encoding =
        encoding::find(&name).ok_or_else(|| ContentError::UnknownEncoding { name: excerpt(&name) })?;
    Ok(encoding::decode(encoding, frame.header.byteorder(), &frame.content)?)
}

/// The arguments in `text/json` content: an object's keys with their values as JSON text.
#[derive(Clone, Debug, Default)]
pub struct Arguments(Vec<(String, Box<RawValue>)>);

impl Arguments {
    /// Parses an object; of a key that stands twice, the last counts.
    ///
    /// # Errors
    /// The text is not a JSON object, or nested deeper than 128 levels.
    pub fn parse(text: &str) -> Result<Arguments, ContentError> {
        // Python skips a byte order mark only where the codec does; JSON itself has none.
        let depth = python::depth(text.as_bytes());
        if depth > JSON_DEPTH_MAX {
            return Err(ContentError::TooDeep { depth });
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let value: &RawValue = serde::Deserialize::deserialize(&mut json).map_err(not_json)?;
        json.end().map_err(not_json)?;
        if !value.get().starts_with('{') {
            return Err(ContentError::NotObject { found: excerpt(value.get()) });
        }
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Vec<(String, Box<RawValue>)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        let mut json = serde_json::Deserializer::from_str(value.get());
        serde::Deserializer::deserialize_map(&mut json, Pairs).map(Arguments).map_err(not_json)
    }

    /// A value as JSON text.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.get())
    }

    /// A value, if it is a string.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        text_of(self.raw(key)?)
    }

    /// A value as Python's `str` prints it; a missing one is `None`.
    ///
    /// # Errors
    /// The value is nested deeper than 128 levels. [`Arguments::parse`] refuses such values.
    pub fn printed(&self, key: &str) -> Result<String, ContentError> {
        let raw = self.raw(key).unwrap_or("null");
        python::str_of(raw).map_err(|_| ContentError::TooDeep { depth: JSON_DEPTH_MAX + 1 })
    }
}

fn not_json(error: serde_json::Error) -> ContentError {
    ContentError::NotJson { why: error.to_string() }
}

/// What `search` answers.
///
/// # Errors
/// As [`Arguments::printed`], for `value`.
pub fn search(arguments: &Arguments) -> Result<String, ContentError> {
    if let Some(query) = arguments.text("value")
        && let Some((_, answer)) = ANSWERS.iter().find(|(value, _)| *value == query)
    {
        return Ok((*answer).to_owned());
    }
    Ok(format!("No match for '{}'.", arguments.printed("value")?))
}

/// What any other action that is not known answers.
///
/// # Errors
/// As [`Arguments::printed`], for `action`.
pub fn invalid_action(arguments: &Arguments) -> Result<String, ContentError> {
    Ok(format!("Error: invalid action '{}'.", arguments.printed("action")?))
}

/// What the guide's server answers to these arguments: `search`, or that the action is invalid.
///
/// # Errors
/// As [`search`] and [`invalid_action`].
///
/// ```
/// use vang_proto::guide::{Arguments, answer};
///
/// let request = Arguments::parse(r#"{"action": "search", "value": "morpheus"}"#)?;
/// assert_eq!(answer(&request)?, "Follow the white rabbit. 🐰");
/// # Ok::<(), vang_proto::guide::ContentError>(())
/// ```
pub fn answer(arguments: &Arguments) -> Result<String, ContentError> {
    match arguments.text("action").as_deref() {
        Some("search") => search(arguments),
        _ => invalid_action(arguments),
    }
}

/// A response with a text, as the guide's server sends it.
pub fn json_response(text: &str) -> Bytes {
    let content = result_content(text);
    let mut out = BytesMut::with_capacity(content.len() + 128);
    Composer::new(&mut out, "text/json", "utf-8", content.len()).finish(&content);
    out.freeze()
}

/// The content of the answer to content of any other type.
pub fn binary_content(request: &[u8]) -> Vec<u8> {
    [b"First 10 bytes of request: ", &request[..request.len().min(10)]].concat()
}

/// The response to content of any other type.
pub fn binary_response(request: &[u8]) -> Bytes {
    let content = binary_content(request);
    let mut out = BytesMut::with_capacity(content.len() + 160);
    Composer::new(&mut out, "binary/custom-server-binary-type", "binary", content.len()).finish(&content);
    out.freeze()
}
