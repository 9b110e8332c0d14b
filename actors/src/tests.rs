//! Tests of the tree under failures: two channels, failures of each actor, and the guarantees that hold nevertheless.

#![expect(clippy::disallowed_methods, reason = "tests send one message at a time")]

mod config_message;
mod faults;
mod gate;
mod kafka;
mod own_part;
mod raft;
mod restarts;
mod token;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orderer_core::block::EncodedBlock;
use orderer_core::config::ChannelSnapshot;
use orderer_core::crypto::{SignError, Signer, SigningIdentity, SigningKey};
use orderer_core::envelope::SignedEnvelope;
use orderer_core::supervision::RestartPolicy;
use orderer_core::types::{BlockNumber, ChannelId};
use orderer_kafka::testing::FakeCluster;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::chain_state::ChainResumePoint;
use crate::channel::{Channel, ChannelEntry, ChannelRegistry, ChannelState, KillActor};
use crate::consensus::Consenters;
use crate::consensus::kafka::{KafkaConsenter, KafkaContext, RetryPolicy};
use crate::consensus::solo::SoloConsenter;
use crate::fail_points::FailAction;
use crate::ledger_provider::{BlockCacheConfig, LedgerProvider};
use crate::mailbox::{OrderError, OrderResult, ValidatedEnvelope};
use crate::node_context::{Durability, NodeContext, SignerCell};
use crate::participation::RestartError;
use crate::registrar::Registrar;
use crate::status::StatusBoard;
use crate::supervision::{PanicNow, install_panic_hook};
use crate::system::{ActorTree, start_arbiters};

use config_message::{config_message, larger_batches};

const NET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/net");

const POLICY: RestartPolicy = RestartPolicy {
    limit: 3,
    window: Duration::from_secs(60),
    initial_delay: Duration::from_millis(1),
    max_delay: Duration::from_millis(5),
    jitter: 0.0,
};

/// Number of ledgers that are opened at the same time.
const LEDGERS_AT_ONCE: u32 = 4;

/// Restart policy for tests that kill more than once.
const HEALING: RestartPolicy = RestartPolicy { limit: 1000, ..POLICY };

/// Signs as the orderer of the fixture network, unless told to panic.
struct TestSigner(SigningIdentity, std::sync::atomic::AtomicBool);

impl TestSigner {
    fn new() -> Self {
        let msp = Path::new(NET).join("crypto/ordererOrganizations/example.com/orderers/orderer.example.com/msp");
        let key = SigningKey::from_pem(&std::fs::read(msp.join("keystore/priv_sk")).unwrap()).unwrap();
        let certificate = std::fs::read(msp.join("signcerts/orderer.example.com-cert.pem")).unwrap();
        Self(SigningIdentity::new("OrdererMSP", &certificate, key).unwrap(), false.into())
    }
}

impl Signer for TestSigner {
    fn creator(&self) -> &Bytes {
        self.0.creator()
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        assert!(!self.1.load(std::sync::atomic::Ordering::SeqCst), "the signer was told to panic");
        self.0.sign(message)
    }
}

/// Time limit of everything that a test waits for; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for a future for at most [`PATIENCE`].
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A tree over a folder, with the channels `syschan` and `app`.
struct World {
    context: Arc<NodeContext>,
    signer: Arc<TestSigner>,
    cluster: FakeCluster,
    tree: ActorTree,
}

/// A cluster of the channels that are not solo, the same for each of their chains.
fn kafka_context(cluster: &FakeCluster) -> KafkaContext {
    let cluster: Arc<dyn orderer_kafka::Cluster> = Arc::new(cluster.clone());
    KafkaContext {
        connector: Box::new(move |_| Ok(Arc::clone(&cluster))),
        traffic: Arc::default(),
        replication_factor: 1,
        topic_grace: Duration::from_secs(60),
        retry: RetryPolicy {
            short_interval: Duration::from_secs(1),
            short_total: Duration::from_secs(60),
            long_interval: Duration::from_secs(1),
            long_total: Duration::from_secs(60),
        },
        produce_again: 1,
        produce_pause: Duration::from_millis(10),
    }
}

/// A node that serves nothing yet.
fn node_context(
    ledgers: LedgerProvider,
    signer: &Arc<TestSigner>,
    durability: Durability,
    policy: RestartPolicy,
) -> NodeContext {
    NodeContext {
        signer: Arc::new(SignerCell::new(Arc::clone(signer) as Arc<dyn Signer>)),
        blocking_runtime: tokio::runtime::Handle::current(),
        token: None,
        ledgers,
        catalog: Arc::default(),
        ledger_open_permits: Arc::new(tokio::sync::Semaphore::new(LEDGERS_AT_ONCE as usize)),
        directory: Arc::new(ChannelRegistry::default()),
        fairness: orderer_core::rate_limit::RateLimiter::new(orderer_core::rate_limit::RateLimits::NONE),
        membership: crate::participation::ChannelParticipation::default(),
        status_board: StatusBoard::default(),
        observer: crate::observer::NodeObserver::new(),
        arbiters: start_arbiters(2).iter().map(actix_rt::Arbiter::handle).collect(),
        consensus_mapping: orderer_core::config::ConsensusMapping::default(),
        tls_keys: arc_swap::ArcSwap::default(),
        durability,
        ingress_capacity_bytes: 1 << 20,
        channel_restarts: policy,
        expiration_checks: true,
        started_at: Instant::now(),
    }
}

impl World {
    async fn start(folder: &Path, durability: Durability) -> Self {
        Self::with(folder, durability, "AppSolo.block", POLICY).await
    }

    /// With this channel beside `syschan`.
    async fn with(folder: &Path, durability: Durability, app: &str, policy: RestartPolicy) -> Self {
        install_panic_hook();
        let ledgers = LedgerProvider::new(folder, BlockCacheConfig { bytes: 1 << 20 }).unwrap();
        for file in ["SysSolo.block", app] {
            let block = EncodedBlock::parse(&std::fs::read(Path::new(NET).join(file)).unwrap()).unwrap();
            let channel = ChannelSnapshot::from_config_block(&block.decode(), &std::sync::Arc::default())
                .unwrap()
                .channel()
                .clone();
            if !ledgers.path(&channel).exists() {
                ledgers.create(&channel, &block).unwrap();
            }
        }
        let (signer, cluster) = (Arc::new(TestSigner::new()), FakeCluster::new());
        let context = node_context(ledgers, &signer, durability, policy);
        let context = Arc::new(context);
        let consenters = Consenters::default().with(SoloConsenter).with(KafkaConsenter::new(kafka_context(&cluster)));
        let mut tree = ActorTree::start(Arc::clone(&context), Arc::new(consenters));
        tree.ready().await;
        let world = Self { context, signer, cluster, tree };
        for name in ["syschan", "app"] {
            world.until(name, |state| *state == ChannelState::Running).await;
        }
        world
    }

    fn channel(&self, name: &str) -> Arc<Channel> {
        match self.context.directory.get(name) {
            Some(ChannelEntry::Open(channel)) => channel,
            other => panic!("{name}: {other:?}"),
        }
    }

    async fn until(&self, name: &str, wanted: impl FnMut(&ChannelState) -> bool) -> ChannelState {
        let mut states = self.channel(name).subscribe_state();
        let state = within("the state of the channel", states.wait_for(wanted)).await;
        state.unwrap().clone()
    }

    /// Orders an envelope with this text in it.
    async fn order(&self, name: &str, text: &str) -> Option<oneshot::Receiver<OrderResult>> {
        let channel = self.channel(name);
        let envelope = SignedEnvelope::from_parts(Bytes::copy_from_slice(text.as_bytes()), Bytes::new());
        let validated_at = channel.snapshot().sequence();
        channel.gate().order(ValidatedEnvelope { envelope, validated_at, is_config: false }).await
    }

    /// Returns an envelope with this text; `is_config` claims that it is a config message.
    fn envelope(&self, name: &str, text: &str, is_config: bool) -> ValidatedEnvelope {
        let envelope = SignedEnvelope::from_parts(Bytes::copy_from_slice(text.as_bytes()), Bytes::new());
        ValidatedEnvelope { envelope, validated_at: self.channel(name).snapshot().sequence(), is_config }
    }

    /// Sends these envelopes as one message.
    fn order_together(&self, name: &str, envelopes: Vec<ValidatedEnvelope>) -> Vec<oneshot::Receiver<OrderResult>> {
        let channel = self.channel(name);
        let admit = |envelope| channel.gate().try_admit(envelope).expect("there is room");
        let (orders, answers) = envelopes.into_iter().map(admit).unzip();
        assert!(channel.gate().send(orders));
        answers
    }

    /// Waits until each arbiter has processed what it had been sent.
    async fn arbiters_have_run(&self) {
        // an actor that the first round wakes has run by the end of the second
        for arbiter in self.context.arbiters.iter().chain(&self.context.arbiters) {
            let (done, ran) = oneshot::channel();
            assert!(arbiter.spawn_fn(move || done.send(()).expect("the test waits")));
            ran.await.expect("the arbiter runs");
        }
    }

    async fn order_and_wait(&self, name: &str, text: &str) -> bool {
        match self.order(name, text).await {
            Some(answer) => matches!(answer.await, Ok(Ok(()))),
            None => false,
        }
    }

    /// Texts of all envelopes in the chain.
    fn chain(&self, name: &str) -> Vec<String> {
        let channel = self.channel(name);
        let blocks = (1..channel.ledger().height()).map(|n| channel.ledger().block(BlockNumber(n)).unwrap().unwrap());
        let envelopes = blocks.flat_map(|block| block.decode().data.unwrap_or_default().data);
        let text = |raw: Bytes| String::from_utf8_lossy(SignedEnvelope::parse(raw).unwrap().payload()).into_owned();
        envelopes.map(text).collect()
    }

    async fn until_height(&self, name: &str, height: u64) {
        let mut heights = self.channel(name).ledger().heights();
        within("the height", heights.wait_for(|h| *h >= height)).await.unwrap();
    }

    async fn restart(&self, name: &str) -> Result<(), RestartError> {
        self.context.membership.restart(ChannelId::parse(name).unwrap()).await
    }

    async fn kill(&self, name: &str, kill: KillActor) {
        let support = self.channel(name).support().expect("a support");
        support.kill(kill).await;
    }
}

#[actix::test]
async fn an_acknowledged_envelope_is_in_the_block_that_the_timer_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let (channel, mut ordered) = (world.channel("app"), Vec::new());
    loop {
        let height = channel.ledger().height();
        ordered.push(format!("envelope {}", ordered.len()));
        assert!(world.order_and_wait("app", ordered.last().unwrap()).await);
        let pending = channel.ledger().pending().unwrap().len();
        // a machine that is busy may look only after the timer has cut the block
        if channel.ledger().height() == height {
            assert_eq!(pending, 1, "on the disk before its block");
            break;
        }
        assert!(ordered.len() < 50, "the timer cuts each block before it is looked at");
    }
    let mut heights = channel.ledger().heights();
    within("the last block", heights.wait_for(|_| world.chain("app") == ordered)).await.unwrap();
    assert!(channel.ledger().pending().unwrap().is_empty());
}

#[actix::test]
async fn envelopes_behind_config_messages_of_one_batch_are_ordered_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let sent = [("one", false), ("no configuration", true), ("two", false), ("nor this", true), ("three", false)];
    let mut accepted = Vec::new();
    let envelopes = sent.map(|(text, is_config)| world.envelope("app", text, is_config)).into();
    for answer in world.order_together("app", envelopes) {
        accepted.push(matches!(answer.await, Ok(Ok(()))));
    }
    assert_eq!(accepted, [true, false, true, false, true]);
    // each config message ended the batch before it
    world.until_height("app", 4).await;
    assert_eq!(world.chain("app"), ["one", "two", "three"]);
}

#[actix::test]
async fn nothing_is_ordered_while_a_config_message_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    let points = world.context.status_board.fail_points();
    let applying = "registrar/app/solo-chain:Apply@thread";
    points.set(applying, FailAction::Held, 1);
    let config = larger_batches(&world.channel("app").snapshot());
    let config = ValidatedEnvelope { envelope: config.envelope, validated_at: config.sequence, is_config: true };
    let envelope = |text| world.envelope("app", text, false);
    let same_message = world.order_together("app", vec![envelope("before"), config, envelope("behind")]);
    let next_message = world.order_together("app", vec![envelope("later")]);
    while points.remaining(applying) > 0 {
        tokio::task::yield_now().await;
    }
    world.arbiters_have_run().await;
    let Ok([before, config, behind]) = <[_; 3]>::try_from(same_message) else { panic!("three answers") };
    let Ok([later]) = <[_; 1]>::try_from(next_message) else { panic!("one answer") };
    assert_eq!(before.await, Ok(Ok(())), "what is before the config message waits for nothing");
    let mut waiting = [config, behind, later];
    assert!(waiting.iter_mut().all(|answer| answer.try_recv() == Err(TryRecvError::Empty)));
    assert_eq!(world.chain("app"), ["before"]);
    points.release(applying);
    let [config, behind, later] = waiting;
    assert_eq!(config.await, Ok(Ok(())));
    // both were revalidated under the new configuration, under which nobody may send them
    for answer in [behind, later] {
        assert!(matches!(answer.await, Ok(Err(OrderError::NoLongerValid { .. }))));
    }
    assert_eq!(world.channel("app").ledger().height(), 3);
}

#[actix::test]
async fn the_newest_block_is_read_with_its_data_for_a_chain_that_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    assert!(world.order_and_wait("app", &"large".repeat(2000)).await);
    world.until_height("app", 2).await;
    let channel = world.channel("app");
    let mut state = ChainResumePoint::load(channel.ledger(), channel.current_config(), &world.context.catalog).unwrap();
    assert_eq!((state.last.envelopes(), state.last.decode().data), (1, None));
    state.read_whole_block(channel.ledger()).unwrap();
    assert_eq!(state.last.decode().data.unwrap().data.len(), 1);
}

#[actix::test]
async fn with_memory_durability_a_stop_cuts_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Memory).await;
    assert!(world.order_and_wait("app", "one").await);
    let channel = world.channel("app");
    world.tree.stop().await;
    assert_eq!(channel.ledger().height(), 2);
    assert_eq!(channel.state(), ChannelState::Stopped);
}

#[actix::test]
async fn a_signer_that_panics_costs_a_restart_and_no_envelope() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    world.signer.1.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(world.order_and_wait("app", "one").await, "it is on the disk, in no block");
    // the timer cuts the block, which cannot be signed
    let state = world.until("app", |state| matches!(state, ChannelState::Restarting { .. })).await;
    assert!(state.to_string().contains("told to panic"), "{state}");
    world.signer.1.store(false, std::sync::atomic::Ordering::SeqCst);
    world.until_height("app", 2).await;
    assert_eq!(world.chain("app"), ["one"]);
}

#[actix::test]
async fn every_actor_publishes_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path(), Durability::Disk).await;
    assert!(world.order_and_wait("app", "one").await);
    // an actor may say so only after its channel runs
    let all_run = async {
        while world.context.status_board.all().iter().any(|(_, cell)| cell.report().state != "running") {
            tokio::task::yield_now().await;
        }
    };
    within("every actor is running", all_run).await;
    let all = world.context.status_board.all();
    let paths: Vec<&str> = all.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "registrar",
        "registrar/app",
        "registrar/app/block-writer",
        "registrar/app/solo-chain",
        "registrar/syschan",
        "registrar/syschan/block-writer",
        "registrar/syschan/solo-chain",
        "supervisor",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn every_handler_begins_by_recording_its_activity() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut handlers = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // handlers of tests' own actors and messages are not watched
            if path.is_dir() {
                folders.extend(Some(path).filter(|path| !path.ends_with("src/tests")));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let production = text.split("\n#[cfg(test)]").next().unwrap();
            for handler in production.split("\nimpl Handler<").skip(1) {
                let body = handler.split_once("fn handle(").unwrap().1.split_once("{\n").unwrap().1;
                let first = body.lines().next().unwrap().trim();
                assert!(
                    first.starts_with("let _activity = self.status.begin_message(ActivityKind::"),
                    "{}: {handler}",
                    path.display()
                );
                handlers += 1;
            }
        }
    }
    assert!(handlers > 20, "{handlers}");
}
