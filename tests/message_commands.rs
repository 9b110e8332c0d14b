//! Tests of the commands that convert messages to and from JSON, and that compute, explain and sign config updates like
//! Fabric's own tools.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fabric_proto::Message as _;
use fabric_proto::common::{ConfigUpdateEnvelope, Envelope, Payload, Status};
use fabric_proto::orderer::BatchSize;
use flate2::read::GzDecoder;
use serde_json::Value;
use world::config_updates::last_config;
use world::messages::channel_header;
use world::node::ProcessOutput;
use world::{NET, Setup, TestIdentity};

const ORDERER_ADMIN: &str = "crypto/ordererOrganizations/example.com/users/Admin@example.com/msp";

fn net(name: &str) -> String {
    Path::new(NET).join(name).display().to_string()
}

fn recorded(name: &str) -> Vec<u8> {
    let file = Path::new(NET).join("../json").join(format!("{name}.json.gz"));
    let mut out = Vec::new();
    GzDecoder::new(fs::File::open(file).unwrap()).read_to_end(&mut out).unwrap();
    out
}

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

fn done(ended: &ProcessOutput) -> &str {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    &ended.stdout
}

fn complaint(ended: &ProcessOutput) -> &str {
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
    ended.stderr.trim_end().strip_prefix("orderer: ").unwrap()
}

/// An empty directory to work in.
struct Bench(Setup);

impl Bench {
    fn new() -> Self {
        Self(Setup::without_channels())
    }

    fn run(&self, arguments: &[&str]) -> ProcessOutput {
        self.0.again(arguments).run()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.folder().join(name)
    }

    fn envelope(&self, name: &str) -> Envelope {
        Envelope::decode(fs::read(self.file(name)).unwrap().as_slice()).unwrap()
    }

    fn update(&self, name: &str) -> ConfigUpdateEnvelope {
        let payload = Payload::decode(self.envelope(name).payload).unwrap();
        ConfigUpdateEnvelope::decode(payload.data).unwrap()
    }

    fn sign(&self, file: &str, msp: &str, folder: &str) -> ProcessOutput {
        let by_variables = self.0.again(&["sign", "-f", file]);
        by_variables.variable("CORE_PEER_LOCALMSPID", msp).variable("CORE_PEER_MSPCONFIGPATH", net(folder)).run()
    }
}

#[test]
fn what_is_decoded_is_configtxlators_json_and_encodes_to_the_same_bytes() {
    let bench = Bench::new();
    for (kind, file, theirs) in
        [("common.Block", "AppKafka.block", "AppKafka"), ("common.Envelope", "mychan.tx", "mychan.tx")]
    {
        let ended = bench.run(&["decode", "--type", kind, "--input", &net(file), "--output", "it.json"]);
        assert_eq!(done(&ended), "");
        let json = fs::read(bench.file("it.json")).unwrap();
        assert!(value(&json) == value(&recorded(theirs)), "{file}");
        done(&bench.run(&["encode", "--type", kind, "--input", "it.json", "--output", "it"]));
        assert!(fs::read(bench.file("it")).unwrap() == fs::read(net(file)).unwrap(), "{file}");
    }
    let piped = bench.0.again(&["encode", "--type", "common.LastConfig"]).run_with(r#"{"index": "7"}"#);
    assert_eq!(done(&piped), "\u{8}\u{7}");
}

#[test]
fn a_type_or_a_file_that_is_wrong_is_named() {
    let bench = Bench::new();
    let ended = bench.run(&["decode", "--type", "common.Blok"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("did you mean common.Block?"), "{}", ended.stderr);
    let ended = bench.run(&["decode", "--type", "common.Block", "--input", &net("configtx.yaml")]);
    assert!(complaint(&ended).starts_with("these bytes are no common.Block: "), "{}", ended.stderr);
    let ended = bench.run(&["encode", "--type", "common.Block", "--input", &net("configtx.yaml")]);
    assert!(complaint(&ended).starts_with("this is no JSON: "), "{}", ended.stderr);
    let unknown = bench.0.again(&["decode", "--type", "common.LastConfig"]).run_with("\u{8}\u{7}\u{10}\u{1}");
    assert_eq!(unknown.code, Some(0));
    assert!(unknown.stderr.contains("gives other bytes"), "{}", unknown.stderr);
}

#[test]
fn updates_are_those_of_configtxlator() {
    let bench = Bench::new();
    for sample in ["value", "org", "mixed"] {
        fs::write(bench.file("updated.json"), recorded(&format!("update-{sample}.updated"))).unwrap();
        let original = net("AppKafka.block");
        let computed = ["config-update", "--original", &original, "--updated", "updated.json", "--output", "update.pb"];
        assert!(done(&bench.run(&computed)).starts_with("config update of channel app, at configuration 0\n"));
        let ended = bench.run(&["decode", "--type", "common.ConfigUpdate", "--input", "update.pb"]);
        assert!(value(done(&ended).as_bytes()) == value(&recorded(&format!("update-{sample}"))), "{sample}");
    }
}

#[test]
fn an_update_is_explained_before_it_is_signed() {
    let bench = Bench::new();
    let original = net("AppKafka.block");
    fs::write(bench.file("updated.json"), recorded("update-mixed.updated")).unwrap();
    let computed = ["config-update", "--original", &original, "--updated", "updated.json", "--output", "update.pb"];
    let explained = "\
config update of channel app, at configuration 0
value /Channel/Capabilities, version 0 → 1
    mod_policy: Admins → Writers
group /Channel/Application, version 0 → 1
    without policy LifecycleEndorsement
    mod_policy: Admins → /Channel/Orderer/Admins
policy /Channel/Application/Writers, version 0 → 1
    ANY Writers → ALL Writers
policy /Channel/Application/Org2MSP/Admins, version 0 → 1
    an ADMIN of Org2MSP → a MEMBER of Org2MSP
to be signed by
  /Channel/Admins: MAJORITY (2 of 2) of the Admins of
      Application: MAJORITY (2 of 2) of the Admins of
          Org1MSP: an ADMIN of Org1MSP
          Org2MSP: an ADMIN of Org2MSP
      Orderer: MAJORITY (1 of 1) of the Admins of
          OrdererOrg: an ADMIN of OrdererMSP
      for value /Channel/Capabilities
  /Channel/Application/Admins: MAJORITY (2 of 2) of the Admins of
      Org1MSP: an ADMIN of Org1MSP
      Org2MSP: an ADMIN of Org2MSP
      for group /Channel/Application
      for policy /Channel/Application/Writers
  /Channel/Application/Org2MSP/Admins: an ADMIN of Org2MSP
      for policy /Channel/Application/Org2MSP/Admins
";
    assert_eq!(done(&bench.run(&computed)), explained);
    assert_eq!(done(&bench.run(&["config-update", "--original", &original, "--explain", "update.pb"])), explained);

    // the update goes to standard output, and its explanation to stderr
    let ended = bench.run(&computed[..5]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), explained));
    assert!(ended.stdout.contains("Capabilities") && !ended.stdout.contains("version 0"), "{}", ended.stdout);

    fs::write(bench.file("updated.json"), recorded("update-value.updated")).unwrap();
    done(&bench.run(&computed));
    let of_mychan = bench.run(&["config-update", "--original", &original, "--explain", &net("mychan.tx")]);
    assert!(complaint(&of_mychan).contains("is for channel mychan"), "{}", of_mychan.stderr);
    let same = bench.run(&["config-update", "--original", &original, "--updated", &original]);
    assert_eq!(complaint(&same), "no differences detected between the two configurations");
    let nameless = bench.run(&["config-update", "--original", "updated.json", "--updated", &original]);
    assert!(complaint(&nameless).contains("give --channel_id"), "{}", nameless.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_creation_is_taken_by_an_orderer() {
    let setup = Setup::system();
    let mut node = setup.start().await;
    let client = node.client().await;
    let bench = Bench::new();
    fs::copy(net("mychan.tx"), bench.file("mychan.tx")).unwrap();
    let unsigned = client.broadcast(bench.envelope("mychan.tx")).await;
    assert_ne!(unsigned.0, Status::Success);
    let admin = "crypto/peerOrganizations/org1.example.com/users/Admin@org1.example.com/msp";
    let said = bench.sign("mychan.tx", "Org1MSP", admin);
    let says = "config update of channel mychan with 1 signature, now signed by Org1MSP: mychan.tx\n";
    assert_eq!(done(&said), says);
    assert_eq!(client.broadcast(bench.envelope("mychan.tx")).await, (Status::Success, String::new()));
    node.wait_for_chain("mychan").await;

    // a second signature is added to the first
    let of_org2 = "crypto/peerOrganizations/org2.example.com/users/Admin@org2.example.com/msp";
    done(&bench.sign("mychan.tx", "Org2MSP", of_org2));
    assert_eq!(bench.update("mychan.tx").signatures.len(), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_changed_with_these_commands_alone() {
    let setup = Setup::application().set("CHANNELPARTICIPATION_ENABLED", true);
    let mut node = setup.start().await;
    let admin = world::http::address(&mut node, "admin").await;
    let bench = Bench::new();
    let fetch = ["channel", "fetch", "-o", &admin, "-c", "app", "-b", "config", "-f", "before.block"];
    assert_eq!(done(&bench.run(&fetch)), "Status: 200\n\n");
    done(&bench.run(&["decode", "--type", "common.Block", "--input", "before.block", "--output", "after.json"]));
    let json = fs::read_to_string(bench.file("after.json")).unwrap();
    let (old, new) = (r#""max_message_count": 10"#, r#""max_message_count": 77"#);
    assert!(json.contains(old), "{json}");
    fs::write(bench.file("after.json"), json.replace(old, new)).unwrap();
    let computed = ["config-update", "--original", "before.block", "--updated", "after.json"];
    let said = bench.run(&[&computed[..], &["--envelope", "--output", "update.tx"]].concat());
    assert!(done(&said).contains("    max_message_count: 10 → 77\n"), "{}", said.stdout);
    done(&bench.sign("update.tx", "OrdererMSP", ORDERER_ADMIN));
    assert_eq!(channel_header(&bench.envelope("update.tx")).channel_id, "app");
    let update = bench.run(&["channel", "update", "-o", &admin, "-c", "app", "-e", "update.tx"]);
    assert!(done(&update).starts_with("Status: 201\n"), "{}", update.stdout);
    let config = last_config(&node.client().await, &TestIdentity::user(1), "app").await;
    let orderer = &config.channel_group.unwrap().groups["Orderer"];
    let size = BatchSize::decode(orderer.values["BatchSize"].value.clone()).unwrap();
    assert_eq!((config.sequence, size.max_message_count), (1, 77));

    // the update was made for the previous configuration and is out of date
    done(&bench.run(&[&fetch[..9], &["after.block"]].concat()));
    let stale = bench.run(&["config-update", "--original", "after.block", "--explain", "update.tx"]);
    assert!(done(&stale).contains("changes nothing"), "{}", stale.stdout);
    node.stop().await;
}

#[test]
fn only_what_is_ones_own_is_signed() {
    let bench = Bench::new();
    fs::copy(Path::new(NET).join("../json/transaction.envelope"), bench.file("transaction")).unwrap();
    let ended = bench.sign("transaction", "OrdererMSP", ORDERER_ADMIN);
    assert!(complaint(&ended).contains("only its creator can sign it"), "{}", ended.stderr);
    fs::write(bench.file("garbage"), "garbage").unwrap();
    let ended = bench.sign("garbage", "OrdererMSP", ORDERER_ADMIN);
    assert!(complaint(&ended).contains("neither an envelope nor a config update"), "{}", ended.stderr);
    let ended = bench.run(&["sign", "-f", "transaction"]);
    assert!(complaint(&ended).contains("CORE_PEER_LOCALMSPID"), "{}", ended.stderr);
}
