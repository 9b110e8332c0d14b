//! Owns all channels: finds them on the disk, keeps a ChainSupport for each, and adds those that are created.

mod participation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseFuture, WrapFuture as _,
};
use actix_rt::ArbiterHandle;
use orderer_core::config::ChannelSnapshot;
use orderer_core::supervision::{RestartDecision, RestartHistory};
use orderer_core::types::ChannelId;
use orderer_ledger::Ledger;
use tokio::sync::oneshot;

use crate::chain_state::{error_chain, load_snapshot};
use crate::chain_support::{ChainSupport, RegistrarRecipients};
use crate::channel::{Channel, ChannelCreated, ChannelEntry, ChannelState, ScanForChannels, UnavailableChannel};
use crate::consensus::Consenters;
use crate::node_context::NodeContext;
use crate::participation::RegistrarHandle;
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ChildExited, ExitGuard, ExitReason};

/// Time limit for a chain to stop at shutdown. One that exceeds it is left behind; what it acknowledged is durable.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The actor that owns the channels: one ChainSupport below it for each, found on the disk when it starts or added by a message.
pub struct Registrar {
    context: Arc<NodeContext>,
    consenters: Arc<Consenters>,
    supports: BTreeMap<ChannelId, SupervisedChannel>,
    /// Channels whose ledger is being created.
    joining: BTreeSet<ChannelId>,
    /// Channels that are being removed.
    removing: BTreeSet<ChannelId>,
    /// Broken channels whose ledger is being opened again.
    reopening: BTreeSet<ChannelId>,
    started: usize,
    status: Arc<StatusCell>,
    ready: Option<oneshot::Sender<()>>,
    guard: ExitGuard,
}

/// A channel with its ChainSupport and the arbiter that this runs on.
struct SupervisedChannel {
    channel: Arc<Channel>,
    arbiter: ArbiterHandle,
    generation: u64,
    restarts: RestartHistory,
}

/// Message of the Supervisor at shutdown. Answered when every chain has stopped, or did not in time.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopAllChannels;

/// A channel found on the disk.
type OpenedLedger = (ChannelId, Result<(Arc<Ledger>, Arc<ChannelSnapshot>), String>);

impl Registrar {
    /// Creates a registrar for the channels below the context's ledger directory. It sends on `ready` when all that are there
    /// have been opened.
    pub fn new(
        context: Arc<NodeContext>,
        consenters: Arc<Consenters>,
        ready: Option<oneshot::Sender<()>>,
        guard: ExitGuard,
    ) -> Self {
        let status = context.status_board.cell("registrar");
        let (joining, removing, reopening) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let supports = BTreeMap::new();
        Self { context, consenters, supports, joining, removing, reopening, started: 0, status, ready, guard }
    }

    fn supervise(&mut self, channel: &Arc<Channel>, ctx: &mut Context<Self>) {
        let arbiters = &self.context.arbiters;
        let arbiter = arbiters[self.started % arbiters.len()].clone();
        self.started += 1;
        let place = SupervisedChannel {
            channel: Arc::clone(channel),
            arbiter,
            generation: 0,
            restarts: RestartHistory::default(),
        };
        self.supports.insert(channel.id().clone(), place);
        self.start_support(channel.id(), ctx);
        self.count_channels();
    }

    fn count_channels(&self) {
        self.status.set_state(
            "running",
            match self.supports.len() {
                1 => "1 channel".to_owned(),
                many => format!("{many} channels"),
            },
        );
    }

    fn start_support(&mut self, id: &ChannelId, ctx: &mut Context<Self>) {
        let Some(place) = self.supports.get_mut(id) else { return };
        place.generation += 1;
        let registrar = ctx.address();
        let guard = ExitGuard::new(registrar.clone().recipient(), id.clone(), place.generation);
        let (channel, context) = (Arc::clone(&place.channel), Arc::clone(&self.context));
        let consenters = Arc::clone(&self.consenters);
        let registrar = RegistrarRecipients {
            new_channel: registrar.clone().recipient(),
            look_for_channels: registrar.recipient(),
        };
        self.context.status_board.cell(&format!("registrar/{id}")).begin_instance(place.restarts.total());
        ChainSupport::start_in_arbiter(&place.arbiter, move |_| {
            ChainSupport::new(channel, context, consenters, registrar, guard)
        });
    }

    fn register(
        &mut self,
        ledger: Arc<Ledger>,
        snapshot: Arc<ChannelSnapshot>,
        ctx: &mut Context<Self>,
    ) -> Arc<Channel> {
        let channel = self.channel(ledger, snapshot);
        self.context.directory.insert(&[(channel.id().clone(), ChannelEntry::Open(Arc::clone(&channel)))]);
        self.supervise(&channel, ctx);
        channel
    }

    fn channel(&self, ledger: Arc<Ledger>, snapshot: Arc<ChannelSnapshot>) -> Arc<Channel> {
        let NodeContext { ingress_capacity_bytes, directory, observer, .. } = &*self.context;
        Arc::new(Channel::new(ledger, snapshot, *ingress_capacity_bytes, directory.version_counter(), observer))
    }

    fn on_ledgers_opened(&mut self, found: Vec<OpenedLedger>, ctx: &mut Context<Self>) {
        let mut entries = Vec::with_capacity(found.len());
        for (id, opened) in found {
            if self.removing.contains(&id) || self.context.directory.entries().contains_key(&id) {
                continue; // it came, or goes, another way
            }
            match opened {
                Ok((ledger, snapshot)) => entries.push((id, ChannelEntry::Open(self.channel(ledger, snapshot)))),
                Err(cause) => entries.push((id.clone(), self.broken_entry(id, cause))),
            }
        }
        self.context.directory.insert(&entries);
        for (_, entry) in &entries {
            if let ChannelEntry::Open(channel) = entry {
                self.supervise(channel, ctx);
            }
        }
        self.count_channels();
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(());
        }
    }

    /// The place of a channel that cannot be opened.
    fn broken_entry(&self, id: ChannelId, cause: String) -> ChannelEntry {
        tracing::error!(target: "orderer.ledger", channel = %id, %cause,
            "failed to open channel; other channels are not affected");
        let cell = self.context.status_board.cell(&format!("registrar/{id}"));
        cell.record_error(cause.clone());
        cell.set_state("failed", cause.clone());
        ChannelEntry::Unavailable(Arc::new(UnavailableChannel { id, cause }))
    }
}

/// Opens every ledger that is not open yet, several at a time.
async fn open_ledgers(context: Arc<NodeContext>) -> Vec<OpenedLedger> {
    let ids = match context.ledgers.list() {
        Ok(ids) => ids,
        Err(error) => {
            tracing::error!(target: "orderer.ledger", error = %error_chain(&error), "failed to list the channels");
            return Vec::new();
        }
    };
    let known = context.directory.entries();
    let mut opening = Vec::new();
    for id in ids.into_iter().filter(|id| !known.contains_key(id)) {
        let of_task = Arc::clone(&context);
        let of_channel = id.clone();
        let turn = Arc::clone(&context.ledger_open_permits).acquire_owned().await;
        let task = context.blocking_runtime.spawn_blocking(move || {
            let _turn = turn;
            open_ledger(&of_task, &of_channel)
        });
        opening.push((id, task));
    }
    let mut found = Vec::with_capacity(opening.len());
    for (id, task) in opening {
        // who panics while it opens a ledger has a channel that cannot be opened
        let opened = task.await.unwrap_or_else(|panicked| Err(format!("opening its ledger: {panicked}")));
        found.push((id, opened));
    }
    found
}

/// Opens one ledger and reads its configuration. Its database is closed again: most channels of many are quiet. Performs blocking I/O.
fn open_ledger(context: &NodeContext, id: &ChannelId) -> Result<(Arc<Ledger>, Arc<ChannelSnapshot>), String> {
    let ledger = context.ledgers.open(id).map_err(|e| error_chain(&e))?;
    let snapshot = load_snapshot(&ledger, &context.catalog).map_err(|e| error_chain(&e))?;
    if let Err(error) = ledger.close_database() {
        return Err(format!("close the database: {}", error_chain(&error)));
    }
    Ok((Arc::new(ledger), Arc::new(snapshot)))
}

impl Actor for Registrar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.context.membership.set_registrar(Some(RegistrarHandle::new(&ctx.address())), &self.status);
        self.status.set_state("opening", "");
        // after a restart the channels are open already: only their supports have to be started again
        for channel in self.context.directory.open_channels() {
            self.supervise(&channel, ctx);
        }
        let open = open_ledgers(Arc::clone(&self.context)).into_actor(self).map(|found, registrar, ctx| {
            registrar.on_ledgers_opened(found, ctx);
        });
        ctx.wait(open);
    }
}

impl Handler<ChannelCreated> for Registrar {
    type Result = ();

    fn handle(&mut self, new: ChannelCreated, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::NewChannel);
        tracing::info!(target: "orderer.registrar", channel = %new.ledger.channel(), "channel created");
        self.register(new.ledger, new.snapshot, ctx);
    }
}

impl Handler<ScanForChannels> for Registrar {
    type Result = ();

    fn handle(&mut self, _: ScanForChannels, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::LookForChannels);
        if !self.joining.is_empty() {
            return; // a ledger that is being made must not be opened
        }
        let open = open_ledgers(Arc::clone(&self.context)).into_actor(self).map(|found, registrar, ctx| {
            registrar.on_ledgers_opened(found, ctx);
        });
        ctx.spawn(open);
    }
}

impl Handler<ChildExited<ChannelId>> for Registrar {
    type Result = ();

    fn handle(&mut self, gone: ChildExited<ChannelId>, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::ChildGone);
        let Some(place) = self.supports.get_mut(&gone.child) else { return };
        if gone.generation != place.generation || gone.exit == ExitReason::Requested {
            return;
        }
        let cause = gone.exit.to_string();
        place.channel.gate().close();
        place.channel.support.store(None);
        let cell = self.context.status_board.cell(&format!("registrar/{}", gone.child));
        cell.record_error(cause.clone());
        if let ExitReason::Panicked(text) = &gone.exit {
            cell.record_panic(text);
        }
        let policy = &self.context.channel_restarts;
        match place.restarts.on_exit(self.context.uptime(), rand::random(), policy) {
            RestartDecision::RestartIn(pause) => {
                let attempt = place.restarts.in_window();
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::error!(target: "orderer.registrar", channel = %gone.child, %cause, attempt, pause_ms,
                    "chain support actor terminated; restarting it");
                place.channel.set_state(ChannelState::Restarting { attempt, cause, pause_ms });
                ctx.run_later(pause, move |registrar, ctx| registrar.start_support(&gone.child, ctx));
            }
            RestartDecision::GiveUp => {
                let action = "its ledger is intact: find the cause in the log, then restart the channel".to_owned();
                place.channel.set_state(ChannelState::Failed { cause: cause.clone(), action });
                tracing::error!(target: "orderer.registrar", channel = %gone.child, %cause, "channel has failed");
            }
        }
    }
}

impl Handler<StopAllChannels> for Registrar {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopAllChannels, _: &mut Context<Self>) -> Self::Result {
        let _activity = self.status.begin_message(ActivityKind::StopAll);
        self.status.set_state("stopping", "");
        self.context.membership.set_registrar(None, &self.status);
        self.guard.set_exit_reason(ExitReason::Requested);
        let mut stopping = Vec::new();
        for (id, place) in std::mem::take(&mut self.supports) {
            if let Some(support) = place.channel.support() {
                let (done, stopped) = oneshot::channel();
                support.stop(done);
                stopping.push((id, stopped));
            }
        }
        Box::pin(async move {
            let all = async {
                for (id, stopped) in stopping {
                    if stopped.await.is_err() {
                        tracing::warn!(target: "orderer.registrar", channel = %id, "chain had terminated before it was stopped");
                    }
                }
            };
            if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
                tracing::error!(target: "orderer.registrar", "some chains did not stop in time; acknowledged envelopes are durable");
            }
        })
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::PanicNow> for Registrar {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::PanicNow, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
