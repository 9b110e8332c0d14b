//! The network between the simulated nodes. Messages arrive at once, unless a node is disconnected.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use orderer_cluster::{
    BlockEndpoint, BlockSources, BlockStream, ConsenterId, Membership, Network, PeerEvents, PeerStatus, Peers,
    PullError, SendError, StepRejection, Urgency,
};

use super::super::*;

/// The simulated network, by node number: each node's directory, its membership, and the disconnected nodes.
#[derive(Default)]
pub(super) struct SimulatedNetwork {
    pub(super) nodes: Mutex<HashMap<u64, Arc<ChannelRegistry>>>,
    pub(super) members: Mutex<HashMap<u64, Membership>>,
    pub(super) cut: Mutex<BTreeSet<u64>>,
    /// Nodes that let nobody read the channel.
    pub(super) forbidding: Mutex<BTreeSet<u64>>,
}

/// Returns the number in the name of an orderer.
pub(super) fn number_of(endpoint: &str) -> Option<u64> {
    endpoint.strip_prefix("orderer")?.split('.').next()?.parse().ok()
}

impl SimulatedNetwork {
    /// Returns the endpoint where a node's messages to a consenter arrive, and the consenter ID that the receiver assigns
    /// to the sender.
    pub(super) fn endpoint(
        &self,
        from: u64,
        to: ConsenterId,
        channel: &str,
    ) -> Result<(Arc<dyn orderer_cluster::ClusterChannel>, ConsenterId), SendError> {
        let lost =
            |reason: &str| SendError::NotConnected { id: to, endpoint: to.to_string(), reason: reason.to_owned() };
        let members = self.members.lock().unwrap();
        let receiver = members.get(&from).and_then(|members| number_of(&members.get(to)?.consenter.host));
        let receiver = receiver.ok_or_else(|| lost("nobody has this ID"))?;
        let cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if cut.contains(&from) || cut.contains(&receiver) {
            return Err(lost("disconnected"));
        }
        let directory = self.nodes.lock().unwrap().get(&receiver).cloned().ok_or_else(|| lost("stopped"))?;
        let endpoint = match directory.get(channel) {
            Some(ChannelEntry::Open(channel)) => channel.cluster().ok_or_else(|| lost("no chain"))?,
            _ => return Err(lost("no channel")),
        };
        let is_sender = |member: &&orderer_cluster::Member| number_of(&member.consenter.host) == Some(from);
        let sender = members.get(&receiver).and_then(|members| members.members().find(is_sender));
        let sender = sender.ok_or_else(|| lost("the sender is no consenter there"))?;
        Ok((endpoint, sender.consenter.id))
    }

    pub(super) fn disconnect(&self, node: u64) {
        self.cut.lock().unwrap().insert(node);
    }

    pub(super) fn reconnect_all(&self) {
        self.cut.lock().unwrap().clear();
    }
}

pub(super) struct NodeNetwork {
    pub(super) node: u64,
    pub(super) network: Arc<SimulatedNetwork>,
}

pub(super) struct NodePeers {
    pub(super) node: u64,
    pub(super) channel: String,
    pub(super) network: Arc<SimulatedNetwork>,
}

impl Network for NodeNetwork {
    fn enter(&self, channel: &str, _: Arc<dyn PeerEvents>) -> Box<dyn Peers> {
        Box::new(NodePeers { node: self.node, channel: channel.to_owned(), network: Arc::clone(&self.network) })
    }
}

impl Peers for NodePeers {
    fn configure(&self, membership: &Membership) {
        self.network.members.lock().unwrap().insert(self.node, membership.clone());
    }

    fn consensus(&self, to: ConsenterId, payload: Bytes, metadata: Bytes, _: Urgency) -> Result<(), SendError> {
        let (endpoint, sender) = self.network.endpoint(self.node, to, &self.channel)?;
        endpoint.consensus(sender, payload, metadata).map_err(|_| SendError::Overflow)
    }

    fn submit(
        &self,
        to: ConsenterId,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), SendError>> {
        let endpoint = self.network.endpoint(self.node, to, &self.channel);
        Box::pin(async move {
            let (endpoint, sender) = endpoint?;
            let taken = endpoint.submit(sender, last_validation_seq, envelope).await;
            taken.map_err(|refused: StepRejection| SendError::Aborted(refused.to_string()))
        })
    }

    fn status(&self) -> Vec<PeerStatus> {
        Vec::new()
    }
}

/// Reads blocks directly from the ledgers of the other nodes.
impl BlockSources for NodeNetwork {
    fn height(&self, channel: &str, endpoint: &BlockEndpoint) -> BoxFuture<'static, Result<u64, PullError>> {
        let found = self.ledger(channel, endpoint);
        Box::pin(std::future::ready(found.map(|channel| channel.ledger().height())))
    }

    fn pull(&self, channel: &str, endpoint: &BlockEndpoint, from: u64, to: u64) -> Box<dyn BlockStream> {
        Box::new(LedgerStream { channel: self.ledger(channel, endpoint), next: from, to })
    }
}

impl NodeNetwork {
    pub(super) fn ledger(&self, channel: &str, endpoint: &BlockEndpoint) -> Result<Arc<Channel>, PullError> {
        let number = number_of(&endpoint.address).ok_or_else(|| PullError::Address(endpoint.address.clone()))?;
        if self.network.forbidding.lock().unwrap().contains(&number) {
            return Err(PullError::Forbidden);
        }
        let lost = || PullError::Connect("stopped".to_owned());
        let directory = self.network.nodes.lock().unwrap().get(&number).cloned().ok_or_else(lost)?;
        match directory.get(channel) {
            Some(ChannelEntry::Open(channel)) if number != self.node => Ok(channel),
            _ => Err(lost()),
        }
    }
}

pub(super) struct LedgerStream {
    pub(super) channel: Result<Arc<Channel>, PullError>,
    pub(super) next: u64,
    pub(super) to: u64,
}

impl BlockStream for LedgerStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, PullError>>> {
        Box::pin(async move {
            if self.next > self.to {
                return None;
            }
            let channel = match &self.channel {
                Ok(channel) => channel,
                Err(error) => return Some(Err(error.clone())),
            };
            let mut heights = channel.ledger().heights();
            heights.wait_for(|height| *height > self.next).await.ok()?;
            let block = channel.ledger().block(BlockNumber(self.next)).unwrap().unwrap();
            self.next += 1;
            Some(Ok(block.block_bytes()))
        })
    }
}
