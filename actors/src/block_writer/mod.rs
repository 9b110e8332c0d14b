//! Makes durable what a chain decides: one commit at a time, each with all that gathered during the one before.
//!
//! Under load most envelopes enter a block in the very commit that acknowledges them, and are never written to the
//! pending log at all.
//!
//! A writer owns the right to write to its ledger from the moment its chain was read there until it ends, so no commit of
//! another comes in between. Before it signs, it makes sure that the channel's peers take what this node signs.

mod commit;
mod request;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, Message, Recipient, SpawnHandle};
use orderer_ledger::{CommitError, WritePermit};
use tokio::sync::oneshot;

use crate::chain_state::{Tip, chain_text};
use crate::channel::{Channel, NewChannel};
use crate::mailbox::Pace;
use crate::node_context::NodeContext;
use crate::status::{StatusCell, Taken, Task};
use crate::supervision::{Abandon, Exit, ExitGuard, Halt, payload_text};
use commit::{Done, Job, Vouched, Work, WriteError};
pub use request::{Accepted, Op, Write};

/// Action for the operator of a channel whose disk failed.
pub(crate) const ACT_ON_DISK: &str = "see to the disk (space, health), then restart the channel";
/// Action for the operator of a channel whose blocks are not those of the other orderers.
const ACT_ON_FORK: &str = "compare the ledger with those of the other orderers; if it is this one that differs, remove the channel here and join it again";
/// Duration without a commit after which the ledger is settled, which makes the next start after a crash fast.
const SETTLE_AFTER: Duration = Duration::from_secs(2);

/// The actor that writes one channel's blocks and pending envelopes to its ledger. One commit is in flight at a time, on a thread
/// that may block.
pub struct BlockWriter {
    channel: Arc<Channel>,
    context: Arc<NodeContext>,
    registrar: Recipient<NewChannel>,
    tip: Tip,
    /// Messages with a smaller sequence were pending when this writer began: the log has them already.
    logged_below: u64,
    gathered: VecDeque<Write>,
    /// `None` while a commit is in flight, which has it.
    right: Option<WritePermit>,
    committing: Option<Taken>,
    vouched: Option<Vouched>,
    halting: Option<oneshot::Sender<()>>,
    settle: Option<SpawnHandle>,
    status: Arc<StatusCell>,
    pace: Pace,
    guard: ExitGuard,
}

/// Reports from the blocking thread that a commit has ended. It returns the right to write.
#[derive(Message)]
#[rtype(result = "()")]
struct Committed {
    outcome: Result<Done, WriteError>,
    right: WritePermit,
}

impl BlockWriter {
    /// Creates a writer that goes on behind `tip`, with pending messages below `logged_below` in the log. Both were read by a
    /// holder of the right to write.
    #[expect(clippy::too_many_arguments, reason = "each is something else")]
    pub fn new(
        channel: Arc<Channel>,
        context: Arc<NodeContext>,
        registrar: Recipient<NewChannel>,
        tip: Tip,
        logged_below: u64,
        right: WritePermit,
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
            let outcome = outcome.unwrap_or_else(|panic| Err(WriteError::Panicked(payload_text(&*panic))));
            // a writer that is gone needs the right no more: it is dropped with this
            #[expect(clippy::disallowed_methods, reason = "one a commit")]
            report.do_send(Committed { outcome, right });
        });
    }

    fn finish_halt(&mut self, ctx: &mut Context<Self>) {
        let Some(done) = self.halting.take() else { return };
        let channel = Arc::clone(&self.channel);
        self.context.io.spawn_blocking(move || {
            if let Err(e) = channel.ledger().checkpoint() {
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
                if let Err(e) = channel.ledger().checkpoint() {
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
                        Exit::Unrecoverable { cause, action: ACT_ON_DISK }
                    }
                    WriteError::NotOurs(_) => Exit::NotOurs(cause),
                    WriteError::OtherHeader { .. } => Exit::Unrecoverable { cause, action: ACT_ON_FORK },
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

impl Handler<Abandon> for BlockWriter {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        ctx.stop();
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::Crash> for BlockWriter {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::Crash, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
