//! The nodes of a test: starts and stops them, sends envelopes, and waits for what they reach.

use fabric_proto::Message as _;
use fabric_proto::common::Payload;
use fabric_proto::etcdraft::Consenter;
use orderer_core::config::{ConsensusMapping, EtcdraftMapping};
use orderer_core::ordering::raft::AcknowledgePoint;
use orderer_core::replication::RetryDelays;

use super::super::*;
use super::TICK;
use super::channel_config::{APP, consenters, genesis, payload, update};
use super::network::{NodeNetwork, SimulatedNetwork};
use crate::consensus::raft::{LEADER_PATIENCE, RaftConsenter, RaftContext, RaftSettings};
use crate::participation::JoinBlock;
use crate::replication::ReplicationContext;

pub(super) struct Node {
    pub(super) context: Arc<NodeContext>,
    pub(super) tree: ActorTree,
}

pub(super) struct Cluster {
    pub(super) consenters: Vec<Consenter>,
    pub(super) folders: Vec<tempfile::TempDir>,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) keys: Vec<Bytes>,
    pub(super) network: Arc<SimulatedNetwork>,
    pub(super) acknowledge: AcknowledgePoint,
    pub(super) leader_patience: Duration,
}

impl Cluster {
    pub(super) async fn start(count: usize) -> Self {
        Self::among(count, count).await
    }

    /// Creates `count` consenters and starts the first `running` of them.
    pub(super) async fn partly(count: usize, running: usize, acknowledge: AcknowledgePoint) -> Self {
        let mut cluster = Self::made(count, count);
        cluster.acknowledge = acknowledge;
        for place in 0..running {
            cluster.start_node(place).await;
        }
        cluster
    }

    /// Creates `count` consenters, and starts them with further nodes that are not consenters and have not joined the
    /// channel.
    pub(super) async fn among(count: usize, nodes: usize) -> Self {
        let mut cluster = Self::made(count, nodes);
        for place in 0..nodes {
            cluster.start_node(place).await;
        }
        cluster
    }

    pub(super) fn made(count: usize, nodes: usize) -> Self {
        let (consenters, keys) = consenters(nodes);
        let genesis = genesis(&consenters[..count]);
        let folders: Vec<_> = (0..nodes).map(|_| tempfile::tempdir().unwrap()).collect();
        for folder in &folders[..count] {
            let ledgers = LedgerProvider::new(folder.path(), BlockCacheConfig { bytes: 1 << 20 }).unwrap();
            ledgers.create(&ChannelId::parse(APP).unwrap(), &genesis).unwrap();
        }
        let running = (0..nodes).map(|_| None).collect();
        let (acknowledge, leader_patience) = (AcknowledgePoint::Durable, LEADER_PATIENCE);
        Self { consenters, folders, nodes: running, keys, network: Arc::default(), acknowledge, leader_patience }
    }

    pub(super) async fn start_node(&mut self, place: usize) {
        let ledgers = LedgerProvider::new(self.folders[place].path(), BlockCacheConfig { bytes: 1 << 20 }).unwrap();
        let signer = Arc::new(TestSigner::new());
        let mut context = node_context(ledgers, &signer, Durability::Disk, HEALING);
        context.consensus_mapping = ConsensusMapping { etcdraft: EtcdraftMapping::Raft, brokers: Vec::new() };
        context.tls_keys = arc_swap::ArcSwap::from_pointee(vec![self.keys[place].clone()]);
        let context = Arc::new(context);
        let node = place as u64 + 1;
        self.network.nodes.lock().unwrap().insert(node, Arc::clone(&context.directory));
        let consenters = Consenters::default().with(SoloConsenter).with(RaftConsenter::new(self.parts(node)));
        let mut tree = ActorTree::start(Arc::clone(&context), Arc::new(consenters));
        tree.ready().await;
        self.nodes[place] = Some(Node { context, tree });
    }

    pub(super) fn parts(&self, node: u64) -> RaftContext {
        RaftContext {
            network: Arc::new(NodeNetwork { node, network: Arc::clone(&self.network) }),
            replication: ReplicationContext::new(
                Arc::new(NodeNetwork { node, network: Arc::clone(&self.network) }),
                RetryDelays { retry: Duration::from_millis(20), ..RetryDelays::default() },
                1 << 20,
                1 << 20,
            ),
            settings: RaftSettings {
                eviction_suspicion: Duration::from_secs(600),
                tick_interval_override: Some(TICK),
                acknowledge: self.acknowledge,
            },
            log_bytes: 1 << 20,
            leader_patience: self.leader_patience,
        }
    }

    pub(super) async fn stop_node(&mut self, place: usize) {
        let node = self.nodes[place].take().expect("it runs");
        self.network.nodes.lock().unwrap().remove(&(place as u64 + 1));
        node.tree.stop().await;
        let ledgers = node.context.ledgers.clone();
        drop(node.context);
        // threads of the node may still be closing its files, which the end of a process would have closed
        let closed = async {
            loop {
                match ledgers.open(&ChannelId::parse(APP).unwrap()) {
                    Ok(ledger) => return ledger.close().unwrap(),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the ledger is closed");
    }

    pub(super) fn context(&self, place: usize) -> &Arc<NodeContext> {
        &self.nodes[place].as_ref().expect("it runs").context
    }

    /// Makes a node join with the newest config block of another.
    pub(super) async fn join(&self, place: usize, from: usize) {
        let ledger = Arc::clone(self.channel(from).ledger());
        let block = ledger.block(ledger.last_config()).unwrap().unwrap();
        let context = Arc::clone(self.context(place));
        let block = JoinBlock::parse(&block.block_bytes(), &context).unwrap();
        context.membership.join(block).await.unwrap();
    }

    pub(super) async fn until(&self, place: usize, wanted: ChannelState) {
        let mut states = self.channel(place).subscribe_state();
        within("the state of the channel", states.wait_for(|state| *state == wanted)).await.unwrap();
    }

    /// Sends a config update that makes these the channel's consenters, and waits until it is in force on that node.
    /// Otherwise the node would revalidate later envelopes that were validated before, and the envelopes of these tests
    /// would fail.
    pub(super) async fn consent(&self, place: usize, consenters: &[Consenter]) -> OrderResult {
        let channel = self.channel(place);
        let proposed = update(&channel.snapshot(), consenters);
        let (envelope, validated_at) = (proposed.envelope, proposed.sequence);
        let answer = channel.gate().order(ValidatedEnvelope { envelope, validated_at, is_config: true }).await;
        answer.expect("the gate is open").await.expect("the chain lives")?;
        let mut heights = channel.ledger().heights();
        heights.wait_for(|_| channel.snapshot().sequence() > validated_at).await.unwrap();
        Ok(())
    }

    /// Like [`Self::consent`], but retries until the node knows from its leader which consenters are active.
    pub(super) async fn have_consent(&self, place: usize, consenters: &[Consenter]) {
        while let Err(refused) = self.consent(place, consenters).await {
            assert!(refused.to_string().contains("quorum loss"), "{refused}");
            tokio::time::sleep(TICK).await;
        }
    }

    pub(super) fn channel(&self, place: usize) -> Arc<Channel> {
        match self.context(place).directory.get(APP) {
            Some(ChannelEntry::Open(channel)) => channel,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|place| self.nodes[*place].is_some())
    }

    /// Waits until every running node knows a leader.
    pub(super) async fn led(&self) {
        for place in self.running() {
            self.until(place, ChannelState::Running).await;
        }
    }

    /// Waits until a running node leads, and returns it. On a busy machine another one may lead at any time.
    pub(super) async fn leader(&self) -> usize {
        self.leader_among(|_| true).await
    }

    /// Waits until one of these nodes leads, and returns it.
    pub(super) async fn leader_among(&self, wanted: impl Fn(usize) -> bool) -> usize {
        let leads = |place: &usize| wanted(*place) && self.is_leader(*place);
        let found = async {
            loop {
                if let Some(place) = self.running().find(leads) {
                    return place;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        within("a node leads", found).await
    }

    pub(super) fn is_leader(&self, place: usize) -> bool {
        self.channel(place).observer().raft().shown().is_some_and(|shown| shown.is_leader)
    }

    /// Returns how often the nodes have noticed another leader, or none.
    pub(super) fn leader_changes(&self) -> u64 {
        let changes = |place: usize| {
            let channel = self.channel(place);
            channel.observer().raft().shown().map_or(0, |shown| shown.leader_changes)
        };
        self.running().map(changes).sum()
    }

    pub(super) async fn order(&self, place: usize, text: &str) -> bool {
        let channel = self.channel(place);
        let envelope = SignedEnvelope::from_parts(payload(text), Bytes::from_static(b"nobody looks at it"));
        let validated_at = channel.snapshot().sequence();
        match channel.gate().order(ValidatedEnvelope { envelope, validated_at, is_config: false }).await {
            Some(answer) => matches!(answer.await, Ok(Ok(()))),
            None => false,
        }
    }

    pub(super) fn chain(&self, place: usize) -> Vec<String> {
        let channel = self.channel(place);
        let blocks = (1..channel.ledger().height()).map(|n| channel.ledger().block(BlockNumber(n)).unwrap().unwrap());
        let envelopes = blocks.flat_map(|block| block.decode().data.unwrap_or_default().data);
        let text = |raw: Bytes| {
            let payload = Payload::decode(SignedEnvelope::parse(raw).unwrap().payload().clone()).unwrap();
            String::from_utf8_lossy(&payload.data).into_owned()
        };
        envelopes.map(text).collect()
    }

    /// Waits until the chain of this node contains all of these texts; returns the chain.
    pub(super) async fn ordered(&self, place: usize, texts: &[String]) -> Vec<String> {
        let mut heights = self.channel(place).ledger().heights();
        loop {
            heights.borrow_and_update();
            let chain = self.chain(place);
            if texts.iter().all(|text| chain.contains(text)) {
                return chain;
            }
            within("another block", heights.changed()).await.unwrap();
        }
    }

    /// Waits until all nodes have all texts, and checks that they have the same chain.
    pub(super) async fn agree(&self, texts: &[String]) {
        let mut chains = Vec::new();
        for place in self.running() {
            chains.push(self.ordered(place, texts).await);
        }
        // one node may be ahead by a block of envelopes that were sent twice
        let shortest = chains.iter().map(Vec::len).min().unwrap();
        for chain in &chains {
            assert_eq!(chain[..shortest], chains[0][..shortest], "one chain");
        }
    }
}
