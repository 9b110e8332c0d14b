//! The task of a destination: connects, waits until the connection is lost, pauses, reconnects.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::backoff::backoff_delay;
use super::connection_state::{Connected, ConnectionCommand, ConnectionPhase, Shared};
use super::dial::{DialedConnection, Driver};
use super::gathering::Gathering;
use super::queue::{Progress, StepBody};
use crate::expiration::ExpirationCheck;
use crate::tls::{Identity, is_of_other_key};

const LOG: &str = "orderer.common.cluster";
/// Duration after which a connection counts as a success: the next pause is the shortest again.
const SETTLED: Duration = Duration::from_secs(10);

/// A connection that is driven by a task of its own.
struct Live {
    generation: u64,
    identity: Arc<Identity>,
    /// Receives the reason for which the connection ended.
    ended: oneshot::Receiver<String>,
    /// Tells the connection to end when its streams have, or soon.
    retire: oneshot::Sender<()>,
    task: AbortHandle,
}

/// Drives a connection; `grace` is the time limit for its end when it is retired.
async fn drive(mut driver: Driver, ended: oneshot::Sender<String>, retired: oneshot::Receiver<()>, grace: Duration) {
    tokio::select! {
        // the receiver may be gone
        why = &mut driver => drop(ended.send(why)),
        Ok(()) = retired => drop(timeout(grace, driver).await),
    }
}

/// The connections to one destination, one after the other. Dropping it closes them.
struct Runner {
    shared: Arc<Shared>,
    drivers: JoinSet<()>,
    generation: u64,
    /// Number of consecutive failures: attempts, and connections that did not last.
    failures: u32,
}

/// Connects and reconnects until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut runner = Runner { shared, drivers: JoinSet::new(), generation: 0, failures: 0 };
    loop {
        let why = match runner.shared.dial().await {
            Ok((dialed, identity)) => {
                let live = runner.adopt(dialed, identity);
                runner.shared.tell(|watcher| watcher.connected());
                let began = Instant::now();
                let why = runner.until_lost(live).await;
                if began.elapsed() >= SETTLED {
                    runner.failures = 0;
                }
                why
            }
            Err(why) => why,
        };
        runner.rest(why).await;
    }
}

impl Runner {
    /// Directs messages to this connection from now on.
    fn adopt(&mut self, dialed: DialedConnection<StepBody>, identity: Arc<Identity>) -> Live {
        while self.drivers.try_join_next().is_some() {}
        self.generation += 1;
        let DialedConnection { sender, driver, name, certificate_expires } = dialed;
        let (tell, ended) = oneshot::channel();
        let (retire, retired) = oneshot::channel();
        let gathering = Arc::<Gathering>::default();
        let driver: Driver = Box::pin(gathering.drive(driver));
        let task = self.drivers.spawn(drive(driver, tell, retired, self.shared.settings.rpc_timeout));
        tracing::info!(target: LOG, "Connected to {} ({name})", self.shared.endpoint);
        self.shared.turns(ConnectionPhase::Connected(Connected {
            sender,
            generation: self.generation,
            since: SystemTime::now(),
            name,
            certificate_expires,
            expiration: ExpirationCheck::new(certificate_expires, self.shared.settings.expiration_warning),
            progress: Arc::new(Progress::new()),
            gathering,
        }));
        Live { generation: self.generation, identity, ended, retire, task }
    }

    /// Waits until the connection is lost or closed, and returns the reason. It may be renewed in between, any number
    /// of times.
    async fn until_lost(&mut self, mut live: Live) -> String {
        let mut renew_after = None;
        loop {
            let shared = Arc::clone(&self.shared);
            let renewal = async {
                match renew_after {
                    None => std::future::pending().await,
                    Some(pause) => sleep(pause).await,
                }
                shared.dial().await
            };
            tokio::select! {
                why = &mut live.ended => return why.unwrap_or_else(|_| "its task ended".to_owned()),
                dialed = renewal => match dialed {
                    Ok((dialed, identity)) => {
                        let before = std::mem::replace(&mut live, self.adopt(dialed, identity));
                        // the old connection may have ended meanwhile
                        let _ = before.retire.send(());
                        self.shared.tell(|watcher| watcher.renewed());
                        renew_after = None;
                    }
                    Err(why) => {
                        tracing::warn!(target: LOG, "The connection to {} is not renewed: {why}", self.shared.endpoint);
                        self.shared.failed(why);
                        renew_after = Some(self.shared.settings.pause.1);
                    }
                },
                () = shared.ordered.notified() => match self.shared.take_order() {
                    Some(ConnectionCommand::Renew) => {
                        let is_current = self.shared.material.identity.load().is(&live.identity);
                        renew_after = (!is_current).then_some(Duration::ZERO);
                    }
                    Some(ConnectionCommand::Reset(generation, why)) if generation == live.generation => {
                        live.task.abort();
                        return why;
                    }
                    Some(ConnectionCommand::Reset(..)) | None => {}
                },
            }
        }
    }

    /// Waits before the next attempt.
    async fn rest(&mut self, why: String) {
        self.failures = self.failures.saturating_add(1);
        let (failures, settings) = (self.failures, &self.shared.settings);
        let pause = backoff_delay(failures, settings.pause, rand::random());
        let endpoint = &self.shared.endpoint;
        // limited, so that a peer that is down for long does not fill the log
        if failures.is_power_of_two() || self.shared.last_error().as_ref() != Some(&why) {
            tracing::warn!(
                target: LOG,
                "Unable to obtain connection to {endpoint}: {why} (attempt {failures}, the next one in {pause:?})"
            );
        }
        let has_other_key = is_of_other_key(&why);
        self.shared.failed(why);
        self.shared.turns(ConnectionPhase::Waiting { failures, until: SystemTime::now() + pause });
        self.shared.tell(|watcher| watcher.lost());
        if has_other_key {
            self.shared.tell(|watcher| watcher.has_other_key());
        }
        sleep(pause).await;
        self.shared.turns(ConnectionPhase::Connecting);
    }
}
