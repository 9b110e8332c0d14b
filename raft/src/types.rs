//! The inputs and outputs of a machine.

use fabric_proto::raftpb;

use crate::progress::ReplicationMode;

/// The fixed settings of a machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Raft ID of this node; not zero.
    pub id: u64,
    /// Minimum number of ticks without a leader until an election. Each timeout is drawn from here up to, but not
    /// including, twice this number.
    pub election_tick: usize,
    /// Number of ticks between a leader's heartbeats; less than `election_tick`.
    pub heartbeat_tick: usize,
    /// Maximum size in bytes of the entries in one message; a single entry may be larger.
    pub max_size_per_msg: u64,
    /// Maximum number of messages with entries in flight to one follower.
    pub max_inflight_msgs: usize,
    /// Seed of the election timeouts.
    pub seed: u64,
}

/// The state that was on disk.
#[derive(Debug, Clone, Default)]
pub struct RestoredLog {
    /// Term, vote and commit index.
    pub hard_state: raftpb::HardState,
    /// The consenters as of `applied`.
    pub conf_state: raftpb::ConfState,
    /// The newest snapshot.
    pub snapshot: Option<raftpb::Snapshot>,
    /// The entries after the snapshot, without a gap.
    pub entries: Vec<raftpb::Entry>,
    /// The index up to which entries are applied; at least the snapshot's index.
    pub applied: u64,
}

/// The role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks which voters would vote for it (PreVote).
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

/// Work for the caller of a machine. Readies are persisted in their order; one call of
/// [`Machine::persisted`](crate::Machine::persisted) may report several.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// Number of the Ready, for [`Machine::persisted`](crate::Machine::persisted).
    pub number: u64,
    /// Snapshot of the leader to restore before `entries` are written. It replaces the whole log.
    pub snapshot: Option<raftpb::Snapshot>,
    /// Entries to write. The first one replaces all entries of the log from its index on.
    pub entries: Vec<raftpb::Entry>,
    /// Term, vote and commit index to write, if they changed.
    pub hard_state: Option<raftpb::HardState>,
    /// Whether the write must be synced. If false, at most the commit index changed, and that may be lost.
    pub must_sync: bool,
    /// Messages that may be sent at once.
    pub messages: Vec<raftpb::Message>,
    /// Messages that may be sent when this Ready and all earlier ones are on disk.
    pub messages_after: Vec<raftpb::Message>,
    /// Entries to apply. They are committed, and on this node's disk.
    pub committed: Vec<raftpb::Entry>,
    /// Leader and role, if they changed.
    pub soft_state: Option<SoftState>,
}

/// A leader's knowledge of a consenter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Raft ID of the consenter.
    pub id: u64,
    /// Index up to which its log is known to agree with the leader's.
    pub matched: u64,
    /// Index of the next entry to send.
    pub next: u64,
    /// Whether it responded since the leader last checked its quorum.
    pub active: bool,
    /// The way in which entries are sent to it.
    pub flow: ReplicationMode,
    /// Whether nothing more is sent to it until it responds.
    pub paused: bool,
    /// Number of messages with entries that it has not responded to.
    pub in_flight: usize,
}

/// State of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Raft ID of this node.
    pub id: u64,
    /// Current term.
    pub term: u64,
    /// ID of the node that it voted for in that term; 0 if none.
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
    /// ID of the consenter that leadership is being transferred to.
    pub transferee: Option<u64>,
    /// The consenters, in order of their IDs.
    pub voters: Vec<u64>,
    /// The leader's knowledge of the consenters, in order of their IDs; empty on other nodes.
    pub peers: Vec<Peer>,
}
