//! The tasks that hyper spawns for a connection. They end with the connection, and not with its last stream.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// Spawns tasks until all of them are ended together.
#[derive(Clone, Default)]
pub(super) struct ConnectionTasks(Arc<Mutex<Spawned>>);

#[derive(Default)]
struct Spawned {
    running: JoinSet<()>,
    is_ended: bool,
}

/// Ends the tasks when it is dropped. Tasks that are spawned later are not started.
pub(super) struct AbortOnDrop(ConnectionTasks);

impl ConnectionTasks {
    /// Returns a guard for the driver of the connection.
    pub(super) fn ended_with_this(&self) -> AbortOnDrop {
        AbortOnDrop(self.clone())
    }
}

impl<F> Executor<F> for ConnectionTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let mut spawned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while spawned.running.try_join_next().is_some() {}
        if !spawned.is_ended {
            spawned.running.spawn(async move { drop(task.await) });
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        let running = {
            let mut spawned = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            spawned.is_ended = true;
            std::mem::take(&mut spawned.running)
        };
        // outside of the lock, because a task that ends may spawn others
        drop(running);
    }
}
