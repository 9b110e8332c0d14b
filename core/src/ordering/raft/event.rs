//! The events of a chain, and the effects that it returns.

use bytes::Bytes;
use fabric_proto::etcdraft::Consenter;
use fabric_proto::raftpb;
use orderer_raft::{MachineFailed, StepError};

use super::consenter_set::{ConsenterSet, ConsenterSetError};
use crate::block::Hash;
use crate::envelope::SignedEnvelope;
use crate::ordering::block_cutter::BatchLimits;
use crate::types::{BlockNumber, ConfigSequence};

/// An envelope to be ordered.
#[derive(Clone, Debug)]
pub struct SubmittedEnvelope {
    /// The envelope, with the bytes that go into a block.
    pub envelope: SignedEnvelope,
    /// Sequence of the configuration under which it was validated.
    pub validated_at: ConfigSequence,
    /// Whether it is a CONFIG or ORDERER_TRANSACTION message.
    pub is_config: bool,
    /// Where the envelope came in.
    pub origin: EnvelopeOrigin,
}

/// The node where an envelope came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeOrigin {
    /// This node; the number is its sequence among the envelopes that came in here.
    Local(u64),
    /// Another consenter, with this Raft ID, which forwarded it.
    Consenter(u64),
}

/// The part of a configuration that a chain uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderingConfig {
    /// Sequence of the configuration.
    pub sequence: ConfigSequence,
    /// Limits of a block.
    pub limits: BatchLimits,
    /// The consenters, in the order of the configuration.
    pub consenters: Vec<Consenter>,
    /// Number of bytes of blocks after which a snapshot is taken.
    pub snapshot_bytes: u64,
}

/// Input of [`RaftMachine::step`](super::RaftMachine::step).
#[derive(Debug)]
pub enum Event {
    /// One interval of the channel's clock (`TickInterval`) has passed.
    Tick,
    /// A message from another consenter, with the metadata that a leader may add for its followers.
    Message {
        /// Raft ID of the sender, as authenticated by the transport.
        from: u64,
        /// The message.
        message: Box<raftpb::Message>,
        /// `etcdraft.ClusterMetadata`, or empty.
        metadata: Bytes,
    },
    /// An envelope came in.
    Order(SubmittedEnvelope),
    /// The batch timer fired.
    Timer,
    /// The write of [`Effect::Persist`] with this number is durable, and so are all earlier ones.
    Persisted(u64),
    /// The outcome of [`Effect::Validate`].
    Validated(RevalidationResult),
    /// The outcome of [`Effect::Revalidate`] for one envelope.
    Revalidated {
        /// Sequence of the envelope.
        sequence: u64,
        /// The envelope as validated under the current configuration; `None` if it is no longer valid.
        valid: Option<SubmittedEnvelope>,
    },
    /// The outcome of [`Effect::Apply`]. `None`: the message created another channel, or changed nothing in this one.
    Applied(Option<OrderingConfig>),
    /// The blocks up to this one are durable.
    Durable(BlockNumber),
    /// A message to this consenter was not delivered.
    Unreachable(u64),
    /// This consenter does not accept this node as one, or uses another certificate than the configuration names: one of the
    /// two has not seen a config update.
    Estranged(u64),
    /// A message with a snapshot was handed to the transport, or that failed.
    SnapshotSent {
        /// Raft ID of the receiver.
        to: u64,
        /// Whether it was handed to the transport.
        sent: bool,
    },
    /// The envelope with this sequence, which came in here, was handed to the stream to the leader. Needed only if
    /// [`AcknowledgePoint::follows_forwarding`](super::AcknowledgePoint::follows_forwarding) is true.
    Forwarded(u64),
    /// A forwarded envelope did not reach the leader.
    NotForwarded(SubmittedEnvelope),
    /// Follows [`Effect::Suspect`]: the channel has a config block with this number, and this node is a consenter in
    /// it.
    Behind(BlockNumber),
    /// The blocks that [`Effect::CatchUp`] requested are in the ledger.
    CaughtUp {
        /// Number of the newest of them.
        number: BlockNumber,
        /// The hash of its header.
        hash: Hash,
        /// The consenters as of that block.
        members: ConsenterSet,
        /// Raft index in the metadata of that block.
        raft_index: u64,
        /// The configuration as of that block.
        rules: OrderingConfig,
    },
}

/// The outcome of [`Effect::Validate`].
#[derive(Debug)]
pub enum RevalidationResult {
    /// The envelope is valid under the current configuration.
    Valid {
        /// The envelope; a config message may have been rebuilt.
        submission: SubmittedEnvelope,
        /// The consenters that a CONFIG message leads to; `None` for other messages.
        consenters: Option<Vec<Consenter>>,
    },
    /// The envelope is invalid.
    Invalid(SubmittedEnvelope),
}

/// A block to write. The writer assembles it from its envelopes, and must get the same header hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// Its number.
    pub number: BlockNumber,
    /// The hash of its header.
    pub header_hash: Hash,
    /// Its envelopes.
    pub envelopes: Vec<SignedEnvelope>,
    /// Its Raft metadata (`etcdraft.BlockMetadata`).
    pub metadata: Bytes,
    /// No envelope that came in here and has a lower sequence is pending.
    pub pending_below: u64,
    /// Sequences of the envelopes in this block that came in here.
    pub ordered: Vec<u64>,
}

/// A write to the Raft log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogWrite {
    /// Number to report with [`Event::Persisted`].
    pub number: u64,
    /// A snapshot from the leader, which replaces the whole log.
    pub snapshot: Option<raftpb::Snapshot>,
    /// Entries to append. The first one replaces all entries of the log from its index on.
    pub entries: Vec<raftpb::Entry>,
    /// Term, vote and commit index, if they changed.
    pub hard_state: Option<raftpb::HardState>,
    /// Whether the write has to be synced to the disk.
    pub must_sync: bool,
}

/// Output of [`RaftMachine::step`](super::RaftMachine::step), to be performed in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Write to the log, then report [`Event::Persisted`].
    Persist(LogWrite),
    /// Send a message to a consenter. After a message of type `MsgSnap`, report [`Event::SnapshotSent`].
    Send {
        /// Raft ID of the receiver.
        to: u64,
        /// The message.
        message: Box<raftpb::Message>,
        /// `etcdraft.ClusterMetadata`, or empty.
        metadata: Bytes,
    },
    /// Forward an envelope to the leader.
    Forward {
        /// Raft ID of the leader.
        to: u64,
        /// The envelope.
        submission: Box<SubmittedEnvelope>,
    },
    /// Validate an envelope under the current configuration, and determine the consenters that it leads to; then report
    /// [`Event::Validated`].
    Validate(Box<SubmittedEnvelope>),
    /// Revalidate pending envelopes; then report [`Event::Revalidated`] for each.
    Revalidate(Vec<SubmittedEnvelope>),
    /// Respond SUCCESS to the senders of the envelopes with these sequences, unless that was done before.
    Acknowledge(Vec<u64>),
    /// An envelope is dropped, with the reason.
    Dropped(Box<SubmittedEnvelope>, &'static str),
    /// Write a block.
    WriteBlock(NewBlock),
    /// Determine the effect of the next block's config message, then report [`Event::Applied`].
    Apply {
        /// The block's number.
        number: BlockNumber,
        /// Its message.
        envelope: SignedEnvelope,
    },
    /// Write the block whose config message was applied.
    WriteConfigBlock(NewBlock),
    /// Start the batch timer: it fires once, after the batch timeout.
    ArmTimer,
    /// Stop the batch timer.
    DisarmTimer,
    /// Connect to these consenters, and to no others.
    Connect(ConsenterSet),
    /// The leader changed, or is unknown.
    Leader(Option<u64>),
    /// Write a snapshot to the log, then delete the entries up to and including `trim`.
    SaveSnapshot {
        /// The snapshot.
        snapshot: Box<raftpb::Snapshot>,
        /// Index of the last entry to delete; zero for none.
        trim: u64,
    },
    /// Pull the blocks up to this one from other orderers, then report [`Event::CaughtUp`].
    CatchUp {
        /// Number of the last block to pull.
        number: BlockNumber,
    },
    /// There has been no leader for long, other consenters do not accept this node while it has no leader, or they address it
    /// by another ID: determine the newest config block from other orderers. If this node is a consenter in it, report
    /// [`Event::Behind`].
    Suspect,
    /// This node is no longer a consenter.
    Removed,
}

/// The chain cannot continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFailed {
    /// The Raft state machine failed.
    #[error(transparent)]
    Raft(#[from] MachineFailed),
    /// A message from another consenter shows that this node's log is incomplete or differs.
    #[error("consenter {from} sent what this node's Raft log contradicts: {cause}")]
    Log {
        /// Raft ID of the sender.
        from: u64,
        /// Cause.
        cause: StepError,
    },
    /// An entry contains no valid block or membership change.
    #[error("Raft entry {index} holds no block: {cause}")]
    NoBlock {
        /// Index of the entry.
        index: u64,
        /// Cause.
        cause: String,
    },
    /// Blocks are missing between the ledger and the log.
    #[error("Raft entry {index} holds block {found}, and block {expected} is the next one: blocks are missing")]
    Gap {
        /// Index of the entry.
        index: u64,
        /// Number of the block in the entry.
        found: BlockNumber,
        /// Number of the next block of this node.
        expected: BlockNumber,
    },
    /// The block does not follow the newest block of this node.
    #[error(
        "Raft entry {index} holds a block {number} that does not follow this node's block {before}: the chains have forked"
    )]
    Fork {
        /// Index of the entry.
        index: u64,
        /// Number of the block in the entry.
        number: BlockNumber,
        /// Number of this node's newest block.
        before: BlockNumber,
    },
    /// The consenters of the configuration and of the blocks contradict each other.
    #[error(transparent)]
    Members(#[from] ConsenterSetError),
    /// This node is not a consenter of the channel.
    #[error("this node is no consenter of the channel")]
    NotAMember,
}
