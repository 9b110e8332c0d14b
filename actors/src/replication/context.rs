//! Values that all channels of a node share when they replicate blocks.

use std::sync::Arc;

use orderer_cluster::BlockSources;
use orderer_core::replication::RetryDelays;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) const LOG: &str = "orderer.common.cluster.replication";

/// Values that all channels of a node share when they replicate blocks.
#[derive(Clone)]
pub struct ReplicationContext {
    pub(super) sources: Arc<dyn BlockSources>,
    pub(super) pauses: RetryDelays,
    pub(super) batch_bytes: usize,
    /// Permits for bytes in flight, of all channels.
    room: Arc<Semaphore>,
}

impl ReplicationContext {
    /// Creates the shared values. Blocks are verified and handed over in batches of up to `batch_bytes`
    /// (`ReplicationBufferSize`); a larger block is a batch of its own. The batches of all channels together have at
    /// most `total_bytes`, or the size of one batch if that is more; a channel waits for its permit.
    pub fn new(sources: Arc<dyn BlockSources>, pauses: RetryDelays, batch_bytes: usize, total_bytes: usize) -> Self {
        let batch_bytes = batch_bytes.clamp(1, u32::MAX as usize);
        let room = total_bytes.clamp(batch_bytes, Semaphore::MAX_PERMITS);
        Self { sources, pauses, batch_bytes, room: Arc::new(Semaphore::new(room)) }
    }

    /// Acquires the permit for one batch.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(self.batch_bytes).unwrap_or(u32::MAX);
        // the semaphore is never closed
        Arc::clone(&self.room).acquire_many_owned(bytes).await.ok()
    }
}
