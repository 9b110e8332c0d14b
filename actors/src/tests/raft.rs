//! Clusters of nodes in one process. Each node has its own ledgers, Raft logs and actors; only the network between them
//! is simulated.

mod acknowledging;
mod key_away;
mod returning;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use fabric_proto::Message as _;
use fabric_proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Config, ConfigEnvelope, ConfigSignature,
    ConfigUpdateEnvelope, ConfigValue, Envelope, Header, HeaderType, OrdererAddresses, Payload, SignatureHeader,
};
use fabric_proto::etcdraft::{ConfigMetadata, Consenter, Options};
use fabric_proto::orderer::ConsensusType;
use futures_util::future::BoxFuture;
use orderer_cluster::{
    BlockEndpoint, BlockSources, BlockStream, ConsenterId, Membership, Network, PeerEvents, PeerStatus, Peers,
    PullError, SendError, StepRejection,
};
use orderer_core::block::data_hash;
use orderer_core::config::{ConsensusMapping, EtcdraftMapping, compute_update};
use orderer_core::envelope::ParsedEnvelope;
use orderer_core::ordering::raft::AcknowledgePoint;
use orderer_core::own::public_key_of;
use rcgen::{CertificateParams, Issuer, KeyPair};

use super::*;
use crate::channel::ConsensusRelation;
use crate::consensus::Consenter as _;
use crate::consensus::raft::{LEADER_PATIENCE, RaftConsenter, RaftContext, RaftSettings};
use crate::node_context::{fresh_header_fields, unix_now};
use crate::participation::JoinBlock;
use crate::replication::ReplicationContext;
use orderer_core::processing::{MessageOrigin, PreparedConfigMessage, ValidationContext, process_config_update};
use orderer_core::replication::RetryDelays;

/// Name of the channel.
const APP: &str = "app";
/// An election takes ten to twenty ticks: longer than a busy machine usually keeps a thread waiting.
const TICK: Duration = Duration::from_millis(50);

/// The simulated network, by node number: each node's directory, its membership, and the disconnected nodes.
#[derive(Default)]
struct Wires {
    nodes: Mutex<HashMap<u64, Arc<ChannelRegistry>>>,
    members: Mutex<HashMap<u64, Membership>>,
    cut: Mutex<BTreeSet<u64>>,
    /// Nodes that let nobody read the channel.
    forbidding: Mutex<BTreeSet<u64>>,
}

/// Returns the number in the name of an orderer.
fn number_of(endpoint: &str) -> Option<u64> {
    endpoint.strip_prefix("orderer")?.split('.').next()?.parse().ok()
}

impl Wires {
    /// Returns the seat where a node's messages to a consenter arrive, and the consenter ID that the receiver assigns
    /// to the sender.
    fn seat(
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
            return Err(lost("cut off"));
        }
        let directory = self.nodes.lock().unwrap().get(&receiver).cloned().ok_or_else(|| lost("stopped"))?;
        let seat = match directory.get(channel) {
            Some(ChannelEntry::Open(channel)) => channel.cluster().ok_or_else(|| lost("no chain"))?,
            _ => return Err(lost("no channel")),
        };
        let is_sender = |member: &&orderer_cluster::Member| number_of(&member.consenter.host) == Some(from);
        let sender = members.get(&receiver).and_then(|members| members.members().find(is_sender));
        let sender = sender.ok_or_else(|| lost("the sender is no consenter there"))?;
        Ok((seat, sender.consenter.id))
    }

    fn cut(&self, node: u64) {
        self.cut.lock().unwrap().insert(node);
    }

    fn mend(&self) {
        self.cut.lock().unwrap().clear();
    }
}

struct Wire {
    node: u64,
    wires: Arc<Wires>,
}

struct WirePeers {
    node: u64,
    channel: String,
    wires: Arc<Wires>,
}

impl Network for Wire {
    fn enter(&self, channel: &str, _: Arc<dyn PeerEvents>) -> Box<dyn Peers> {
        Box::new(WirePeers { node: self.node, channel: channel.to_owned(), wires: Arc::clone(&self.wires) })
    }
}

impl Peers for WirePeers {
    fn configure(&self, membership: &Membership) {
        self.wires.members.lock().unwrap().insert(self.node, membership.clone());
    }

    fn consensus(&self, to: ConsenterId, payload: Bytes, metadata: Bytes) -> Result<(), SendError> {
        let (seat, sender) = self.wires.seat(self.node, to, &self.channel)?;
        seat.consensus(sender, payload, metadata).map_err(|_| SendError::Overflow)
    }

    fn submit(
        &self,
        to: ConsenterId,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), SendError>> {
        let seat = self.wires.seat(self.node, to, &self.channel);
        Box::pin(async move {
            let (seat, sender) = seat?;
            let taken = seat.submit(sender, last_validation_seq, envelope).await;
            taken.map_err(|refused: StepRejection| SendError::Aborted(refused.to_string()))
        })
    }

    fn status(&self) -> Vec<PeerStatus> {
        Vec::new()
    }
}

/// Reads blocks directly from the ledgers of the other nodes.
impl BlockSources for Wire {
    fn height(&self, channel: &str, endpoint: &BlockEndpoint) -> BoxFuture<'static, Result<u64, PullError>> {
        let found = self.ledger(channel, endpoint);
        Box::pin(std::future::ready(found.map(|channel| channel.ledger().height())))
    }

    fn pull(&self, channel: &str, endpoint: &BlockEndpoint, from: u64, to: u64) -> Box<dyn BlockStream> {
        Box::new(LedgerStream { channel: self.ledger(channel, endpoint), next: from, to })
    }
}

impl Wire {
    fn ledger(&self, channel: &str, endpoint: &BlockEndpoint) -> Result<Arc<Channel>, PullError> {
        let number = number_of(&endpoint.address).ok_or_else(|| PullError::Address(endpoint.address.clone()))?;
        if self.wires.forbidding.lock().unwrap().contains(&number) {
            return Err(PullError::Forbidden);
        }
        let lost = || PullError::Connect("stopped".to_owned());
        let directory = self.wires.nodes.lock().unwrap().get(&number).cloned().ok_or_else(lost)?;
        match directory.get(channel) {
            Some(ChannelEntry::Open(channel)) if number != self.node => Ok(channel),
            _ => Err(lost()),
        }
    }
}

struct LedgerStream {
    channel: Result<Arc<Channel>, PullError>,
    next: u64,
    to: u64,
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

/// Creates consenters with TLS certificates of the fixtures' orderer organization. Returns them and their public keys.
fn consenters(count: usize) -> (Vec<Consenter>, Vec<Bytes>) {
    let folder = Path::new(NET).join("crypto/ordererOrganizations/example.com/tlsca");
    let key = KeyPair::from_pem(&std::fs::read_to_string(folder.join("priv_sk")).unwrap()).unwrap();
    let authority = std::fs::read_to_string(folder.join("tlsca.example.com-cert.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority, key).unwrap();
    let made = (1..=count).map(|number| {
        let name = format!("orderer{number}.example.com");
        let mut params = CertificateParams::new(vec![name.clone()]).unwrap();
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let pem = Bytes::from(certificate.pem());
        let consenter = Consenter { host: name, port: 7050, client_tls_cert: pem.clone(), server_tls_cert: pem };
        (consenter, public_key_of(certificate.der()).unwrap())
    });
    made.unzip()
}

/// Returns the first block of the fixtures' channel, changed from solo to Raft with these consenters.
fn genesis(consenters: &[Consenter]) -> EncodedBlock {
    let block = EncodedBlock::parse(&std::fs::read(Path::new(NET).join("AppSolo.block")).unwrap()).unwrap();
    let Block { header, data, .. } = block.decode();
    let mut envelope = Envelope::decode(data.unwrap().data.remove(0)).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let mut config = ConfigEnvelope::decode(payload.data).unwrap();
    let Config { channel_group, .. } = config.config.as_mut().unwrap();
    let orderer = channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap();
    let options = Options {
        tick_interval: "500ms".to_owned(),
        election_tick: 10,
        heartbeat_tick: 1,
        max_inflight_blocks: 5,
        snapshot_interval_size: 4 << 10,
    };
    let metadata = ConfigMetadata { consenters: consenters.to_vec(), options: Some(options) };
    let consensus = ConsensusType {
        r#type: "etcdraft".to_owned(),
        metadata: metadata.encode_to_vec().into(),
        ..ConsensusType::default()
    };
    orderer.values.get_mut("ConsensusType").unwrap().value = consensus.encode_to_vec().into();
    let addresses = consenters.iter().map(|consenter| format!("{}:{}", consenter.host, consenter.port)).collect();
    let endpoints = OrdererAddresses { addresses }.encode_to_vec();
    let endpoints = ConfigValue { value: endpoints.into(), mod_policy: "Admins".to_owned(), ..ConfigValue::default() };
    for organization in orderer.groups.values_mut() {
        organization.values.insert("Endpoints".to_owned(), endpoints.clone());
    }
    payload.data = config.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    let data = vec![Bytes::from(envelope.encode_to_vec())];
    let hash = data_hash(data.iter().map(AsRef::as_ref));
    let header = BlockHeader { data_hash: Bytes::copy_from_slice(&hash), ..header.unwrap() };
    let metadata = BlockMetadata { metadata: vec![Bytes::new(); orderer_core::block::METADATA_SLOTS] };
    let block = Block { header: Some(header), data: Some(BlockData { data }), metadata: Some(metadata) };
    EncodedBlock::parse(&block.encode_to_vec()).unwrap()
}

/// Returns the CONFIG message that makes these the channel's consenters, signed by an administrator of the orderers.
fn update(snapshot: &ChannelSnapshot, consenters: &[Consenter]) -> PreparedConfigMessage {
    let msp = Path::new(NET).join("crypto/ordererOrganizations/example.com/users/Admin@example.com/msp");
    let key = SigningKey::from_pem(&std::fs::read(msp.join("keystore/priv_sk")).unwrap()).unwrap();
    let certificate = std::fs::read(msp.join("signcerts/Admin@example.com-cert.pem")).unwrap();
    let admin = SigningIdentity::new("OrdererMSP", &certificate, key).unwrap();
    let old = snapshot.config();
    let mut new = old.clone();
    let orderer = new.channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap();
    let value = orderer.values.get_mut("ConsensusType").unwrap();
    let mut consensus = ConsensusType::decode(value.value.clone()).unwrap();
    let mut metadata = ConfigMetadata::decode(consensus.metadata).unwrap();
    metadata.consenters = consenters.to_vec();
    consensus.metadata = metadata.encode_to_vec().into();
    value.value = consensus.encode_to_vec().into();
    let config_update = Bytes::from(compute_update(snapshot.channel(), &old, &new).unwrap().encode_to_vec());
    let signature_header =
        |nonce: u8| SignatureHeader { creator: admin.creator().clone(), nonce: vec![nonce; 24].into() };
    let signed = Bytes::from(signature_header(1).encode_to_vec());
    let signature = admin.sign(&[&signed[..], &config_update].concat()).unwrap();
    let signatures = vec![ConfigSignature { signature_header: signed, signature }];
    let data = ConfigUpdateEnvelope { config_update, signatures }.encode_to_vec();
    let channel_header =
        ChannelHeader { r#type: HeaderType::ConfigUpdate as i32, channel_id: APP.to_owned(), ..Default::default() };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header(2).encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: data.into() }.encode_to_vec();
    let message = ParsedEnvelope::parse(SignedEnvelope::sign(payload.into(), &admin).unwrap()).unwrap();
    let at = ValidationContext { now: unix_now(), expiration_checks: true, judging: MessageOrigin::Client };
    process_config_update(snapshot, &message, &TestSigner::new(), fresh_header_fields(), at).unwrap()
}

struct Node {
    context: Arc<NodeContext>,
    tree: ActorTree,
}

struct Cluster {
    consenters: Vec<Consenter>,
    folders: Vec<tempfile::TempDir>,
    nodes: Vec<Option<Node>>,
    keys: Vec<Bytes>,
    wires: Arc<Wires>,
    acknowledge: AcknowledgePoint,
    leader_patience: Duration,
}

impl Cluster {
    async fn start(count: usize) -> Self {
        Self::among(count, count).await
    }

    /// Creates `count` consenters and starts the first `running` of them.
    async fn partly(count: usize, running: usize, acknowledge: AcknowledgePoint) -> Self {
        let mut cluster = Self::made(count, count);
        cluster.acknowledge = acknowledge;
        for place in 0..running {
            cluster.start_node(place).await;
        }
        cluster
    }

    /// Creates `count` consenters, and starts them with further nodes that are not consenters and have not joined the
    /// channel.
    async fn among(count: usize, nodes: usize) -> Self {
        let mut cluster = Self::made(count, nodes);
        for place in 0..nodes {
            cluster.start_node(place).await;
        }
        cluster
    }

    fn made(count: usize, nodes: usize) -> Self {
        let (consenters, keys) = consenters(nodes);
        let genesis = genesis(&consenters[..count]);
        let folders: Vec<_> = (0..nodes).map(|_| tempfile::tempdir().unwrap()).collect();
        for folder in &folders[..count] {
            let ledgers = LedgerProvider::new(folder.path(), BlockCacheConfig { bytes: 1 << 20 }).unwrap();
            ledgers.create(&ChannelId::parse(APP).unwrap(), &genesis).unwrap();
        }
        let running = (0..nodes).map(|_| None).collect();
        let (acknowledge, leader_patience) = (AcknowledgePoint::Durable, LEADER_PATIENCE);
        Self { consenters, folders, nodes: running, keys, wires: Arc::default(), acknowledge, leader_patience }
    }

    async fn start_node(&mut self, place: usize) {
        let ledgers = LedgerProvider::new(self.folders[place].path(), BlockCacheConfig { bytes: 1 << 20 }).unwrap();
        let signer = Arc::new(TestSigner::new());
        let mut context = node_context(ledgers, &signer, Durability::Disk, HEALING);
        context.consensus_mapping = ConsensusMapping { etcdraft: EtcdraftMapping::Raft, brokers: Vec::new() };
        context.tls_keys = arc_swap::ArcSwap::from_pointee(vec![self.keys[place].clone()]);
        let context = Arc::new(context);
        let node = place as u64 + 1;
        self.wires.nodes.lock().unwrap().insert(node, Arc::clone(&context.directory));
        let consenters = Consenters::default().with(SoloConsenter).with(RaftConsenter::new(self.parts(node)));
        let mut tree = ActorTree::start(Arc::clone(&context), Arc::new(consenters));
        tree.ready().await;
        self.nodes[place] = Some(Node { context, tree });
    }

    fn parts(&self, node: u64) -> RaftContext {
        RaftContext {
            network: Arc::new(Wire { node, wires: Arc::clone(&self.wires) }),
            replication: ReplicationContext::new(
                Arc::new(Wire { node, wires: Arc::clone(&self.wires) }),
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

    async fn stop_node(&mut self, place: usize) {
        let node = self.nodes[place].take().expect("it runs");
        self.wires.nodes.lock().unwrap().remove(&(place as u64 + 1));
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

    fn context(&self, place: usize) -> &Arc<NodeContext> {
        &self.nodes[place].as_ref().expect("it runs").context
    }

    /// Makes a node join with the newest config block of another.
    async fn join(&self, place: usize, from: usize) {
        let ledger = Arc::clone(self.channel(from).ledger());
        let block = ledger.block(ledger.last_config()).unwrap().unwrap();
        let context = Arc::clone(self.context(place));
        let block = JoinBlock::parse(&block.block_bytes(), &context).unwrap();
        context.membership.join(block).await.unwrap();
    }

    async fn until(&self, place: usize, wanted: ChannelState) {
        let mut states = self.channel(place).subscribe_state();
        within("the state of the channel", states.wait_for(|state| *state == wanted)).await.unwrap();
    }

    /// Sends a config update that makes these the channel's consenters, and waits until it is in force on that node.
    /// Otherwise the node would revalidate later envelopes that were validated before, and the envelopes of these tests
    /// would fail.
    async fn consent(&self, place: usize, consenters: &[Consenter]) -> OrderResult {
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
    async fn have_consent(&self, place: usize, consenters: &[Consenter]) {
        while let Err(refused) = self.consent(place, consenters).await {
            assert!(refused.to_string().contains("quorum loss"), "{refused}");
            tokio::time::sleep(TICK).await;
        }
    }

    fn channel(&self, place: usize) -> Arc<Channel> {
        match self.context(place).directory.get(APP) {
            Some(ChannelEntry::Open(channel)) => channel,
            other => panic!("{other:?}"),
        }
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|place| self.nodes[*place].is_some())
    }

    /// Waits until every running node knows a leader.
    async fn led(&self) {
        for place in self.running() {
            self.until(place, ChannelState::Running).await;
        }
    }

    /// Waits until a running node leads, and returns it. On a busy machine another one may lead at any time.
    async fn leader(&self) -> usize {
        self.leader_among(|_| true).await
    }

    /// Waits until one of these nodes leads, and returns it.
    async fn leader_among(&self, wanted: impl Fn(usize) -> bool) -> usize {
        let leads = |place: &usize| wanted(*place) && self.is_leader(*place);
        let found = async {
            loop {
                if let Some(place) = self.running().find(leads) {
                    return place;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        within("somebody leads", found).await
    }

    fn is_leader(&self, place: usize) -> bool {
        self.channel(place).observer().raft().shown().is_some_and(|shown| shown.is_leader)
    }

    /// Returns how often the nodes have noticed another leader, or none.
    fn leader_changes(&self) -> u64 {
        let changes = |place: usize| {
            let channel = self.channel(place);
            channel.observer().raft().shown().map_or(0, |shown| shown.leader_changes)
        };
        self.running().map(changes).sum()
    }

    async fn order(&self, place: usize, text: &str) -> bool {
        let channel = self.channel(place);
        let envelope = SignedEnvelope::from_parts(payload(text), Bytes::from_static(b"nobody looks at it"));
        let validated_at = channel.snapshot().sequence();
        match channel.gate().order(ValidatedEnvelope { envelope, validated_at, is_config: false }).await {
            Some(answer) => matches!(answer.await, Ok(Ok(()))),
            None => false,
        }
    }

    fn chain(&self, place: usize) -> Vec<String> {
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
    async fn ordered(&self, place: usize, texts: &[String]) -> Vec<String> {
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
    async fn agree(&self, texts: &[String]) {
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

/// Returns the payload of a normal message with this text.
fn payload(text: &str) -> Bytes {
    let channel_header = ChannelHeader {
        r#type: HeaderType::EndorserTransaction as i32,
        channel_id: APP.to_owned(),
        ..ChannelHeader::default()
    };
    let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    Payload { header: Some(header), data: Bytes::copy_from_slice(text.as_bytes()) }.encode_to_vec().into()
}

fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number}")).collect()
}

#[actix::test]
async fn one_consenter_orders_alone_and_goes_on_after_a_restart() {
    let mut cluster = Cluster::start(1).await;
    cluster.led().await;
    let all = texts("a", 25);
    for text in &all {
        assert!(cluster.order(0, text).await);
    }
    assert_eq!(cluster.ordered(0, &all).await, all);
    cluster.stop_node(0).await;
    cluster.start_node(0).await;
    cluster.led().await;
    assert!(cluster.order(0, "after").await);
    let chain = cluster.ordered(0, &["after".to_owned()]).await;
    assert_eq!(chain, [&all[..], &["after".to_owned()]].concat(), "nothing is ordered twice");
}

#[actix::test]
async fn three_consenters_make_one_chain_whichever_of_them_takes_the_envelopes() {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let before = cluster.leader_changes();
    let mut all = Vec::new();
    for place in 0..3 {
        for text in texts(&format!("node{place}"), 15) {
            assert!(cluster.order(place, &text).await);
            all.push(text);
        }
    }
    cluster.agree(&all).await;
    let chain = cluster.chain(0);
    // what was forwarded to a leader that is lost, as on a very busy machine, is sent again and may be ordered twice
    if cluster.leader_changes() == before {
        assert_eq!(chain.len(), all.len(), "none is ordered twice");
    }
}

#[actix::test]
async fn what_a_node_has_acknowledged_is_ordered_after_its_leader_was_cut_off() {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let before = cluster.leader().await;
    cluster.wires.cut(before as u64 + 1);
    let other = (before + 1) % 3;
    let mut all = texts("at-the-lost-leader", 12);
    for text in &all {
        assert!(cluster.order(before, text).await, "it does not know yet");
    }
    let others = texts("elsewhere", 12);
    for text in &others {
        assert!(cluster.order(other, text).await);
    }
    cluster.ordered(other, &others).await;
    // another leads
    cluster.leader_among(|place| place != before).await;
    cluster.wires.mend();
    all.extend(others);
    cluster.agree(&all).await;
}

#[actix::test]
async fn who_missed_more_than_the_leaders_log_has_left_gets_the_blocks_from_others() {
    let mut cluster = Cluster::start(3).await;
    cluster.led().await;
    let away = (cluster.leader().await + 1) % 3;
    cluster.stop_node(away).await;
    let place = cluster.running().next().unwrap();
    // a snapshot is taken every 4 KiB of blocks, and 16 entries are kept before it
    let mut missed = texts("missed", 600);
    for text in &missed {
        assert!(cluster.order(place, text).await);
    }
    cluster.ordered(place, &missed).await;
    let has_snapshot = |place: usize| {
        let channel = cluster.channel(place);
        channel.observer().raft().shown().is_some_and(|shown| shown.snapshot_block > 20)
    };
    let taken = async {
        while !cluster.running().all(has_snapshot) {
            tokio::time::sleep(TICK).await;
        }
    };
    within("snapshots are taken, whoever leads", taken).await;
    cluster.start_node(away).await;
    cluster.agree(&missed).await;
    // it has been catching up, and its state shows that no longer
    cluster.led().await;
    assert!(cluster.order(away, "afterwards").await);
    missed.push("afterwards".to_owned());
    cluster.agree(&missed).await;
}

#[actix::test]
async fn a_node_that_was_away_for_long_gets_what_it_missed() {
    let mut cluster = Cluster::start(3).await;
    cluster.led().await;
    let away = (cluster.leader().await + 1) % 3;
    let first = texts("before", 5);
    for text in &first {
        assert!(cluster.order(away, text).await);
    }
    cluster.agree(&first).await;
    cluster.stop_node(away).await;
    let place = cluster.running().next().unwrap();
    let missed = texts("missed", 20);
    for text in &missed {
        assert!(cluster.order(place, text).await);
    }
    cluster.ordered(place, &missed).await;
    cluster.start_node(away).await;
    cluster.led().await;
    cluster.agree(&[first, missed].concat()).await;
}

#[actix::test]
async fn a_node_joins_late_follows_becomes_a_consenter_and_is_removed_again() {
    let cluster = Cluster::among(3, 4).await;
    let late = 3;
    let led = (0..3).map(|place| cluster.until(place, ChannelState::Running));
    futures_util::future::join_all(led).await;
    let mut all = texts("before", 12);
    for text in &all {
        assert!(cluster.order(0, text).await);
    }
    cluster.ordered(0, &all).await;
    // a config block after the first one
    let mut moved = cluster.consenters[..3].to_vec();
    moved[0].port = 7051;
    cluster.have_consent(0, &moved).await;

    cluster.join(late, 0).await;
    cluster.until(late, ChannelState::Following).await;
    assert_eq!(cluster.channel(late).relation(), ConsensusRelation::Follower);
    assert!(
        !cluster.context(late).ledgers.join_block(&ChannelId::parse(APP).unwrap()).exists(),
        "it has what it was joined with"
    );
    assert!(!cluster.channel(late).gate().is_open(), "a follower takes nothing");
    assert!(cluster.order(0, "while it follows").await);
    all.push("while it follows".to_owned());
    cluster.ordered(late, &all).await;

    cluster.have_consent(1, &[&moved[..], &cluster.consenters[3..]].concat()).await;
    cluster.until(late, ChannelState::Running).await;
    assert_eq!(cluster.channel(late).relation(), ConsensusRelation::Consenter);
    for text in texts("at the late one", 12) {
        assert!(cluster.order(late, &text).await);
        all.push(text);
    }
    cluster.agree(&all).await;

    cluster.have_consent(0, &moved).await;
    cluster.until(late, ChannelState::Following).await;
    assert!(cluster.order(0, "without it").await);
    all.push("without it".to_owned());
    cluster.agree(&all).await;
}

#[actix::test]
async fn an_update_that_would_cost_the_quorum_is_refused_and_one_that_can_be_is_taken() {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let first = cluster.leader().await;
    let (lost, other) = ((first + 1) % 3, (first + 2) % 3);
    let without = |place: usize| -> Vec<Consenter> {
        let kept = (0..3).filter(|kept| *kept != place);
        kept.map(|kept| cluster.consenters[kept].clone()).collect()
    };
    // waits until a leader knows that so many are active; on a busy machine the leader may change
    let active = async |nodes| {
        let knows = async {
            loop {
                let leader = cluster.leader_among(|place| nodes == 3 || place != lost).await;
                if cluster.channel(leader).observer().raft().shown().map(|shown| shown.active_nodes) == Some(nodes) {
                    return leader;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        within("the leader knows who is active", knows).await
    };
    active(3).await;
    cluster.wires.cut(lost as u64 + 1);
    let refused = async {
        loop {
            let leader = active(2).await;
            let refused = cluster.consent(leader, &without(other)).await.unwrap_err().to_string();
            if refused == "2 out of 3 nodes are alive, configuration will result in quorum loss" {
                return;
            }
            assert!(!cluster.is_leader(leader), "{refused}");
        }
    };
    within("it is refused", refused).await;
    let taken = async {
        loop {
            let leader = active(2).await;
            match cluster.consent(leader, &without(lost)).await {
                Ok(()) => return leader,
                Err(refused) => assert!(!cluster.is_leader(leader), "{refused}"),
            }
        }
    };
    let leader = within("it is taken", taken).await;
    let texts = texts("with two", 5);
    for text in &texts {
        assert!(cluster.order(leader, text).await);
    }
    cluster.ordered(other, &texts).await;
}
