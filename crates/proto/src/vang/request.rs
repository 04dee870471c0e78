//! Requests: an action with its form, its speaker and its mark. The server reads them; our client writes the header form.

use bytes::{Bytes, BytesMut};

use super::action::Action;
use super::arguments::{ArgumentError, Source, wrong};
use super::{ErrorReply, Value};
use crate::guide::{Arguments, ContentError};
use crate::limits::ID_BYTES_MAX;
use crate::{Composer, Frame};

/// Where the arguments stood; the reply may differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In header keys.
    Header,
    /// In `text/json` content.
    Content,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where its arguments stood.
    pub form: Form,
    /// Given back in the reply: JSON text.
    pub re: Option<String>,
    /// The account or guest (`as`).
    pub name: Option<String>,
    pub action: Action,
}

/// What went wrong with a request: an answer, and whether the connection can go on.
pub(super) enum RequestError {
    /// The bytes are not what they say they are: the connection ends.
    Malformed(ContentError),
    /// An answer, and the connection goes on.
    Refused { re: Option<String>, error: ErrorReply },
}

impl Request {
    /// Reads a request whose action is in the header.
    pub(super) fn from_header(frame: &Frame) -> Result<Request, RequestError> {
        Request::read(&Source { frame, content: None })
    }

    /// Reads a request whose action is in the content.
    pub(super) fn from_content(frame: &Frame, arguments: &Arguments) -> Result<Request, RequestError> {
        Request::read(&Source { frame, content: Some(arguments) })
    }

    fn read(source: &Source<'_>) -> Result<Request, RequestError> {
        let re = match source.raw("re") {
            Some(raw) if raw.len() > ID_BYTES_MAX => {
                let error = wrong("re", raw, "at most 128 bytes of JSON");
                return Err(RequestError::Refused { re: None, error });
            }
            Some(raw) => Some(raw.to_owned()),
            None => source.id_as_json(),
        };
        let refuse = |error| RequestError::Refused { re: re.clone(), error };
        let name = source.owned("as").map_err(refuse)?;
        let action = source.text("action").map_err(refuse)?;
        let action = Action::read(source, &action).map_err(|error| match error {
            ArgumentError::Malformed(malformed) => RequestError::Malformed(malformed),
            ArgumentError::Refused(error) => refuse(error),
        })?;
        let form = if source.content.is_some() { Form::Content } else { Form::Header };
        Ok(Request { form, re, name, action })
    }

    /// Bytes that the request holds until it is answered.
    pub fn weight(&self) -> usize {
        self.action.weight()
    }
}

/// The content of a request that takes none: type, encoding, bytes.
pub const NO_CONTENT: (&str, &str, &[u8]) = ("text/plain", "utf-8", &[]);

/// Writes requests in the header form.
#[derive(Debug, Default)]
pub struct RequestWriter {
    /// `as` in every request.
    pub name: Option<String>,
}

impl RequestWriter {
    /// A request in the header form.
    ///
    /// # Panics
    /// When the arguments are longer than a header can be: callers check names and ids first.
    pub fn write(&self, re: u64, action: &Action) -> Bytes {
        let (content_type, content_encoding, content) = action.content();
        let mut out = BytesMut::with_capacity(256 + content.len());
        let mut composer = Composer::new(&mut out, content_type, content_encoding, content.len());
        composer.text("action", action.name()).number("re", re);
        if let Some(name) = &self.name {
            composer.text("as", name);
        }
        action.write_arguments(&mut composer);
        composer.finish(content);
        out.freeze()
    }

    /// A request of any words, also of those that no action has: for tests, benches, and tools that try what a server
    /// does with them.
    ///
    /// # Panics
    /// As `write`.
    pub fn write_raw(
        &self,
        re: u64,
        action: &str,
        arguments: &[(&str, Value)],
        (content_type, content_encoding, content): (&str, &str, &[u8]),
    ) -> Bytes {
        let mut out = BytesMut::with_capacity(256 + content.len());
        let mut composer = Composer::new(&mut out, content_type, content_encoding, content.len());
        composer.text("action", action).number("re", re);
        if let Some(name) = &self.name {
            composer.text("as", name);
        }
        for (key, value) in arguments {
            match value {
                Value::Text(text) => composer.text(key, text),
                Value::Number(number) => composer.number(key, *number),
            };
        }
        composer.finish(content);
        out.freeze()
    }
}
