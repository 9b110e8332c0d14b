//! One commit: what it makes durable, the blocks it assembles, and its errors. It performs blocking I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use actix::Recipient;
use bytes::Bytes;
use orderer_core::block::{BlockContents, BlockError, EncodedBlock, Hash, assemble};
use orderer_core::config::ChannelSnapshot;
use orderer_core::crypto::SignError;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::own::OwnSigner;
use orderer_core::types::{BlockNumber, ChannelId};
use orderer_ledger::{CommitBatch, CommitError, PendingEnvelope, WritePermit};
use tokio::sync::OwnedSemaphorePermit;

use super::request::{PendingMessage, WriteOp, WriteRequest};
use crate::chain_state::{ResumeTip, error_chain};
use crate::channel::{Channel, ChannelCreated};
use crate::mailbox::{OrderError, Reply};
use crate::node_context::{CannotOrder, Durability, NodeContext, nonce};
use crate::status::{ActivityKind, StatusCell};
use crate::trace::{StagedSpan, TARGET, is_enabled};

/// The operations that one commit makes durable, with the replies that wait for it.
#[derive(Default)]
pub(super) struct CommitGroup {
    ops: Vec<WriteOp>,
    replies: Vec<Reply>,
    rooms: Vec<OwnedSemaphorePermit>,
}

impl CommitGroup {
    /// Takes all buffered writes up to a new configuration, because those behind it are written under that one.
    pub(super) fn gather(buffered: &mut VecDeque<WriteRequest>) -> Self {
        let mut work = Self::default();
        while let Some(write) = buffered.pop_front() {
            let configures = write.ops.iter().any(WriteOp::configures);
            work.ops.extend(write.ops);
            work.replies.extend(write.replies);
            work.rooms.extend(write.rooms);
            if configures {
                break;
            }
        }
        work
    }

    /// Returns whether the commit needs this node's signature.
    pub(super) fn signs(&self) -> bool {
        self.ops.iter().any(WriteOp::signs)
    }
}

/// A signer whose blocks are accepted under a configuration.
#[derive(Clone)]
pub(super) struct AcceptedSigner {
    signer: Arc<OwnSigner>,
    snapshot: Arc<ChannelSnapshot>,
}

/// A commit that went well.
pub(super) struct CommitSummary {
    pub(super) tip: ResumeTip,
    pub(super) accepted_signer: Option<AcceptedSigner>,
}

/// The reason why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitTaskError {
    #[error("assemble a block")]
    Assemble(#[from] BlockError),
    #[error("commit to the ledger")]
    Commit(#[from] CommitError),
    #[error(transparent)]
    NotOurs(#[from] CannotOrder),
    #[error("block {number} would get another header than the consenters have agreed on: the chains have forked")]
    OtherHeader { number: BlockNumber },
    #[error("sign a block")]
    Away(#[source] SignError),
    #[error("a test")]
    Injected(#[source] std::io::Error),
    #[error("panicked: {0}")]
    Panicked(String),
}

impl CommitTaskError {
    /// Returns whether it is certain that nothing of the commit is in the ledger.
    fn wrote_nothing(&self) -> bool {
        match self {
            Self::Commit(CommitError::Append { .. }) | Self::Panicked(_) => false,
            Self::Assemble(_)
            | Self::NotOurs(_)
            | Self::OtherHeader { .. }
            | Self::Away(_)
            | Self::Injected(_)
            | Self::Commit(_) => true,
        }
    }

    /// Returns whether the only cause is that the signer's key cannot be used now.
    pub(super) fn is_signer_away(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Assemble(BlockError::Sign { cause, .. }) => cause.is_temporary(),
            Self::NotOurs(error) => error.is_temporary(),
            _ => false,
        }
    }
}

/// One commit, on a blocking thread.
pub(super) struct CommitTask {
    pub(super) channel: Arc<Channel>,
    pub(super) context: Arc<NodeContext>,
    pub(super) registrar: Recipient<ChannelCreated>,
    pub(super) tip: ResumeTip,
    pub(super) logged_below: u64,
    pub(super) status: Arc<StatusCell>,
    pub(super) accepted_signer: Option<AcceptedSigner>,
}

impl CommitTask {
    pub(super) fn run(
        mut self,
        mut work: CommitGroup,
        permit: &mut WritePermit,
    ) -> Result<CommitSummary, CommitTaskError> {
        let began = Instant::now();
        let created: Vec<ChannelId> = work.ops.iter().filter_map(WriteOp::creates).collect();
        match self.write(work.ops, &mut work.replies, permit) {
            Ok(CommitOutcome { tip, next, is_copied, created, blocks, envelopes }) => {
                for new_channel in created {
                    #[expect(clippy::disallowed_methods, reason = "one a created channel")]
                    self.registrar.do_send(new_channel);
                }
                // a stream waits for its oldest envelope: when it is woken, the replies to the later ones are there
                for reply in work.replies.into_iter().rev() {
                    reply.send(Ok(()));
                }
                if blocks > 0 {
                    tracing::debug!(target: "orderer.chain", channel = %self.channel.id(), block = %tip.number, blocks,
                        envelopes, micros = began.elapsed().as_micros(), "blocks written");
                }
                if let Some(next) = next.filter(|_| !is_copied) {
                    // the last block that this node may have a part in
                    self.accepted_signer(&next)?;
                }
                Ok(CommitSummary { tip, accepted_signer: self.accepted_signer })
            }
            Err(error) => Err(self.answer_failure(error, &created, work.replies)),
        }
    }

    /// Tells those who wait that nothing was written, because the key to sign with cannot be used.
    pub(super) fn put_off(self, work: CommitGroup, away: SignError) -> CommitTaskError {
        let created: Vec<ChannelId> = work.ops.iter().filter_map(WriteOp::creates).collect();
        self.answer_failure(CommitTaskError::Away(away), &created, work.replies)
    }

    fn answer_failure(&self, error: CommitTaskError, created: &[ChannelId], replies: Vec<Reply>) -> CommitTaskError {
        let text = format!("channel '{}' could not make it durable: {}", self.channel.id(), error_chain(&error));
        if error.wrote_nothing() {
            self.uncreate(created);
        }
        for reply in replies {
            reply.send(Err(OrderError::NotDurable(text.clone())));
        }
        error
    }

    /// Removes the ledgers of channels whose creation is in no block: the same creation, sent again, creates them anew.
    fn uncreate(&self, created: &[ChannelId]) {
        for id in created {
            match self.context.ledgers.remove(id) {
                Ok(()) => {
                    tracing::info!(target: "orderer.chain", channel = %id, "channel was not created; removing its ledger");
                }
                Err(error) => tracing::error!(target: "orderer.chain", channel = %id, error = %error_chain(&error),
                    "failed to remove the ledger of a channel that was not created"),
            }
        }
    }

    /// Verifies that blocks which this node signs now are accepted under this configuration; returns the signer. Costs a
    /// verified signature after a change of either, otherwise nothing.
    fn accepted_signer(&mut self, snapshot: &Arc<ChannelSnapshot>) -> Result<Arc<OwnSigner>, CannotOrder> {
        let signer = self.context.signer.own();
        let is_known =
            |known: &AcceptedSigner| Arc::ptr_eq(&known.signer, &signer) && Arc::ptr_eq(&known.snapshot, snapshot);
        if !self.accepted_signer.as_ref().is_some_and(is_known) {
            self.context.check_own_part(&signer, snapshot)?;
            self.accepted_signer = Some(AcceptedSigner { signer: Arc::clone(&signer), snapshot: Arc::clone(snapshot) });
        }
        Ok(signer)
    }

    fn write(
        &mut self,
        ops: Vec<WriteOp>,
        replies: &mut [Reply],
        permit: &mut WritePermit,
    ) -> Result<CommitOutcome, CommitTaskError> {
        // for all blocks of this commit: a new configuration ends one
        let in_force = self.channel.snapshot();
        for reply in replies.iter_mut() {
            reply.record_stage("block");
        }
        let mut written =
            CommitOutcome { tip: self.tip, next: None, is_copied: false, created: Vec::new(), blocks: 0, envelopes: 0 };
        let mut commit = CommitBatch::default();
        let mut traces: Vec<StagedSpan> = Vec::new();
        let mut held: Vec<Arc<PendingMessage>> = Vec::new();
        for op in ops {
            let made = match op {
                WriteOp::AppendPending(message) => {
                    held.push(message);
                    continue;
                }
                WriteOp::CopyBlock { block, next } => {
                    // nobody waits for it here, and this node's signature is not asked for
                    written.take(&block, next);
                    commit.blocks.push(block);
                    continue;
                }
                WriteOp::WriteBlock { envelopes, pending_below, consenter_metadata, header_hash } => {
                    BlockDraft { envelopes, pending_below, consenter_metadata, header_hash }
                }
                WriteOp::WriteConfigBlock {
                    envelope,
                    pending_below,
                    consenter_metadata,
                    header_hash,
                    next,
                    created,
                } => {
                    if next.is_some() {
                        written.tip.last_config = written.tip.number.next();
                        written.next = next;
                    }
                    written.created.extend(created.map(|created| *created));
                    BlockDraft { envelopes: vec![envelope], pending_below, consenter_metadata, header_hash }
                }
            };
            // what is still pending may be behind what other nodes have taken
            held.retain(|message| message.sequence >= made.pending_below);
            commit.pending_drop_below = made.pending_below;
            let began = Instant::now();
            let mut trace = self.block_span(&written.tip, made.envelopes.len());
            let signer = self.accepted_signer(&in_force)?;
            let block = assemble_block(&written.tip, &made, &signer)?;
            self.channel.observer().assembled(block.number(), &made.envelopes, began.elapsed());
            trace.enter_stage("commit");
            traces.extend(trace.span().is_some().then_some(trace));
            written.take(&block, None);
            commit.blocks.push(block);
        }
        if self.context.durability == Durability::Disk {
            let unlogged = held.iter().filter(|message| message.sequence >= self.logged_below);
            commit.pending_add = unlogged.map(|message| pending(message)).collect();
        }
        self.status.fail_point(ActivityKind::Commit).map_err(CommitTaskError::Injected)?;
        let blocks = commit.blocks.clone();
        let began = Instant::now();
        for reply in replies.iter_mut() {
            reply.record_stage("disk");
        }
        let (config_block, next) = (written.tip.last_config, written.next.clone());
        let (channel, last) = (&self.channel, written.tip.number);
        let publish = || {
            // in force before anyone sees its block: who may not read under it does not get that block either
            if let Some(next) = next {
                channel.apply_config(config_block, next);
            }
            // who was sent a block is also shown that it is written, and finds it in the figures
            channel.gauges().written(&blocks);
            channel.observer().totals().blocks_written(&blocks);
            channel.observer().written(last, blocks.len(), began.elapsed());
        };
        channel.ledger().commit_then(permit, commit, publish)?;
        Ok(written)
    }

    /// The span of the block behind `tip`, which is being put together now.
    fn block_span(&self, tip: &ResumeTip, envelopes: usize) -> StagedSpan {
        if !is_enabled() {
            return StagedSpan::default();
        }
        let (channel, number) = (self.channel.id().as_str(), tip.number.next().0);
        let mut trace =
            StagedSpan::new(tracing::debug_span!(target: TARGET, parent: None, "block", channel, number, envelopes));
        trace.enter_stage("assemble");
        trace
    }
}

/// A block that this node puts together.
struct BlockDraft {
    envelopes: Vec<SignedEnvelope>,
    pending_below: u64,
    consenter_metadata: Bytes,
    header_hash: Option<Hash>,
}

fn assemble_block(tip: &ResumeTip, made: &BlockDraft, signer: &OwnSigner) -> Result<EncodedBlock, CommitTaskError> {
    let contents = BlockContents {
        number: tip.number.next(),
        previous_hash: &tip.header_hash,
        envelopes: &made.envelopes,
        last_config: tip.last_config,
        consenter_metadata: made.consenter_metadata.clone(),
    };
    let block = assemble(contents, &**signer.signer(), nonce())?;
    match made.header_hash {
        Some(agreed) if agreed != *block.header_hash() => Err(CommitTaskError::OtherHeader { number: block.number() }),
        _ => Ok(block),
    }
}

struct CommitOutcome {
    tip: ResumeTip,
    next: Option<Arc<ChannelSnapshot>>,
    /// The next configuration is in a block of another orderer: this one may have no part in the channel yet.
    is_copied: bool,
    created: Vec<ChannelCreated>,
    blocks: usize,
    envelopes: usize,
}

impl CommitOutcome {
    fn take(&mut self, block: &EncodedBlock, next: Option<Arc<ChannelSnapshot>>) {
        self.tip.number = block.number();
        self.tip.header_hash = *block.header_hash();
        self.blocks += 1;
        self.envelopes += block.envelopes();
        if next.is_some() {
            self.tip.last_config = block.number();
            self.next = next;
            self.is_copied = true;
        }
    }
}

fn pending(message: &PendingMessage) -> PendingEnvelope {
    PendingEnvelope {
        sequence: message.sequence,
        validated_at: message.validated_at,
        is_config: message.is_config,
        raw: message.envelope.raw().clone(),
    }
}
