//! The state of the connection to one destination, shared by its task, the channels and their streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::api::LastError;
use super::dial::{DialedConnection, dial};
use super::gathering::Gathering;
use super::queue::{Progress, StepBody};
use crate::expiration::ExpirationCheck;
use crate::membership::PinnedKey;
use crate::settings::ClientSettings;
use crate::tls::{ExpectedServer, Identity, Roots};

/// The identity and the roots for new connections. They change while the node runs.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) identity: ArcSwap<Identity>,
    pub(super) roots: ArcSwap<Roots>,
}

/// Receives changes of a destination's state. Called by its task: must not block.
pub(super) trait ConnectionObserver: Send + Sync {
    /// Reports that messages can be sent to the destination.
    fn connected(&self);
    /// Reports that another connection has replaced the one that messages went to.
    fn renewed(&self);
    /// Reports that messages cannot be sent any more, or still not.
    fn lost(&self);
    /// Reports that the server at the endpoint has another key than the expected one.
    fn has_other_key(&self);
}

pub(super) struct Shared {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) endpoint: String,
    pub(super) key: PinnedKey,
    pub(super) settings: Arc<ClientSettings>,
    pub(super) material: Arc<Material>,
    pub(super) room: [Arc<Semaphore>; 2],
    pub(super) state: Mutex<State>,
    /// Notified when the state has an order.
    pub(super) ordered: Notify,
}

pub(super) struct State {
    pub(super) current: ConnectionPhase,
    pub(super) last_error: Option<LastError>,
    pub(super) watchers: Vec<Weak<dyn ConnectionObserver>>,
    pub(super) order: Option<ConnectionCommand>,
}

pub(super) enum ConnectionPhase {
    Connecting,
    Connected(Connected),
    Waiting { failures: u32, until: SystemTime },
    Closed,
}

pub(super) struct Connected {
    pub(super) sender: SendRequest<StepBody>,
    pub(super) generation: u64,
    pub(super) since: SystemTime,
    pub(super) name: String,
    pub(super) certificate_expires: i64,
    pub(super) expiration: ExpirationCheck,
    pub(super) progress: Arc<Progress>,
    pub(super) gathering: Arc<Gathering>,
}

/// A request to the task of the connection.
pub(super) enum ConnectionCommand {
    /// Open another connection, with the current identity, then close this one.
    Renew,
    /// Close the connection of this generation, for this reason.
    Reset(u64, String),
}

impl State {
    pub(super) fn why_not(&self) -> String {
        match (&self.current, &self.last_error) {
            (ConnectionPhase::Closed, _) => "communication has been shut down".to_owned(),
            (_, Some(error)) => error.text.clone(),
            (_, None) => "it is being connected to".to_owned(),
        }
    }
}

impl Shared {
    /// Locks the state. No code panics or waits while it is locked.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turns(&self, current: ConnectionPhase) {
        let before = std::mem::replace(&mut self.state().current, current);
        // outside of the lock: dropping its last sender may close a connection
        drop(before);
    }

    pub(super) fn order(&self, order: ConnectionCommand) {
        self.state().order = Some(order);
        self.ordered.notify_one();
    }

    pub(super) fn take_order(&self) -> Option<ConnectionCommand> {
        self.state().order.take()
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.state().last_error.as_ref().map(|error| error.text.clone())
    }

    pub(super) fn failed(&self, text: String) {
        self.state().last_error = Some(LastError { at: SystemTime::now(), text });
    }

    pub(super) fn tell(&self, tell: impl Fn(&dyn ConnectionObserver)) {
        let watchers: Vec<_> = self.state().watchers.iter().filter_map(Weak::upgrade).collect();
        for watcher in watchers {
            tell(&*watcher);
        }
    }

    /// Makes one attempt to connect; returns the connection and the identity that it was opened with.
    pub(super) async fn dial(&self) -> Result<(DialedConnection<StepBody>, Arc<Identity>), String> {
        let (identity, roots) = (self.material.identity.load_full(), self.material.roots.load_full());
        let server = ExpectedServer {
            host: self.host.clone(),
            endpoint: self.endpoint.clone(),
            key: Some(self.key.clone()),
            time_shift: self.settings.time_shift,
            tolerate_expired: self.settings.tolerate_expired,
        };
        let limit = self.settings.dial_timeout;
        match timeout(limit, dial(server, self.port, &identity, &roots, None)).await {
            Ok(dialed) => dialed.map(|dialed| (dialed, identity)),
            Err(_) => Err(format!("it does not answer within {limit:?}")),
        }
    }
}
