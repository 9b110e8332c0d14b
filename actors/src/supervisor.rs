//! The root of the tree: keeps a Registrar.

use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext as _, Context, Handler, Message, ResponseFuture};
use orderer_core::supervision::{RestartDecision, RestartHistory};
use tokio::sync::oneshot;

use crate::channel::ChannelState;
use crate::consensus::Consenters;
use crate::node_context::NodeContext;
use crate::registrar::{Registrar, StopAllChannels};
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ChildExited, ExitGuard, ExitReason};

/// The root actor. It starts one Registrar on the node's context, and starts it again when it ends without being asked.
pub struct Supervisor {
    context: Arc<NodeContext>,
    consenters: Arc<Consenters>,
    registrar: Option<Addr<Registrar>>,
    generation: u64,
    restarts: RestartHistory,
    ready: Option<oneshot::Sender<()>>,
    gave_up: Option<oneshot::Sender<String>>,
    status: Arc<StatusCell>,
}

/// Asks the tree to stop. Sent by the program after a signal, when no request is in flight any more; answered when the tree has
/// stopped.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Shutdown;

impl Supervisor {
    /// Creates the root of a tree over this context. It sends on `ready` when all channels on the disk have been opened, and on
    /// `gave_up` the cause why nothing below can be built any more.
    pub fn new(
        context: Arc<NodeContext>,
        consenters: Arc<Consenters>,
        ready: oneshot::Sender<()>,
        gave_up: oneshot::Sender<String>,
    ) -> Self {
        let status = context.status_board.cell("supervisor");
        let (ready, gave_up) = (Some(ready), Some(gave_up));
        Self {
            context,
            consenters,
            registrar: None,
            generation: 0,
            restarts: RestartHistory::default(),
            ready,
            gave_up,
            status,
        }
    }

    fn start_registrar(&mut self, ctx: &mut Context<Self>) {
        self.generation += 1;
        self.context.status_board.cell("registrar").begin_instance(self.restarts.total());
        let guard = ExitGuard::new(ctx.address().recipient(), "registrar", self.generation);
        let registrar =
            Registrar::new(Arc::clone(&self.context), Arc::clone(&self.consenters), self.ready.take(), guard);
        self.registrar = Some(registrar.start());
        self.status.set_state("running", "");
    }

    /// Stops the supports of a Registrar that failed: the next Registrar starts others on the same open ledgers. Streams in
    /// flight are answered that the channel restarts.
    fn stop_orphaned_channels(&self, cause: &str, pause_ms: u64) {
        for channel in self.context.directory.open_channels() {
            channel.gate().close();
            if let Some(support) = channel.support.swap(None) {
                let (done, _) = oneshot::channel();
                support.stop(done);
            }
            let cause = format!("the registrar died: {cause}");
            channel.set_state(ChannelState::Restarting { attempt: self.restarts.in_window(), cause, pause_ms });
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.start_registrar(ctx);
    }
}

impl Handler<ChildExited> for Supervisor {
    type Result = ();

    fn handle(&mut self, gone: ChildExited, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::ChildGone);
        if gone.generation != self.generation || gone.exit == ExitReason::Requested {
            return;
        }
        let cause = gone.exit.to_string();
        self.registrar = None;
        self.status.record_error(cause.clone());
        if let ExitReason::Panicked(text) = &gone.exit {
            self.context.status_board.cell("registrar").record_panic(text);
        }
        match self.restarts.on_exit(self.context.uptime(), rand::random(), &self.context.channel_restarts) {
            RestartDecision::RestartIn(pause) => {
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                tracing::error!(target: "orderer.supervisor", %cause, pause_ms, "registrar terminated; restarting it");
                self.status.set_state("restarting", cause.clone());
                self.stop_orphaned_channels(&cause, pause_ms);
                ctx.run_later(pause, Self::start_registrar);
            }
            RestartDecision::GiveUp => {
                // nothing below works without it: the process ends, and what watches the process decides
                tracing::error!(target: "orderer.supervisor", %cause, "registrar terminated too often; stopping the node");
                self.status.set_state("failed", cause.clone());
                if let Some(gave_up) = self.gave_up.take() {
                    let _ = gave_up.send(cause);
                }
            }
        }
    }
}

impl Handler<Shutdown> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        let _activity = self.status.begin_message(ActivityKind::Shutdown);
        self.status.set_state("stopping", "");
        self.generation += 1;
        let registrar = self.registrar.take();
        Box::pin(async move {
            if let Some(registrar) = registrar {
                #[expect(clippy::disallowed_methods, reason = "once in the life of the node")]
                let _ = registrar.send(StopAllChannels).await;
            }
        })
    }
}

/// Tests only: the registrar of now.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "Option<Addr<Registrar>>")]
pub(crate) struct GetRegistrar;

#[cfg(test)]
impl Handler<GetRegistrar> for Supervisor {
    type Result = Option<Addr<Registrar>>;
    fn handle(&mut self, _: GetRegistrar, _: &mut Context<Self>) -> Self::Result {
        self.registrar.clone()
    }
}
