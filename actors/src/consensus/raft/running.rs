//! What a Raft chain has once its log is read.

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

/// The parts of a chain that live from when its log is read until it ends. Dropping it ends the log writer and closes the connections
/// to other consenters, and requests of theirs are refused.
pub(super) struct Running {
    pub(super) machine: Machine,
    /// The share of memory of the machine's log.
    pub(super) log_in_memory: LogInMemory,
    pub(super) peers: Box<dyn Peers>,
    pub(super) log: Counted<RaftLogWriter>,
    pub(super) seat: Arc<Seat>,
    pub(super) taken_seat: Arc<ClusterSeat>,
    pub(super) channel: Arc<Channel>,
    /// What is still to be told to the machine.
    pub(super) events: VecDeque<Event>,
    /// What the config message of the next block leads to.
    pub(super) applied: Option<(BlockNumber, Applied)>,
    pub(super) timer: Option<SpawnHandle>,
    pub(super) rooms: Rooms,
    /// Answers to clients that the machine gives (`Effect::Acknowledge`), by the sequence numbers of their envelopes.
    pub(super) replies: BTreeMap<u64, Reply>,
    /// Blocks that come from other orderers.
    pub(super) missing: Option<Missing>,
    /// Other orderers are being asked how the channel stands.
    pub(super) is_suspecting: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.channel.leave_seat(&self.taken_seat);
        self.channel.observed().raft().ends();
        self.log.tell_once(Abandon);
    }
}

/// The blocks that a chain gets from other orderers.
pub(super) struct Missing {
    /// The number of the last one.
    pub(super) to: BlockNumber,
    /// The newest that was handed to the writer.
    pub(super) reached: Option<Reached>,
}

/// The room of envelopes that are in no durable block yet.
#[derive(Default)]
pub(super) struct Rooms {
    /// At the channel's gate, by the places of those that came in here.
    here: BTreeMap<u64, Room>,
    /// Of those that other consenters have forwarded, the oldest first.
    forwarded: VecDeque<OwnedSemaphorePermit>,
}

impl Rooms {
    /// An envelope came in here.
    pub(super) fn hold(&mut self, sequence: u64, room: Option<Room>) {
        if let Some(room) = room {
            self.here.insert(sequence, room);
        }
    }

    /// An envelope was forwarded to this node.
    pub(super) fn hold_forwarded(&mut self, room: OwnedSemaphorePermit) {
        self.forwarded.push_back(room);
    }

    /// Takes the room of an envelope that goes into a block, or is dropped.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Room> {
        self.here.remove(&sequence)
    }

    /// No more than `waiting` forwarded envelopes wait: they leave in the order in which they came, more or less.
    pub(super) fn forwarded_left(&mut self, waiting: usize) {
        let gone = self.forwarded.len().saturating_sub(waiting);
        self.forwarded.drain(..gone);
    }
}
