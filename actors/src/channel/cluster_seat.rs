//! Registration of the receiver of other consenters' requests for a channel's chain.

use std::sync::Arc;

use orderer_cluster::ClusterChannel;

/// Held by a Raft chain from [`Channel::take_seat`](super::Channel::take_seat) to
/// [`Channel::leave_seat`](super::Channel::leave_seat).
pub(crate) struct ClusterSeat {
    channel: Arc<dyn ClusterChannel>,
}

impl ClusterSeat {
    pub(super) fn new(channel: Arc<dyn ClusterChannel>) -> Self {
        Self { channel }
    }

    pub(super) fn channel(&self) -> Arc<dyn ClusterChannel> {
        Arc::clone(&self.channel)
    }
}
