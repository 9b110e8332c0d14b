//! Failures that end the node.

/// Reason for which a node ended by itself after a successful start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Crash {
    /// The actor tree failed more often than it is restarted.
    #[error("the node ends: its registrar died too often, last of: {0}")]
    Tree(String),
    /// The gRPC server failed.
    #[error("the node ends: serve gRPC: {0}")]
    Server(String),
}
