//! Secrets: passwords, tokens, codes. What holds one is overwritten with zeros when it is dropped, is never printed, and is
//! compared in a time that does not depend on where two of them differ.
//!
//! It protects against a secret in a log, an error text or freed memory. It does not follow copies that others made: the
//! buffers that a secret came through (socket, JSON) are overwritten by what comes next, as they always were.

use std::fmt;
use std::hint::black_box;

use zeroize::Zeroizing;

/// What every token begins with, so that people and programs that look for secrets recognise one.
pub const TOKEN_PREFIX: &str = "vang_";

/// A password, a token or a code, as text.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; nothing is copied.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The secret itself: for hashing it and for sending it, and for nothing that is shown or kept.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its length in bytes, which is no secret: the size of a request shows it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret::new(text)
    }
}

/// Not even the length: of a short code it would say much.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// All bytes are compared, wherever the first difference is.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        let different = a.iter().zip(b).fold(0, |different, (a, b)| black_box(different | (a ^ b)));
        a.len() == b.len() && different == 0
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "it is only printed")]
        struct Request {
            password: Secret,
        }
        let request = Request { password: Secret::new("correct horse".to_owned()) };
        assert_eq!(format!("{request:?}"), "Request { password: Secret(..) }");
        assert_eq!(format!("{request:#?}").matches("horse").count(), 0);
    }

    #[test]
    fn secrets_are_equal_if_every_byte_is() {
        let secret = |text: &str| Secret::new(text.to_owned());
        assert_eq!(secret("correct horse"), secret("correct horse"));
        assert_eq!(secret(""), secret(""));
        for other in ["", "c", "correct hors", "correct horse ", "Correct horse", "correct horsf"] {
            assert_ne!(secret("correct horse"), secret(other), "{other:?}");
        }
        assert_eq!((secret("correct").len(), secret("correct").expose()), (7, "correct"));
        assert!(secret("").is_empty());
    }
}
