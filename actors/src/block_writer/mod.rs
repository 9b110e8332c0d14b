//! Makes durable what a chain decides: one commit at a time, each with all that gathered during the one before.
//!
//! Under load most envelopes enter a block in the very commit that acknowledges them, and are never written to the
//! pending log at all.
//!
//! A writer owns the permit to write to its ledger from the moment its chain was read there until it ends, so no commit of
//! another comes in between. Before it signs, it makes sure that the channel's peers take what this node signs.

mod commit;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, Message, Recipient, SpawnHandle};
use orderer_core::crypto::SignError;
use orderer_hsm::SigningTurn;
use orderer_ledger::{CommitError, WritePermit, is_disk_full};
use tokio::sync::oneshot;

use crate::advice::COMPARE_LEDGERS;
use crate::chain_state::{ResumeTip, error_chain};
use crate::channel::{Channel, ChannelCreated};
use crate::mailbox::CooperativeYield;
use crate::node_context::NodeContext;
use crate::status::{ActivityGuard, ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, Halt, StopNow, panic_message};
use commit::{AcceptedSigner, CommitGroup, CommitSummary, CommitTask, CommitTaskError};
pub use request::{PendingMessage, WriteOp, WriteRequest};

/// Action for the operator of a channel whose disk failed.
pub(crate) const ACTION_DISK: &str = "check the disk (free space, errors), then restart the channel";
/// Duration without a commit after which the ledger is settled, which makes the next start after a crash fast.
const CHECKPOINT_AFTER_IDLE: Duration = Duration::from_secs(2);

/// The actor that writes one channel's blocks and pending envelopes to its ledger. One commit is in flight at a time, on a thread
/// that may block.
pub struct BlockWriter {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    registrar: Recipient<ChannelCreated>,
    tip: ResumeTip,
    /// Messages with a smaller sequence were pending when this writer began: the log has them already.
    logged_below: u64,
    buffered: VecDeque<WriteRequest>,
    /// `None` while a commit is in flight, which has it.
    permit: Option<WritePermit>,
    committing: Option<ActivityGuard>,
    accepted_signer: Option<AcceptedSigner>,
    halting: Option<oneshot::Sender<()>>,
    settle: Option<SpawnHandle>,
    status: Arc<StatusCell>,
    pace: CooperativeYield,
    guard: ExitGuard,
}

/// Reports from the blocking thread that a commit has ended. It returns the permit to write.
#[derive(Message)]
#[rtype(result = "()")]
struct CommitFinished {
    outcome: Result<CommitSummary, CommitTaskError>,
    permit: WritePermit,
}

impl BlockWriter {
    /// Creates a writer that goes on behind `tip`, with pending messages below `logged_below` in the log. Both were read by a
    /// holder of the permit to write.
    #[expect(clippy::too_many_arguments, reason = "each is something else")]
    pub fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        registrar: Recipient<ChannelCreated>,
        tip: ResumeTip,
        logged_below: u64,
        permit: WritePermit,
        status: Arc<StatusCell>,
        guard: ExitGuard,
    ) -> Self {
        Self {
            channel,
            context,
            registrar,
            tip,
            logged_below,
            buffered: VecDeque::new(),
            permit: Some(permit),
            committing: None,
            accepted_signer: None,
            halting: None,
            settle: None,
            status,
            pace: CooperativeYield::default(),
            guard,
        }
    }

    /// Starts a commit of all that has gathered, unless one is in flight.
    fn commit_buffered(&mut self, ctx: &mut Context<Self>) {
        let Some(mut permit) = self.permit.take() else { return };
        if self.buffered.is_empty() {
            self.permit = Some(permit);
            self.finish_halt(ctx);
            return;
        }
        if let Some(settle) = self.settle.take() {
            ctx.cancel_future(settle);
        }
        let work = CommitGroup::gather(&mut self.buffered);
        let signs = work.signs();
        let job = CommitTask {
            channel: Arc::clone(&self.channel),
            context: Arc::clone(&self.context),
            registrar: self.registrar.clone(),
            tip: self.tip,
            logged_below: self.logged_below,
            status: Arc::clone(&self.status),
            accepted_signer: self.accepted_signer.clone(),
        };
        let report = ctx.address();
        let commit = move |turn: Result<Option<SigningTurn>, SignError>| {
            let run = || match &turn {
                Ok(_turn) => job.run(work, &mut permit),
                Err(away) => Err(job.put_off(work, away.clone())),
            };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            let outcome = outcome.unwrap_or_else(|panic| Err(CommitTaskError::Panicked(panic_message(&*panic))));
            // a writer that is gone no longer needs the permit: it is dropped with this message
            #[expect(clippy::disallowed_methods, reason = "one a commit")]
            report.do_send(CommitFinished { outcome, permit });
        };
        let io = self.context.blocking_runtime.clone();
        match self.context.token.clone().filter(|_| signs) {
            None => {
                self.committing = Some(self.status.begin_background(ActivityKind::Commit));
                io.spawn_blocking(move || commit(Ok(None)));
            }
            // the wait for a token occupies no thread; the writer is not stuck meanwhile
            Some(token) => {
                let status = Arc::clone(&self.status);
                self.context.blocking_runtime.spawn(async move {
                    let turn = token.turn().await.map(Some);
                    let committing = status.begin_background(ActivityKind::Commit);
                    io.spawn_blocking(move || {
                        commit(turn);
                        drop(committing);
                    });
                });
            }
        }
    }

    fn finish_halt(&mut self, ctx: &mut Context<Self>) {
        let Some(done) = self.halting.take() else { return };
        let channel = Arc::clone(&self.channel);
        self.context.blocking_runtime.spawn_blocking(move || {
            if let Err(e) = channel.ledger().checkpoint() {
                tracing::warn!(target: "orderer.ledger", channel = %channel.id(), error = %error_chain(&e), "settle the ledger");
            }
            let _ = done.send(());
        });
        self.guard.set_exit_reason(ExitReason::Requested);
        ctx.stop();
    }

    fn checkpoint_later(&mut self, ctx: &mut Context<Self>) {
        self.settle = Some(ctx.run_later(CHECKPOINT_AFTER_IDLE, |writer, _| {
            writer.settle = None;
            let channel = Arc::clone(&writer.channel);
            writer.context.blocking_runtime.spawn_blocking(move || {
                if let Err(e) = channel.ledger().rest() {
                    tracing::warn!(target: "orderer.ledger", channel = %channel.id(), error = %error_chain(&e), "settle the ledger");
                }
            });
        }));
    }
}

impl Actor for BlockWriter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.set_state("running", format!("height {}", self.tip.number.0 + 1));
    }
}

impl Handler<WriteRequest> for BlockWriter {
    type Result = ();

    fn handle(&mut self, mut write: WriteRequest, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Write);
        for reply in &mut write.replies {
            reply.record_stage("writer");
        }
        self.buffered.push_back(write);
        self.commit_buffered(ctx);
        self.pace.after_message(ctx);
    }
}

impl Handler<CommitFinished> for BlockWriter {
    type Result = ();

    fn handle(&mut self, CommitFinished { outcome, permit }: CommitFinished, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Committed);
        self.committing = None;
        self.permit = Some(permit);
        match outcome {
            Ok(CommitSummary { tip, accepted_signer }) => {
                self.tip = tip;
                self.accepted_signer = accepted_signer;
                self.status.set_state("running", format!("height {}", tip.number.0 + 1));
                self.checkpoint_later(ctx);
                self.commit_buffered(ctx);
            }
            Err(error) => {
                let cause = error_chain(&error);
                self.status.record_error(cause.clone());
                let exit = match error {
                    ref full if is_disk_full(full) => ExitReason::DiskFull(cause),
                    // the ledger refuses all writes until the file is opened again
                    CommitTaskError::Commit(CommitError::Append { .. } | CommitError::Refused { .. }) => {
                        ExitReason::Unrecoverable { cause, action: ACTION_DISK }
                    }
                    ref away if away.is_signer_away() => ExitReason::SignerAway(cause),
                    CommitTaskError::NotOurs(_) => ExitReason::NotOurs(cause),
                    CommitTaskError::OtherHeader { .. } => ExitReason::Unrecoverable { cause, action: COMPARE_LEDGERS },
                    // a new incarnation finds out where the ledger stands
                    CommitTaskError::Commit(_)
                    | CommitTaskError::Assemble(_)
                    | CommitTaskError::Away(_)
                    | CommitTaskError::Injected(_) => ExitReason::Failed(cause),
                    CommitTaskError::Panicked(text) => ExitReason::Panicked(text),
                };
                self.guard.set_exit_reason(exit);
                ctx.stop();
            }
        }
    }
}

impl Handler<Halt> for BlockWriter {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Halt);
        self.halting = Some(halt.done);
        self.commit_buffered(ctx);
    }
}

impl Handler<StopNow> for BlockWriter {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        ctx.stop();
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::PanicNow> for BlockWriter {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::PanicNow, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
