//! Writes the Raft log with group commit: one sync at a time makes all writes durable that were buffered during the
//! previous one.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, Message};
use fabric_proto::raftpb::Snapshot;
use orderer_core::ordering::raft::{Event, LogWrite};
use orderer_ledger::is_disk_full;
use orderer_ledger::raft_log::{RaftLog, RaftLogError, Write};
use tokio::runtime::Handle;

use super::cluster_endpoint::ChainSender;
use super::shared::LogPermit;
use crate::chain_state::error_chain;
use crate::observer::ChannelObserver;
use crate::status::{ActivityGuard, ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, StopNow, panic_message};

/// Recommended action if a Raft log cannot be written.
pub(super) const ACTION_LOG: &str = "check the disk (free space, errors), then restart the channel";

/// An open Raft log, and the lock that permits its use.
pub(super) struct OpenLog {
    pub(super) log: RaftLog,
    pub(super) _permit: LogPermit,
}

/// The actor that writes one channel's Raft log.
pub(super) struct RaftLogWriter {
    io: Handle,
    observer: Arc<ChannelObserver>,
    chain: ChainSender,
    /// `None` while a blocking thread writes it.
    log: Option<OpenLog>,
    gathered: VecDeque<LogTask>,
    writing: Option<ActivityGuard>,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

/// Message from the chain.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum LogTask {
    /// A write; the chain gets [`Event::Persisted`] when it is durable.
    Write(Box<LogWrite>),
    /// A snapshot that this node has taken, and the index up to which entries may be deleted; 0 for none.
    Snapshot { snapshot: Box<Snapshot>, trim: u64 },
}

/// Message from the blocking thread.
#[derive(Message)]
#[rtype(result = "()")]
struct LogWriteFinished {
    log: OpenLog,
    /// Number of the last durable write, if there was one.
    outcome: Result<Option<u64>, LogTaskError>,
}

enum LogTaskError {
    Log(RaftLogError),
    Panicked(String),
}

impl RaftLogWriter {
    pub(super) fn new(
        io: Handle,
        observer: Arc<ChannelObserver>,
        chain: ChainSender,
        log: OpenLog,
        status: Arc<StatusCell>,
        guard: ExitGuard,
    ) -> Self {
        Self { io, observer, chain, log: Some(log), gathered: VecDeque::new(), writing: None, status, guard }
    }

    fn write_gathered(&mut self, ctx: &mut Context<Self>) {
        if self.gathered.is_empty() {
            return;
        }
        let Some(mut log) = self.log.take() else { return };
        let jobs = std::mem::take(&mut self.gathered);
        self.writing = Some(self.status.begin_background(ActivityKind::Commit));
        let (report, observer) = (ctx.address(), Arc::clone(&self.observer));
        self.io.spawn_blocking(move || {
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(&mut log.log, jobs, &observer)));
            let outcome = match outcome {
                Ok(written) => written.map_err(LogTaskError::Log),
                Err(panic) => Err(LogTaskError::Panicked(panic_message(&*panic))),
            };
            // if the actor is gone, dropping the message closes the log
            #[expect(clippy::disallowed_methods, reason = "one a sync")]
            report.do_send(LogWriteFinished { log, outcome });
        });
    }
}

/// Writes all jobs with one sync. Performs blocking I/O.
fn write(log: &mut RaftLog, jobs: VecDeque<LogTask>, observer: &ChannelObserver) -> Result<Option<u64>, RaftLogError> {
    let (mut newest, mut trim_to) = (None, 0);
    for job in jobs {
        match job {
            LogTask::Write(write) => {
                let LogWrite { number, snapshot, entries, hard_state, must_sync } = *write;
                log.stage(&Write { snapshot, entries, hard_state, must_sync })?;
                newest = Some(number);
            }
            LogTask::Snapshot { snapshot, trim } => {
                log.stage(&Write { snapshot: Some(*snapshot), must_sync: true, ..Write::default() })?;
                trim_to = trim_to.max(trim);
            }
        }
    }
    if let Some(synced) = log.sync()? {
        observer.raft_persisted(synced.took);
    }
    if trim_to > 0 {
        log.trim(trim_to)?;
    }
    Ok(newest)
}

impl Actor for RaftLogWriter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.status.set_state("running", "");
    }
}

impl Handler<LogTask> for RaftLogWriter {
    type Result = ();

    fn handle(&mut self, job: LogTask, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Write);
        self.gathered.push_back(job);
        self.write_gathered(ctx);
    }
}

impl Handler<LogWriteFinished> for RaftLogWriter {
    type Result = ();

    fn handle(&mut self, LogWriteFinished { log, outcome }: LogWriteFinished, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Committed);
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
                    LogTaskError::Log(error @ RaftLogError::Unfit { .. }) => ExitReason::Failed(error_chain(&error)),
                    LogTaskError::Log(error) if is_disk_full(&error) => ExitReason::DiskFull(error_chain(&error)),
                    LogTaskError::Log(error) => {
                        ExitReason::Unrecoverable { cause: error_chain(&error), action: ACTION_LOG }
                    }
                    LogTaskError::Panicked(text) => ExitReason::Panicked(text),
                };
                self.status.record_error(exit.to_string());
                self.guard.set_exit_reason(exit);
                ctx.stop();
            }
        }
    }
}

impl Handler<StopNow> for RaftLogWriter {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        self.guard.set_exit_reason(ExitReason::Requested);
        ctx.stop();
    }
}
