//! A node's connections to other orderers, and the service for theirs.

use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::node_context::SignerCell;
use orderer_actors::replication::ReplicationContext;
use orderer_actors::{ChannelRegistry, NodeContext};
use orderer_cluster::{Network, StepService};
use orderer_core::replication::RetryDelays;
use orderer_hsm::TokenPool;
use tokio::runtime::Runtime;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::certificates::Orderers;
use crate::grpc::RaftChannels;
use crate::metrics::ClusterSides;
use crate::settings::{ClusterSettings, ReplicationSettings};

/// Maximum size in bytes of the blocks that are verified and written together.
const BATCH_MAX_BYTES: usize = 4 << 20;

/// Services with which chains reach other orderers.
pub(super) struct OtherOrderers {
    pub(super) network: Arc<dyn Network>,
    pub(super) replication: ReplicationContext,
}

/// Connections to other orderers, of a node that has a TLS certificate.
pub(super) struct Cluster {
    orderers: Arc<Orderers>,
    replication: ReplicationContext,
    _following: DropGuard,
}

impl Cluster {
    /// Opens the files; connects to no orderer before a channel names one. All work runs on `io`.
    pub(super) fn new(
        settings: &ClusterSettings,
        directory: &Arc<ChannelRegistry>,
        signer: (Arc<SignerCell>, Option<Arc<TokenPool>>),
        io: &Runtime,
    ) -> anyhow::Result<Self> {
        let orderers = Orderers::open(settings, Arc::clone(directory), signer, io.handle().clone());
        let orderers = orderers.context("connections to other orderers")?;
        let stopping = CancellationToken::new();
        io.spawn(Arc::clone(&orderers).follow_channels(stopping.clone()));
        let blocks = Arc::clone(orderers.blocks());
        let ReplicationSettings { buffer_bytes, retry_pause, .. } = settings.replication;
        let pauses = RetryDelays { retry: retry_pause, longest: 12 * retry_pause, ..RetryDelays::default() };
        let replication = ReplicationContext::new(blocks, pauses, buffer_bytes.min(BATCH_MAX_BYTES), buffer_bytes);
        Ok(Self { orderers, replication, _following: stopping.drop_guard() })
    }

    /// Returns the services for chains.
    pub(super) fn raft(&self) -> OtherOrderers {
        let network = Arc::clone(self.orderers.connections()) as Arc<dyn Network>;
        OtherOrderers { network, replication: self.replication.clone() }
    }

    /// Returns the connections with their files.
    pub(super) fn orderers(&self) -> &Arc<Orderers> {
        &self.orderers
    }

    /// Returns both sides, for metrics.
    pub(super) fn sides(&self, service: StepService) -> ClusterSides {
        ClusterSides { network: Arc::clone(self.orderers.connections()), service }
    }
}

/// Creates the service for the streams of other orderers.
pub(super) fn step_service(settings: &ClusterSettings, context: &Arc<NodeContext>) -> StepService {
    let channels = RaftChannels(Arc::clone(&context.directory));
    StepService::new(Arc::new(channels), settings.connections.expiration_warning)
}
