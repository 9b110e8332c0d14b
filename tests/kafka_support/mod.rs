//! Orderers that share a Kafka cluster, and clients that retry.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "a test that panics has failed")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fabric_proto::Message as _;
use fabric_proto::common::{Block, BlockHeader, ConfigEnvelope, Envelope, Metadata, Payload, Status};
use fabric_proto::orderer::KafkaBrokers;
use orderer_core::block::EncodedBlock;
use orderer_core::config::genesis::genesis_block_from_envelope;
use orderer_kafka::{Cluster as _, KafkaCluster};
use tokio::task::JoinHandle;

use crate::broker::{Brokers, Listener};
use crate::world::client::entries;
use crate::world::messages::{block, oldest, seek_info, transaction, tx_id};
use crate::world::node::orderer_folder;
use crate::world::{Client, NET, Node, Setup, Step, TestIdentity, within};

pub const CHANNEL: &str = "app";

/// Returns a genesis block of the fixtures, with these brokers in its configuration.
fn genesis(file: &str, brokers: &[String]) -> Vec<u8> {
    let file = std::fs::read(format!("{NET}/{file}")).unwrap();
    let block = EncodedBlock::parse(&file).unwrap().decode();
    let mut envelope = Envelope::decode(block.data.unwrap().data[0].clone()).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let mut message = ConfigEnvelope::decode(payload.data).unwrap();
    let group = message.config.as_mut().unwrap().channel_group.as_mut().unwrap();
    let value = group.groups.get_mut("Orderer").unwrap().values.get_mut("KafkaBrokers").unwrap();
    value.value = KafkaBrokers { brokers: brokers.to_vec() }.encode_to_vec().into();
    payload.data = message.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    genesis_block_from_envelope(envelope.encode_to_vec().into(), true).to_vec()
}

/// Sets up an orderer of the fixtures' network by name, with the application channel and these brokers.
pub fn orderer(name: &str, brokers: &Brokers, listener: Listener) -> Setup {
    orderer_of("AppKafka.block", name, brokers, listener)
}

/// Sets up an orderer of the fixtures' network by name, with the system channel and these brokers.
pub fn system_orderer(name: &str, brokers: &Brokers, listener: Listener) -> Setup {
    orderer_of("SysKafka.block", name, brokers, listener)
}

fn orderer_of(first_block: &str, name: &str, brokers: &Brokers, listener: Listener) -> Setup {
    orderer_at(first_block, name, &brokers.addresses(listener))
}

/// Sets up an orderer with a genesis block of the fixtures and brokers at these addresses.
pub fn orderer_at(first_block: &str, name: &str, addresses: &[String]) -> Setup {
    let setup = Setup::without_channels();
    let file = setup.folder().join("genesis.block");
    std::fs::write(&file, genesis(first_block, addresses)).unwrap();
    let ledger = setup.folder().join("ledger");
    setup
        .set("GENERAL_BOOTSTRAPMETHOD", "file")
        .set("GENERAL_BOOTSTRAPFILE", file.display())
        .set("GENERAL_LOCALMSPDIR", orderer_folder().with_file_name(name).join("msp").display())
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("FILELEDGER_LOCATION", ledger.display())
        .set("KAFKA_TOPIC_REPLICATIONFACTOR", addresses.len())
        .set("KAFKA_RETRY_SHORTINTERVAL", "1s")
        .set("KAFKA_RETRY_NETWORKTIMEOUTS_DIALTIMEOUT", "2s")
        .set("KAFKA_RETRY_NETWORKTIMEOUTS_READTIMEOUT", "2s")
        .set("KAFKA_RETRY_NETWORKTIMEOUTS_WRITETIMEOUT", "2s")
}

/// Sets up both orderers of the fixtures' network.
pub fn two_orderers(brokers: &Brokers) -> [Setup; 2] {
    ["orderer.example.com", "orderer2.example.com"].map(|name| orderer(name, brokers, Listener::Plain))
}

/// Clients that each broadcast one envelope after the other to one address, and retry while the node is down.
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<BTreeSet<String>>>,
    sent_again: Arc<AtomicUsize>,
}

impl Load {
    pub fn on(addresses: &[String], clients: usize) -> Self {
        let (stop, sent_again) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let run = |address: &String| {
            tokio::spawn(broadcast_until(address.clone(), Arc::clone(&stop), Arc::clone(&sent_again)))
        };
        let tasks = addresses.iter().flat_map(|address| std::iter::repeat_n(address, clients)).map(run).collect();
        Self { stop, tasks, sent_again }
    }

    /// Stops the clients. Returns the acknowledged transactions and the number of envelopes that were sent again.
    pub async fn end(self) -> (BTreeSet<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = BTreeSet::new();
        for task in self.tasks {
            acknowledged.extend(within("a client ends", task).await.unwrap());
        }
        (acknowledged, self.sent_again.load(Ordering::Relaxed))
    }
}

/// Broadcasts until `stop` is set. Each envelope except the last is sent until it is acknowledged.
async fn broadcast_until(address: String, stop: Arc<AtomicBool>, sent_again: Arc<AtomicUsize>) -> BTreeSet<String> {
    let user = TestIdentity::user(1);
    let mut acknowledged = BTreeSet::new();
    'envelopes: while !stop.load(Ordering::Relaxed) {
        let envelope = transaction(&user, CHANNEL, "a transaction");
        while !try_broadcast(&address, &envelope).await {
            if stop.load(Ordering::Relaxed) {
                break 'envelopes;
            }
            sent_again.fetch_add(1, Ordering::Relaxed);
            // a pause between attempts, so that clients of a stopped node do not use all processors
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        acknowledged.insert(tx_id(&envelope));
    }
    acknowledged
}

async fn try_broadcast(address: &str, envelope: &Envelope) -> bool {
    let Ok(endpoint) = tonic::transport::Endpoint::from_shared(format!("http://{address}")) else { return false };
    let Ok(channel) = endpoint.connect_timeout(Duration::from_secs(2)).connect().await else { return false };
    let Ok(mut stream) = Client::over(channel).try_broadcasting().await else { return false };
    stream.send(envelope.clone()).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
    matches!(answer, Ok(Step::Status(Status::Success, _)))
}

/// Returns the time until this orderer acknowledges an envelope.
pub async fn until_it_orders(address: &str) -> Duration {
    let began = std::time::Instant::now();
    let user = TestIdentity::user(1);
    let ordered = async {
        while !try_broadcast(address, &transaction(&user, CHANNEL, "does it order?")).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the orderer orders", ordered).await;
    began.elapsed()
}

/// Returns the time until every broker is in sync with the channel's topic, so that any one of them may fail. Asks each
/// broker, because a broker that was paused reports what it knew before.
pub async fn all_in_sync(brokers: &Brokers) -> Duration {
    let began = std::time::Instant::now();
    let addresses = brokers.addresses(Listener::Plain);
    let whole = addresses.len();
    for address in addresses {
        let cluster = KafkaCluster::new(orderer_kafka::Settings::new(vec![address])).unwrap();
        let in_sync = async {
            while !cluster
                .topic(CHANNEL)
                .await
                .is_ok_and(|topic| topic.leader.is_some() && topic.in_sync.len() == whole)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("all replicas are in sync", in_sync).await;
    }
    began.elapsed()
}

/// Returns the parts of the blocks that all orderers of a topic must have in common: header, data, and the signed
/// metadata with the chain's position in the topic.
pub fn essence(blocks: &[Block]) -> Vec<(BlockHeader, Vec<bytes::Bytes>, bytes::Bytes)> {
    let essence = |block: &Block| {
        let signed = Metadata::decode(block.metadata.clone().unwrap().metadata[0].clone()).unwrap();
        (block.header.clone().unwrap(), block.data.clone().unwrap().data, signed.value)
    };
    blocks.iter().map(essence).collect()
}

/// Reads the chains of all orderers until each has every acknowledged transaction, and checks that they are one chain.
/// Returns the number of duplicate transactions.
pub async fn check_chains(nodes: &[&Node], acknowledged: &BTreeSet<String>) -> usize {
    let mut chains = Vec::new();
    for node in nodes {
        chains.push(read_until_complete(node, acknowledged).await);
    }
    let shortest = chains.iter().map(Vec::len).min().unwrap_or_default();
    for chain in &chains[1..] {
        assert!(essence(&chain[..shortest]) == essence(&chains[0][..shortest]), "the orderers cut different chains");
    }
    let all: Vec<String> = chains[0].iter().skip(1).flat_map(entries).map(|envelope| tx_id(&envelope)).collect();
    let once: BTreeSet<&String> = all.iter().collect();
    all.len() - once.len()
}

async fn read_until_complete(node: &Node, acknowledged: &BTreeSet<String>) -> Vec<Block> {
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let mut missing = acknowledged.clone();
    let mut stream = client.deliver(&user, CHANNEL, seek_info(oldest(), block(u64::MAX))).await;
    let mut chain = Vec::new();
    while !missing.is_empty() || chain.is_empty() {
        let Step::Block(block) = stream.next().await else {
            panic!("{} acknowledged transactions are not in the chain:\n{}", missing.len(), node.log())
        };
        for envelope in entries(&block) {
            missing.remove(&tx_id(&envelope));
        }
        chain.push(block);
    }
    chain
}
