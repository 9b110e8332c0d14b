//! Handles operators' requests to the Registrar: to join, remove and restart channels.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use orderer_core::config::ChannelSnapshot;
use orderer_core::supervision::RestartHistory;
use orderer_core::types::{BlockNumber, ChannelId};
use orderer_ledger::Ledger;
use tokio::sync::oneshot;

use super::{Registrar, open_ledger};
use crate::chain_state::error_chain;
use crate::channel::{Channel, ChannelEntry, ChannelState};
use crate::consensus::{Consenters, StartError};
use crate::node_context::NodeContext;
use crate::participation::{Join, JoinBlock, JoinError, Remove, RemoveError, Restart, RestartError};
use crate::status::ActivityKind;

/// A chain that does not stop within this time is left behind: its ledger goes all the same.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for other orderers to give the first block of a channel that is joined with a later one.
const FIRST_BLOCK_TIMEOUT: Duration = Duration::from_secs(20);

impl Registrar {
    fn check_join(&self, block: &JoinBlock) -> Result<(), JoinError> {
        let id = block.channel();
        if self.removing.contains(id) {
            return Err(JoinError::OperationPending("removal"));
        }
        if self.joining.contains(id) {
            return Err(JoinError::OperationPending("creation"));
        }
        let system = self.context.directory.system_channel();
        if system.as_ref().is_some_and(|system| system.id() != id) {
            return Err(JoinError::SystemChannelExists);
        }
        if self.context.directory.entries().contains_key(id) {
            return Err(JoinError::ChannelExists);
        }
        let is_first = self.context.directory.entries().is_empty() && self.joining.is_empty();
        if block.snapshot.is_system_channel() && !is_first {
            return Err(JoinError::ApplicationChannelsExist);
        }
        Ok(())
    }

    fn check_removal(&self, id: &ChannelId) -> Result<(), RemoveError> {
        if self.removing.contains(id) {
            return Err(RemoveError::OperationPending("removal"));
        }
        if self.joining.contains(id) {
            return Err(RemoveError::OperationPending("creation"));
        }
        if self.reopening.contains(id) {
            return Err(RemoveError::OperationPending("restart"));
        }
        if !self.context.directory.entries().contains_key(id) {
            return Err(RemoveError::NoSuchChannel);
        }
        let system = self.context.directory.system_channel();
        if system.is_some_and(|system| system.id() != id) {
            return Err(RemoveError::SystemChannelExists);
        }
        Ok(())
    }

    /// Forgets the channel, or finds it again where its folder could not be removed.
    fn removed(&mut self, id: &ChannelId, entry: ChannelEntry, outcome: Result<(), String>) -> Result<(), RemoveError> {
        self.removing.remove(id);
        self.context.membership.set_pending_removals(&self.removing);
        match outcome {
            Ok(()) => {
                self.supports.remove(id);
                self.context.status_board.remove(&format!("registrar/{id}"));
                if let ChannelEntry::Open(channel) = &entry {
                    channel.observer().forget();
                }
                self.count_channels();
                tracing::info!(target: "orderer.registrar", channel = %id, "channel removed");
                Ok(())
            }
            Err(cause) => {
                tracing::error!(target: "orderer.registrar", channel = %id, %cause, "failed to remove channel");
                if let ChannelEntry::Open(channel) = &entry {
                    let action = "check the ledger's directory, then remove the channel again or restart it".to_owned();
                    let cause = format!("its folder could not be removed: {cause}");
                    channel.set_state(ChannelState::Failed { cause, action });
                }
                self.context.directory.insert(&[(id.clone(), entry)]);
                Err(RemoveError::Ledger(cause))
            }
        }
    }
}

/// Stops a chain, waits for what it writes, and takes its folder away.
async fn stop_and_remove(
    context: Arc<NodeContext>,
    id: ChannelId,
    channel: Option<Arc<Channel>>,
) -> Result<(), String> {
    if let Some(channel) = channel {
        if let Some(support) = channel.support.swap(None) {
            let (done, stopped) = oneshot::channel();
            support.stop(done);
            if tokio::time::timeout(STOP_TIMEOUT, stopped).await.is_err() {
                tracing::warn!(target: "orderer.registrar", channel = %id, "chain did not stop in time; removing its ledger");
            }
        }
        // whoever still writes has this long to end; nobody begins to write from now on
        let _permit = tokio::time::timeout(STOP_TIMEOUT, channel.ledger().write_permit()).await;
        channel.set_state(ChannelState::Removed);
    }
    let ledgers = context.ledgers.clone();
    let removal = context.blocking_runtime.spawn_blocking(move || ledgers.remove(&id).map_err(|e| error_chain(&e)));
    removal.await.unwrap_or_else(|panicked| Err(panicked.to_string()))
}

/// Makes the ledger of a channel that is joined.
async fn make(
    context: Arc<NodeContext>,
    consenters: Arc<Consenters>,
    JoinBlock { block, snapshot }: JoinBlock,
) -> Result<(Arc<Ledger>, Arc<ChannelSnapshot>), String> {
    let snapshot = Arc::new(snapshot);
    let io = context.blocking_runtime.clone();
    if block.number() == BlockNumber::GENESIS {
        let making = io.spawn_blocking(move || {
            let ledger = context.ledgers.create(snapshot.channel(), &block).map_err(|e| error_chain(&e))?;
            Ok((Arc::new(ledger), snapshot))
        });
        return making.await.unwrap_or_else(|panicked| Err(panicked.to_string()));
    }
    let engine = context.engine(&snapshot).map_err(|e| e.to_string())?;
    let first = consenters.first_block(&engine, &snapshot, FIRST_BLOCK_TIMEOUT);
    let first = first.ok_or_else(|| StartError::NoConsenter(engine).to_string())?;
    let nobody =
        |why| format!("no orderer that block {} names has given the channel's first block: {why}", block.number());
    let genesis = first.await.map_err(nobody)?;
    let making = io.spawn_blocking(move || {
        let first =
            ChannelSnapshot::from_config_block(&genesis.decode(), &context.catalog).map_err(|e| error_chain(&e))?;
        let ledger =
            context.ledgers.create_joined(snapshot.channel(), &genesis, &block).map_err(|e| error_chain(&e))?;
        // the configuration is the ledger's: what the block says is in force when the ledger has come there
        Ok((Arc::new(ledger), Arc::new(first)))
    });
    making.await.unwrap_or_else(|panicked| Err(panicked.to_string()))
}

impl Handler<Join> for Registrar {
    type Result = ();

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Join);
        let Join { block, reply } = join;
        if let Err(refused) = self.check_join(&block) {
            let _ = reply.send(Err(refused));
            return;
        }
        let id = block.channel().clone();
        self.joining.insert(id.clone());
        let making =
            self.context.blocking_runtime.spawn(make(Arc::clone(&self.context), Arc::clone(&self.consenters), block));
        let made = making.into_actor(self).map(move |made, registrar, ctx| {
            registrar.joining.remove(&id);
            let made = made.unwrap_or_else(|panicked| Err(panicked.to_string()));
            let joined = made.map(|(ledger, snapshot)| {
                tracing::info!(target: "orderer.registrar", channel = %id, "channel joined");
                registrar.register(ledger, snapshot, ctx)
            });
            let _ = reply.send(joined.map_err(JoinError::Ledger));
        });
        ctx.spawn(made);
    }
}

impl Handler<Remove> for Registrar {
    type Result = ();

    fn handle(&mut self, remove: Remove, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Remove);
        let Remove { id, reply } = remove;
        if let Err(refused) = self.check_removal(&id) {
            let _ = reply.send(Err(refused));
            return;
        }
        let Some(entry) = self.context.directory.remove(&id) else {
            let _ = reply.send(Err(RemoveError::NoSuchChannel));
            return;
        };
        self.removing.insert(id.clone());
        self.context.membership.set_pending_removals(&self.removing);
        let channel = match &entry {
            ChannelEntry::Open(channel) => {
                channel.gate().close();
                Some(Arc::clone(channel))
            }
            ChannelEntry::Unavailable(_) => None,
        };
        // a support that dies from now on is not started again
        if let Some(place) = self.supports.get_mut(&id) {
            place.generation += 1;
        }
        let removal = stop_and_remove(Arc::clone(&self.context), id.clone(), channel);
        let removed = removal.into_actor(self).map(move |outcome, registrar, _| {
            let _ = reply.send(registrar.removed(&id, entry, outcome));
        });
        ctx.spawn(removed);
    }
}

impl Handler<Restart> for Registrar {
    type Result = ();

    fn handle(&mut self, restart: Restart, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Restart);
        let Restart { id, reply } = restart;
        if self.reopening.contains(&id) {
            let _ = reply.send(Err(RestartError::OperationPending("restart")));
            return;
        }
        match self.context.directory.entries().get(&id) {
            None => {
                let _ = reply.send(Err(RestartError::NoSuchChannel));
            }
            Some(ChannelEntry::Open(channel)) => self.restart_support(&Arc::clone(channel), reply, ctx),
            Some(ChannelEntry::Unavailable(_)) => {
                // until it is answered nobody else opens the ledger, or removes it
                self.reopening.insert(id.clone());
                let (context, of_thread) = (Arc::clone(&self.context), id.clone());
                let opening = self.context.blocking_runtime.spawn_blocking(move || open_ledger(&context, &of_thread));
                let opened = opening.into_actor(self).map(move |opened, registrar, ctx| {
                    registrar.reopening.remove(&id);
                    let opened = opened.unwrap_or_else(|panicked| Err(panicked.to_string()));
                    let restarted = match opened {
                        Ok((ledger, snapshot)) => {
                            registrar.register(ledger, snapshot, ctx);
                            Ok(())
                        }
                        Err(cause) => {
                            // it may be another than before
                            let broken = registrar.broken_entry(id.clone(), cause.clone());
                            registrar.context.directory.insert(&[(id, broken)]);
                            Err(RestartError::Ledger(cause))
                        }
                    };
                    let _ = reply.send(restarted);
                });
                ctx.spawn(opened);
            }
        }
    }
}

impl Registrar {
    fn restart_support(
        &mut self,
        channel: &Arc<Channel>,
        reply: oneshot::Sender<Result<(), RestartError>>,
        ctx: &mut Context<Self>,
    ) {
        if let Some(support) = channel.support() {
            support.try_again(reply);
            return;
        }
        let state = channel.state();
        let restarted = match self.supports.get_mut(channel.id()) {
            None => Err(RestartError::NoSuchChannel),
            Some(_) if !matches!(state, ChannelState::Failed { .. }) => Err(RestartError::NotFailed(state.to_string())),
            Some(place) => {
                place.restarts = RestartHistory::default();
                // before its actor says so: whoever asks meanwhile must not start another
                channel.set_state(ChannelState::Starting);
                self.start_support(channel.id(), ctx);
                Ok(())
            }
        };
        let _ = reply.send(restarted);
    }
}
