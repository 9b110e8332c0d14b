//! Registration of the receiver of other consenters' requests for a channel's chain.

use std::sync::Arc;

use orderer_cluster::ClusterChannel;

/// Held by a Raft chain from [`Channel::register_cluster`](super::Channel::register_cluster) to
/// [`Channel::unregister_cluster`](super::Channel::unregister_cluster).
pub(crate) struct ClusterRegistration {
    channel: Arc<dyn ClusterChannel>,
}

impl ClusterRegistration {
    pub(super) fn new(channel: Arc<dyn ClusterChannel>) -> Self {
        Self { channel }
    }

    pub(super) fn channel(&self) -> Arc<dyn ClusterChannel> {
        Arc::clone(&self.channel)
    }
}
