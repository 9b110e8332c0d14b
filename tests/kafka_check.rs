//! Tests of `orderer kafka check` with real brokers: it reports each error, and the fix that it proposes works.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::broker;
use crate::kafka_support;
use crate::world;

use broker::{Brokers, KAFKA_3, KAFKA_4, Listener, Plan};
use kafka_support::{CHANNEL, orderer};
use world::messages::transaction;
use world::node::ProcessOutput;
use world::{Setup, TestIdentity};

const CONFIGS: &str = "kafka.admin.ConfigCommand";

fn check(setup: &Setup, arguments: &[&str]) -> ProcessOutput {
    setup.again(&[&["kafka", "check"], arguments].concat()).run()
}

/// Returns the arguments of the fix that is proposed for the finding with this text.
fn fix_of(ended: &ProcessOutput, found: &str) -> Vec<String> {
    let mut lines = ended.stdout.lines().skip_while(|line| !line.contains(found));
    lines.next().unwrap_or_else(|| panic!("{found} not found: {ended:?}"));
    let fix = lines.next().unwrap().trim().strip_prefix("fix: kafka-configs.sh ").unwrap();
    fix.split(' ').map(str::to_owned).collect()
}

/// Applies a fix with Kafka's own tool.
fn apply(brokers: &Brokers, fix: &[String]) {
    let without_address: Vec<&str> = fix.iter().skip(2).map(String::as_str).collect();
    assert_eq!(fix[0], "--bootstrap-server");
    brokers.command(CONFIGS, &without_address);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named_and_what_is_said_mends_it() {
    let brokers = Plan::new(KAFKA_3).start();
    let setup = orderer("orderer.example.com", &brokers, Listener::Plain);
    let block = setup.folder().join("genesis.block").display().to_string();

    let ended = check(&setup, &["--block", &block]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("topic app does not exist yet; the node creates it"), "{ended:?}");
    let ended = check(&setup.again(&[]).set("KAFKA_TOPIC_REPLICATIONFACTOR", 3), &["--block", &block]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("set Kafka.Topic.ReplicationFactor to 1"), "{ended:?}");

    let node = setup.start().await;
    let client = node.client().await;
    client.order([transaction(&TestIdentity::user(1), CHANNEL, "a transaction")]).await;
    client.block(&TestIdentity::user(1), CHANNEL, 1).await;
    let ended = check(&setup, &["--config", "nowhere.yaml"]);
    assert!(ended.stderr.contains("no such file"), "{ended:?}");
    let ended = check(&setup, &[]);
    assert_eq!(ended.code, Some(1), "the ledgers are in use: {ended:?}");
    assert!(ended.stderr.contains("give --block while the node runs"), "{ended:?}");
    node.stop().await;

    // checks the brokers against the ledger as well
    let ended = check(&setup, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for found in [
        "is led by broker 1",
        "accepts records from this client",
        "can be read",
        "keeps its records",
        "accepts records up to",
    ] {
        assert!(ended.stdout.contains(found), "{found} not in {ended:?}");
    }
    assert!(ended.stdout.contains("has the 0 records that this node's chain needs next"), "{ended:?}");

    let alter = |change: &str| {
        let of = ["--alter", "--entity-type", "topics", "--entity-name", CHANNEL, "--add-config", change];
        brokers.command(CONFIGS, &of);
    };
    for (spoilt, found, is_error) in [
        ("retention.ms=60000", "deletes records (retention.ms=60000)", false),
        ("unclean.leader.election.enable=true", "lets a broker become the leader that lacks records", true),
        ("max.message.bytes=2000", "accepts records up to 2000 bytes", true),
        ("cleanup.policy=compact", "is compacted", true),
    ] {
        alter(spoilt);
        let ended = check(&setup, &["--channel", CHANNEL]);
        assert_eq!(ended.code, Some(i32::from(is_error)), "{spoilt}: {ended:?}");
        apply(&brokers, &fix_of(&ended, found));
        let ended = check(&setup, &["--channel", CHANNEL]);
        assert!(ended.code == Some(0) && !ended.stdout.contains(found), "{spoilt}: {ended:?}");
    }

    let free = Setup::without_channels().port().to_string();
    let nobody = check(&setup, &["--channel", "other", "--brokers", &format!("127.0.0.1:{free}")]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stdout.contains("cannot be reached") && nobody.stdout.contains("start the brokers"), "{nobody:?}");
    assert_eq!(check(&setup, &["--what"]).code, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_so() {
    let brokers = Plan::new(KAFKA_4).secured().start();
    let setup = orderer("orderer.example.com", &brokers, Listener::Sasl);
    let block = setup.folder().join("genesis.block").display().to_string();
    let as_user = |user: &str, password: &str| {
        let setup = setup.again(&[]).set("KAFKA_SASL_ENABLED", true).set("KAFKA_SASL_MECHANISM", "PLAIN");
        check(&setup.set("KAFKA_SASL_USER", user).set("KAFKA_SASL_PASSWORD", password), &["--block", &block])
    };
    let member = as_user("orderer", "orderer-secret");
    assert_eq!(member.code, Some(0), "{member:?}");
    let wrong = as_user("orderer", "guessed");
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stdout.contains("correct Kafka.SASL.Mechanism, User and Password"), "{wrong:?}");
    let stranger = as_user("stranger", "stranger-secret");
    assert_eq!(stranger.code, Some(1));
    assert!(stranger.stdout.contains("kafka-acls.sh"), "{stranger:?}");
    let plain = check(&setup, &["--block", &block]);
    assert_eq!(plain.code, Some(1), "{plain:?}");
}
