//! Starting and stopping the tree.

use std::sync::Arc;

use actix::{Actor as _, Addr};
use actix_rt::Arbiter;
use tokio::sync::oneshot;

use crate::consensus::Consenters;
use crate::node_context::NodeContext;
use crate::supervision::Watchdog;
use crate::supervisor::{Shutdown, Supervisor};

/// A running tree. Only made inside an actix system.
pub struct ActorTree {
    /// `None` once the tree has stopped.
    supervisor: Option<Addr<Supervisor>>,
    ready: Option<oneshot::Receiver<()>>,
    gave_up: oneshot::Receiver<String>,
    _watchdog: Watchdog,
}

/// Makes the arbiters over which channels are spread: one for each core, each a thread of its own. Call it inside an
/// actix system.
pub fn start_arbiters(count: usize) -> Vec<Arbiter> {
    (0..count.max(1)).map(|_| Arbiter::new()).collect()
}

impl ActorTree {
    /// Starts the supervisor, and with it everything below. `consenters` order its channels.
    pub fn start(context: Arc<NodeContext>, consenters: Arc<Consenters>) -> Self {
        let ((ready, is_ready), (gives_up, gave_up)) = (oneshot::channel(), oneshot::channel());
        let root = actix::System::current().arbiter().clone();
        let arbiters = context.arbiters.iter().cloned().chain([root]).collect();
        let watchdog = Watchdog::start(context.status_board.clone(), arbiters);
        let supervisor = Supervisor::new(context, consenters, ready, gives_up).start();
        Self { supervisor: Some(supervisor), ready: Some(is_ready), gave_up, _watchdog: watchdog }
    }

    /// Waits until all channels on the disk have been opened (their chains may still be starting).
    pub async fn ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.await;
        }
    }

    /// Waits until the tree has failed too often to be restarted, and returns the last cause.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn wait_for_failure(&mut self) -> String {
        if self.gave_up.is_terminated() {
            return std::future::pending().await;
        }
        match (&mut self.gave_up).await {
            Ok(cause) => cause,
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops the tree, and drops what is left of it; what was acknowledged is durable when this returns.
    pub async fn stop(mut self) {
        self.shut_down().await;
    }

    /// Stops the tree; what was acknowledged is durable when this returns. Does nothing if it has stopped already.
    pub async fn shut_down(&mut self) {
        // the actor ends, and releases the ledgers, when its last address is dropped
        if let Some(supervisor) = self.supervisor.take() {
            #[expect(clippy::disallowed_methods, reason = "once in the life of the node")]
            let _ = supervisor.send(Shutdown).await;
        }
    }

    /// Tests only: the registrar of now.
    #[cfg(test)]
    pub(crate) async fn registrar(&self) -> Option<Addr<crate::registrar::Registrar>> {
        #[expect(clippy::disallowed_methods, reason = "a test asks once")]
        self.supervisor.as_ref()?.send(crate::supervisor::GetRegistrar).await.ok().flatten()
    }
}
