//! What happens to a chain, and what it wants done.

use bytes::Bytes;
use fabric_proto::etcdraft::Consenter;
use fabric_proto::raftpb;
use orderer_raft::{MachineFailed, StepError};

use super::members::{Members, MembersError};
use crate::block::Hash;
use crate::channel::{BlockNumber, ConfigSequence};
use crate::envelope::SignedEnvelope;
use crate::ordering::cutter::BatchLimits;

/// An envelope that asks for its place in the order.
#[derive(Clone, Debug)]
pub struct Submission {
    /// As it goes into a block.
    pub envelope: SignedEnvelope,
    /// The configuration that it was found valid under.
    pub checked_at: ConfigSequence,
    /// Whether it is a CONFIG or ORDERER_TRANSACTION message.
    pub is_config: bool,
    /// Where it came in.
    pub origin: Origin,
}

/// Where an envelope came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Here: it has this place among those that came in here.
    Here(u64),
    /// Another consenter forwarded it.
    Consenter(u64),
}

/// What a configuration says that a chain goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The configuration.
    pub sequence: ConfigSequence,
    /// When a block is cut.
    pub limits: BatchLimits,
    /// The consenters, in their order.
    pub consenters: Vec<Consenter>,
    /// A snapshot is taken after so many bytes of blocks.
    pub snapshot_bytes: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A tick of the channel's clock (`TickInterval`) has passed.
    Tick,
    /// A message of another consenter, with what it may have added for its followers.
    Message {
        /// The sender, as the transport knows it.
        from: u64,
        /// The message.
        message: Box<raftpb::Message>,
        /// `etcdraft.ClusterMetadata`, or empty.
        metadata: Bytes,
    },
    /// An envelope came in.
    Order(Submission),
    /// The batch timer fired.
    Timer,
    /// [`Effect::Persist`] of this number, and those before it, are durable.
    Persisted(u64),
    /// The outcome of [`Effect::Examine`].
    Examined(Examined),
    /// The outcome of [`Effect::Rejudge`] for one envelope: what it is now, or `None` if it is not valid any more.
    Rejudged {
        /// Its place.
        sequence: u64,
        /// The envelope under the configuration of now.
        valid: Option<Submission>,
    },
    /// The outcome of [`Effect::Apply`]. `None`: the message created another channel, or changed nothing here.
    Applied(Option<Rules>),
    /// The blocks up to this one are durable.
    Durable(BlockNumber),
    /// What was sent to this consenter did not reach it.
    Unreachable(u64),
    /// A message with a snapshot was handed to the transport, or was not.
    SnapshotSent {
        /// To whom.
        to: u64,
        /// Whether it was.
        sent: bool,
    },
    /// An envelope that came in here, in this place, was handed to the stream to the leader. Of use where
    /// [`Acknowledge::follows_forwarding`](super::Acknowledge::follows_forwarding).
    Forwarded(u64),
    /// An envelope that was forwarded did not reach the leader.
    NotForwarded(Submission),
    /// After [`Effect::Suspect`]: the channel has this config block, in which this node is a consenter.
    Behind(BlockNumber),
    /// The blocks that [`Effect::CatchUp`] asks for are in the ledger.
    CaughtUp {
        /// The newest of them.
        number: BlockNumber,
        /// The hash of its header.
        hash: Hash,
        /// The consenters by then.
        members: Members,
        /// The entry of the newest of them.
        raft_index: u64,
        /// The configuration by then.
        rules: Rules,
    },
}

/// What became of an envelope that was judged for the order.
#[derive(Debug)]
pub enum Examined {
    /// It is valid under the configuration of now, and, if it is a config message, these are the consenters that it leads to.
    Valid {
        /// The envelope; a config message may have been made anew.
        submission: Submission,
        /// Of a CONFIG message.
        consenters: Option<Vec<Consenter>>,
    },
    /// It is not.
    Invalid(Submission),
}

/// A block to write. The writer assembles it of its envelopes, and must find the same header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlock {
    /// Its number.
    pub number: BlockNumber,
    /// The hash of its header.
    pub header_hash: Hash,
    /// What is in it.
    pub envelopes: Vec<SignedEnvelope>,
    /// What the block remembers of Raft (`etcdraft.BlockMetadata`).
    pub metadata: Bytes,
    /// All envelopes that were acknowledged here and have a smaller place are in blocks.
    pub pending_below: u64,
    /// The places of those that are in this one.
    pub ordered: Vec<u64>,
}

/// What the log has to keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogWrite {
    /// For [`Event::Persisted`].
    pub number: u64,
    /// The leader's snapshot, which replaces the whole log.
    pub snapshot: Option<raftpb::Snapshot>,
    /// The first replaces what the log has from its index on.
    pub entries: Vec<raftpb::Entry>,
    /// Term, vote and commit index, if they changed.
    pub hard_state: Option<raftpb::HardState>,
    /// Whether it has to be synced.
    pub must_sync: bool,
}

/// What is to be done, in this order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Write to the log, then say [`Event::Persisted`].
    Persist(LogWrite),
    /// Send a message to a consenter. After one of type `MsgSnap`, say [`Event::SnapshotSent`].
    Send {
        /// To whom.
        to: u64,
        /// The message.
        message: Box<raftpb::Message>,
        /// `etcdraft.ClusterMetadata`, or empty.
        metadata: Bytes,
    },
    /// Forward an envelope to the leader.
    Forward {
        /// To whom.
        to: u64,
        /// The envelope.
        submission: Box<Submission>,
    },
    /// Judge an envelope under the configuration of now, and find out which consenters it leads to; then say
    /// [`Event::Examined`].
    Examine(Box<Submission>),
    /// Judge envelopes again that wait for their block; then say [`Event::Rejudged`] for each.
    Rejudge(Vec<Submission>),
    /// Tell the senders of the envelopes in these places that they will be ordered, if they were not told yet.
    Acknowledge(Vec<u64>),
    /// An envelope that came in here is dropped: it is not valid any more.
    Dropped(Box<Submission>, &'static str),
    /// Write a block.
    Write(NewBlock),
    /// Find out what the config message of the next block leads to, then say [`Event::Applied`].
    Apply {
        /// The block's number.
        number: BlockNumber,
        /// Its message.
        envelope: SignedEnvelope,
    },
    /// Write the block whose message was applied.
    WriteConfig(NewBlock),
    /// Let the batch timer fire once, a batch timeout from now.
    ArmTimer,
    /// The batch timer is of no use any more.
    DisarmTimer,
    /// The channel's consenters are these from now on: connect to them, and to no others.
    Connect(Members),
    /// The leader is another one, or is not known.
    Leader(Option<u64>),
    /// Write a snapshot to the log, then forget entries up to and including `trim`.
    SaveSnapshot {
        /// Of the blocks so far.
        snapshot: Box<raftpb::Snapshot>,
        /// Zero: nothing.
        trim: u64,
    },
    /// Get the blocks up to this one from other orderers, then say [`Event::CaughtUp`].
    CatchUp {
        /// The newest block to get.
        number: BlockNumber,
    },
    /// There has been no leader for long: find out from other orderers which config block is the newest. If this node is a
    /// consenter in it, say [`Event::Behind`].
    Suspect,
    /// This node is no consenter any more.
    Removed,
}

/// Why a chain cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFailed {
    /// The state machine.
    #[error(transparent)]
    Raft(#[from] MachineFailed),
    /// What another consenter sent shows that this node's log is not what it was.
    #[error("consenter {from} sent what this node's Raft log contradicts: {cause}")]
    Log {
        /// Who sent it.
        from: u64,
        /// What.
        cause: StepError,
    },
    /// An entry holds no block.
    #[error("Raft entry {index} holds no block: {cause}")]
    NoBlock {
        /// Its index.
        index: u64,
        /// Why.
        cause: String,
    },
    /// A block is missing between the ledger and the log.
    #[error("Raft entry {index} holds block {found}, and block {expected} is the next one: blocks are missing")]
    Gap {
        /// The entry.
        index: u64,
        /// In it.
        found: BlockNumber,
        /// The next one here.
        expected: BlockNumber,
    },
    /// The block does not follow the newest one here.
    #[error(
        "Raft entry {index} holds a block {number} that does not follow this node's block {before}: the chains have forked"
    )]
    Fork {
        /// The entry.
        index: u64,
        /// The block in it.
        number: BlockNumber,
        /// The block before it.
        before: BlockNumber,
    },
    /// The consenters in the configuration and in the blocks do not fit.
    #[error(transparent)]
    Members(#[from] MembersError),
    /// This node is none of the consenters.
    #[error("this node is no consenter of the channel")]
    NotAMember,
}
