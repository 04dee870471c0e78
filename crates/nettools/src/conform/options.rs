//! What `conform` tests, and with which cases.

use serde::Serialize;

use crate::Target;
use crate::error::ToolError;

/// The kind of server to test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A tutorial server: one request, one response, close.
    Guide,
    Vang,
}

/// What to test.
#[derive(Clone, Debug)]
pub struct ConformOptions {
    pub target: Target,
    /// `None`: detected with a hello request.
    pub profile: Option<Profile>,
    pub choice: Choice,
    /// A room for test messages: then posting and following are tested as well.
    pub post: Option<String>,
}

/// Selects cases by name, as in `guide/search-dog`.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only cases with one of these texts in their name; empty: all.
    pub only: Vec<String>,
    /// No cases with one of these texts in their name.
    pub skip: Vec<String>,
}

impl Choice {
    pub(super) fn takes(&self, name: &str) -> bool {
        let has = |parts: &[String]| parts.iter().any(|part| name.contains(part.as_str()));
        (self.only.is_empty() || has(&self.only)) && !has(&self.skip)
    }
}

pub(super) fn no_such_case() -> ToolError {
    ToolError::Usage("no case has this text in its name".to_owned())
}
