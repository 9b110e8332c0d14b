//! Ends of the node that are its own doing.

/// Why a node ended that was neither asked to nor started with a mistake in its settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum Crash {
    /// The tree of actors died more often than it is built again.
    #[error("the node ends: its registrar died too often, last of: {0}")]
    Tree(String),
    /// Nobody serves any more.
    #[error("the node ends: serve gRPC: {0}")]
    Server(String),
}
