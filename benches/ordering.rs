//! Benchmark of one channel's order: envelopes of 1 KiB that are validated already pass the gate, the chain and the block
//! writer, until they are durable in signed blocks. It shows how many envelopes a second one channel can order when signatures
//! cost nothing. Run it on one core with `taskset -c 0`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fabric_proto::Message as _;
use fabric_proto::common::{Block, ConfigEnvelope, Envelope, Payload};
use fabric_proto::orderer::BatchSize as BatchSizeValue;
use orderer_actors::channel::ChannelEntry;
use orderer_actors::consensus::Consenters;
use orderer_actors::consensus::solo::SoloConsenter;
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_actors::mailbox::ValidatedEnvelope;
use orderer_actors::node_context::SignerCell;
use orderer_actors::observer::NodeObserver;
use orderer_actors::participation::ChannelParticipation;
use orderer_actors::status::StatusBoard;
use orderer_actors::system::{ActorTree, start_arbiters};
use orderer_actors::{Channel, ChannelRegistry, ChannelState, Durability, NodeContext};
use orderer_core::block::EncodedBlock;
use orderer_core::config::ConsensusMapping;
use orderer_core::crypto::sha256;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::rate_limit::{RateLimiter, RateLimits};
use orderer_core::supervision::RestartPolicy;
use orderer_core::types::ChannelId;
use orderer_localconfig::local_msp::read_signing_identity;

const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/net");
/// Envelopes of one iteration.
const ENVELOPES: usize = 4000;
/// Envelopes that are sent as one message, as a busy stream does.
const AT_ONCE: usize = 16;
/// Size in bytes of an envelope.
const BYTES: usize = 1024;

/// A node without listeners, with one solo channel.
struct Node {
    channel: Arc<Channel>,
    tree: ActorTree,
    _folder: tempfile::TempDir,
}

/// Returns the genesis block of the fixtures' channel, with blocks of at most this many messages.
fn genesis(max_message_count: u32) -> EncodedBlock {
    let mut block = Block::decode(&std::fs::read(Path::new(NET).join("AppSolo.block")).unwrap()[..]).unwrap();
    let data = &mut block.data.as_mut().unwrap().data[0];
    let mut envelope = Envelope::decode(data.clone()).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let mut config = ConfigEnvelope::decode(payload.data).unwrap();
    let group = config.config.as_mut().unwrap().channel_group.as_mut().unwrap();
    let value = group.groups.get_mut("Orderer").unwrap().values.get_mut("BatchSize").unwrap();
    let limit = 64 << 20;
    let size = BatchSizeValue { max_message_count, absolute_max_bytes: limit, preferred_max_bytes: limit };
    value.value = size.encode_to_vec().into();
    payload.data = config.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    *data = envelope.encode_to_vec().into();
    block.header.as_mut().unwrap().data_hash = Bytes::copy_from_slice(&sha256(&[data]));
    EncodedBlock::parse(&block.encode_to_vec()).unwrap()
}

impl Node {
    async fn start(max_message_count: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledgers = LedgerProvider::new(folder.path(), BlockCacheConfig { bytes: 1 << 20 }).unwrap();
        let id = ChannelId::parse("app").unwrap();
        ledgers.create(&id, &genesis(max_message_count)).unwrap();
        let msp = Path::new(NET).join("crypto/ordererOrganizations/example.com/orderers/orderer.example.com/msp");
        let signer = read_signing_identity(&msp, "OrdererMSP").unwrap();
        let context = Arc::new(NodeContext {
            signer: Arc::new(SignerCell::new(Arc::new(signer))),
            blocking_runtime: tokio::runtime::Handle::current(),
            token: None,
            ledgers,
            catalog: Arc::default(),
            ledger_open_permits: Arc::new(tokio::sync::Semaphore::new(1)),
            directory: Arc::new(ChannelRegistry::default()),
            fairness: RateLimiter::new(RateLimits::NONE),
            membership: ChannelParticipation::default(),
            status_board: StatusBoard::default(),
            observer: NodeObserver::new(),
            arbiters: start_arbiters(1).iter().map(actix_rt::Arbiter::handle).collect(),
            consensus_mapping: ConsensusMapping::default(),
            tls_keys: arc_swap::ArcSwap::default(),
            durability: Durability::Disk,
            ingress_capacity_bytes: 64 << 20,
            channel_restarts: RestartPolicy {
                limit: 0,
                window: Duration::from_secs(1),
                initial_delay: Duration::ZERO,
                max_delay: Duration::ZERO,
                jitter: 0.0,
            },
            expiration_checks: true,
            started_at: Instant::now(),
        });
        let consenters = Consenters::default().with(SoloConsenter);
        let mut tree = ActorTree::start(Arc::clone(&context), Arc::new(consenters));
        tree.ready().await;
        let Some(ChannelEntry::Open(channel)) = context.directory.get("app") else { panic!("the channel is not open") };
        channel.subscribe_state().wait_for(|state| *state == ChannelState::Running).await.unwrap();
        Self { channel, tree, _folder: folder }
    }

    /// Orders the envelopes, and waits until all are durable.
    async fn order(&self, envelopes: Vec<SignedEnvelope>) {
        let validated_at = self.channel.snapshot().sequence();
        let mut answers = Vec::with_capacity(envelopes.len());
        let mut envelopes = envelopes.into_iter().peekable();
        while envelopes.peek().is_some() {
            let mut orders = Vec::with_capacity(AT_ONCE);
            for envelope in envelopes.by_ref().take(AT_ONCE) {
                let valid = ValidatedEnvelope { envelope, validated_at, is_config: false };
                let (order, answer) = self.channel.gate().try_admit(valid).unwrap();
                orders.push(order);
                answers.push(answer);
            }
            assert!(self.channel.gate().send(orders));
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
    }

    /// Stops the tree, so that its threads do not disturb the next measurement.
    async fn stop(self) {
        self.tree.stop().await;
    }
}

fn one_channel(c: &mut Criterion) {
    let mut group = c.benchmark_group("one channel's order");
    group.throughput(Throughput::Elements(ENVELOPES as u64)).sample_size(20).measurement_time(Duration::from_secs(4));
    let envelope = SignedEnvelope::from_parts(vec![7; BYTES - 80].into(), vec![8; 72].into());
    for max_message_count in [10, 100, 500] {
        let system = actix_rt::System::new();
        let node = system.block_on(Node::start(max_message_count));
        group.bench_function(format!("blocks of {max_message_count}"), |b| {
            b.iter_batched(
                || vec![envelope.clone(); ENVELOPES],
                |envelopes| system.block_on(node.order(envelopes)),
                BatchSize::LargeInput,
            );
        });
        system.block_on(node.stop());
    }
    group.finish();
}

criterion_group!(benches, one_channel);
criterion_main!(benches);
