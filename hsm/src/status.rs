//! The pool's state, for operators.

use std::time::Duration;

/// State of a token, and what it was used for.
#[derive(Clone, Debug)]
pub struct TokenStatus {
    /// Label of the token.
    pub label: String,
    /// Duration of the present state.
    pub since: Duration,
    /// The reason for which the token does not sign; `None` if it does.
    pub away: Option<Away>,
    /// Number of open sessions.
    pub sessions: usize,
    /// Number of signatures that are waited for.
    pub waiting: usize,
    /// Number of signatures.
    pub signatures: u64,
    /// Sum of the durations of these signatures, each from its request on.
    pub signing: Duration,
    /// Number of calls that failed.
    pub failures: u64,
    /// Number of times that the token went away.
    pub outages: u64,
}

/// A token that does not sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// The last error.
    pub cause: String,
    /// The operator's action.
    pub action: &'static str,
    /// Number of failed attempts to connect again.
    pub attempts: u32,
    /// Whether the node has stopped trying, because another attempt might lock the token.
    pub gave_up: bool,
}
