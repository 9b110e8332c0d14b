//! Tests ordering with real Kafka brokers: orderers that never communicate with each other cut the same chain.

#![allow(clippy::float_cmp, reason = "counts and offsets are exact")]
#![allow(clippy::unwrap_used, missing_docs)]

use crate::broker;
use crate::kafka_support;
use crate::raw_grpc;
use crate::world;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use broker::{Brokers, KAFKA_3, KAFKA_4, Listener, Plan};
use fabric_proto::common::{Envelope, Status};
use kafka_support::{CHANNEL, Load, check_chains, orderer, orderer_at, system_orderer, two_orderers, until_it_orders};
use orderer_actors::observer::{METRICS, MetricDefinition};
use rskafka::client::ClientBuilder;
use rskafka::client::controller::ControllerClient;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;
use serde_json::{Value, json};
use world::config_updates::{batch_size_update, creation, last_config, signed_update};
use world::http::Http;
use world::messages::{block, newest, seek_info, seek_info_at_once, transaction, tx_id};
use world::metrics::{Scrape, is_of_kafka};
use world::{Client, Step, TestIdentity, within};

static SHARED: Mutex<Weak<Brokers>> = Mutex::new(Weak::new());

/// The name of the topic is the name of the channel, so only one test at a time may use the brokers.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn brokers() -> Arc<Brokers> {
    Plan::new(KAFKA_3).shared(&SHARED)
}

async fn administrator(brokers: &Brokers) -> ControllerClient {
    let client = ClientBuilder::new(brokers.addresses(Listener::Plain)).build().await.unwrap();
    client.controller_client().unwrap()
}

async fn forget_topic(brokers: &Brokers) {
    administrator(brokers).await.delete_topic(CHANNEL, 5000).await.unwrap();
}

async fn make_topic(brokers: &Brokers, partitions: i32) {
    administrator(brokers).await.create_topic(CHANNEL, partitions, 1, 5000).await.unwrap();
}

/// Updates the maximum number of messages per block. A node that is catching up may learn of another configuration
/// between the query and the update, so the update is retried.
async fn change_batch_size(client: &Client, max_message_count: u32) {
    let (admin, orderer_admin) = (TestIdentity::admin(1), TestIdentity::orderer_admin());
    let change = async {
        loop {
            let config = last_config(client, &admin, CHANNEL).await;
            let update = batch_size_update(&config, CHANNEL, max_message_count);
            let answer = client.broadcast(signed_update(&admin, &[&orderer_admin], CHANNEL, &update)).await;
            if answer.0 != Status::BadRequest || !answer.1.contains("but key is at version") {
                return answer;
            }
        }
    };
    assert_eq!(within("the update is of the newest configuration", change).await, (Status::Success, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_orderers_cut_one_chain_under_load_restarts_and_configuration_updates() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    let setups = two_orderers(&brokers);
    let [mut a, mut b] = [setups[0].start().await, setups[1].start().await];
    let load = Load::on(&[a.address.clone(), b.address.clone()], 3);
    for (round, batch) in [(0, 7), (1, 30)] {
        change_batch_size(&a.client().await, batch).await;
        until_it_orders(&b.address).await;
        let (dying, setup) = if round == 0 { (&mut a, &setups[0]) } else { (&mut b, &setups[1]) };
        dying.kill();
        *dying = setup.spawn();
        until_it_orders(&dying.address).await;
        setup.forgive_unclean_starts();
    }
    let (acknowledged, _) = load.end().await;
    assert!(acknowledged.len() > 20, "there was load");
    let twice = check_chains(&[&a, &b], &acknowledged).await;
    eprintln!("{} transactions acknowledged, {twice} more than once in the chain", acknowledged.len());
    for node in [a, b] {
        node.assert_no_panic();
        node.stop().await;
    }
    forget_topic(&brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_moved_in_fabrics_format_goes_on_at_the_right_offset() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    let [old, other] = two_orderers(&brokers);
    let (node, present) = (old.start().await, other.start().await);
    let (client, user) = (present.client().await, TestIdentity::user(1));
    let mut acknowledged = BTreeSet::new();
    let mut some = || -> Vec<Envelope> {
        let envelopes: Vec<Envelope> = (0..15).map(|i| transaction(&user, CHANNEL, vec![i])).collect();
        acknowledged.extend(envelopes.iter().map(tx_id));
        envelopes
    };
    client.order(some()).await;
    blocks_up_to(&node.client().await, 2).await;
    node.stop().await;
    // the old orderer does not see these envelopes
    client.order(some()).await;

    let new = orderer("orderer.example.com", &brokers, Listener::Plain);
    let moved = new.folder().join("moved").display().to_string();
    let exported = old.again(&["ledger", "export", "--to-fabric", &moved]).run();
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let imported = new.again(&["ledger", "import", "--from-fabric", &moved]).run();
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let offset = imported.stdout.split("the record at offset ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(offset.parse::<u64>().unwrap() >= 17, "behind two orderers' connects and 15 envelopes: {offset}");
    let node = new.start().await;
    node.client().await.order(some()).await;
    assert_eq!(check_chains(&[&node, &present], &acknowledged).await, 0, "nothing is in the chain twice");
    for node in [node, present] {
        node.assert_no_panic();
        node.stop().await;
    }
    for setup in [new, other] {
        let verified = setup.again(&["ledger", "verify"]).run();
        assert!(verified.stdout.starts_with("app: good: "), "{verified:?}");
    }
    forget_topic(&brokers).await;
}

/// Asserts how Broadcast and Deliver respond for a channel that has failed. Its blocks can still be read.
async fn check_failed(client: &Client, parts: &[&str]) {
    let user = TestIdentity::user(1);
    let (status, info) = client.broadcast(transaction(&user, CHANNEL, "never acknowledged")).await;
    assert_eq!(status, Status::ServiceUnavailable, "{info}");
    assert!(parts.iter().all(|part| info.contains(part)), "{parts:?} not in: {info}");
    let mut blocks = client.deliver(&user, CHANNEL, seek_info_at_once(newest(), newest())).await;
    assert!(matches!(blocks.next().await, Step::Block(_)), "what there is can be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_gone_or_another_fails_the_channel_until_somebody_acts() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    let setup = orderer("orderer.example.com", &brokers, Listener::Plain);
    let node = setup.start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    client.order((0..20).map(|i| transaction(&user, CHANNEL, vec![i]))).await;
    client.block(&user, CHANNEL, 1).await;
    node.stop().await;

    forget_topic(&brokers).await;
    let mut node = setup.spawn();
    node.line("channel has failed; its blocks can still be read").await;
    check_failed(&node.client().await, &["topic app: does not exist", "check the topic"]).await;
    node.stop().await;

    make_topic(&brokers, 1).await;
    let mut node = setup.spawn();
    node.line("channel has failed; its blocks can still be read").await;
    check_failed(&node.client().await, &["the topic ends before offset 0", "is it another topic?"]).await;
    node.assert_no_panic();
    node.stop().await;
    forget_topic(&brokers).await;
}

/// Waits for one block after the other, because a request for a block far ahead is rejected.
async fn blocks_up_to(client: &Client, last: u64) {
    for number in 1..=last {
        client.block(&TestIdentity::user(1), CHANNEL, number).await;
    }
}

async fn partition(brokers: &Brokers) -> PartitionClient {
    let client = ClientBuilder::new(brokers.addresses(Listener::Plain)).build().await.unwrap();
    client.partition_client(CHANNEL, 0, UnknownTopicHandling::Error).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_trimmed_past_what_was_taken_fails_the_channel_and_no_other_orderer() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    let [late, present] = two_orderers(&brokers);
    let (node, other) = (late.start().await, present.start().await);
    let (client, user) = (other.client().await, TestIdentity::user(1));
    client.order((0..20).map(|i| transaction(&user, CHANNEL, vec![i]))).await;
    blocks_up_to(&node.client().await, 2).await;
    node.stop().await;
    client.order((0..20).map(|i| transaction(&user, CHANNEL, vec![i]))).await;
    blocks_up_to(&client, 4).await;
    let partition = partition(&brokers).await;
    let end = partition.get_offset(OffsetAt::Latest).await.unwrap();
    partition.delete_records(end, 5000).await.unwrap();

    let mut node = late.spawn();
    node.line("channel has failed; its blocks can still be read").await;
    check_failed(&node.client().await, &[&format!("the topic starts at offset {end}"), "check the topic"]).await;
    node.stop().await;
    client.order([transaction(&user, CHANNEL, "the other goes on")]).await;
    other.stop().await;
    forget_topic(&brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_strangers_are_skipped_and_a_poison_record_fails_the_channel() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    let setup = orderer("orderer.example.com", &brokers, Listener::Plain);
    let mut node = setup.start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    client.order([transaction(&user, CHANNEL, "before")]).await;
    let strange = |value: Option<Vec<u8>>| Record {
        key: None,
        value,
        headers: [("whose".to_owned(), b"a stranger's".to_vec())].into(),
        timestamp: rskafka::chrono::DateTime::UNIX_EPOCH,
    };
    let strange = vec![strange(None), strange(Some(vec![])), strange(Some(b"garbage".to_vec()))];
    partition(&brokers).await.produce(strange, Compression::Gzip).await.unwrap();
    client.order((0..20).map(|i| transaction(&user, CHANNEL, vec![i]))).await;
    blocks_up_to(&client, 2).await;
    let skipped = |line: &&String| line.contains("WARN") && line.contains("skipped");
    node.lines("three records are skipped", |lines| lines.iter().filter(skipped).count() >= 3).await;

    // Kafka's clients cannot write such a record, and Go clients cannot read it
    raw_grpc::produce_null_header(&brokers.addresses(Listener::Plain)[0], CHANNEL);
    node.line("channel has failed; its blocks can still be read").await;
    check_failed(&client, &["cannot be read", "check the topic"]).await;
    node.stop().await;
    let mut node = setup.spawn();
    node.line("channel has failed; its blocks can still be read").await;
    check_failed(&node.client().await, &["cannot be read"]).await;
    node.assert_no_panic();
    node.stop().await;
    forget_topic(&brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_names_the_cluster_that_is_gone_and_forgets_it_when_it_is_back() {
    let brokers = Plan::new(KAFKA_3).start();
    let mut node = orderer("orderer.example.com", &brokers, Listener::Plain).start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(operations.get("/healthz").await.status, 200);
    brokers.pause(1);
    let failed = health_with(&operations, 503).await;
    let check = &failed["failed_checks"][0];
    assert_eq!((&failed["status"], &check["component"]), (&json!("Service Unavailable"), &json!("channel app")));
    let reason = check["reason"].as_str().unwrap();
    assert!(reason.contains("127.0.0.1:"), "{reason}");
    // the check of the topic may notice the broker before the consumer does
    let shown = channel_with(&operations, "state", "retrying").await;
    assert_eq!(shown["level"], "bad", "{shown}");
    assert!(shown["next_attempt_ms"].as_u64() >= shown["since_ms"].as_u64(), "{shown}");
    brokers.resume(1);
    assert_eq!(health_with(&operations, 200).await["status"], "OK");
    let shown = channel_with(&operations, "level", "good").await;
    assert_eq!(shown.get("next_attempt_ms"), None, "{shown}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_say_what_went_to_the_topic_and_came_from_it() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    let setup = orderer("orderer.example.com", &brokers, Listener::Plain).set("METRICS_PROVIDER", "prometheus");
    let mut node = setup.start().await;
    let (operations, client, user) =
        (Http::of(&mut node, "operations").await, node.client().await, TestIdentity::user(1));
    let mut envelopes = (0..25).map(|n| transaction(&user, CHANNEL, vec![n; 1000]));
    client.order(envelopes.next()).await;
    // a rate is available from the second scrape on
    Scrape::of(&operations).await;
    client.order(envelopes).await;
    let (mut in_blocks, mut number) = (0, 0);
    while in_blocks < 25 {
        number += 1;
        in_blocks += client.block(&user, CHANNEL, number).await.data.unwrap().data.len();
    }

    let [send_rate, traffic] = [r#"consensus_kafka_record_send_rate{topic="app"}"#, r#"{broker_id="1"}"#];
    let scrape = scrape_until(&operations, |scrape| scrape.value(send_rate) > 0.0).await;
    scrape.is_as_defined();
    let missing: Vec<_> = METRICS
        .iter()
        .filter(|metric| is_of_kafka(metric))
        .map(MetricDefinition::prometheus_name)
        .filter(|name| !scrape.names().contains(name.as_str()))
        .collect();
    assert_eq!(missing, ["orderer_kafka_retention_hours_left"], "nothing was ever forgotten");
    // the batches hold a connect message, 25 envelopes, and a time-to-cut message
    let batches = |name: &str| scrape.value(&format!("consensus_kafka_{name}{{topic=\"app\"}}"));
    let (records, bytes) = (batches("records_per_request"), batches("batch_size"));
    assert!((1.0..=26.0).contains(&records), "{records}");
    assert!(bytes >= 800.0 * records, "{bytes} bytes of {records} records, nearly all of more than a thousand bytes");
    assert_eq!(batches("compression_ratio"), 100.0);
    let broker = |name: &str| scrape.value(&format!("consensus_kafka_{name}{traffic}"));
    for name in ["incoming_byte_rate", "outgoing_byte_rate", "request_rate", "response_rate"] {
        assert!(broker(name) > 0.0, "{name}");
    }
    assert!(broker("outgoing_byte_rate") > broker("request_rate"), "a request is more than a byte");
    let (request, answer, latency) = (broker("request_size"), broker("response_size"), broker("request_latency"));
    assert!((20.0..2000.0).contains(&request) && (20.0..10_000.0).contains(&answer), "{request}, {answer}");
    // milliseconds; a test takes seconds
    assert!(latency > 0.0 && latency < 60_000.0, "{latency}");
    assert!(scrape.value(r#"orderer_stage_duration_count{channel="app",stage="produce"}"#) >= 2.0);
    assert_eq!(scrape.value(r#"orderer_kafka_in_sync_replicas{channel="app"}"#), 1.0);
    assert_eq!(scrape.value(r#"orderer_kafka_log_start_offset{channel="app"}"#), 0.0);

    let (scrape, shown, end) = at_rest(&operations, &partition(&brokers).await).await;
    assert!(end >= 26, "{end}");
    for (name, shown, wanted) in [
        ("orderer_kafka_next_offset", &shown["taken_in"], json!(end)),
        ("orderer_kafka_end_offset", &shown["end"], json!(end)),
        ("orderer_kafka_lag", &shown["lag"], json!(0)),
        ("consensus_kafka_last_offset_persisted", &shown["stored"], shown["stored"].clone()),
    ] {
        assert_eq!(*shown, wanted, "{name}");
        assert_eq!(Some(scrape.value(&format!("{name}{{channel=\"app\"}}"))), shown.as_f64(), "{name}");
    }
    // a redundant time-to-cut message may follow the last block
    let stored = shown["stored"].as_i64().unwrap();
    assert!((25..end).contains(&stored), "{stored}");
    node.assert_no_panic();
    node.stop().await;
    forget_topic(&brokers).await;
}

/// Scrapes until the result satisfies a condition.
async fn scrape_until(operations: &Http, is_wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let scraped = async {
        loop {
            let scrape = Scrape::of(operations).await;
            if is_wanted(&scrape) {
                return scrape;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("metrics are as wanted", scraped).await
}

/// Waits until the whole topic has been consumed. Returns the metrics, the Kafka status of the debug endpoint, and the
/// end offset according to the brokers.
async fn at_rest(operations: &Http, topic: &PartitionClient) -> (Scrape, Value, i64) {
    let shown = async || operations.get("/debug/channels/app").await.json()["kafka"].clone();
    let rested = async {
        loop {
            let before = shown().await;
            let scrape = Scrape::of(operations).await;
            let end = topic.get_offset(OffsetAt::Latest).await.unwrap();
            if before["taken_in"] == end && before == shown().await {
                return (scrape, before, end);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the topic is taken in", rested).await
}

/// Polls the health check until it has this status.
async fn health_with(operations: &Http, status: u16) -> Value {
    let asked = async {
        loop {
            let answer = operations.get("/healthz").await;
            if answer.status == status {
                return answer.json();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("health changes", asked).await
}

/// Reads what the node shows of the channel until a field has this value.
async fn channel_with(operations: &Http, field: &str, value: &str) -> Value {
    let asked = async {
        loop {
            let shown = operations.get("/debug/channels/app").await.json();
            if shown[field] == value {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the channel's state changes", asked).await
}

/// The log must stay short because a thousand channels may wait for one cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_cannot_be_reached_are_said_at_once_and_then_more_and_more_seldom() {
    // no process listens at this address
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let setup = orderer_at("AppKafka.block", "orderer.example.com", &[nobody]);
    let mut node = setup.variable("FABRIC_LOGGING_SPEC", "orderer.kafka=debug:info").spawn();
    let tried = |line: &String, attempt: usize| {
        line.contains("for the channel") && line.split_whitespace().any(|word| word == format!("attempt={attempt}"))
    };
    node.lines("four attempts", |lines| lines.iter().any(|line| tried(line, 4))).await;
    let log = node.log();
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    for (attempt, level) in [(1, "WARN"), (2, "WARN"), (3, "DEBUG"), (4, "WARN")] {
        let of_it: Vec<_> = lines.iter().filter(|line| tried(line, attempt)).collect();
        assert!(of_it.len() == 1 && of_it[0].contains(level), "attempt {attempt}: {of_it:?}");
    }
    node.stop().await;
}

/// Does what `peer channel create` and the script around it do: the command returns when Deliver sends the first block,
/// and the next update is sent only once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_was_just_created_takes_what_follows_at_once() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    let setup = system_orderer("orderer.example.com", &brokers, Listener::Plain);
    let node = setup.start().await;
    let (client, admin, user) = (node.client().await, TestIdentity::admin(1), TestIdentity::user(1));
    for file in ["mychan.tx", "otherchan.tx"] {
        let update = creation(file);
        let channel = update.channel_id.clone();
        let answer = client.broadcast(signed_update(&admin, &[&admin], &channel, &update)).await;
        assert_eq!(answer, (Status::Success, String::new()));
        let created = async {
            loop {
                let mut stream = client.deliver(&admin, &channel, seek_info(block(0), block(0))).await;
                match stream.next().await {
                    Step::Block(first) => return first,
                    // the channel does not exist yet or has not started; the command asks again
                    Step::Status(Status::NotFound | Status::ServiceUnavailable, _) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        let first = within("the channel is created", created).await;
        assert_eq!(first.header.unwrap().number, 0);
        let answer = client.broadcast(transaction(&user, &channel, "at once")).await;
        assert_eq!(answer, (Status::Success, String::new()), "{channel}");
        client.block(&user, &channel, 1).await;
    }
    node.assert_no_panic();
    node.stop().await;
    for topic in ["syschan", "mychan", "otherchan"] {
        administrator(&brokers).await.delete_topic(topic, 5000).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_two_partitions_is_refused() {
    let (brokers, _turn) = (brokers(), TURN.lock().await);
    make_topic(&brokers, 2).await;
    let mut node = orderer("orderer.example.com", &brokers, Listener::Plain).spawn();
    node.line("channel has failed; its blocks can still be read").await;
    check_failed(&node.client().await, &["has 2 partitions, a channel needs exactly one"]).await;
    node.stop().await;
    forget_topic(&brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_today_order_too() {
    let brokers = Plan::new(KAFKA_4).secured().start();
    let certificates = brokers.certificates();
    let pair = certificates.client("orderer");
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file.display().to_string()
    };
    let node = orderer("orderer.example.com", &brokers, Listener::Tls)
        .set("KAFKA_TLS_ENABLED", true)
        .set("KAFKA_TLS_ROOTCAS", put("ca.pem", &certificates.authority()))
        .set("KAFKA_TLS_CERTIFICATE", put("client.pem", &pair.certificate))
        .set("KAFKA_TLS_PRIVATEKEY", put("client.key", &pair.key))
        .start()
        .await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    client.order((0..20).map(|i| transaction(&user, CHANNEL, vec![i]))).await;
    blocks_up_to(&client, 2).await;
    node.stop().await;
}
