//! The server side's interface to the node: its channels.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::membership::{ConsenterId, Membership};

/// Finds the channels that this node takes part in as a consenter.
pub trait Router: Send + Sync + 'static {
    /// Returns the channel of this name; `None` makes the stream end with Fabric's "channel NAME doesn't exist".
    fn channel(&self, name: &str) -> Option<Arc<dyn ClusterChannel>>;
}

/// A channel as other consenters see it.
///
/// Its arguments are slices of the request as it was read: whatever the listener has attached to the request's memory
/// is released when the last slice is dropped. A channel that retains a part of one for long copies it.
pub trait ClusterChannel: Send + Sync + 'static {
    /// Returns the consenters under the configuration in force. Called for each request, so it has to be cheap.
    fn membership(&self) -> Arc<Membership>;

    /// Handles a message of the consensus protocol. Must not block.
    ///
    /// # Errors
    /// [`StepRejection::NoRoom`] drops the message, which is counted, and the stream goes on. [`StepRejection::Refused`] ends the
    /// stream.
    fn consensus(&self, from: ConsenterId, payload: Bytes, metadata: Bytes) -> Result<(), StepRejection>;

    /// Accepts a transaction that another consenter has validated under the configuration `last_validation_seq`.
    ///
    /// The future resolves when the channel has accepted or rejected it. While it is pending, the stream reads
    /// nothing more: this is how a channel slows down consenters that submit to it. There is no deadline, since the
    /// sender has told its client that the transaction was accepted. The future is dropped if the stream ends.
    ///
    /// # Errors
    /// Both kinds end the stream, with the reason.
    fn submit(
        &self,
        from: ConsenterId,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), StepRejection>>;
}

/// Reason for which a channel has not accepted a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepRejection {
    /// The channel has no capacity for it now.
    #[error("the channel has no room for more messages")]
    NoRoom,
    /// The channel accepts no requests, or not this one: the reason in Fabric's words ("chain is stopped", "no Raft
    /// leader").
    #[error("{0}")]
    Refused(String),
}
