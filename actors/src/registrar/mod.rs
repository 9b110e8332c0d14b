//! Owns all channels: finds them on the disk, keeps a ChainSupport for each, and adds those that are created.

mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, ResponseFuture, WrapFuture as _,
};
use actix_rt::ArbiterHandle;
use orderer_core::channel::ChannelId;
use orderer_core::config::ChannelSnapshot;
use orderer_core::supervision::{AfterDeath, Restarts};
use orderer_ledger::Ledger;
use tokio::sync::oneshot;

use crate::chain_state::{chain_text, load_snapshot};
use crate::chain_support::{ChainSupport, RegistrarOfChannels};
use crate::channel::{BrokenChannel, Channel, ChannelState, Entry, LookForChannels, NewChannel};
use crate::consensus::Consenters;
use crate::membership::RegistrarHandle;
use crate::node_context::NodeContext;
use crate::status::{StatusCell, Task};
use crate::supervision::{ChildGone, Exit, ExitGuard};

/// Time limit for a chain to stop at shutdown. One that exceeds it is left behind; what it acknowledged is durable.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The actor that owns the channels: one ChainSupport below it for each, found on the disk when it starts or added by a message.
pub struct Registrar {
    context: Arc<NodeContext>,
    consenters: Arc<Consenters>,
    supports: BTreeMap<ChannelId, Place>,
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
struct Place {
    channel: Arc<Channel>,
    arbiter: ArbiterHandle,
    generation: u64,
    restarts: Restarts,
}

/// Message of the Supervisor at shutdown. Answered when every chain has stopped, or did not in time.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopAll;

/// A channel found on the disk.
type Found = (ChannelId, Result<(Arc<Ledger>, Arc<ChannelSnapshot>), String>);

impl Registrar {
    /// Creates a registrar for the channels below the context's ledger directory. It sends on `ready` when all that are there
    /// have been opened.
    pub fn new(
        context: Arc<NodeContext>,
        consenters: Arc<Consenters>,
        ready: Option<oneshot::Sender<()>>,
        guard: ExitGuard,
    ) -> Self {
        let status = context.board.cell("registrar");
        let (joining, removing, reopening) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let supports = BTreeMap::new();
        Self { context, consenters, supports, joining, removing, reopening, started: 0, status, ready, guard }
    }

    fn add(&mut self, channel: &Arc<Channel>, ctx: &mut Context<Self>) {
        let arbiters = &self.context.arbiters;
        let arbiter = arbiters[self.started % arbiters.len()].clone();
        self.started += 1;
        let place = Place { channel: Arc::clone(channel), arbiter, generation: 0, restarts: Restarts::default() };
        self.supports.insert(channel.id().clone(), place);
        self.start_support(channel.id(), ctx);
        self.count_channels();
    }

    fn count_channels(&self) {
        self.status.enter(
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
        let registrar = RegistrarOfChannels {
            new_channel: registrar.clone().recipient(),
            look_for_channels: registrar.recipient(),
        };
        self.context.board.cell(&format!("registrar/{id}")).begin(place.restarts.total());
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
        self.context.directory.insert(&[(channel.id().clone(), Entry::Open(Arc::clone(&channel)))]);
        self.add(&channel, ctx);
        channel
    }

    fn channel(&self, ledger: Arc<Ledger>, snapshot: Arc<ChannelSnapshot>) -> Arc<Channel> {
        let NodeContext { gate_bytes, directory, observed, .. } = &*self.context;
        Arc::new(Channel::new(ledger, snapshot, *gate_bytes, directory.changes(), observed))
    }

    fn found(&mut self, found: Vec<Found>, ctx: &mut Context<Self>) {
        let mut entries = Vec::with_capacity(found.len());
        for (id, opened) in found {
            if self.removing.contains(&id) || self.context.directory.all().contains_key(&id) {
                continue; // it came, or goes, another way
            }
            match opened {
                Ok((ledger, snapshot)) => entries.push((id, Entry::Open(self.channel(ledger, snapshot)))),
                Err(cause) => entries.push((id.clone(), self.broken(id, cause))),
            }
        }
        self.context.directory.insert(&entries);
        for (_, entry) in &entries {
            if let Entry::Open(channel) = entry {
                self.add(channel, ctx);
            }
        }
        self.count_channels();
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(());
        }
    }

    /// The place of a channel that cannot be opened.
    fn broken(&self, id: ChannelId, cause: String) -> Entry {
        tracing::error!(target: "orderer.ledger", channel = %id, %cause,
            "channel cannot be opened, the others go on without it");
        let cell = self.context.board.cell(&format!("registrar/{id}"));
        cell.failed(cause.clone());
        cell.enter("failed", cause.clone());
        Entry::Broken(Arc::new(BrokenChannel { id, cause }))
    }
}

/// Opens every ledger that is not open yet, several at a time.
async fn open_all(context: Arc<NodeContext>) -> Vec<Found> {
    let ids = match context.ledgers.list() {
        Ok(ids) => ids,
        Err(error) => {
            tracing::error!(target: "orderer.ledger", error = %chain_text(&error), "cannot look for channels");
            return Vec::new();
        }
    };
    let known = context.directory.all();
    let mut opening = Vec::new();
    for id in ids.into_iter().filter(|id| !known.contains_key(id)) {
        let of_task = Arc::clone(&context);
        let of_channel = id.clone();
        let turn = Arc::clone(&context.loading).acquire_owned().await;
        let task = context.io.spawn_blocking(move || {
            let _turn = turn;
            open_one(&of_task, &of_channel)
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

/// Opens one ledger and reads its configuration. Performs blocking I/O.
fn open_one(context: &NodeContext, id: &ChannelId) -> Result<(Arc<Ledger>, Arc<ChannelSnapshot>), String> {
    let ledger = context.ledgers.open(id).map_err(|e| chain_text(&e))?;
    let snapshot = load_snapshot(&ledger, &context.catalog).map_err(|e| chain_text(&e))?;
    Ok((Arc::new(ledger), Arc::new(snapshot)))
}

impl Actor for Registrar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.context.membership.registrar_is(Some(RegistrarHandle::new(&ctx.address())), &self.status);
        self.status.enter("opening", "");
        // after a restart the channels are open already: only their supports have to be started again
        for channel in self.context.directory.open() {
            self.add(&channel, ctx);
        }
        let open = open_all(Arc::clone(&self.context)).into_actor(self).map(|found, registrar, ctx| {
            registrar.found(found, ctx);
        });
        ctx.wait(open);
    }
}

impl Handler<NewChannel> for Registrar {
    type Result = ();

    fn handle(&mut self, new: NewChannel, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::NewChannel);
        tracing::info!(target: "orderer.registrar", channel = %new.ledger.channel(), "channel created");
        self.register(new.ledger, new.snapshot, ctx);
    }
}

impl Handler<LookForChannels> for Registrar {
    type Result = ();

    fn handle(&mut self, _: LookForChannels, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::LookForChannels);
        if !self.joining.is_empty() {
            return; // a ledger that is being made must not be opened
        }
        let open = open_all(Arc::clone(&self.context)).into_actor(self).map(|found, registrar, ctx| {
            registrar.found(found, ctx);
        });
        ctx.spawn(open);
    }
}

impl Handler<ChildGone<ChannelId>> for Registrar {
    type Result = ();

    fn handle(&mut self, gone: ChildGone<ChannelId>, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::ChildGone);
        let Some(place) = self.supports.get_mut(&gone.child) else { return };
        if gone.generation != place.generation || gone.exit == Exit::Asked {
            return;
        }
        let cause = gone.exit.to_string();
        place.channel.gate().close();
        place.channel.support.store(None);
        let cell = self.context.board.cell(&format!("registrar/{}", gone.child));
        cell.failed(cause.clone());
        if let Exit::Panicked(text) = &gone.exit {
            cell.panicked(text);
        }
        let policy = &self.context.channel_restarts;
        match place.restarts.after_death(self.context.uptime(), rand::random(), policy) {
            AfterDeath::RestartIn(pause) => {
                let attempt = place.restarts.in_window();
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::error!(target: "orderer.registrar", channel = %gone.child, %cause, attempt, pause_ms,
                    "channel's support died, it is started again");
                place.channel.enter(ChannelState::Restarting { attempt, cause, pause_ms });
                ctx.run_later(pause, move |registrar, ctx| registrar.start_support(&gone.child, ctx));
            }
            AfterDeath::GiveUp => {
                let action = "its ledger is intact: find the cause in the log, then restart the channel".to_owned();
                place.channel.enter(ChannelState::Failed { cause: cause.clone(), action });
                tracing::error!(target: "orderer.registrar", channel = %gone.child, %cause, "channel has failed");
            }
        }
    }
}

impl Handler<StopAll> for Registrar {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopAll, _: &mut Context<Self>) -> Self::Result {
        let _taken = self.status.take(Task::StopAll);
        self.status.enter("stopping", "");
        self.context.membership.registrar_is(None, &self.status);
        self.guard.will_exit(Exit::Asked);
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
                        tracing::warn!(target: "orderer.registrar", channel = %id, "chain was gone before it could stop");
                    }
                }
            };
            if tokio::time::timeout(STOP_PATIENCE, all).await.is_err() {
                tracing::error!(target: "orderer.registrar", "not every chain stopped in time; what was acknowledged is durable");
            }
        })
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::Crash> for Registrar {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::Crash, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
