//! A channel on a cluster in memory whose calls go wrong.

use super::*;
use fabric_proto::common::{ChannelHeader, ConfigEnvelope, Envelope, Header, Payload, SignatureHeader};
use orderer_core::config::genesis::genesis_block_from_envelope;
use orderer_core::ordering::kafka::RegularMessage;
use orderer_core::types::ConfigSequence;
use orderer_kafka::testing::Fault;
use orderer_kafka::{Error, Operation};
use prost::Message as _;

/// The fixtures' channel on Kafka, with a configuration that one update has changed.
fn updated_once(folder: &Path) -> String {
    let file = std::fs::read(Path::new(NET).join("AppKafka.block")).unwrap();
    let block = EncodedBlock::parse(&file).unwrap().decode();
    let mut envelope = Envelope::decode(block.data.unwrap().data[0].clone()).unwrap();
    let mut payload = Payload::decode(envelope.payload).unwrap();
    let mut message = ConfigEnvelope::decode(payload.data).unwrap();
    message.config.as_mut().unwrap().sequence = 1;
    payload.data = message.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    let path = folder.join("updated.block");
    std::fs::write(&path, genesis_block_from_envelope(envelope.encode_to_vec().into(), true)).unwrap();
    path.display().to_string()
}

/// A message that is good under any configuration of the channel.
fn message(world: &World, text: &str) -> SignedEnvelope {
    let channel_header = ChannelHeader { channel_id: "app".to_owned(), ..ChannelHeader::default() };
    let nonce = Bytes::from_static(&[7; 24]);
    let signature_header = SignatureHeader { creator: world.signer.creator().clone(), nonce };
    let header = Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: Bytes::copy_from_slice(text.as_bytes()) };
    let payload: Bytes = payload.encode_to_vec().into();
    let signature = world.signer.sign(&payload).unwrap();
    SignedEnvelope::from_parts(payload, signature)
}

/// Appends a message as an orderer that validated it before the update. It is revalidated, and ordered again.
fn append_overtaken(world: &World, text: &str) {
    let record = RegularMessage::accepted(message(world, text), ConfigSequence(0), false);
    world.cluster.append("app", Some(record.encode())).unwrap();
}

async fn until_in_chain_once(world: &World, text: &str) {
    let mut heights = world.channel("app").ledger().heights();
    let count = || world.chain("app").iter().filter(|payload| payload.contains(text)).count();
    while count() == 0 {
        tokio::time::timeout(PATIENCE, heights.changed()).await.expect("it is not lost").unwrap();
    }
    assert_eq!(count(), 1);
}

#[actix::test]
async fn a_message_that_is_ordered_again_survives_its_producer() {
    let folder = tempfile::tempdir().unwrap();
    let block = updated_once(folder.path());
    let world = World::with(folder.path(), Durability::Disk, &block, HEALING).await;
    let point = "registrar/app/kafka-chain/kafka-producer:Resubmit";
    world.context.status_board.fail_points().set(point, crate::fail_points::FailAction::Panic, 1);
    append_overtaken(&world, "overtaken");
    until_in_chain_once(&world, "overtaken").await;
    assert_eq!(world.context.status_board.fail_points().remaining(point), 0, "the producer died of it");
}

#[actix::test]
async fn a_message_that_is_too_large_to_be_ordered_again_fails_the_channel_and_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let block = updated_once(folder.path());
    let world = World::with(folder.path(), Durability::Disk, &block, HEALING).await;
    let too_large = || Error::MessageTooLarge { topic: "app".to_owned(), bytes: 2000, limit: Some(1000) };
    world.cluster.inject(Operation::Produce, Fault::Refuse(too_large()));
    append_overtaken(&world, "overtaken");
    let failed = world.until("app", |state| matches!(state, ChannelState::Failed { .. })).await.to_string();
    assert!(failed.contains("cannot be ordered again") && failed.contains("max.message.bytes"), "{failed}");
    world.restart("app").await.unwrap();
    until_in_chain_once(&world, "overtaken").await;
}

#[actix::test]
async fn a_broker_that_does_not_know_the_topic_yet_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppKafka.block", HEALING).await;
    let unknown = || Error::UnknownTopic { topic: "app".to_owned() };
    for operation in [Operation::Produce, Operation::Fetch] {
        world.cluster.inject(operation, Fault::Refuse(unknown()));
    }
    let mut states = world.channel("app").subscribe_state();
    let mut tried = 0;
    while !world.order_and_wait("app", &format!("try {tried}")).await {
        tried += 1;
        let state = states.borrow_and_update().clone();
        assert!(!matches!(state, ChannelState::Failed { .. }), "{state}");
        world.until("app", |state| *state == ChannelState::Running).await;
    }
    until_in_chain_once(&world, &format!("try {tried}")).await;
    assert_eq!(world.channel("app").state(), ChannelState::Running);
}

#[actix::test]
async fn blocks_that_are_larger_than_what_may_wait_for_the_disk_pass_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(folder.path(), Durability::Disk, "AppKafka.block", HEALING).await;
    let sequence = world.channel("app").snapshot().sequence();
    let sent = ["small", "large", "larger", "last"].map(|text| match text {
        "large" | "larger" => text.repeat(crate::consensus::kafka::UNWRITTEN_BYTES as usize / 4),
        small => small.to_owned(),
    });
    for text in &sent {
        let record = RegularMessage::accepted(message(&world, text), sequence, false);
        world.cluster.append("app", Some(record.encode())).unwrap();
    }
    let mut heights = world.channel("app").ledger().heights();
    while world.chain("app").len() < sent.len() {
        within("the last block", heights.changed()).await.unwrap();
    }
    assert!(world.chain("app").iter().zip(&sent).all(|(found, sent)| found.contains(sent)));
    assert_eq!(world.channel("app").state(), ChannelState::Running);
}
