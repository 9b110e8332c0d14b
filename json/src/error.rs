//! Errors of converting bytes to JSON, and JSON to bytes.

/// Bytes cannot be converted to JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message type is unknown.
    #[error("message of type {0} unknown")]
    UnknownType(String),
    /// The bytes are not a message of the type.
    #[error("these bytes are no {kind}: {why}{}", At(path))]
    Malformed {
        /// Full name of the type.
        kind: String,
        /// Path of fields to the error.
        path: String,
        /// Description of the error.
        why: &'static str,
    },
}

/// JSON cannot be converted to a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message type is unknown.
    #[error("message of type {0} unknown")]
    UnknownType(String),
    /// A part of the JSON does not fit the type.
    #[error("no {kind}: {why}{}", At(path))]
    Misfit {
        /// Full name of the type.
        kind: String,
        /// Path of members to the error.
        path: String,
        /// Description of the error.
        why: String,
    },
}

/// Displays the path of an error, if there is one.
struct At<'a>(&'a str);

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (at {})", self.0) }
    }
}

/// Adds a step to the front of a path, while an error propagates outward.
pub(crate) fn prepend(path: &mut String, step: &str) {
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    *path = format!("{step}{dot}{path}");
}
