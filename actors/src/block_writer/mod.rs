//! Makes durable what a chain decides: one commit at a time, each with all that gathered during the one before.
//!
//! Under load most envelopes enter a block in the very commit that acknowledges them, and are never written to the
//! pending log at all.
//!
//! A writer owns the right to write to its ledger from the moment its chain was read there until it ends, so no commit of
//! another comes in between. Before it signs, it makes sure that the channel's peers take what this node signs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext as _, Addr, AsyncContext as _, Context, Handler, Message, SpawnHandle};
use bytes::Bytes;
use orderer_core::block::{BlockError, Contents, EncodedBlock, assemble};
use orderer_core::channel::ChannelId;
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::own::OwnSigner;
use orderer_ledger::{Commit, CommitError, PendingEnvelope, WriteRight};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::chain_state::{Tip, chain_text};
use crate::channel::Channel;
use crate::consensus::solo::chain::{Accepted, Halt};
use crate::mailbox::{OrderRefusal, Pace, Reply};
use crate::node_context::{Durability, NodeContext, NotOurs, nonce};
use crate::registrar::{NewChannel, Registrar};
use crate::status::{StatusCell, Taken, Task};
use crate::supervision::{Exit, ExitGuard};
use crate::trace::{TARGET, Trace, is_on};

/// After so long without a commit the ledger is settled, which makes the next start after a crash fast.
const SETTLE_AFTER: Duration = Duration::from_secs(2);

/// One decision of the chain.
#[derive(Debug)]
pub enum Op {
    /// The message waits for its block: into the pending log.
    Hold(Arc<Accepted>),
    /// A block.
    Block {
        /// Of these.
        envelopes: Vec<SignedEnvelope>,
        /// Messages of the pending log that come before this sequence are in a block now.
        pending_below: u64,
        /// What the chain wants to find in its last block when it is built again.
        consenter_metadata: Bytes,
    },
    /// A block with one config message alone.
    ConfigBlock {
        /// CONFIG or ORDERER_TRANSACTION.
        envelope: SignedEnvelope,
        /// As of a block.
        pending_below: u64,
        /// As of a block.
        consenter_metadata: Bytes,
        /// The configuration that is in force from this block on.
        next: Option<Arc<ChannelSnapshot>>,
        /// The channel that exists from this block on.
        created: Option<Box<NewChannel>>,
    },
}

/// From the chain, for every message it takes. The reply is sent when the ops, and all before them, are durable.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Write {
    /// In their order.
    pub ops: Vec<Op>,
    /// Of the message that caused them, if somebody waits.
    pub reply: Option<Reply>,
    /// Room that the chain took for them, given back when they are durable.
    pub room: Option<OwnedSemaphorePermit>,
}

/// See the module's description.
pub struct BlockWriter {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    registrar: Addr<Registrar>,
    tip: Tip,
    /// Messages with a smaller sequence were pending when this writer began: the log has them already.
    logged_below: u64,
    gathered: VecDeque<Write>,
    /// `None` while a commit is in flight, which has it.
    right: Option<WriteRight>,
    committing: Option<Taken>,
    vouched: Option<Vouched>,
    halting: Option<oneshot::Sender<()>>,
    settle: Option<SpawnHandle>,
    pub(crate) status: Arc<StatusCell>,
    pace: Pace,
    guard: ExitGuard,
}

/// What one commit makes durable.
#[derive(Default)]
struct Work {
    ops: Vec<Op>,
    replies: Vec<Reply>,
    rooms: Vec<OwnedSemaphorePermit>,
}

impl Work {
    /// All that has gathered, up to a new configuration: what comes behind it is written under that one.
    fn gather(gathered: &mut VecDeque<Write>) -> Self {
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
struct Vouched {
    signer: Arc<OwnSigner>,
    snapshot: Arc<ChannelSnapshot>,
}

/// From the blocking thread, when a commit has ended. The right to write comes back with it.
#[derive(Message)]
#[rtype(result = "()")]
struct Committed {
    outcome: Result<Done, WriteError>,
    right: WriteRight,
}

/// A commit that went well.
struct Done {
    tip: Tip,
    vouched: Option<Vouched>,
}

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
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

impl Op {
    /// The channel that exists from this block on.
    fn creates(&self) -> Option<ChannelId> {
        match self {
            Self::ConfigBlock { created: Some(created), .. } => Some(created.ledger.channel().clone()),
            _ => None,
        }
    }
}

impl BlockWriter {
    /// A writer that goes on behind `tip`, with pending messages below `logged_below` in the log, as they were read by who
    /// had the right to write.
    #[expect(clippy::too_many_arguments, reason = "each is something else")]
    pub fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        registrar: Addr<Registrar>,
        tip: Tip,
        logged_below: u64,
        right: WriteRight,
        status: Arc<StatusCell>,
        guard: ExitGuard,
    ) -> Self {
        Self {
            channel,
            context,
            registrar,
            tip,
            logged_below,
            gathered: VecDeque::new(),
            right: Some(right),
            committing: None,
            vouched: None,
            halting: None,
            settle: None,
            status,
            pace: Pace::default(),
            guard,
        }
    }

    /// Starts a commit of all that has gathered, unless one is in flight.
    fn commit_gathered(&mut self, ctx: &mut Context<Self>) {
        let Some(mut right) = self.right.take() else { return };
        if self.gathered.is_empty() {
            self.right = Some(right);
            self.finish_halt(ctx);
            return;
        }
        self.committing = Some(self.status.wait_for(Task::Commit));
        if let Some(settle) = self.settle.take() {
            ctx.cancel_future(settle);
        }
        let work = Work::gather(&mut self.gathered);
        let job = Job {
            channel: Arc::clone(&self.channel),
            context: Arc::clone(&self.context),
            registrar: self.registrar.clone(),
            tip: self.tip,
            logged_below: self.logged_below,
            status: Arc::clone(&self.status),
            vouched: self.vouched.clone(),
        };
        let report = ctx.address();
        self.context.io.spawn_blocking(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.run(work, &mut right)));
            let outcome =
                outcome.unwrap_or_else(|panic| Err(WriteError::Panicked(crate::supervision::payload_text(&*panic))));
            // a writer that is gone needs the right no more: it is dropped with this
            #[expect(clippy::disallowed_methods, reason = "one a commit")]
            report.do_send(Committed { outcome, right });
        });
    }

    fn finish_halt(&mut self, ctx: &mut Context<Self>) {
        let Some(done) = self.halting.take() else { return };
        let channel = Arc::clone(&self.channel);
        self.context.io.spawn_blocking(move || {
            if let Err(e) = channel.ledger().settle() {
                tracing::warn!(target: "orderer.ledger", channel = %channel.id(), error = %chain_text(&e), "settle the ledger");
            }
            let _ = done.send(());
        });
        self.guard.will_exit(Exit::Asked);
        ctx.stop();
    }

    fn settle_later(&mut self, ctx: &mut Context<Self>) {
        self.settle = Some(ctx.run_later(SETTLE_AFTER, |writer, _| {
            writer.settle = None;
            let channel = Arc::clone(&writer.channel);
            writer.context.io.spawn_blocking(move || {
                if let Err(e) = channel.ledger().settle() {
                    tracing::warn!(target: "orderer.ledger", channel = %channel.id(), error = %chain_text(&e), "settle the ledger");
                }
            });
        }));
    }
}

impl Actor for BlockWriter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.enter("running", format!("height {}", self.tip.number.0 + 1));
    }
}

impl Handler<Write> for BlockWriter {
    type Result = ();

    fn handle(&mut self, mut write: Write, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Write);
        if let Some(reply) = &mut write.reply {
            reply.enter("writer");
        }
        self.gathered.push_back(write);
        self.commit_gathered(ctx);
        self.pace.after_one(ctx);
    }
}

impl Handler<Committed> for BlockWriter {
    type Result = ();

    fn handle(&mut self, Committed { outcome, right }: Committed, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Committed);
        self.committing = None;
        self.right = Some(right);
        match outcome {
            Ok(Done { tip, vouched }) => {
                self.tip = tip;
                self.vouched = vouched;
                self.status.enter("running", format!("height {}", tip.number.0 + 1));
                self.settle_later(ctx);
                self.commit_gathered(ctx);
            }
            Err(error) => {
                let cause = chain_text(&error);
                self.status.failed(cause.clone());
                let exit = match error {
                    // the ledger refuses all writes until the file is opened again
                    WriteError::Commit(CommitError::Append { .. } | CommitError::Refused { .. }) => {
                        Exit::Unrecoverable(cause)
                    }
                    WriteError::NotOurs(_) => Exit::NotOurs(cause),
                    // a new incarnation finds out where the ledger stands
                    WriteError::Commit(_) | WriteError::Assemble(_) | WriteError::Injected(_) => Exit::Failed(cause),
                    WriteError::Panicked(text) => Exit::Panicked(text),
                };
                self.guard.will_exit(exit);
                ctx.stop();
            }
        }
    }
}

impl Handler<Halt> for BlockWriter {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Halt);
        self.halting = Some(halt.done);
        self.commit_gathered(ctx);
    }
}

/// One commit, on a blocking thread.
struct Job {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    registrar: Addr<Registrar>,
    tip: Tip,
    logged_below: u64,
    status: Arc<StatusCell>,
    vouched: Option<Vouched>,
}

impl Job {
    fn run(mut self, mut work: Work, right: &mut WriteRight) -> Result<Done, WriteError> {
        let began = Instant::now();
        let created: Vec<ChannelId> = work.ops.iter().filter_map(Op::creates).collect();
        match self.write(work.ops, &mut work.replies, right) {
            Ok(Written { tip, next, created, blocks, envelopes, commit }) => {
                self.channel.observed().written(tip.number, blocks, commit);
                // in force before anyone hears that it is
                if let Some(next) = &next {
                    self.channel.configure(tip.last_config, Arc::clone(next));
                }
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
        self.channel.ledger().commit(right, commit)?;
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

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::consensus::solo::chain::Crash> for BlockWriter {
    type Result = ();
    fn handle(&mut self, _: crate::consensus::solo::chain::Crash, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
