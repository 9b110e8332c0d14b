//! How a parent, or a sibling, ends an actor.

use actix::Message;
use tokio::sync::oneshot;

/// Write what must not be lost, then say so and stop. From ChainSupport to a chain at shutdown, and from the chain to its
/// writer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Halt {
    /// Told when everything is on the disk.
    pub done: oneshot::Sender<()>,
}

/// Stop at once: the other half, or the parent, has died.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Abandon;

/// Tests only: a handler that panics.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub struct Crash;
