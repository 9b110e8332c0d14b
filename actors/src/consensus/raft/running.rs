//! The parts of a Raft chain that exist once its log is read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use actix::SpawnHandle;
use orderer_cluster::Peers;
use orderer_core::channel::BlockNumber;
use orderer_core::ordering::raft::{Event, Machine};
use tokio::sync::OwnedSemaphorePermit;

use super::log_writer::RaftLogWriter;
use super::pulling::Reached;
use super::seat::Seat;
use super::shared::LogInMemory;
use crate::channel::{Channel, ClusterSeat};
use crate::config_work::Applied;
use crate::mailbox::{Counted, Reply, Room};
use crate::supervision::Abandon;

/// The parts of a chain that exist from when its log is read until it ends. Dropping them ends the log writer, closes
/// the connections to other consenters, and makes the node reject their requests.
pub(super) struct Running {
    pub(super) machine: Machine,
    /// The share of memory of the machine's log.
    pub(super) log_in_memory: LogInMemory,
    pub(super) peers: Box<dyn Peers>,
    pub(super) log: Counted<RaftLogWriter>,
    pub(super) seat: Arc<Seat>,
    pub(super) taken_seat: Arc<ClusterSeat>,
    pub(super) channel: Arc<Channel>,
    /// Events that the machine has not processed yet.
    pub(super) events: VecDeque<Event>,
    /// The outcome of the next block's config message.
    pub(super) applied: Option<(BlockNumber, Applied)>,
    pub(super) timer: Option<SpawnHandle>,
    pub(super) rooms: Rooms,
    /// Replies that the machine sends (`Effect::Acknowledge`), by the sequences of their envelopes.
    pub(super) replies: BTreeMap<u64, Reply>,
    /// The blocks that are being pulled from other orderers.
    pub(super) missing: Option<Missing>,
    /// Whether other orderers are being asked for the newest config block.
    pub(super) is_suspecting: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.channel.leave_seat(&self.taken_seat);
        self.channel.observed().raft().ends();
        self.log.tell_once(Abandon);
    }
}

/// Blocks that a chain pulls from other orderers.
pub(super) struct Missing {
    /// Number of the last one.
    pub(super) to: BlockNumber,
    /// The newest one that was passed to the writer.
    pub(super) reached: Option<Reached>,
}

/// The permits of envelopes that are not in a block yet.
#[derive(Default)]
pub(super) struct Rooms {
    /// Permits of the channel's gate, by the sequences of the envelopes that came in here.
    here: BTreeMap<u64, Room>,
    /// Permits of the envelopes that other consenters forwarded, the oldest first.
    forwarded: VecDeque<OwnedSemaphorePermit>,
}

impl Rooms {
    /// Stores the permit of an envelope that came in here.
    pub(super) fn hold(&mut self, sequence: u64, room: Option<Room>) {
        if let Some(room) = room {
            self.here.insert(sequence, room);
        }
    }

    /// Stores the permit of an envelope that was forwarded to this node.
    pub(super) fn hold_forwarded(&mut self, room: OwnedSemaphorePermit) {
        self.forwarded.push_back(room);
    }

    /// Removes and returns the permit of an envelope that goes into a block or is dropped.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Room> {
        self.here.remove(&sequence)
    }

    /// Releases the oldest permits of forwarded envelopes until at most `waiting` are held. Envelopes leave the intake
    /// approximately in the order in which they arrived.
    pub(super) fn forwarded_left(&mut self, waiting: usize) {
        let gone = self.forwarded.len().saturating_sub(waiting);
        self.forwarded.drain(..gone);
    }
}
