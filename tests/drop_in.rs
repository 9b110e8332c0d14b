//! Tests that the node replaces Fabric's orderer: it starts with the variables and files that were written for Fabric.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;

use fabric_proto::Message as _;
use fabric_proto::common::Envelope;
use world::node::orderer_folder;
use world::{NET, Setup};

/// Returns the settings of the compose file of Fabric's test network, with the paths and ports of this test.
fn test_network() -> Setup {
    let setup = Setup::without_channels();
    let (tls, ledger) = (orderer_folder().join("tls"), setup.folder().join("ledger"));
    let file = |name: &str| tls.join(name).display().to_string();
    let roots = format!("[{}]", file("ca.crt"));
    setup
        .variable("FABRIC_LOGGING_SPEC", "INFO")
        .set("GENERAL_LISTENADDRESS", "127.0.0.1")
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
        .set("GENERAL_TLS_ENABLED", "true")
        .set("GENERAL_TLS_PRIVATEKEY", file("server.key"))
        .set("GENERAL_TLS_CERTIFICATE", file("server.crt"))
        .set("GENERAL_TLS_ROOTCAS", &roots)
        .set("GENERAL_CLUSTER_CLIENTCERTIFICATE", file("server.crt"))
        .set("GENERAL_CLUSTER_CLIENTPRIVATEKEY", file("server.key"))
        .set("GENERAL_CLUSTER_ROOTCAS", &roots)
        .set("GENERAL_BOOTSTRAPMETHOD", "none")
        .set("CHANNELPARTICIPATION_ENABLED", "true")
        .set("ADMIN_TLS_ENABLED", "true")
        .set("ADMIN_TLS_CERTIFICATE", file("server.crt"))
        .set("ADMIN_TLS_PRIVATEKEY", file("server.key"))
        .set("ADMIN_TLS_ROOTCAS", &roots)
        .set("ADMIN_TLS_CLIENTROOTCAS", &roots)
        .set("METRICS_PROVIDER", "prometheus")
        .set("FILELEDGER_LOCATION", ledger.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_networks_variables_start_it() {
    // the compose file's `command: orderer`, without `start`
    let setup = test_network().arguments(&[]);
    let node = setup.start().await;
    assert!(!node.log().contains(" WARN "), "{}", node.log());
    node.stop().await;
    let checked = setup.again(&["config", "check"]).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_variable_does_not_begin_another_chain() {
    let setup = Setup::application();
    let node = setup.start().await;
    node.stop().await;
    // the file now sets the ledger directory, and the variable is set but empty
    let ledger = setup.folder().join("ledger");
    fs::write(setup.folder().join("orderer.yaml"), format!("FileLedger: {{Location: {}}}\n", ledger.display()))
        .unwrap();
    let node = setup.again(&["start"]).set("FILELEDGER_LOCATION", "").start().await;
    assert!(node.log().contains("bootstrap file was ignored"), "{}", node.log());
    node.stop().await;
}

#[test]
fn a_variable_that_names_no_key_is_told_the_one_that_was_meant() {
    let checked = Setup::application().set("GENERAL_LISTENPRT", "7051").arguments(&["config", "check"]).run();
    let line = checked.stdout.lines().find(|line| line.contains("ORDERER_GENERAL_LISTENPRT")).unwrap();
    assert!(line.starts_with("warning") && line.contains("did you mean ORDERER_GENERAL_LISTENPORT?"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_all_the_same_and_warns_of_a_variable_that_names_no_key() {
    let node = Setup::application().set("GENERAL_LISTENPRT", "7051").start().await;
    let log = node.log();
    let line = log.lines().find(|line| line.contains("ORDERER_GENERAL_LISTENPRT")).unwrap();
    assert!(line.contains("WARN") && line.contains("did you mean ORDERER_GENERAL_LISTENPORT?"), "{line}");
    node.stop().await;
}

#[test]
fn a_genesis_block_that_is_not_used_is_named() {
    let block = format!("{NET}/AppSolo.block");
    let setup = Setup::application().set("GENERAL_BOOTSTRAPMETHOD", "none").set("GENERAL_BOOTSTRAPFILE", block);
    let checked = setup.arguments(&["config", "check"]).run();
    assert!(checked.stdout.contains("General.BootstrapFile is not used"), "{checked:?}");
}

#[test]
fn exposed_ledgers_are_a_warning() {
    let setup = Setup::application().set("OPERATIONS_LISTENADDRESS", "0.0.0.0:0").arguments(&["config", "check"]);
    assert!(setup.run().stdout.contains("answers this machine alone"));
    let setup = setup.set("DEBUG_ENDPOINT", "open");
    assert!(setup.run().stdout.contains("Debug.Endpoint is open"));
}

#[test]
fn the_version_is_told_however_it_is_asked_for() {
    let said = |argument: &str| Setup::without_channels().arguments(&[argument]).run().stdout;
    assert!(said("version").contains("Commit SHA"));
    assert_eq!([said("--version"), said("-V")], [said("version"), said("version")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_lives_whatever_its_channels_do() {
    let setup = Setup::application();
    let node = setup.start().await;
    node.stop().await;
    fs::write(setup.ledger_file("app"), "no ledger").unwrap();
    let node = setup.start().await;
    let alive = setup.again(&["health", "--grpc", "--alive"]);
    assert_eq!(alive.run().code, Some(0));
    node.stop().await;
    assert_eq!(alive.run().code, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mismatch_of_tls_is_one_plain_line() {
    let secured = test_network();
    let mut node = secured.start().await;
    let admin = world::http::address(&mut node, "admin").await;
    let plain = Setup::application();
    let mut open = plain.start().await;
    let operations = world::http::address(&mut open, "operations").await;
    let own = orderer_folder().join("tls/ca.crt").display().to_string();
    let other = format!("{NET}/crypto/peerOrganizations/org1.example.com/tlsca/tlsca.org1.example.com-cert.pem");
    let cases: [(&[&str], &str); 4] = [
        (&["channel", "list", "-o", &admin], "it may want TLS"),
        (&["health", "--address", &operations, "--tls-ca", &own], "it may not speak TLS"),
        (&["health", "--address", &node.address, "--grpc", "--tls-ca", &other], "leads to none of the authorities"),
        (&["health", "--address", "127.0.0.1:1"], "connection refused: nothing listens there"),
    ];
    for (arguments, said) in cases {
        let ended = secured.again(arguments).run();
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said) && !ended.stderr.contains('{'), "{arguments:?}: {ended:?}");
    }
    node.stop().await;
    open.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_creates_a_channel_without_a_system_channel_is_told_how_it_is_done() {
    let setup = Setup::application();
    let node = setup.start().await;
    let transaction = Envelope::decode(&*fs::read(format!("{NET}/mychan.tx")).unwrap()).unwrap();
    let (status, info) = node.client().await.broadcast(transaction).await;
    assert_eq!(status, fabric_proto::common::Status::BadRequest);
    assert!(info.contains("orderer channel join"), "{info}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_gone_are_to_be_seen_to_and_not_said_at_every_try() {
    let setup = Setup::with_genesis("AppKafka.block").set("KAFKA_RETRY_SHORTINTERVAL", "20ms");
    let mut node = setup.spawn();
    let line = node.line("attempt=4 ").await;
    assert!(line.contains("unavailable for the channel") && line.contains("check the brokers"), "{line}");
    let log = node.log();
    assert!(log.contains("attempt=1 ") && log.contains("attempt=2 ") && !log.contains("attempt=3 "), "{log}");
    node.stop().await;
}
