//! The actor that orders one channel by Raft: it feeds the state machine with events and performs its effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, StreamHandler, WrapFuture as _,
};
use orderer_core::config::ChannelSnapshot;
use orderer_core::ordering::raft::{ChainFailed, Effect, Event, RaftMachine, Role};
use orderer_core::types::BlockNumber;

use super::cluster_endpoint::{ChainEndpoint, ChainSender};
use super::log_writer::{OpenLog, RaftLogWriter};
use super::membership::membership;
use super::messages::{EventOccurred, ForwardedEnvelope, StepMessage};
use super::opening::{OpenedChain, open};
use super::running::{IngressPermits, RunningChain};
use super::shared::{LogPermit, RaftSharedState};
use crate::advice::{COMPARE_LEDGERS, REPLACE_CONSENTER};
use crate::block_writer::BlockWriter;
use crate::chain_state::ChainResumePoint;
use crate::channel::{Channel, ChannelState, StateLease};
use crate::consensus::{ChildActors, ConsenterSupport};
use crate::mailbox::{CooperativeYield, CountedAddr};
use crate::node_context::NodeContext;
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, Halt, StopNow};

/// Name of the chain actor, below the channel.
const CHAIN: &str = "raft-chain";
/// Name of the Raft log writer, below the channel.
const LOG_WRITER: &str = "raft-chain/raft-log";
/// Maximum time that a stopping consenter waits for another one to lead, if there is no other leader.
const LEADERSHIP_TRANSFER_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time, beyond the channel's batch timeout, that a stopping consenter waits until its envelopes are in blocks.
const LAST_BLOCKS_TIMEOUT: Duration = Duration::from_secs(3);
/// Upper bound of the time that a stopping consenter waits, however long the batch timeout is.
const MAX_HALT_TIME: Duration = Duration::from_secs(5);

const ACTION_CONFIG: &str = "find the orderers that have this block, and continue with a version that can apply it";

/// Published status: role; leader; number of active consenters; term, indexes of the last committed, applied and logged
/// entries, number of envelopes in the outbox and in the intake.
pub(super) type PublishedStatus = (Role, Option<u64>, usize, [u64; 6]);

/// Orders one channel as one of its consenters. Owns the state machine of `orderer_core::ordering::raft` once the Raft
/// log is read.
pub(super) struct RaftChain {
    pub(super) channel: Arc<Channel>,
    lease: StateLease,
    pub(super) context: Arc<NodeContext>,
    pub(super) shared: Arc<RaftSharedState>,
    pub(super) writer: CountedAddr<BlockWriter>,
    /// The state to start from; taken when the Raft log is read.
    state: Option<ChainResumePoint>,
    children: ChildActors,
    /// The configuration under which the next block is decided. It may not be durable yet.
    pub(super) snapshot: Arc<ChannelSnapshot>,
    pub(super) next_sequence: u64,
    pub(super) running: Option<RunningChain>,
    pub(super) halting: Option<Halt>,
    /// Leader and term of the latest log line about leaders; leader 0 stands for none.
    pub(super) led: (u64, u64),
    /// The active consenters in the latest log line about them.
    said_active: BTreeSet<u64>,
    /// The status that was published last.
    pub(super) shown: Option<PublishedStatus>,
    pub(super) status: Arc<StatusCell>,
    pub(super) pace: CooperativeYield,
    guard: ExitGuard,
}

impl RaftChain {
    /// Creates a chain that continues after the log and the ledger.
    pub(super) fn new(support: ConsenterSupport, shared: Arc<RaftSharedState>) -> Self {
        let ConsenterSupport { channel, context, state, writer, lease, children } = support;
        let (status, guard) = (children.cell(CHAIN), children.guard(CHAIN));
        Self {
            channel,
            lease,
            context,
            shared,
            writer,
            snapshot: Arc::clone(&state.snapshot),
            next_sequence: state.next_sequence,
            state: Some(state),
            children,
            running: None,
            halting: None,
            led: (0, 0),
            said_active: BTreeSet::new(),
            shown: None,
            status,
            pace: CooperativeYield::default(),
            guard,
        }
    }

    /// Opens the Raft log on a blocking thread, after waiting until no earlier chain of the channel uses it.
    fn open(&mut self, ctx: &mut Context<Self>) {
        let Some(state) = self.state.take() else { return };
        let (shared, context, channel) =
            (Arc::clone(&self.shared), Arc::clone(&self.context), Arc::clone(&self.channel));
        let opening = async move {
            let permit = shared.log_permit(channel.id()).await;
            let (io, settings) = (context.blocking_runtime.clone(), shared.parts.settings);
            let work = move || {
                let keys = context.tls_keys.load();
                open(channel.ledger(), state, &keys, settings, rand::random()).map(|opened| (opened, permit))
            };
            io.spawn_blocking(work).await
        };
        let starting = self.status.begin_background(ActivityKind::Start);
        let opened = opening.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(starting);
            match outcome {
                Ok(Ok((opened, permit))) => chain.begin(opened, permit, ctx),
                Ok(Err(failed)) => chain.exit_with(failed.exit(), ctx),
                Err(panicked) => chain.exit_with(ExitReason::Panicked(panicked.to_string()), ctx),
            }
        });
        ctx.spawn(opened);
    }

    fn begin(&mut self, opened: OpenedChain, permit: LogPermit, ctx: &mut Context<Self>) {
        let OpenedChain { machine, log, tick, snapshot_block } = opened;
        let consenters = machine.members().len();
        let link = ChainSender::new(&ctx.address(), &self.status);
        let members = membership(machine.members(), machine.id());
        let intake_bytes = u32::try_from(self.channel.gate().capacity_bytes()).unwrap_or(u32::MAX);
        let peers = self.shared.parts.network.enter(self.channel.id().as_str(), Arc::new(link.clone()));
        let endpoint = Arc::new(ChainEndpoint::new(link.clone(), members, intake_bytes));
        let log_status = self.children.cell(LOG_WRITER);
        let guard = self.children.guard(LOG_WRITER);
        let log = OpenLog { log, _permit: permit };
        let log = RaftLogWriter::new(
            self.context.blocking_runtime.clone(),
            Arc::clone(self.channel.observer()),
            link,
            log,
            Arc::clone(&log_status),
            guard,
        );
        let registration = self.channel.register_cluster(Arc::clone(&endpoint) as _);
        let tick_group = self.shared.ticks.join();
        let first_tick = tick_group.next(tokio::time::Instant::now(), tick);
        self.running = Some(RunningChain {
            machine,
            _tick_group: tick_group,
            log_in_memory: self.shared.log_in_memory(),
            peers,
            log: CountedAddr::new(log.start(), log_status),
            endpoint,
            registration,
            channel: Arc::clone(&self.channel),
            events: VecDeque::new(),
            applied: None,
            timer: None,
            rooms: IngressPermits::default(),
            replies: BTreeMap::new(),
            leaderless_since: Some(Instant::now()),
            missing: None,
            is_suspecting: false,
        });
        self.follow_ledger(ctx);
        let number = self.channel.ledger().height().saturating_sub(1);
        self.channel.observer().raft().begins(consenters, number, snapshot_block);
        ctx.run_interval_at(first_tick, tick, |chain, ctx| {
            if let Some(running) = &mut chain.running {
                running.machine.limit_log(running.log_in_memory.share());
            }
            chain.process(Event::Tick, ctx);
            chain.give_up_waiting();
            chain.publish();
        });
        self.log_leader(None);
        self.step(RaftMachine::start, ctx);
        self.channel.gate().open(ctx.address().recipient(), Arc::clone(&self.status));
    }

    /// Reports every durable block to the state machine.
    fn follow_ledger(&self, ctx: &mut Context<Self>) {
        let mut heights = self.channel.ledger().heights();
        let stream = async_stream::stream! {
            while heights.changed().await.is_ok() {
                let height = *heights.borrow_and_update();
                yield Event::Durable(BlockNumber(height.saturating_sub(1)));
            }
        };
        ctx.add_stream(stream);
    }

    /// Processes an event, and performs the resulting effects.
    pub(super) fn process(&mut self, event: Event, ctx: &mut Context<Self>) {
        if let Some(running) = &mut self.running {
            running.events.push_back(event);
            self.step(|_| Ok(Vec::new()), ctx);
        }
    }

    /// Performs the effects of `first`, then processes the queued events and performs their effects.
    pub(super) fn step(
        &mut self,
        first: impl FnOnce(&mut RaftMachine) -> Result<Vec<Effect>, ChainFailed>,
        ctx: &mut Context<Self>,
    ) {
        let Some(running) = &mut self.running else { return };
        let mut effects = first(&mut running.machine);
        loop {
            match effects {
                Ok(effects) => {
                    for effect in effects {
                        self.perform(effect, ctx);
                    }
                }
                Err(failed) => return self.fail(&failed, ctx),
            }
            let Some(running) = &mut self.running else { return };
            let Some(event) = running.events.pop_front() else { break };
            effects = running.machine.step(event);
        }
        if let Some(running) = &mut self.running {
            let waiting = running.machine.intake_len();
            running.rooms.forwarded_left(waiting);
        }
        self.halt_once_ordered(ctx);
    }

    fn fail(&mut self, failed: &ChainFailed, ctx: &mut Context<Self>) {
        let cause = failed.to_string();
        let exit = match failed {
            ChainFailed::Raft(_) => ExitReason::Failed(cause),
            ChainFailed::NotAMember => ExitReason::NotOurs(cause),
            ChainFailed::Log { .. } => ExitReason::Unrecoverable { cause, action: REPLACE_CONSENTER },
            _ => ExitReason::Unrecoverable { cause, action: COMPARE_LEDGERS },
        };
        self.exit_with(exit, ctx);
    }

    /// Stops the chain: a block that this node cannot apply, and other orderers could, must not be skipped.
    pub(super) fn cannot_apply(&mut self, cause: String, ctx: &mut Context<Self>) {
        self.exit_with(ExitReason::Unrecoverable { cause, action: ACTION_CONFIG }, ctx);
    }

    pub(super) fn exit_with(&mut self, exit: ExitReason, ctx: &mut Context<Self>) {
        if self.running.take().is_some() {
            // the text of Fabric's log line
            tracing::info!(target: "orderer.consensus.etcdraft", channel = %self.channel.id(), "Raft node stopped");
        }
        self.guard.set_exit_reason(exit);
        ctx.stop();
    }

    pub(super) fn log_catching_up(&self, next: BlockNumber, to: BlockNumber) {
        let shown = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (offset, end) = (shown(next.0), shown(to.0.saturating_add(1)));
        self.channel.set_state_with_lease(self.lease, ChannelState::CatchingUp { offset, end });
    }

    /// Publishes the channel's state, and the status of this actor.
    pub(super) fn log_leader(&mut self, leader: Option<u64>) {
        let state = if leader.is_some() { ChannelState::Running } else { ChannelState::Electing };
        self.channel.set_state_with_lease(self.lease, state);
        self.publish();
    }

    fn publish(&mut self) {
        let Some(running) = &mut self.running else { return };
        let leads = running.machine.leader() == Some(running.machine.id());
        let active = if leads { running.machine.settled_active() } else { running.machine.active() };
        if *active != self.said_active {
            self.said_active.clone_from(active);
            if !active.is_empty() {
                let shown: Vec<_> = active.iter().map(u64::to_string).collect();
                // the texts of Fabric's log lines: of its leaders, and of its followers
                if leads {
                    tracing::debug!(target: "orderer.consensus.etcdraft", channel = %self.channel.id(),
                        "Current active nodes in cluster are: [{}]", shown.join(" "));
                } else {
                    tracing::info!(target: "orderer.consensus.etcdraft", channel = %self.channel.id(),
                        "Store ActiveNodes [{}]", shown.join(" "));
                }
            }
        }
        let Ok(status) = running.machine.status() else { return };
        let raft = &status.raft;
        let figures = [raft.term, raft.commit, raft.applied, raft.last, status.outbox.0 as u64, status.intake as u64];
        let shown = (raft.role, raft.leader, status.active.len(), figures);
        // skipped if unchanged, because most channels are idle at most ticks
        if self.shown.as_ref() == Some(&shown) {
            return;
        }
        self.shown = Some(shown);
        let role = format!("{:?}", raft.role).to_lowercase();
        let leader = raft.leader.map_or("none".to_owned(), |leader| leader.to_string());
        let detail = format!(
            "consenter {}, term {}, leader {leader}, committed {}, applied {}, log to {}, {} unordered",
            raft.id, raft.term, raft.commit, raft.applied, raft.last, status.outbox.0
        );
        self.status.set_state(&role, detail);
        let observer = self.channel.observer();
        observer.pending(status.outbox.0 + status.intake, status.outbox.1);
        observer.raft().active(if raft.leader.is_some() { status.active.len() } else { 0 });
    }

    pub(super) fn count_proposal(&self, is_config: bool) {
        let figures = self.channel.observer().raft();
        if is_config { figures.config_proposal() } else { figures.normal_proposal() }
    }

    /// Finishes halting if another consenter leads and all envelopes that came in here are in blocks.
    fn halt_once_ordered(&mut self, ctx: &mut Context<Self>) {
        if self.halting.is_some() && self.has_other_leader() && self.unordered() == 0 {
            self.finish_halt(ctx);
        }
    }

    fn has_other_leader(&self) -> bool {
        let machine = self.running.as_ref().map(|running| &running.machine);
        machine.is_some_and(|machine| machine.leader().is_some_and(|leader| leader != machine.id()))
    }

    /// Returns the number of envelopes that came in here and are in no block.
    fn unordered(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.machine.outbox_len())
    }

    /// Passes the request to halt to the writer, which responds when everything that was acknowledged is durable, and
    /// stops.
    fn finish_halt(&mut self, ctx: &mut Context<Self>) {
        let Some(halt) = self.halting.take() else { return };
        let unordered = self.unordered();
        if unordered > 0 && self.shared.parts.settings.acknowledge.keeps() {
            tracing::warn!(target: "orderer.consensus.etcdraft", channel = %self.channel.id(), unordered,
                "this orderer stopped before all envelopes that it acknowledged were in blocks; it orders them after its next start");
        }
        self.writer.send_uncounted(halt);
        self.exit_with(ExitReason::Requested, ctx);
    }
}

impl Actor for RaftChain {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.status.set_state("opening", "");
        self.open(ctx);
    }
}

impl Handler<StepMessage> for RaftChain {
    type Result = ();

    fn handle(&mut self, step: StepMessage, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Step);
        let StepMessage { from, message, metadata, _room } = step;
        self.process(Event::Message { from, message, metadata }, ctx);
        self.pace.after_message(ctx);
    }
}

impl Handler<ForwardedEnvelope> for RaftChain {
    type Result = ();

    fn handle(&mut self, ForwardedEnvelope { submission, room }: ForwardedEnvelope, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Forwarded);
        self.count_proposal(submission.is_config);
        if let Some(running) = &mut self.running {
            running.rooms.hold_forwarded(room);
        }
        self.process(Event::Order(submission), ctx);
        self.pace.after_message(ctx);
    }
}

impl Handler<EventOccurred> for RaftChain {
    type Result = ();

    fn handle(&mut self, EventOccurred(event): EventOccurred, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Happened);
        self.process(event, ctx);
        self.pace.after_message(ctx);
    }
}

impl StreamHandler<Event> for RaftChain {
    fn handle(&mut self, event: Event, ctx: &mut Context<Self>) {
        if let Event::Durable(number) = event {
            self.channel.observer().raft().committed(number.0);
            self.look_whether_caught_up(number, ctx);
        }
        self.process(event, ctx);
    }

    /// Does nothing: the stream ends only when the ledger is dropped, and this chain holds it.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Handler<Halt> for RaftChain {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Halt);
        self.halting = Some(halt);
        if self.running.is_none() {
            // the log is being read: nothing was acknowledged yet
            self.finish_halt(ctx);
            return;
        }
        let mut to = None;
        self.step(
            |machine| {
                let (other, effects) = machine.hand_over()?;
                to = other;
                Ok(effects)
            },
            ctx,
        );
        if let Some(to) = to {
            tracing::info!(target: "orderer.consensus.etcdraft", channel = %self.channel.id(), to,
                "this orderer is stopping; transferring its leadership");
        } else if !self.has_other_leader() {
            return self.finish_halt(ctx);
        }
        let limit = self.snapshot.orderer().batch_timeout.saturating_add(LAST_BLOCKS_TIMEOUT).min(MAX_HALT_TIME);
        ctx.run_later(limit, Self::finish_halt);
        ctx.run_interval(LEADERSHIP_TRANSFER_TIMEOUT, |chain, ctx| {
            if !chain.has_other_leader() {
                chain.finish_halt(ctx);
            }
        });
        self.halt_once_ordered(ctx);
    }
}

impl Handler<StopNow> for RaftChain {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        self.exit_with(ExitReason::Requested, ctx);
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::PanicNow> for RaftChain {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::PanicNow, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
