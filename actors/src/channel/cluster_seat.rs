//! The place of a channel's chain where the requests of its other consenters arrive.

use std::sync::Arc;

use orderer_cluster::ClusterChannel;

/// Held by a Raft chain, from [`Channel::take_seat`](super::Channel::take_seat) until it leaves it.
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
