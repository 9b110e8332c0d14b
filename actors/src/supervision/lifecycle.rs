//! How a parent, or a sibling, ends an actor.

use actix::Message;
use tokio::sync::oneshot;

/// Asks an actor to write what must not be lost, to report that, and to stop. Sent by ChainSupport to a chain at shutdown, and
/// by the chain to its writer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Halt {
    /// Receives `()` when everything is durable.
    pub done: oneshot::Sender<()>,
}

/// Asks an actor to stop at once, because the other half, or the parent, has failed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopNow;

/// Tests only: a handler that panics.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;
