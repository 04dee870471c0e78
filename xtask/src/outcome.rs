//! The result of a step.

/// The result of a step that did not fail.
pub(crate) enum Outcome {
    Passed,
    /// The check was not possible: why, and what to do about it. Repeated in the last line.
    NotChecked(String),
}
