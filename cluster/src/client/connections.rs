//! The network over TLS and HTTP/2.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::api::{DestinationStatus, Network, PeerEvents, PeerStatus, Peers, SendError, Urgency};
use super::connection_state::Material;
use super::destination::Destination;
use super::link::{Link, LinkPeer};
use crate::membership::{ConsenterId, Member, Membership};
use crate::settings::ClientSettings;
use crate::tls::{Identity, Roots};

const LOG: &str = "orderer.common.cluster";

/// Connections to other orderers, one for each endpoint and server key. Dropping it closes all of them, even for
/// channels that were not left yet.
pub struct Connections(Arc<Shared>);

struct Shared {
    settings: Arc<ClientSettings>,
    material: Arc<Material>,
    runtime: Handle,
    destinations: Mutex<Vec<Weak<Destination>>>,
    entered: Mutex<Vec<Weak<ChannelPeers>>>,
    is_closed: AtomicBool,
}

impl Connections {
    /// Creates the network. No connection is opened before a channel is entered and configured. All tasks run on
    /// `runtime`.
    pub fn new(settings: ClientSettings, identity: Identity, roots: Roots, runtime: Handle) -> Self {
        let material = Material { identity: ArcSwap::from_pointee(identity), roots: ArcSwap::from_pointee(roots) };
        Self(Arc::new(Shared {
            settings: Arc::new(settings),
            material: Arc::new(material),
            runtime,
            destinations: Mutex::default(),
            entered: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Opens new connections with this identity; see [`renew`](Self::renew) for open ones.
    pub fn replace_identity(&self, identity: Identity) {
        self.0.material.identity.store(Arc::new(identity));
    }

    /// Opens new connections only to servers whose certificates these authorities have issued. Open ones stay, as in
    /// Fabric.
    pub fn replace_roots(&self, roots: Roots) {
        self.0.material.roots.store(Arc::new(roots));
    }

    /// Replaces each connection that was opened with an identity other than the current one. The new connection is
    /// opened first, and messages queued for the old one are still sent there. If the new one cannot be opened, the old
    /// one stays, and the attempt is repeated.
    pub fn renew(&self) {
        for destination in self.0.live() {
            destination.renew();
        }
    }

    /// Returns the states of the peers of each entered channel, by the channel's name.
    pub fn channels(&self) -> BTreeMap<Arc<str>, Vec<PeerStatus>> {
        let entered: Vec<Arc<ChannelPeers>> = self.0.entered().iter().filter_map(Weak::upgrade).collect();
        let mut channels: BTreeMap<Arc<str>, Vec<PeerStatus>> = BTreeMap::new();
        for peers in entered {
            channels.entry(Arc::clone(&peers.channel)).or_default().extend(peers.status());
        }
        channels
    }

    /// Returns the states of the connections.
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        self.0.live().iter().map(|destination| destination.status()).collect()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
        for destination in self.0.live() {
            destination.close();
        }
    }
}

impl Network for Connections {
    fn enter(&self, channel: &str, events: Arc<dyn PeerEvents>) -> Box<dyn Peers> {
        let peers = Arc::new(ChannelPeers {
            shared: Arc::clone(&self.0),
            channel: channel.into(),
            events,
            links: ArcSwap::default(),
            configuring: Mutex::new(()),
        });
        let mut entered = self.0.entered();
        entered.retain(|peers| peers.strong_count() > 0);
        entered.push(Arc::downgrade(&peers));
        Box::new(peers)
    }
}

impl Shared {
    fn destinations(&self) -> MutexGuard<'_, Vec<Weak<Destination>>> {
        self.destinations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entered(&self) -> MutexGuard<'_, Vec<Weak<ChannelPeers>>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Vec<Arc<Destination>> {
        self.destinations().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns the connection to a consenter; `None` if there can be none.
    fn destination(&self, member: &Member) -> Option<Arc<Destination>> {
        let (consenter, key) = (&member.consenter, member.server_key.as_ref().ok()?);
        let endpoint = consenter.endpoint();
        let mut destinations = self.destinations();
        // under the lock, so that no connection is opened after the last one was closed
        if self.is_closed.load(Ordering::SeqCst) {
            return None;
        }
        destinations.retain(|destination| destination.strong_count() > 0);
        let known = destinations.iter().filter_map(Weak::upgrade).find(|known| known.is(&endpoint, key));
        Some(known.unwrap_or_else(|| {
            let whom = (consenter.host.as_str(), consenter.port, key);
            let opened = Destination::open(whom, endpoint, &self.settings, &self.material, &self.runtime);
            destinations.push(Arc::downgrade(&opened));
            opened
        }))
    }
}

/// The peers of one channel.
struct ChannelPeers {
    shared: Arc<Shared>,
    channel: Arc<str>,
    events: Arc<dyn PeerEvents>,
    links: ArcSwap<BTreeMap<ConsenterId, Arc<Link>>>,
    configuring: Mutex<()>,
}

impl ChannelPeers {
    fn link(&self, id: ConsenterId) -> Result<Arc<Link>, SendError> {
        let link = self.links.load().get(&id).cloned();
        link.ok_or_else(|| SendError::NotAMember { id, channel: self.channel.to_string() })
    }
}

impl Peers for Arc<ChannelPeers> {
    fn configure(&self, membership: &Membership) {
        let _one_at_a_time = self.configuring.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.links.load_full();
        let mut links = BTreeMap::new();
        for member in membership.others() {
            let whom = LinkPeer {
                id: member.consenter.id,
                endpoint: member.consenter.endpoint(),
                key: member.server_key.clone().map_err(|error| error.to_string()),
            };
            let known = before.get(&whom.id).filter(|known| *known.whom() == whom);
            let link = known.cloned().unwrap_or_else(|| {
                tracing::info!(
                    target: LOG,
                    "Allocating a new stub for node {} with endpoint of {} for channel {}",
                    whom.id,
                    whom.endpoint,
                    self.channel
                );
                let destination = self.shared.destination(member);
                let Shared { settings, runtime, .. } = &*self.shared;
                Link::new(whom, &self.channel, destination, &self.events, settings, runtime)
            });
            links.insert(member.consenter.id, link);
        }
        for (id, link) in before.iter().filter(|(id, _)| !links.contains_key(id)) {
            let endpoint = &link.whom().endpoint;
            tracing::info!(
                target: LOG,
                "Deactivated node {id} who's endpoint is {endpoint} as it's removed from membership of channel {}",
                self.channel
            );
        }
        self.links.store(Arc::new(links));
    }

    fn consensus(&self, to: ConsenterId, payload: Bytes, metadata: Bytes, urgency: Urgency) -> Result<(), SendError> {
        self.link(to)?.consensus(payload, metadata, urgency)
    }

    fn submit(
        &self,
        to: ConsenterId,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), SendError>> {
        match self.link(to) {
            Ok(link) => link.submit(last_validation_seq, envelope),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn status(&self) -> Vec<PeerStatus> {
        self.links.load().values().map(|link| link.status()).collect()
    }
}
