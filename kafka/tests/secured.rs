//! Tests listeners with TLS and SASL, and a broker that permits only one user to do anything: which clients are
//! admitted, and the errors of the others.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod broker;
mod contract;
mod support;

use std::sync::{Arc, Mutex, Weak};

use broker::{Brokers, KAFKA_3, KAFKA_4, Listener, Plan};
use orderer_kafka::{
    ClientCertificate, Cluster, Credentials, Error, KafkaCluster, Offsets, Operation, Sasl, Settings, Tls,
};
use rskafka::client::{ClientBuilder, SaslConfig};
use support::{LIMITS, SHORT_TIMEOUTS, TIMEOUTS, cluster, settings, timed, values, with_topic};

static OLDER: Mutex<Weak<Brokers>> = Mutex::new(Weak::new());
static NEWEST: Mutex<Weak<Brokers>> = Mutex::new(Weak::new());

fn newest() -> Arc<Brokers> {
    Plan::new(KAFKA_4).secured().shared(&NEWEST)
}

fn older() -> Arc<Brokers> {
    Plan::new(KAFKA_3).secured().shared(&OLDER)
}

fn tls(broker: &Brokers, client: Option<&str>) -> Tls {
    let client = client.map(|name| {
        let pair = broker.certificates().client(name);
        ClientCertificate { chain_pem: pair.certificate, key_pem: pair.key }
    });
    Tls { roots_pem: broker.certificates().authority(), client }
}

fn with_tls(broker: &Brokers, client: Option<&str>) -> KafkaCluster {
    let plain = settings(broker.addresses(Listener::Tls));
    KafkaCluster::new(Settings { tls: Some(tls(broker, client)), ..plain }).unwrap()
}

fn with_sasl(broker: &Brokers, listener: Listener, sasl: Sasl) -> KafkaCluster {
    let tls = (listener == Listener::SaslTls).then(|| tls(broker, None));
    KafkaCluster::new(Settings { tls, sasl: Some(sasl), ..settings(broker.addresses(listener)) }).unwrap()
}

fn user(name: &str, password: &str) -> Credentials {
    Credentials { user: name.to_owned(), password: password.to_owned() }
}

fn mechanisms(credentials: &Credentials) -> [Sasl; 3] {
    let credentials = || credentials.clone();
    [Sasl::Plain(credentials()), Sasl::ScramSha256(credentials()), Sasl::ScramSha512(credentials())]
}

#[tokio::test]
async fn a_broker_of_version_4_keeps_the_contract() {
    let broker = newest();
    contract::holds(&cluster(broker.addresses(Listener::Plain))).await;
}

#[tokio::test]
async fn every_way_in_works_with_version_4() {
    every_way_in_works(&newest()).await;
}

#[tokio::test]
async fn every_way_in_works_with_version_3() {
    every_way_in_works(&older()).await;
}

async fn every_way_in_works(broker: &Brokers) {
    let mut ways = vec![with_tls(broker, Some("orderer"))];
    for listener in [Listener::Sasl, Listener::SaslTls] {
        let sasl = mechanisms(&user("orderer", "orderer-secret"));
        ways.extend(sasl.map(|sasl| with_sasl(broker, listener, sasl)));
    }
    for (at, way) in (0..).zip(&ways) {
        with_topic(way, "ways").await;
        let mut producer = way.producer("ways");
        producer.check_permission().await.unwrap();
        assert_eq!(producer.produce(values(&["in"])).await.unwrap().base_offset, at);
        let mut consumer = way.consumer("ways");
        assert_eq!(consumer.fetch(at, LIMITS).await.unwrap().records.len(), 1);
        assert_eq!(consumer.offsets().await.unwrap(), Offsets { earliest: 0, next: at + 1 });
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_within_the_deadline() {
    let broker = newest();
    let address = broker.addresses(Listener::Sasl);
    // rskafka's client retries without end
    let wrong = rskafka::client::Credentials::new("orderer".to_owned(), "wrong".to_owned());
    let theirs = ClientBuilder::new(address).sasl_config(SaslConfig::Plain(wrong)).build();
    assert!(tokio::time::timeout(SHORT_TIMEOUTS.dial, theirs).await.is_err(), "rskafka's client gives up now?");

    for credentials in [user("orderer", "wrong"), user("nobody", "orderer-secret")] {
        for sasl in mechanisms(&credentials) {
            let mechanism = sasl.mechanism();
            let (took, described) = timed(with_sasl(&broker, Listener::Sasl, sasl).describe()).await;
            let error = described.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Authentication { .. }) && !error.is_transient(), "{error:?}");
            assert!(text.contains(mechanism) && text.contains(&credentials.user), "{text}");
            assert!(!text.contains("wrong password") && took < TIMEOUTS.dial, "{text} after {took:?}");
        }
    }
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_said() {
    let broker = newest();
    for client in [None, Some("foreign")] {
        let error = with_tls(&broker, client).describe().await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }) && !error.is_transient(), "{client:?}: {error:?}");
    }
    // brokers of a CA that the client does not trust
    let foreign = broker.certificates().client("foreign").certificate;
    let tls = Tls { roots_pem: foreign, client: None };
    let settings = Settings { tls: Some(tls), ..settings(broker.addresses(Listener::Tls)) };
    let error = KafkaCluster::new(settings).unwrap().describe().await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn the_wrong_kind_of_listener_is_hinted_at_within_the_deadline() {
    let broker = newest();
    let credentials = user("orderer", "orderer-secret");
    let plain_to_tls = cluster(broker.addresses(Listener::Tls));
    let tls_to_plain =
        Settings { tls: Some(tls(&broker, Some("orderer"))), ..settings(broker.addresses(Listener::Plain)) };
    let tls_to_plain = KafkaCluster::new(tls_to_plain).unwrap();
    let nobody_to_sasl = cluster(broker.addresses(Listener::Sasl));
    let sasl_to_plain =
        Settings { sasl: Some(Sasl::Plain(credentials)), ..settings(broker.addresses(Listener::Plain)) };
    let sasl_to_plain = KafkaCluster::new(sasl_to_plain).unwrap();
    let hint = "does its listener expect tls or sasl?";
    for (what, ours, hint) in [
        ("plain to tls", plain_to_tls, hint),
        ("tls to plain", tls_to_plain, hint),
        ("nobody to sasl", nobody_to_sasl, hint),
        ("sasl to plain", sasl_to_plain, "the listener does not do sasl"),
    ] {
        let (took, described) = timed(ours.describe()).await;
        let error = described.unwrap_err().to_string();
        assert!(error.contains(hint), "{what}: {error}");
        assert!(took < TIMEOUTS.dial + TIMEOUTS.read, "{what}: {took:?}");
    }
}

#[tokio::test]
async fn whoever_may_do_nothing_is_told_so() {
    let broker = newest();
    with_topic(&cluster(broker.addresses(Listener::Plain)), "ours").await;
    let stranger = Sasl::ScramSha512(user("stranger", "stranger-secret"));
    for ours in [with_sasl(&broker, Listener::SaslTls, stranger), with_tls(&broker, Some("stranger"))] {
        // authentication succeeds
        ours.describe().await.unwrap();
        let refused = [
            ours.topic("ours").await.unwrap_err(),
            ours.ensure_topic(&support::spec("theirs", 1)).await.unwrap_err(),
            ours.topic_settings("ours").await.unwrap_err(),
            ours.broker_settings(1).await.unwrap_err(),
            ours.producer("ours").produce(values(&["no"])).await.unwrap_err(),
            ours.producer("ours").check_permission().await.unwrap_err(),
            ours.consumer("ours").fetch(0, LIMITS).await.unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, Error::Authorization { .. }) && !error.is_transient(), "{error:?}");
        }
    }
}

/// Reading is permitted and writing is not; the client detects that without writing a record.
#[tokio::test]
async fn permission_to_produce_is_asked_for_without_a_record() {
    let broker = older();
    let all = cluster(broker.addresses(Listener::Plain));
    with_topic(&all, "readable").await;
    let allow = ["--add", "--allow-principal", "User:stranger", "--operation", "Describe", "--topic", "readable"];
    broker.command("kafka.admin.AclCommand", &allow);
    let ours = with_sasl(&broker, Listener::Sasl, Sasl::Plain(user("stranger", "stranger-secret")));
    support::eventually("the right is known", async || ours.topic("readable").await.ok()).await;
    let error = ours.producer("readable").check_permission().await.unwrap_err();
    assert!(matches!(error, Error::Authorization { operation: Operation::Produce, .. }), "{error:?}");
    assert_eq!(all.consumer("readable").offsets().await.unwrap().next, 0);
}
