//! The inputs and outputs of a machine.

use fabric_proto::raftpb;

use crate::progress::Flow;

/// The fixed settings of a machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node; not zero.
    pub id: u64,
    /// Ticks without a leader until an election; drawn anew from here to twice of it.
    pub election_tick: usize,
    /// Ticks between a leader's heartbeats; less than `election_tick`.
    pub heartbeat_tick: usize,
    /// Bytes of entries in one message; a single entry may be larger.
    pub max_size_per_msg: u64,
    /// Messages with entries on their way to one follower.
    pub max_inflight_msgs: usize,
    /// Decides the election timeouts.
    pub seed: u64,
}

/// The state that was on disk.
#[derive(Debug, Clone, Default)]
pub struct RestoredLog {
    /// Term, vote and commit index.
    pub hard_state: raftpb::HardState,
    /// The consenters at `applied`.
    pub conf_state: raftpb::ConfState,
    /// The newest snapshot.
    pub snapshot: Option<raftpb::Snapshot>,
    /// The entries behind the snapshot, without a gap.
    pub entries: Vec<raftpb::Entry>,
    /// The index up to which entries are applied; at least the snapshot's index.
    pub applied: u64,
}

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows, or waits for a leader.
    Follower,
    /// It asks which voters would vote for it.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// The state that is not persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftState {
    /// The ID of the leader, if it is known.
    pub leader: Option<u64>,
    /// The role of this node.
    pub role: Role,
}

/// The work that a machine hands to its caller. Readies are persisted in their order; one call of
/// [`Machine::persisted`](crate::Machine::persisted) may report several.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// Number of the Ready, for [`Machine::persisted`](crate::Machine::persisted).
    pub number: u64,
    /// The snapshot of the leader to restore, before `entries` are written: it replaces the whole log.
    pub snapshot: Option<raftpb::Snapshot>,
    /// Entries to write; the first replaces what the log has from its index on.
    pub entries: Vec<raftpb::Entry>,
    /// The state to write, if it changed.
    pub hard_state: Option<raftpb::HardState>,
    /// Whether what is to be written must be synced. If not, only the commit index moved, and that may be lost.
    pub must_sync: bool,
    /// Messages that may go at once: a leader's.
    pub messages: Vec<raftpb::Message>,
    /// Messages that may go when this Ready and those before it are on disk.
    pub messages_after: Vec<raftpb::Message>,
    /// Entries to apply: they are committed, and they are on this node's disk.
    pub committed: Vec<raftpb::Entry>,
    /// Leader and role, if they changed.
    pub soft_state: Option<SoftState>,
}

/// A leader's knowledge of a consenter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its ID.
    pub id: u64,
    /// The index up to which its log is known to be the leader's.
    pub matched: u64,
    /// The next entry to send.
    pub next: u64,
    /// Whether it responded since the leader last checked its quorum.
    pub active: bool,
    /// How entries go to it.
    pub flow: Flow,
    /// Nothing more is sent to it until it answers.
    pub paused: bool,
    /// Messages with entries that it has not answered.
    pub in_flight: usize,
}

/// How a machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: u64,
    /// The term it is in.
    pub term: u64,
    /// The ID of the node that it voted for in that term; 0: none.
    pub vote: u64,
    /// The ID of the leader, if it is known.
    pub leader: Option<u64>,
    /// The role of this node.
    pub role: Role,
    /// The index up to which entries are committed.
    pub commit: u64,
    /// The index up to which entries are applied.
    pub applied: u64,
    /// The index of the last entry of the log.
    pub last: u64,
    /// The term of the last entry.
    pub last_term: u64,
    /// The ID of the consenter that leadership is being handed over to.
    pub transferee: Option<u64>,
    /// The consenters, in order of their IDs.
    pub voters: Vec<u64>,
    /// On a leader: its knowledge of the consenters, in order of their IDs.
    pub peers: Vec<Peer>,
}
