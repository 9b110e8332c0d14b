//! One commit: what it makes durable, the blocks it assembles, and what can go wrong. It blocks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Recipient;
use bytes::Bytes;
use orderer_core::block::{BlockError, Contents, EncodedBlock, assemble};
use orderer_core::channel::ChannelId;
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::own::OwnSigner;
use orderer_ledger::{Commit, CommitError, PendingEnvelope, WriteRight};
use tokio::sync::OwnedSemaphorePermit;

use super::request::{Accepted, Op, Write};
use crate::chain_state::{Tip, chain_text};
use crate::channel::{Channel, NewChannel};
use crate::mailbox::{OrderRefusal, Reply};
use crate::node_context::{Durability, NodeContext, NotOurs, nonce};
use crate::status::{StatusCell, Task};
use crate::trace::{TARGET, Trace, is_on};

/// What one commit makes durable.
#[derive(Default)]
pub(super) struct Work {
    ops: Vec<Op>,
    replies: Vec<Reply>,
    rooms: Vec<OwnedSemaphorePermit>,
}

impl Work {
    /// All that has gathered, up to a new configuration: what comes behind it is written under that one.
    pub(super) fn gather(gathered: &mut VecDeque<Write>) -> Self {
        let mut work = Self::default();
        while let Some(write) = gathered.pop_front() {
            let configures = write.ops.iter().any(|op| matches!(op, Op::ConfigBlock { next: Some(_), .. }));
            work.ops.extend(write.ops);
            work.replies.extend(write.reply);
            work.rooms.extend(write.room);
            if configures {
                break;
            }
        }
        work
    }
}

/// A signer whose blocks are taken under a configuration.
#[derive(Clone)]
pub(super) struct Vouched {
    signer: Arc<OwnSigner>,
    snapshot: Arc<ChannelSnapshot>,
}

/// A commit that went well.
pub(super) struct Done {
    pub(super) tip: Tip,
    pub(super) vouched: Option<Vouched>,
}

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("assemble a block")]
    Assemble(#[from] BlockError),
    #[error("commit to the ledger")]
    Commit(#[from] CommitError),
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    #[error("{0}")]
    Injected(String),
    #[error("panicked: {0}")]
    Panicked(String),
}

impl WriteError {
    /// Whether it is certain that nothing of the commit is in the ledger.
    fn wrote_nothing(&self) -> bool {
        match self {
            Self::Commit(CommitError::Append { .. }) | Self::Panicked(_) => false,
            Self::Assemble(_) | Self::NotOurs(_) | Self::Injected(_) | Self::Commit(_) => true,
        }
    }
}

/// One commit, on a blocking thread.
pub(super) struct Job {
    pub(super) channel: Arc<Channel>,
    pub(super) context: Arc<NodeContext>,
    pub(super) registrar: Recipient<NewChannel>,
    pub(super) tip: Tip,
    pub(super) logged_below: u64,
    pub(super) status: Arc<StatusCell>,
    pub(super) vouched: Option<Vouched>,
}

impl Job {
    pub(super) fn run(mut self, mut work: Work, right: &mut WriteRight) -> Result<Done, WriteError> {
        let began = Instant::now();
        let created: Vec<ChannelId> = work.ops.iter().filter_map(Op::creates).collect();
        match self.write(work.ops, &mut work.replies, right) {
            Ok(Written { tip, next, created, blocks, envelopes, commit }) => {
                self.channel.observed().written(tip.number, blocks, commit);
                for new_channel in created {
                    #[expect(clippy::disallowed_methods, reason = "one a created channel")]
                    self.registrar.do_send(new_channel);
                }
                for reply in work.replies {
                    reply.send(Ok(()));
                }
                if blocks > 0 {
                    tracing::debug!(target: "orderer.chain", channel = %self.channel.id(), block = %tip.number, blocks,
                        envelopes, micros = began.elapsed().as_micros(), "blocks written");
                }
                if let Some(next) = next {
                    // the last block that this node may have a part in
                    self.vouch(&next)?;
                }
                Ok(Done { tip, vouched: self.vouched })
            }
            Err(error) => {
                let text = format!("channel '{}' could not make it durable: {}", self.channel.id(), chain_text(&error));
                if error.wrote_nothing() {
                    self.uncreate(&created);
                }
                for reply in work.replies {
                    reply.send(Err(OrderRefusal::NotDurable(text.clone())));
                }
                Err(error)
            }
        }
    }

    /// Takes away the ledgers of channels whose creation is in no block: the same creation, sent again, makes them anew.
    fn uncreate(&self, created: &[ChannelId]) {
        for id in created {
            match self.context.ledgers.remove(id) {
                Ok(()) => {
                    tracing::info!(target: "orderer.chain", channel = %id, "the channel was not created, its ledger is removed");
                }
                Err(error) => tracing::error!(target: "orderer.chain", channel = %id, error = %chain_text(&error),
                    "the ledger of a channel that was not created is in the way"),
            }
        }
    }

    /// Makes sure that blocks which this node signs now are taken under this configuration; gives back who signs. Costs a
    /// verified signature after a change of either, otherwise nothing.
    fn vouch(&mut self, snapshot: &Arc<ChannelSnapshot>) -> Result<Arc<OwnSigner>, NotOurs> {
        let signer = self.context.signer.own();
        let is_known = |known: &Vouched| Arc::ptr_eq(&known.signer, &signer) && Arc::ptr_eq(&known.snapshot, snapshot);
        if !self.vouched.as_ref().is_some_and(is_known) {
            self.context.check_own_part(&signer, snapshot)?;
            self.vouched = Some(Vouched { signer: Arc::clone(&signer), snapshot: Arc::clone(snapshot) });
        }
        Ok(signer)
    }

    fn write(&mut self, ops: Vec<Op>, replies: &mut [Reply], right: &mut WriteRight) -> Result<Written, WriteError> {
        // for all blocks of this commit: a new configuration ends one
        let in_force = self.channel.snapshot();
        for reply in replies.iter_mut() {
            reply.enter("block");
        }
        let mut written =
            Written { tip: self.tip, next: None, created: Vec::new(), blocks: 0, envelopes: 0, commit: Duration::ZERO };
        let mut commit = Commit::default();
        let mut traces: Vec<Trace> = Vec::new();
        let mut held: Vec<Arc<Accepted>> = Vec::new();
        for op in ops {
            let (envelopes, pending_below, consenter_metadata) = match op {
                Op::Hold(message) => {
                    held.push(message);
                    continue;
                }
                Op::Block { envelopes, pending_below, consenter_metadata } => {
                    (envelopes, pending_below, consenter_metadata)
                }
                Op::ConfigBlock { envelope, pending_below, consenter_metadata, next, created } => {
                    if next.is_some() {
                        written.tip.last_config = written.tip.number.next();
                        written.next = next;
                    }
                    written.created.extend(created.map(|created| *created));
                    (vec![envelope], pending_below, consenter_metadata)
                }
            };
            // a block takes all that waited before it
            held.clear();
            commit.pending_drop_below = pending_below;
            let began = Instant::now();
            let mut trace = self.follow(&written.tip, envelopes.len());
            let signer = self.vouch(&in_force)?;
            let block = assemble_block(&written.tip, &envelopes, consenter_metadata, &signer)?;
            self.channel.observed().assembled(block.number(), &envelopes, began.elapsed());
            trace.enter("commit");
            traces.extend(trace.span().is_some().then_some(trace));
            written.tip.number = block.number();
            written.tip.header_hash = *block.header_hash();
            written.blocks += 1;
            written.envelopes += envelopes.len();
            commit.blocks.push(block);
        }
        if self.context.durability == Durability::Disk {
            let unlogged = held.iter().filter(|message| message.sequence >= self.logged_below);
            commit.pending_add = unlogged.map(|message| pending(message)).collect();
        }
        self.status.fault(Task::Commit).map_err(WriteError::Injected)?;
        let blocks = commit.blocks.clone();
        let began = Instant::now();
        for reply in replies.iter_mut() {
            reply.enter("disk");
        }
        let (config_block, next) = (written.tip.last_config, written.next.clone());
        // in force before anyone sees its block: who may not read under it does not get that block either
        let configure = || next.into_iter().for_each(|next| self.channel.configure(config_block, next));
        self.channel.ledger().commit_then(right, commit, configure)?;
        written.commit = began.elapsed();
        self.channel.gauges().written(&blocks);
        Ok(written)
    }

    /// The span of the block behind `tip`, which is being put together now.
    fn follow(&self, tip: &Tip, envelopes: usize) -> Trace {
        if !is_on() {
            return Trace::default();
        }
        let (channel, number) = (self.channel.id().as_str(), tip.number.next().0);
        let mut trace =
            Trace::of(tracing::debug_span!(target: TARGET, parent: None, "block", channel, number, envelopes));
        trace.enter("assemble");
        trace
    }
}

fn assemble_block(
    tip: &Tip,
    envelopes: &[SignedEnvelope],
    consenter_metadata: Bytes,
    signer: &OwnSigner,
) -> Result<EncodedBlock, BlockError> {
    let contents = Contents {
        number: tip.number.next(),
        previous_hash: &tip.header_hash,
        envelopes,
        last_config: tip.last_config,
        consenter_metadata,
    };
    assemble(contents, &**signer.signer(), nonce())
}

struct Written {
    tip: Tip,
    next: Option<Arc<ChannelSnapshot>>,
    created: Vec<NewChannel>,
    blocks: usize,
    envelopes: usize,
    /// How long the commit itself took.
    commit: Duration,
}

fn pending(message: &Accepted) -> PendingEnvelope {
    PendingEnvelope {
        sequence: message.sequence,
        checked_at: message.checked_at,
        is_config: message.is_config,
        raw: message.envelope.raw().clone(),
    }
}
