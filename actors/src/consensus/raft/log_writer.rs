//! Writes the Raft log with group commit: one sync at a time makes all writes durable that were buffered during the
//! previous one.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, Message};
use fabric_proto::raftpb::Snapshot;
use orderer_core::ordering::raft::{Event, LogWrite};
use orderer_ledger::raft_log::{RaftLog, RaftLogError, Write};
use tokio::runtime::Handle;

use super::seat::ChainLink;
use super::shared::LogRight;
use crate::chain_state::chain_text;
use crate::observe::ChannelObserved;
use crate::status::{StatusCell, Taken, Task};
use crate::supervision::{Abandon, Exit, ExitGuard, payload_text};

/// Recommended action if a Raft log cannot be written.
pub(super) const ACT_ON_LOG: &str = "see to the disk (space, health), then restart the channel";

/// An open Raft log, and the lock that permits its use.
pub(super) struct OpenLog {
    pub(super) log: RaftLog,
    pub(super) _right: LogRight,
}

/// The actor that writes one channel's Raft log.
pub(super) struct RaftLogWriter {
    io: Handle,
    observed: Arc<ChannelObserved>,
    chain: ChainLink,
    /// `None` while a blocking thread writes it.
    log: Option<OpenLog>,
    gathered: VecDeque<LogJob>,
    writing: Option<Taken>,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

/// Message from the chain.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum LogJob {
    /// A write; the chain gets [`Event::Persisted`] when it is durable.
    Write(Box<LogWrite>),
    /// A snapshot that this node has taken, and the index up to which entries may be deleted; 0 for none.
    Snapshot { snapshot: Box<Snapshot>, trim: u64 },
}

/// Message from the blocking thread.
#[derive(Message)]
#[rtype(result = "()")]
struct Written {
    log: OpenLog,
    /// Number of the last durable write, if there was one.
    outcome: Result<Option<u64>, Failed>,
}

enum Failed {
    Log(RaftLogError),
    Panicked(String),
}

impl RaftLogWriter {
    pub(super) fn new(
        io: Handle,
        observed: Arc<ChannelObserved>,
        chain: ChainLink,
        log: OpenLog,
        status: Arc<StatusCell>,
        guard: ExitGuard,
    ) -> Self {
        Self { io, observed, chain, log: Some(log), gathered: VecDeque::new(), writing: None, status, guard }
    }

    fn write_gathered(&mut self, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() {
            return;
        }
        let Some(mut log) = self.log.take() else { return };
        let jobs = std::mem::take(&mut self.gathered);
        self.writing = Some(self.status.wait_for(Task::Commit));
        let (report, observed) = (ctx.address(), Arc::clone(&self.observed));
        self.io.spawn_blocking(move || {
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(&mut log.log, jobs, &observed)));
            let outcome = match outcome {
                Ok(written) => written.map_err(Failed::Log),
                Err(panic) => Err(Failed::Panicked(payload_text(&*panic))),
            };
            // if the actor is gone, dropping the message closes the log
            #[expect(clippy::disallowed_methods, reason = "one a sync")]
            report.do_send(Written { log, outcome });
        });
    }
}

/// Writes all jobs with one sync. Performs blocking I/O.
fn write(log: &mut RaftLog, jobs: VecDeque<LogJob>, observed: &ChannelObserved) -> Result<Option<u64>, RaftLogError> {
    let (mut newest, mut trim_to) = (None, 0);
    for job in jobs {
        match job {
            LogJob::Write(write) => {
                let LogWrite { number, snapshot, entries, hard_state, must_sync } = *write;
                log.stage(&Write { snapshot, entries, hard_state, must_sync })?;
                newest = Some(number);
            }
            LogJob::Snapshot { snapshot, trim } => {
                log.stage(&Write { snapshot: Some(*snapshot), must_sync: true, ..Write::default() })?;
                trim_to = trim_to.max(trim);
            }
        }
    }
    if let Some(synced) = log.sync()? {
        observed.raft_persisted(synced.took);
    }
    if trim_to > 0 {
        log.trim(trim_to)?;
    }
    Ok(newest)
}

impl Actor for RaftLogWriter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.enter("running", "");
    }
}

impl Handler<LogJob> for RaftLogWriter {
    type Result = ();

    fn handle(&mut self, job: LogJob, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Write);
        self.gathered.push_back(job);
        self.write_gathered(ctx);
    }
}

impl Handler<Written> for RaftLogWriter {
    type Result = ();

    fn handle(&mut self, Written { log, outcome }: Written, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Committed);
        self.writing = None;
        self.log = Some(log);
        match outcome {
            Ok(newest) => {
                if let Some(number) = newest {
                    self.chain.happened(Event::Persisted(number));
                }
                self.write_gathered(ctx);
            }
            Err(failed) => {
                let exit = match failed {
                    // the write contradicts the contents of the log; a restarted chain reads the log again
                    Failed::Log(error @ RaftLogError::Unfit { .. }) => Exit::Failed(chain_text(&error)),
                    Failed::Log(error) => Exit::Unrecoverable { cause: chain_text(&error), action: ACT_ON_LOG },
                    Failed::Panicked(text) => Exit::Panicked(text),
                };
                self.status.failed(exit.to_string());
                self.guard.will_exit(exit);
                ctx.stop();
            }
        }
    }
}

impl Handler<Abandon> for RaftLogWriter {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        self.guard.will_exit(Exit::Asked);
        ctx.stop();
    }
}
