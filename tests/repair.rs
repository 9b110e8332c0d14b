//! Tests that a config update, signed by the channel's administrators, repairs a channel whose configuration no orderer
//! can serve.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Block, Config, Status};
use fabric_proto::etcdraft::{ConfigMetadata, Options};
use fabric_proto::orderer::ConsensusType;
use orderer_core::config::compute_update;
use orderer_core::types::ChannelId;
use reqwest::Method;
use serde_json::json;

use world::config_updates::{batch_size_update, consenters, genesis_of_type, genesis_with, last_config, signed_update};
use world::http::Http;
use world::messages::transaction;
use world::node::orderer_folder;
use world::tls;
use world::{Setup, TestIdentity};

const CHANNELS: &str = "/participation/v1/channels";
const APP: &str = "/participation/v1/channels/app";
const OURSELVES: &str = "orderer.example.com";

/// Sets up a node that presents the certificate of the only consenter, with an imported chain of one block. Such a
/// channel can only be imported, because creating and joining reject it.
fn imported(genesis: &[u8]) -> Setup {
    let setup = Setup::without_channels();
    let (ledger, file) = (setup.folder().join("ledger"), setup.folder().join("app.blocks"));
    let tls = orderer_folder().with_file_name(OURSELVES).join("tls");
    let setup = setup
        .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("GENERAL_BOOTSTRAPMETHOD", "none")
        .set("FILELEDGER_LOCATION", ledger.display())
        .set("CHANNELPARTICIPATION_ENABLED", true)
        .set("CONSENSUS_SERVE_ETCDRAFT", "solo")
        .set("GENERAL_TLS_ENABLED", "true")
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display());
    fs::write(&file, Block::decode(genesis).unwrap().encode_length_delimited_to_vec()).unwrap();
    let import = setup.again(&["ledger", "import", "--from", file.to_str().unwrap()]).run();
    assert_eq!(import.code, Some(0), "{import:?}");
    assert!(import.stdout.contains("can be read, but cannot continue here"), "{import:?}");
    setup
}

/// Returns options with which followers would start elections all the time.
fn impossible() -> ConfigMetadata {
    let good = consenters(&[OURSELVES]);
    let options = Options { heartbeat_tick: 10, election_tick: 10, ..good.options.unwrap() };
    ConfigMetadata { options: Some(options), ..good }
}

/// Returns the configuration with this consensus metadata.
fn with_metadata(config: &Config, metadata: &ConfigMetadata) -> Config {
    let mut next = config.clone();
    let orderer = next.channel_group.as_mut().unwrap().groups.get_mut("Orderer").unwrap();
    let value = orderer.values.get_mut("ConsensusType").unwrap();
    let consensus = ConsensusType::decode(value.value.clone()).unwrap();
    value.value = ConsensusType { metadata: metadata.encode_to_vec().into(), ..consensus }.encode_to_vec().into();
    next
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_with_impossible_consensus_options_is_mended_by_the_participation_api() {
    let setup = imported(&genesis_of_type("etcdraft", &impossible()));
    let mut node = setup.spawn();
    node.line("channel has failed").await;
    let admin = Http::of(&mut node, "admin").await;
    let (client, user, orderer) = (tls::client(&node).await, TestIdentity::user(1), TestIdentity::orderer_admin());
    assert_eq!(admin.get(APP).await.json()["status"], "failed");
    let (status, told) = client.broadcast(transaction(&user, "app", "x")).await;
    assert_eq!(status, Status::ServiceUnavailable, "{told}");
    assert!(told.contains("takes nothing but a config update that mends it"), "{told}");
    assert!(told.contains("ElectionTick (10) must be greater than HeartbeatTick (10)"), "{told}");

    let put = async |envelope: Vec<u8>| admin.form(Method::PUT, CHANNELS, "config-update-envelope", envelope).await;
    let config = last_config(&client, &user, "app").await;
    let channel = ChannelId::parse("app").unwrap();
    let change =
        |metadata: &ConfigMetadata| compute_update(&channel, &config, &with_metadata(&config, metadata)).unwrap();
    let refused = async |envelope: Vec<u8>, text: &str| {
        let answer = put(envelope).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.error().contains(text), "{answer:?}");
    };
    let mending = change(&consenters(&[OURSELVES]));
    refused(signed_update(&user, &[], "app", &mending).encode_to_vec(), "ConsensusType").await;
    let other = batch_size_update(&config, "app", 7);
    refused(signed_update(&orderer, &[&orderer], "app", &other).encode_to_vec(), "ElectionTick").await;
    let elsewhere = change(&consenters(&["orderer2.example.com"]));
    refused(signed_update(&orderer, &[&orderer], "app", &elsewhere).encode_to_vec(), "another public key").await;
    assert_eq!(client.chain(&user, "app").await.len(), 1, "what is refused is in no block");

    let answer = put(signed_update(&orderer, &[&orderer], "app", &mending).encode_to_vec()).await;
    assert_eq!((answer.status, &answer.json()["height"]), (201, &json!(2)), "{answer:?}");
    node.wait_for_chain("app").await;
    client.order([transaction(&user, "app", "x")]).await;
    client.block(&user, "app", 2).await;
    assert_eq!(admin.get(APP).await.json()["status"], "active");
    node.stop().await;

    let node = setup.start().await;
    assert_eq!(tls::client(&node).await.chain(&user, "app").await.len(), 3);
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_whose_consensus_metadata_does_not_parse_is_mended_by_broadcast() {
    let genesis = genesis_with(|root| {
        let consensus = ConsensusType {
            r#type: "etcdraft".to_owned(),
            metadata: Bytes::from_static(&[0xff]),
            ..ConsensusType::default()
        };
        let orderer = root.groups.get_mut("Orderer").unwrap();
        orderer.values.get_mut("ConsensusType").unwrap().value = consensus.encode_to_vec().into();
    });
    let setup = imported(&genesis);
    let mut node = setup.spawn();
    node.line("channel has failed").await;
    let (client, user, orderer) = (tls::client(&node).await, TestIdentity::user(1), TestIdentity::orderer_admin());
    let config = last_config(&client, &user, "app").await;
    let next = with_metadata(&config, &consenters(&[OURSELVES]));
    let mending = compute_update(&ChannelId::parse("app").unwrap(), &config, &next).unwrap();
    let answer = client.broadcast(signed_update(&orderer, &[&orderer], "app", &mending)).await;
    assert_eq!(answer, (Status::Success, String::new()));
    node.wait_for_chain("app").await;
    client.order([transaction(&user, "app", "x")]).await;
    client.block(&user, "app", 2).await;
    node.assert_no_panic();
    node.stop().await;
}
