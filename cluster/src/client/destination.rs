//! The connection to one other orderer, which all channels share: opens it, observes it, and reopens it.

use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use hyper::client::conn::http2::SendRequest;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::api::{ConnectionState, DestinationStatus};
use super::connection_state::{
    Connected, ConnectionCommand, ConnectionObserver, ConnectionPhase, Material, Shared, State,
};
use super::gathering::Gathering;
use super::queue::{Progress, StepBody};
use super::runner::run;
use crate::expiration::{as_go_duration, unix_now};
use crate::membership::PinnedKey;
use crate::settings::ClientSettings;

const LOG: &str = "orderer.common.cluster";

/// The connection to one endpoint and server key. Dropping it closes the connection.
pub(super) struct Destination {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// The connection that a stream is opened on.
pub(super) struct Opening {
    pub(super) sender: SendRequest<StepBody>,
    pub(super) progress: Arc<Progress>,
    pub(super) gathering: Arc<Gathering>,
}

impl Destination {
    /// Starts to connect.
    pub(super) fn open(
        (host, port, key): (&str, u16, &PinnedKey),
        endpoint: String,
        settings: &Arc<ClientSettings>,
        material: &Arc<Material>,
        runtime: &Handle,
    ) -> Arc<Self> {
        let room = || Arc::new(Semaphore::new(settings.destination_bytes.clamp(1, u32::MAX as usize)));
        let shared = Arc::new(Shared {
            host: host.to_owned(),
            port,
            endpoint,
            key: key.clone(),
            settings: Arc::clone(settings),
            material: Arc::clone(material),
            room: [room(), room()],
            state: Mutex::new(State {
                current: ConnectionPhase::Connecting,
                last_error: None,
                watchers: Vec::new(),
                order: None,
            }),
            ordered: Notify::new(),
        });
        let task = runtime.spawn(run(Arc::clone(&shared))).abort_handle();
        Arc::new(Self { shared, task })
    }

    /// Returns whether this is the connection to the server of that key at that endpoint.
    pub(super) fn is(&self, endpoint: &str, key: &PinnedKey) -> bool {
        self.shared.endpoint == endpoint && self.shared.key == *key
    }

    /// Notifies the watcher from now on.
    pub(super) fn watch(&self, watcher: &Weak<dyn ConnectionObserver>) {
        let is_connected = {
            let mut state = self.shared.state();
            if state.watchers.len() == state.watchers.capacity() {
                state.watchers.retain(|watcher| watcher.strong_count() > 0);
            }
            state.watchers.push(Weak::clone(watcher));
            matches!(state.current, ConnectionPhase::Connected(_))
        };
        if is_connected && let Some(watcher) = watcher.upgrade() {
            watcher.connected();
        }
    }

    /// Returns the permits for messages of one kind.
    pub(super) fn room(&self, kind: usize) -> &Arc<Semaphore> {
        &self.shared.room[kind]
    }

    /// Returns the generation of the connection that messages go to; warns if the peer's certificate is about to
    /// expire.
    ///
    /// # Errors
    /// Fails without a connection, with the reason.
    pub(super) fn generation(&self, channel: &str) -> Result<u64, String> {
        let mut state = self.shared.state();
        match &mut state.current {
            ConnectionPhase::Connected(connected) => {
                if let Some(left) = connected.expiration.warn_now(unix_now()) {
                    let (name, endpoint, left) = (&connected.name, &self.shared.endpoint, as_go_duration(left));
                    tracing::warn!(
                        target: LOG,
                        "Certificate of {name} from {endpoint} for channel {channel} expires in less than {left}"
                    );
                }
                Ok(connected.generation)
            }
            _ => Err(state.why_not()),
        }
    }

    /// Returns the connection of this generation, to open a stream on.
    pub(super) fn opening(&self, generation: u64) -> Option<Opening> {
        match &self.shared.state().current {
            ConnectionPhase::Connected(connected) if connected.generation == generation => Some(Opening {
                sender: connected.sender.clone(),
                progress: Arc::clone(&connected.progress),
                gathering: Arc::clone(&connected.gathering),
            }),
            _ => None,
        }
    }

    /// Returns when the connection of this generation last accepted a message.
    pub(super) fn last_progress(&self, generation: u64) -> Option<Instant> {
        match &self.shared.state().current {
            ConnectionPhase::Connected(connected) if connected.generation == generation => {
                Some(connected.progress.last())
            }
            _ => None,
        }
    }

    /// Closes the connection of this generation, and opens another.
    pub(super) fn reset(&self, generation: u64, why: &str) {
        self.shared.order(ConnectionCommand::Reset(generation, why.to_owned()));
    }

    /// Opens another connection, and then closes the current one.
    pub(super) fn renew(&self) {
        self.shared.order(ConnectionCommand::Renew);
    }

    /// Closes the connection for good.
    pub(super) fn close(&self) {
        self.task.abort();
        self.shared.turns(ConnectionPhase::Closed);
        self.shared.tell(|watcher| watcher.lost());
    }

    pub(super) fn status(&self) -> DestinationStatus {
        let state = self.shared.state();
        let connection = match &state.current {
            ConnectionPhase::Connecting => ConnectionState::Connecting,
            ConnectionPhase::Connected(Connected { since, certificate_expires, .. }) => {
                ConnectionState::Connected { since: *since, certificate_expires: *certificate_expires }
            }
            ConnectionPhase::Waiting { failures, until } => {
                ConnectionState::Waiting { failures: *failures, until: *until }
            }
            ConnectionPhase::Closed => ConnectionState::Closed,
        };
        DestinationStatus { endpoint: self.shared.endpoint.clone(), connection, last_error: state.last_error.clone() }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.task.abort();
    }
}
