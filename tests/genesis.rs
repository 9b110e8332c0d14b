//! Tests that `orderer genesis` creates from configtx.yaml what Fabric's configtxgen creates, and that nodes start from
//! it.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::{Path, PathBuf};

use fabric_proto::Message as _;
use fabric_proto::common::{
    Block, ChannelHeader, ConfigEnvelope, ConfigUpdate, ConfigUpdateEnvelope, Envelope, Payload,
};
use fabric_proto::etcdraft::ConfigMetadata;
use fabric_proto::orderer::ConsensusType;
use orderer_core::block::EncodedBlock;
use world::config_updates::{config_of, creation, signed_update};
use world::messages::transaction;
use world::node::ProcessOutput;
use world::{NET, Setup, TestIdentity};

/// Runs `orderer genesis` in a new directory with this configtx.yaml.
fn genesis(configtx: &str, arguments: &[&str]) -> (Setup, ProcessOutput) {
    let setup = Setup::without_channels().arguments(&[&["genesis"], arguments].concat());
    fs::write(setup.folder().join("configtx.yaml"), configtx.replace("crypto/", &format!("{NET}/crypto/"))).unwrap();
    let ended = setup.run();
    (setup, ended)
}

/// Returns the fixtures' configtx.yaml.
fn fixture() -> String {
    fs::read_to_string(Path::new(NET).join("configtx.yaml")).unwrap()
}

fn made(setup: &Setup, name: &str) -> Vec<u8> {
    fs::read(setup.folder().join(name)).unwrap()
}

fn block_in(path: PathBuf) -> Block {
    EncodedBlock::parse(&fs::read(path).unwrap()).unwrap().decode()
}

/// Returns the content of the block's envelope without the parts that differ between runs.
fn without_chance(block: &Block) -> (ChannelHeader, ConfigEnvelope) {
    let [envelope] = &block.data.as_ref().unwrap().data[..] else { panic!("not one envelope") };
    let envelope = Envelope::decode(envelope.clone()).unwrap();
    let payload = Payload::decode(envelope.payload).unwrap();
    let header = ChannelHeader::decode(payload.header.unwrap().channel_header).unwrap();
    let header = ChannelHeader { timestamp: None, tx_id: String::new(), ..header };
    (header, ConfigEnvelope::decode(payload.data).unwrap())
}

#[test]
fn genesis_blocks_say_what_those_of_configtxgen_say() {
    for (profile, channel) in [("SysSolo", "syschan"), ("SysKafka", "syschan"), ("AppSolo", "app"), ("AppKafka", "app")]
    {
        let (setup, ended) =
            genesis(&fixture(), &["--profile", profile, "--channelID", channel, "--outputBlock", "out/genesis.block"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{profile}");
        assert!(ended.stdout.contains(&format!("channel {channel}")), "{}", ended.stdout);
        let (ours, theirs) = (
            block_in(setup.folder().join("out/genesis.block")),
            block_in(Path::new(NET).join(format!("{profile}.block"))),
        );
        assert_eq!(without_chance(&ours), without_chance(&theirs), "{profile}");
        assert_eq!(ours.metadata, theirs.metadata, "{profile}");
    }
}

#[test]
fn channel_creation_transactions_say_what_those_of_configtxgen_say() {
    for channel in ["mychan", "otherchan"] {
        // the flags of configtxgen
        let (setup, ended) =
            genesis(&fixture(), &["-profile", "AppChan", "-channelID", channel, "-outputCreateChannelTx", "made.tx"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{channel}");
        let update = |envelope: &[u8]| -> (ChannelHeader, ConfigUpdate) {
            let payload = Payload::decode(Envelope::decode(envelope).unwrap().payload).unwrap();
            let header = payload.header.unwrap();
            assert_eq!(header.signature_header, "");
            let header = ChannelHeader::decode(header.channel_header).unwrap();
            let update = ConfigUpdateEnvelope::decode(payload.data).unwrap();
            assert_eq!(update.signatures, []);
            (ChannelHeader { timestamp: None, ..header }, ConfigUpdate::decode(update.config_update).unwrap())
        };
        let theirs = fs::read(Path::new(NET).join(format!("{channel}.tx"))).unwrap();
        assert_eq!(update(&made(&setup, "made.tx")), update(&theirs));
        assert_eq!(update(&theirs).1, creation(&format!("{channel}.tx")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_from_an_application_channel_that_was_made() {
    let (made, _) = genesis(&fixture(), &["--profile", "AppSolo", "--channelID", "fresh", "--outputBlock", "b"]);
    let node = Setup::of_block_file(made.folder().join("b")).start().await;
    let client = node.client().await;
    client.order([transaction(&TestIdentity::user(1), "fresh", "x")]).await;
    client.block(&TestIdentity::user(2), "fresh", 1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_channel_that_was_made_creates_a_channel_that_was_asked_for() {
    let arguments = ["--profile", "SysSolo", "--channelID", "syschan", "--outputBlock", "b"];
    let (made, _) = genesis(&fixture(), &arguments);
    let (asked, _) =
        genesis(&fixture(), &["--profile", "AppChan", "--channelID", "new", "--outputCreateChannelTx", "tx"]);
    let update = creation(asked.folder().join("tx").to_str().unwrap());
    let mut node = Setup::of_block_file(made.folder().join("b")).start().await;
    let client = node.client().await;
    let admin = TestIdentity::admin(1);
    client.order([signed_update(&admin, &[&admin], "new", &update)]).await;
    node.wait_for_chain("new").await;
    client.order([transaction(&TestIdentity::user(1), "new", "x")]).await;
    client.block(&TestIdentity::user(1), "new", 1).await;
    node.stop().await;
}

const RAFT: &str = "    OrdererType: etcdraft
    EtcdRaft:
      Options: {SnapshotIntervalSize: 20 MB}
      Consenters:
        - Host: orderer.example.com
          Port: 7050
          ClientTLSCert: crypto/ordererOrganizations/example.com/orderers/orderer.example.com/tls/server.crt
          ServerTLSCert: crypto/ordererOrganizations/example.com/orderers/orderer.example.com/tls/server.crt
";

/// Returns the fixtures' configtx.yaml with another profile.
fn with_profile(profile: &str) -> String {
    let indented: Vec<String> = profile.lines().map(|line| format!("  {line}")).collect();
    format!("{}{}\n", fixture(), indented.join("\n"))
}

fn raft_profile() -> String {
    with_profile(&format!(
        "Raft:\n  <<: *Chan\n  Orderer:\n    <<: *Ord\n{RAFT}  Application: {{<<: *App, Organizations: [*Org1]}}"
    ))
}

#[test]
fn consenters_come_with_their_certificates() {
    let (setup, ended) = genesis(&raft_profile(), &["--profile", "Raft", "--channelID", "ch", "--outputBlock", "b"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let group = config_of(&block_in(setup.folder().join("b"))).channel_group.unwrap();
    let orderer = &group.groups["Orderer"];
    let consensus = ConsensusType::decode(orderer.values["ConsensusType"].value.clone()).unwrap();
    assert_eq!(consensus.r#type, "etcdraft");
    let metadata = ConfigMetadata::decode(consensus.metadata).unwrap();
    let mut wanted = world::config_updates::consenters(&["orderer.example.com"]);
    wanted.options.as_mut().unwrap().snapshot_interval_size = 20 << 20;
    assert_eq!(metadata, wanted);
    assert!(!orderer.values.contains_key("KafkaBrokers"));
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_nothing_is_written() {
    let bad = "\
Bad:
  <<: *Chan
  Orderer:
    <<: *Ord
    BatchTimout: 1s
    BatchTimeout: soon
    BatchSize: {AbsoluteMaxBytes: 10 KB, PreferredMaxBytes: 1 MB}
    Policies:
      Readers: {Type: ImplicitMeta, Rule: SOME Readers}
      Writers: {Type: Magic, Rule: x}
      Admins: {Type: Signature, Rule: \"OR('OrdererMSP.boss')\"}
  Application:
    <<: *App
    Organizations:
      - <<: *Org1
        MSPDir: nowhere
        AnchorPeers: [{Host: peer, Port: 70510}]
      - *Org1
Worse: {Orderer: {<<: *Ord, BatchTimeout: soon}}
";
    let wrong = "configtx.yaml: profile Bad: ";
    let (setup, ended) = genesis(&with_profile(bad), &["--profile", "Bad", "--channelID", "ch", "--outputBlock", "b"]);
    let said: Vec<&str> = ended.stderr.lines().collect();
    let wanted = [
        "Orderer.BatchTimout: unknown key; did you mean BatchTimeout?".to_owned(),
        "configtx.yaml: profiles Bad, Worse: Orderer.BatchTimeout: 'soon' is not a duration".to_owned(),
        "Application.Organizations[Org1MSP].AnchorPeers[0].Port: '70510' is not a number that fits".to_owned(),
        format!("{wrong}Orderer.BatchSize.PreferredMaxBytes: 1048576 is more than AbsoluteMaxBytes, 10240"),
        format!("{wrong}Orderer.Policies.BlockValidation: this policy is missing"),
        format!("{wrong}Orderer.Policies.Admins.Rule: 'OR('OrdererMSP.boss')': 'OrdererMSP.boss' is not MSP.role"),
        format!("{wrong}Orderer.Policies.Readers.Rule: 'SOME Readers': 'SOME' is not one of ALL, ANY, MAJORITY"),
        format!("{wrong}Orderer.Policies.Writers.Type: 'Magic' is not one of ImplicitMeta, Signature"),
        format!("{wrong}Application.Organizations[Org1MSP].MSPDir: no such folder: "),
        format!("{wrong}Application.Organizations[Org1MSP]: is there twice"),
    ];
    assert_eq!(ended.code, Some(1));
    for wanted in &wanted {
        assert!(said.iter().any(|said| said.starts_with("orderer: ") && said.contains(wanted)), "{wanted}\n{said:#?}");
    }
    assert!(said.len() <= wanted.len() + 1, "{said:#?}");
    assert!(!setup.folder().join("b").exists());
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let cases: [(&str, &str, &str, &str); 8] = [
        ("x: 1", "--outputBlock", "AppSolo", "x: unknown key"),
        ("", "--outputBlock", "Nobody", "there is no profile Nobody, only SysSolo, SysKafka, AppChan"),
        ("", "--outputBlock", "AppChan", "profile AppChan: Orderer: a genesis block names the orderers"),
        ("", "--outputCreateChannelTx", "AppSolo", "a channel is created for a Consortium, and none is named"),
        ("", "--outputCreateChannelTx", "SysSolo", "a channel is created with an Application section"),
        (
            "  Bft: {<<: *Chan, Orderer: {<<: *Ord, OrdererType: BFT}, Application: *App}",
            "--outputBlock",
            "Bft",
            "Orderer.OrdererType: a BFT channel is decided by agreement of its orderers",
        ),
        (
            "  New: {<<: *Chan, Capabilities: {V2_0: true, V9: true}, Orderer: *Ord, Application: *App}",
            "--outputBlock",
            "New",
            "V9 is required but not supported",
        ),
        (
            "  Far: {<<: *Chan, Orderer: *Ord, Application: {<<: *App, Organizations: [{Name: Z, SkipAsForeign: true}]}}",
            "--outputBlock",
            "Far",
            "a genesis block defines every organization, and Z is skipped",
        ),
    ];
    for (more, output, profile, said) in cases {
        let arguments = ["--profile", profile, "--channelID", "ch", output, "made"];
        let (setup, ended) = genesis(&format!("{}{more}\n", fixture()), &arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.starts_with("orderer: configtx.yaml: ") && ended.stderr.contains(said), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(!setup.folder().join("made").exists());
    }
}

#[test]
fn the_file_is_looked_for_and_its_paths_are_its_own() {
    let arguments = ["genesis", "--profile", "AppSolo", "--channelID", "ch", "--outputBlock", "b"];
    let named = Setup::without_channels().arguments(&[&arguments[..], &["--configPath", NET]].concat());
    assert_eq!(named.run().code, Some(0));
    let by_variable = Setup::without_channels().arguments(&arguments).variable("FABRIC_CFG_PATH", NET);
    assert_eq!(by_variable.run().code, Some(0));
    let file = format!("{NET}/configtx.yaml");
    let overridden = Setup::without_channels()
        .arguments(&[&arguments[..], &["--config", &file]].concat())
        .variable("CONFIGTX_PROFILES_APPSOLO_ORDERER_ORDERERTYPE", "kafka");
    let ended = overridden.run();
    assert!(ended.stdout.contains("application channel ch (kafka): b"), "{ended:?}");
    let nowhere = Setup::without_channels().arguments(&arguments).run();
    assert!(nowhere.stderr.contains("configtx.yaml: not found in ., /etc/hyperledger/fabric"), "{nowhere:?}");
    let nothing = Setup::without_channels().arguments(&["genesis", "--profile", "X", "--channelID", "ch"]).run();
    assert_eq!(nothing.code, Some(2));
    let bad_name = [&arguments[..3], &["--channelID", "Ch", "--outputBlock", "b", "--configPath", NET]].concat();
    let ended = Setup::without_channels().arguments(&bad_name).run();
    assert!(ended.code == Some(1) && ended.stderr.contains("--channelID: 'Ch' contains illegal"), "{ended:?}");
}
