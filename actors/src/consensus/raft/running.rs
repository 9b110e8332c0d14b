//! The parts of a Raft chain that exist once its log is read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::SpawnHandle;
use orderer_cluster::Peers;
use orderer_core::ordering::raft::{Event, RaftMachine};
use orderer_core::types::BlockNumber;
use tokio::sync::OwnedSemaphorePermit;

use super::block_pull::ReplicatedTip;
use super::cluster_endpoint::ChainEndpoint;
use super::log_writer::RaftLogWriter;
use super::shared::LogInMemory;
use super::ticks::TickGroup;
use crate::channel::{Channel, ClusterRegistration};
use crate::config_processor::ConfigOutcome;
use crate::mailbox::{CountedAddr, IngressPermit, Reply};
use crate::supervision::StopNow;

/// The parts of a chain that exist from when its log is read until it ends. Dropping them ends the log writer, closes
/// the connections to other consenters, and makes the node reject their requests.
pub(super) struct RunningChain {
    pub(super) machine: RaftMachine,
    /// The share of memory of the machine's log.
    pub(super) log_in_memory: LogInMemory,
    /// The group of channels that it ticks with.
    pub(super) _tick_group: TickGroup,
    pub(super) peers: Box<dyn Peers>,
    pub(super) log: CountedAddr<RaftLogWriter>,
    pub(super) endpoint: Arc<ChainEndpoint>,
    pub(super) registration: Arc<ClusterRegistration>,
    pub(super) channel: Arc<Channel>,
    /// Events that the machine has not processed yet.
    pub(super) events: VecDeque<Event>,
    /// The outcome of the next block's config message.
    pub(super) applied: Option<(BlockNumber, ConfigOutcome)>,
    pub(super) timer: Option<SpawnHandle>,
    pub(super) rooms: IngressPermits,
    /// Replies that the machine sends (`Effect::Acknowledge`), by the sequences of their envelopes.
    pub(super) replies: BTreeMap<u64, WaitingSender>,
    /// When the channel has lost its leader; `None` while it has one.
    pub(super) leaderless_since: Option<Instant>,
    /// The blocks that are being pulled from other orderers.
    pub(super) missing: Option<MissingBlocks>,
    /// Whether other orderers are being asked for the newest config block.
    pub(super) is_suspecting: bool,
}

impl Drop for RunningChain {
    fn drop(&mut self) {
        self.channel.unregister_cluster(&self.registration);
        self.channel.observer().raft().ends();
        self.log.send_uncounted(StopNow);
    }
}

/// The sender of an envelope, which waits for the machine's response.
pub(super) struct WaitingSender {
    pub(super) reply: Reply,
    pub(super) since: Instant,
}

impl RunningChain {
    /// Removes and returns the senders that have waited for this long without a leader. An envelope that no leader has is not
    /// ordered any more; one that was sent may still get into a block.
    pub(super) fn give_up_waiting(&mut self, patience: Duration) -> Vec<Reply> {
        let is_late = |since: &Instant| since.elapsed() >= patience;
        if self.replies.is_empty() || !self.leaderless_since.as_ref().is_some_and(is_late) {
            return Vec::new();
        }
        // sequences are assigned in the order in which envelopes come in
        let late = self.replies.iter().take_while(|(_, waiting)| is_late(&waiting.since));
        let late: Vec<u64> = late.map(|(sequence, _)| *sequence).collect();
        let mut given_up = Vec::with_capacity(late.len());
        for sequence in late {
            if self.machine.withdraw(sequence) {
                drop(self.rooms.take(sequence));
            }
            given_up.extend(self.replies.remove(&sequence).map(|waiting| waiting.reply));
        }
        given_up
    }
}

/// Blocks that a chain pulls from other orderers.
pub(super) struct MissingBlocks {
    /// Number of the last one.
    pub(super) to: BlockNumber,
    /// The newest one that was passed to the writer.
    pub(super) reached: Option<ReplicatedTip>,
}

/// The permits of envelopes that are not in a block yet.
#[derive(Default)]
pub(super) struct IngressPermits {
    /// Permits of the channel's gate, by the sequences of the envelopes that came in here.
    here: BTreeMap<u64, IngressPermit>,
    /// Permits of the envelopes that other consenters forwarded, the oldest first.
    forwarded: VecDeque<OwnedSemaphorePermit>,
}

impl IngressPermits {
    /// Stores the permit of an envelope that came in here.
    pub(super) fn hold(&mut self, sequence: u64, room: Option<IngressPermit>) {
        if let Some(room) = room {
            self.here.insert(sequence, room);
        }
    }

    /// Stores the permit of an envelope that was forwarded to this node.
    pub(super) fn hold_forwarded(&mut self, room: OwnedSemaphorePermit) {
        self.forwarded.push_back(room);
    }

    /// Removes and returns the permit of an envelope that goes into a block or is dropped.
    pub(super) fn take(&mut self, sequence: u64) -> Option<IngressPermit> {
        self.here.remove(&sequence)
    }

    /// Releases the oldest permits of forwarded envelopes until at most `waiting` are held. Envelopes leave the intake
    /// approximately in the order in which they arrived.
    pub(super) fn forwarded_left(&mut self, waiting: usize) {
        let gone = self.forwarded.len().saturating_sub(waiting);
        self.forwarded.drain(..gone);
    }
}
