//! Tests that subscribers of a channel receive each block when it is cut, do not delay others, and are rejected when
//! the configuration no longer permits them to read.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::time::{Duration, Instant};

use fabric_proto::Message as _;
use fabric_proto::common::{ConfigGroup, ConfigPolicy, Status};
use fabric_proto::orderer::consensus_type::State;
use fabric_proto::orderer::seek_info::{SeekBehavior, SeekContentType};
use fabric_proto::orderer::{ConsensusType, SeekInfo};
use orderer_core::config::compute_update;
use orderer_core::types::ChannelId;
use world::client::number;
use world::config_updates::{last_config, last_config_number, same_version, signed_update, update_of};
use world::messages::{block, envelope_with, newest, next_commit, oldest, seek_info, transaction, tx_id};
use world::{Client, Setup, Step, TestIdentity};

const CHANNEL: &str = "app";
/// Maximum number of messages per block in the fixtures' channel.
const BATCH_COUNT: usize = 10;

/// Orders enough envelopes to fill a block.
async fn order_block(client: &Client, who: &TestIdentity) {
    client.order((0..BATCH_COUNT).map(|_| transaction(who, CHANNEL, "x"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_gets_the_next_block_when_it_is_cut() {
    let node = Setup::application().start().await;
    let (user, client) = (TestIdentity::user(1), node.client().await);
    let mut by_number = client.deliver(&user, CHANNEL, seek_info(block(1), block(2))).await;
    let mut by_commit = client.deliver(&user, CHANNEL, seek_info(next_commit(), next_commit())).await;
    let mut from_newest = client.deliver(&user, CHANNEL, seek_info(newest(), block(1))).await;
    assert_eq!(number(&from_newest.block().await), 0, "it has begun to follow");
    for stream in [&mut by_number, &mut by_commit] {
        let nothing = tokio::time::timeout(Duration::from_millis(100), stream.next_whenever()).await;
        assert!(nothing.is_err(), "there is no next block, and no answer");
    }
    let one = transaction(&user, CHANNEL, "x");
    let id = tx_id(&one);
    let sent = Instant::now();
    client.order([one]).await;
    for stream in [&mut by_number, &mut by_commit, &mut from_newest] {
        let cut = stream.block().await;
        assert_eq!(number(&cut), 1);
        let ids: Vec<_> = world::client::entries(&cut).iter().map(tx_id).collect();
        assert_eq!(ids, std::slice::from_ref(&id));
    }
    assert!(sent.elapsed() >= Duration::from_millis(400), "one envelope waits for the batch timeout");
    for stream in [&mut by_commit, &mut from_newest] {
        assert_eq!(stream.status().await, Status::Success);
    }
    order_block(&client, &user).await;
    assert_eq!(number(&by_number.block().await), 2);
    assert_eq!(by_number.status().await, Status::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_answered_takes_the_next_request() {
    let node = Setup::application().start().await;
    let (user, client) = (TestIdentity::user(1), node.client().await);
    let mut stream = client.deliver(&user, CHANNEL, seek_info(oldest(), oldest())).await;
    for _ in 0..3 {
        assert_eq!(number(&stream.block().await), 0);
        assert_eq!(stream.status().await, Status::Success);
        stream.send(world::messages::seek(&user, CHANNEL, &seek_info(oldest(), oldest()))).await;
    }
    stream.finish();
    stream.block().await;
    assert_eq!(stream.status().await, Status::Success);
    assert_eq!(stream.next().await, Step::End(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_follower_disturbs_nobody_and_misses_nothing() {
    const BLOCKS: u64 = 60;
    let node = Setup::application().start().await;
    let user = TestIdentity::user(1);
    let all = seek_info(oldest(), block(BLOCKS));
    let mut slow = node.client().await.deliver(&user, CHANNEL, all).await;
    let mut quick = node.client().await.deliver(&user, CHANNEL, all).await;
    let following = tokio::spawn(async move {
        for expected in 0..=BLOCKS {
            assert_eq!(number(&quick.block().await), expected);
        }
        quick.status().await
    });
    let client = node.client().await;
    for _ in 0..BLOCKS {
        // blocks large enough to fill the connection of the slow subscriber before the last one
        client.order((0..BATCH_COUNT).map(|_| transaction(&user, CHANNEL, vec![7; 60_000]))).await;
    }
    assert_eq!(following.await.unwrap(), Status::Success);
    for expected in 0..=BLOCKS {
        assert_eq!(number(&slow.block().await), expected);
    }
    assert_eq!(slow.status().await, Status::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_only_leaves_out_data_but_not_of_config_blocks() {
    let node = Setup::application().start().await;
    let (user, client) = (TestIdentity::user(1), node.client().await);
    order_block(&client, &user).await;
    let whole = client.block(&user, CHANNEL, 1).await;
    let content_type = SeekContentType::HeaderWithSig.into();
    let info = SeekInfo { content_type, ..seek_info(oldest(), block(1)) };
    let mut stream = client.deliver(&user, CHANNEL, info).await;
    assert_eq!(stream.block().await, client.block(&user, CHANNEL, 0).await);
    let bare = stream.block().await;
    assert_eq!((&bare.header, &bare.metadata), (&whole.header, &whole.metadata));
    assert!(bare.data.is_none_or(|data| data.data.is_empty()));
}

/// Updates the configuration so that members of Org2 can no longer read: their Readers policy becomes that of Org1.
async fn shut_out_org2(client: &Client) {
    let (admin1, admin2) = (TestIdentity::admin(1), TestIdentity::admin(2));
    let config = last_config(client, &admin2, CHANNEL).await;
    let application = &config.channel_group.as_ref().unwrap().groups["Application"];
    let (org1, org2) = (&application.groups["Org1MSP"], &application.groups["Org2MSP"]);
    let readers = &org2.policies["Readers"];
    let readers = ConfigPolicy {
        version: readers.version + 1,
        policy: org1.policies["Readers"].policy.clone(),
        mod_policy: readers.mod_policy.clone(),
    };
    let path = |organization: ConfigGroup| {
        let groups = [("Org2MSP".to_owned(), organization)].into();
        ConfigGroup { groups, ..same_version(application) }
    };
    let update = update_of(&config, CHANNEL, |read, write| {
        read.groups.insert("Application".to_owned(), path(same_version(org2)));
        let changed = ConfigGroup { policies: [("Readers".to_owned(), readers)].into(), ..same_version(org2) };
        write.groups.insert("Application".to_owned(), path(changed));
    });
    let answer = client.broadcast(signed_update(&admin1, &[&admin2], CHANNEL, &update)).await;
    assert_eq!(answer, (Status::Success, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_any_more_gets_no_further_block() {
    let node = Setup::application().start().await;
    let (client, org1, org2) = (node.client().await, TestIdentity::user(1), TestIdentity::user(2));
    let follow = seek_info(oldest(), block(u64::MAX));
    let mut staying = client.deliver(&org1, CHANNEL, follow).await;
    let mut leaving = client.deliver(&org2, CHANNEL, follow).await;
    order_block(&client, &org1).await;
    for expected in 0..=1 {
        assert_eq!(number(&staying.block().await), expected);
        assert_eq!(number(&leaving.block().await), expected);
    }
    shut_out_org2(&client).await;
    order_block(&client, &org1).await;
    for expected in 2..=3 {
        assert_eq!(number(&staying.block().await), expected);
    }
    // the new policy applies already to the block that contains it; a slow client's batch may have become two blocks
    let answer = loop {
        match leaving.next().await {
            Step::Block(block) => assert_eq!(last_config_number(&block), 0),
            answer => break answer,
        }
    };
    assert_eq!(answer, Step::Status(Status::Forbidden, String::new()));
    assert_eq!(leaving.next().await, Step::End(None));
    let mut again = client.deliver(&org2, CHANNEL, follow).await;
    assert_eq!(again.status().await, Status::Forbidden);
}

/// Sends an update that enters or leaves maintenance mode, and returns the response.
async fn change_state(client: &Client, state: State) -> (Status, String) {
    let (admin, reader) = (TestIdentity::orderer_admin(), TestIdentity::orderer_admin());
    let config = last_config(client, &reader, CHANNEL).await;
    let mut next = config.clone();
    let orderer = next.channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap();
    let value = orderer.values.get_mut("ConsensusType").unwrap();
    let consensus = ConsensusType::decode(value.value.clone()).unwrap();
    value.value = ConsensusType { state: state.into(), ..consensus }.encode_to_vec().into();
    let update = compute_update(&ChannelId::parse(CHANNEL).unwrap(), &config, &next).unwrap();
    client.broadcast(signed_update(&admin, &[&admin], CHANNEL, &update)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_maintenance_mode_only_those_who_read_for_the_orderers_go_on() {
    let node = Setup::application().start().await;
    let (client, user, orderer) = (node.client().await, TestIdentity::user(1), TestIdentity::orderer_admin());
    let open_end = seek_info(oldest(), block(u64::MAX));
    assert_eq!(open_end.behavior, i32::from(SeekBehavior::BlockUntilReady));
    // both streams wait for the next block only; no other message makes the node check their permission
    let mut staying = client.deliver(&orderer, CHANNEL, open_end).await;
    let mut leaving = client.deliver(&user, CHANNEL, open_end).await;
    assert_eq!(number(&staying.block().await), 0);
    assert_eq!(number(&leaving.block().await), 0);
    assert_eq!(change_state(&client, State::Maintenance).await, (Status::Success, String::new()));
    assert_eq!(number(&staying.block().await), 1);
    assert_eq!(leaving.next().await, Step::Status(Status::Forbidden, String::new()));
    assert_eq!(leaving.next().await, Step::End(None));
    let mut again = client.deliver(&user, CHANNEL, open_end).await;
    assert_eq!(again.status().await, Status::Forbidden);

    assert_eq!(change_state(&client, State::Normal).await, (Status::Success, String::new()));
    assert_eq!(number(&staying.block().await), 2);
    let mut back = client.deliver(&user, CHANNEL, open_end).await;
    for expected in 0..=2 {
        assert_eq!(number(&back.block().await), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_certificate_expires_gets_no_further_block() {
    let node = Setup::application().start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let mut seconds = 3;
    let (passing, mut stream) = loop {
        let passing = TestIdentity::issued_for_seconds("client", seconds);
        let mut stream = client.deliver(&passing, CHANNEL, seek_info(oldest(), block(u64::MAX))).await;
        match stream.next().await {
            Step::Block(block) => {
                assert_eq!(number(&block), 0);
                break (passing, stream);
            }
            // a busy machine may need longer for the first block
            early => assert_eq!(early, Step::Status(Status::Forbidden, String::new())),
        }
        seconds *= 2;
        assert!(seconds < 100, "no block before the certificate expires");
    };
    let mut next = 1;
    loop {
        order_block(&client, &user).await;
        match stream.next().await {
            Step::Block(block) => assert_eq!(number(&block), next),
            answer => {
                assert_eq!(answer, Step::Status(Status::Forbidden, String::new()));
                break;
            }
        }
        next += 1;
    }
    let late = envelope_with(&passing, 3, CHANNEL, "x", |_, _| {});
    let (status, info) = client.broadcast(late).await;
    assert_eq!(status, Status::BadRequest);
    assert!(info.contains("broadcast client identity expired"), "{info}");
}
