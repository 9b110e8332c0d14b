//! Why there is no JSON for some bytes, or no bytes for some JSON.

/// Why bytes cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnfoldError {
    /// Nobody knows this type.
    #[error("message of type {0} unknown")]
    UnknownType(String),
    /// The bytes are no message of the type.
    #[error("these bytes are no {kind}: {why}{}", At(path))]
    Malformed {
        /// The type.
        kind: String,
        /// Field by field, to where it is.
        path: String,
        /// What is wrong there.
        why: &'static str,
    },
}

/// Why JSON cannot be made a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// Nobody knows this type.
    #[error("message of type {0} unknown")]
    UnknownType(String),
    /// A part of the JSON does not fit the type.
    #[error("no {kind}: {why}{}", At(path))]
    Misfit {
        /// The type.
        kind: String,
        /// Member by member, to where it is.
        path: String,
        /// What is wrong there.
        why: String,
    },
}

/// Where, if it is not the whole.
struct At<'a>(&'a str);

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (at {})", self.0) }
    }
}

/// A path grows from its end, while an error travels up.
pub(crate) fn prepend(path: &mut String, step: &str) {
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    *path = format!("{step}{dot}{path}");
}
