//! Tests that a node that has worked exports Fabric's metrics, by name, type, labels and buckets, and its own.

#![allow(clippy::float_cmp, reason = "counts of what was sent are exact")]
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use orderer_localconfig::yaml;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::expect_file;
use fabric_proto::common::Status;
use orderer_actors::observer::{METRICS, MetricDefinition, MetricKind};
use reqwest::Method;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use world::http::{Http, send};
use world::messages::{block, newest, oldest, seek_info, seek_info_at_once, transaction};
use world::metrics::{Scrape, is_of_kafka, is_of_raft};
use world::{Setup, Step, TestIdentity, within};

/// The default buckets of the Go client of Prometheus.
const USUAL: &str = "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10";
const LEDGER: &str = "0.005 0.01 0.015 0.05 0.1 1 10";

/// Fabric's metrics from its sources (v2.5.16): name, type, labels, buckets. Metrics of the Go runtime are left out.
const REFERENCE: &[(&str, &str, &str, &str)] = &[
    ("blockcutter_block_fill_duration", "histogram", "channel", USUAL),
    ("broadcast_enqueue_duration", "histogram", "channel type status", USUAL),
    ("broadcast_processed_count", "counter", "channel type status", ""),
    ("broadcast_validate_duration", "histogram", "channel type status", USUAL),
    ("cluster_comm_egress_queue_capacity", "gauge", "host msg_type channel", ""),
    ("cluster_comm_egress_queue_length", "gauge", "host msg_type channel", ""),
    ("cluster_comm_egress_queue_workers", "gauge", "channel", ""),
    ("cluster_comm_egress_stream_count", "gauge", "channel", ""),
    ("cluster_comm_egress_tls_connection_count", "gauge", "", ""),
    ("cluster_comm_ingress_stream_count", "gauge", "", ""),
    ("cluster_comm_msg_dropped_count", "counter", "host channel", ""),
    ("cluster_comm_msg_send_time", "histogram", "host channel", USUAL),
    ("consensus_etcdraft_active_nodes", "gauge", "channel", ""),
    ("consensus_etcdraft_cluster_size", "gauge", "channel", ""),
    ("consensus_etcdraft_committed_block_number", "gauge", "channel", ""),
    ("consensus_etcdraft_config_proposals_received", "counter", "channel", ""),
    ("consensus_etcdraft_data_persist_duration", "histogram", "channel", USUAL),
    ("consensus_etcdraft_is_leader", "gauge", "channel", ""),
    ("consensus_etcdraft_leader_changes", "counter", "channel", ""),
    ("consensus_etcdraft_normal_proposals_received", "counter", "channel", ""),
    ("consensus_etcdraft_proposal_failures", "counter", "channel", ""),
    ("consensus_etcdraft_snapshot_block_number", "gauge", "channel", ""),
    ("consensus_kafka_batch_size", "gauge", "topic", ""),
    ("consensus_kafka_compression_ratio", "gauge", "topic", ""),
    ("consensus_kafka_incoming_byte_rate", "gauge", "broker_id", ""),
    ("consensus_kafka_last_offset_persisted", "gauge", "channel", ""),
    ("consensus_kafka_outgoing_byte_rate", "gauge", "broker_id", ""),
    ("consensus_kafka_record_send_rate", "gauge", "topic", ""),
    ("consensus_kafka_records_per_request", "gauge", "topic", ""),
    ("consensus_kafka_request_latency", "gauge", "broker_id", ""),
    ("consensus_kafka_request_rate", "gauge", "broker_id", ""),
    ("consensus_kafka_request_size", "gauge", "broker_id", ""),
    ("consensus_kafka_response_rate", "gauge", "broker_id", ""),
    ("consensus_kafka_response_size", "gauge", "broker_id", ""),
    ("deliver_blocks_sent", "counter", "channel filtered data_type", ""),
    ("deliver_requests_completed", "counter", "channel filtered data_type success", ""),
    ("deliver_requests_received", "counter", "channel filtered data_type", ""),
    ("deliver_streams_closed", "counter", "", ""),
    ("deliver_streams_opened", "counter", "", ""),
    ("fabric_version", "gauge", "version", ""),
    ("grpc_comm_conn_closed", "counter", "", ""),
    ("grpc_comm_conn_opened", "counter", "", ""),
    ("grpc_server_stream_messages_received", "counter", "service method", ""),
    ("grpc_server_stream_messages_sent", "counter", "service method", ""),
    ("grpc_server_stream_request_duration", "histogram", "service method code", USUAL),
    ("grpc_server_stream_requests_completed", "counter", "service method code", ""),
    ("grpc_server_stream_requests_received", "counter", "service method", ""),
    ("grpc_server_unary_request_duration", "histogram", "service method code", USUAL),
    ("grpc_server_unary_requests_completed", "counter", "service method code", ""),
    ("grpc_server_unary_requests_received", "counter", "service method", ""),
    ("ledger_blockchain_height", "gauge", "channel", ""),
    ("ledger_blockstorage_commit_time", "histogram", "channel", LEDGER),
    ("logging_entries_checked", "counter", "level", ""),
    ("logging_entries_written", "counter", "level", ""),
    ("participation_consensus_relation", "gauge", "channel", ""),
    ("participation_status", "gauge", "channel", ""),
    ("process_cpu_seconds_total", "counter", "", ""),
    ("process_max_fds", "gauge", "", ""),
    ("process_open_fds", "gauge", "", ""),
    ("process_resident_memory_bytes", "gauge", "", ""),
    ("process_start_time_seconds", "gauge", "", ""),
    ("process_virtual_memory_bytes", "gauge", "", ""),
];

#[test]
fn every_metric_of_the_reference_is_here_as_it_is_there() {
    let ours: BTreeSet<_> = METRICS
        .iter()
        .map(|metric| {
            let buckets = match metric.kind {
                MetricKind::Histogram(buckets) => buckets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                _ => String::new(),
            };
            (metric.prometheus_name(), metric.kind_name(), metric.labels.join(" "), buckets)
        })
        .collect();
    for (name, kind, labels, buckets) in REFERENCE {
        let wanted = ((*name).to_owned(), *kind, (*labels).to_owned(), (*buckets).to_owned());
        assert!(ours.contains(&wanted), "{wanted:?}");
    }
    assert_eq!(ours.len(), METRICS.len(), "a name is there twice");
    let others = METRICS.iter().map(MetricDefinition::prometheus_name);
    let others = others.filter(|name| !REFERENCE.iter().any(|(known, ..)| known == name));
    let strays: Vec<_> = others.filter(|name| !name.starts_with("orderer_") && name != "process_threads").collect();
    assert!(strays.is_empty(), "neither Fabric's nor with our prefix: {strays:?}");
}

#[test]
fn the_document_lists_every_metric() {
    let mut text = include_str!("metrics_head.md").to_owned();
    text += "\n| name | kind | labels | what it says |\n|---|---|---|---|\n";
    let mut sorted: Vec<_> = METRICS.iter().collect();
    sorted.sort_by_key(|metric| metric.prometheus_name());
    for metric in sorted {
        let (name, kind, labels) = (metric.prometheus_name(), metric.kind_name(), metric.labels.join(", "));
        writeln!(text, "| `{name}` | {kind} | {labels} | {} |", metric.help).unwrap();
    }
    expect_file!["../docs/metrics.md"].assert_eq(&text);
}

/// Prefixes of metric names: a word in an expression that begins with one is a metric.
const PREFIXES: [&str; 11] = [
    "orderer_",
    "broadcast_",
    "blockcutter_",
    "deliver_",
    "grpc_",
    "ledger_",
    "consensus_",
    "participation_",
    "logging_",
    "process_",
    "fabric_",
];

fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
    let base = |word: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        let is_histogram =
            |base: &&str| METRICS.iter().any(|m| m.prometheus_name() == *base && m.kind_name() == "histogram");
        histogram.filter(is_histogram).unwrap_or(word).to_owned()
    };
    metrics.map(base).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let rules: yaml::Value = yaml::parse(include_str!("../packaging/prometheus/rules.yaml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_sequence().unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../packaging/grafana/orderer.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let alerts = rules.iter().map(|rule| rule["expr"].as_str().unwrap());
    let queries = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = queries.map(|target| target["expr"].as_str().unwrap());
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter().filter_map(|v| v["definition"].as_str());
    let expressions: Vec<&str> = alerts.chain(queries).chain(variables).collect();
    assert!(expressions.len() > 30);
    for expression in expressions {
        let asked = metrics_in(expression);
        assert!(!asked.is_empty(), "{expression}");
        for name in asked {
            assert!(METRICS.iter().any(|m| m.prometheus_name() == name), "{name} in {expression}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_worked_shows_what_it_did() {
    let setup = Setup::application().set("METRICS_PROVIDER", "prometheus");
    let ledgers = setup.folder().join("ledger");
    let mut node = setup.set("GENERAL_THROTTLING_CLIENTRATE", 10_000).start().await;
    let operations = Http::of(&mut node, "operations").await;
    let started = operations.get("/metrics").await;
    let text = String::from_utf8_lossy(&started.body).into_owned();
    let started = text.lines().find_map(|line| line.strip_prefix("process_start_time_seconds ")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    // the kernel's clock and the wall clock may differ a little
    assert!((now - started.parse::<f64>().unwrap()).abs() < 600.0, "{started}");
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let envelopes = (0..25).map(|n| transaction(&user, "app", format!("transaction {n}")));
    client.order(envelopes).await;
    // wait until no envelope is pending, so that the compared figures no longer change
    let (mut in_blocks, mut number) = (0, 0);
    while in_blocks < 25 {
        number += 1;
        // a stream that its client leaves before the status may be counted as one that failed
        let mut stream = client.deliver(&user, "app", seek_info(block(number), block(number))).await;
        in_blocks += stream.block().await.data.unwrap().data.len();
        assert_eq!(stream.status().await, Status::Success);
    }
    let (status, _) = client.broadcast(transaction(&user, "no-such-channel", "x")).await;
    assert_eq!(status, Status::BadRequest);
    let (status, _) = client.broadcast(transaction(&TestIdentity::orderer_admin(), "elsewhere", "x")).await;
    assert_eq!(status, Status::BadRequest);
    let mut beyond = client.deliver(&user, "app", seek_info_at_once(block(99), block(99))).await;
    assert_eq!(beyond.next().await, Step::Status(Status::NotFound, String::new()));
    client.chain(&user, "app").await;
    let mut health = HealthClient::new(client.channel.clone());
    within("an answer", health.check(HealthCheckRequest::default())).await.unwrap();
    // a subscriber while the metrics are scraped
    let mut following = client.deliver(&user, "app", seek_info(oldest(), block(1000))).await;
    following.block().await;

    // the node notices that a stream has ended, and that a response was taken, after its client
    let is_quiet = |scrape: &Scrape| {
        scrape.value(r#"orderer_subscribers{channel="app"}"#) == 1.0
            && scrape.value(r#"orderer_gate_waiting_envelopes{channel="app"}"#) == 0.0
    };
    let quiet = async {
        loop {
            let scrape = Scrape::of(&operations).await;
            if is_quiet(&scrape) {
                return scrape;
            }
        }
    };
    let scrape = within("only one stream is left", quiet).await;
    scrape.is_as_defined();
    let success = r#"{channel="app",status="SUCCESS",type="ENDORSER_TRANSACTION"}"#;
    assert_eq!(scrape.value(&format!("broadcast_processed_count{success}")), 25.0);
    assert_eq!(scrape.value(&format!("broadcast_validate_duration_count{success}")), 25.0);
    assert_eq!(scrape.value(&format!("broadcast_enqueue_duration_count{success}")), 25.0);
    let nowhere = r#"broadcast_processed_count{channel="unknown",status="BAD_REQUEST",type="ENDORSER_TRANSACTION"}"#;
    assert_eq!(scrape.value(nowhere), 2.0, "names that clients make up are no labels");
    let height = scrape.value(r#"ledger_blockchain_height{channel="app"}"#);
    assert!(height >= 2.0);
    assert_eq!(scrape.value(r#"ledger_blockstorage_commit_time_count{channel="app"}"#), height - 1.0);
    assert_eq!(scrape.value(r#"blockcutter_block_fill_duration_count{channel="app"}"#), height - 1.0);
    let completed = |success| {
        format!(r#"deliver_requests_completed{{channel="app",data_type="block",filtered="false",success="{success}"}}"#)
    };
    assert_eq!(scrape.value(&completed("false")), 1.0);
    assert!(scrape.value(&completed("true")) >= 2.0);
    assert_eq!(scrape.value(r#"orderer_channel_state{channel="app",state="running"}"#), 1.0);
    assert_eq!(scrape.value(r#"participation_status{channel="app"}"#), 1.0);
    let streams = r#"{method="Broadcast",service="orderer_AtomicBroadcast"}"#;
    assert_eq!(scrape.value(&format!("grpc_server_stream_requests_received{streams}")), 3.0);
    assert_eq!(scrape.value(&format!("grpc_server_stream_messages_received{streams}")), 27.0);
    let check = r#"{code="OK",method="Check",service="grpc_health_v1_Health"}"#;
    assert_eq!(scrape.value(&format!("grpc_server_unary_requests_completed{check}")), 1.0);
    assert!(scrape.value("grpc_comm_conn_opened") >= 1.0);
    assert_eq!(scrape.value(r#"orderer_actor_restarts{actor="block-writer",channel="app"}"#), 0.0);
    let disk = rustix::fs::statvfs(&ledgers).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "bytes of a disk; metrics are floating-point numbers")]
    let bytes = |blocks: u64| (blocks * disk.f_frsize) as f64;
    assert_eq!(scrape.value("orderer_disk_size_bytes"), bytes(disk.f_blocks));
    let (free, now) = (scrape.value("orderer_disk_free_bytes"), bytes(disk.f_bavail));
    // other processes write to this disk as well
    assert!((free - now).abs() < f64::from(1 << 30), "{free} free when it was asked, {now} now");
    // all metrics except those of Kafka, which need brokers, those of Raft, and those of rejections and of tokens, which
    // tests/throttling.rs and tests/pkcs11.rs cover
    let missing: Vec<_> = METRICS
        .iter()
        .filter(|metric| !is_of_kafka(metric) && !is_of_raft(metric))
        .map(MetricDefinition::prometheus_name)
        .filter(|name| name != "orderer_over_limit" && !name.starts_with("orderer_token_"))
        .filter(|name| !scrape.names().contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let of_others: Vec<_> = METRICS
        .iter()
        .filter(|metric| is_of_kafka(metric) || is_of_raft(metric))
        .map(MetricDefinition::prometheus_name)
        .collect();
    assert!(
        of_others.iter().all(|name| !scrape.names().contains(name.as_str())),
        "no channel is ordered by Kafka or Raft"
    );
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_channel_leaves_no_series() {
    let setup = Setup::application().set("METRICS_PROVIDER", "prometheus").set("CHANNELPARTICIPATION_ENABLED", true);
    let mut node = setup.start().await;
    let (operations, admin) = (Http::of(&mut node, "operations").await, Http::of(&mut node, "admin").await);
    let (client, user) = (node.client().await, TestIdentity::user(1));
    client.order([transaction(&user, "app", "x")]).await;
    let mut stream = client.deliver(&user, "app", seek_info(newest(), newest())).await;
    stream.block().await;
    assert_eq!(stream.status().await, Status::Success);
    let of_it = |scrape: &Scrape| scrape.series.keys().filter(|key| key.contains(r#"channel="app""#)).count();
    assert!(of_it(&Scrape::of(&operations).await) > 50);
    assert_eq!(admin.delete("/participation/v1/channels/app").await.status, 204);
    let scrape = Scrape::of(&operations).await;
    assert_eq!(of_it(&scrape), 0, "{:#?}", scrape.series);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_prometheus_there_is_nothing_to_scrape() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(operations.get("/metrics").await.status, 404);
    node.stop().await;
    let mut node = Setup::application().set("METRICS_PROVIDER", "prometheus").start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(send(operations.request(Method::POST, "/metrics")).await.status, 400);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statsd_is_sent_names_with_dots() {
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let statsd = |network: &str, address: std::net::SocketAddr| {
        Setup::application()
            .set("METRICS_PROVIDER", "statsd")
            .set("METRICS_STATSD_NETWORK", network)
            .set("METRICS_STATSD_ADDRESS", address)
            .set("METRICS_STATSD_WRITEINTERVAL", "200ms")
            .set("METRICS_STATSD_PREFIX", "net.orderer0")
    };
    let to = udp.local_addr().unwrap();
    // received all the time: a counter is sent once, and what does not fit into the socket's buffer is lost
    let all = tokio::spawn(async move {
        let (mut text, mut datagram) = (String::new(), [0; 2048]);
        let wanted = [
            "net.orderer0.broadcast.processed_count.app.ENDORSER_TRANSACTION.SUCCESS:1.000000|c\n",
            "net.orderer0.grpc.comm.conn_opened:1.000000|c\n",
            "net.orderer0.ledger.blockchain_height.app:2.000000|g\n",
            "net.orderer0.broadcast.enqueue_duration.app.ENDORSER_TRANSACTION.SUCCESS:",
        ];
        while !wanted.iter().all(|line| text.contains(line)) {
            let (length, _) = udp.recv_from(&mut datagram).await.unwrap();
            text.push_str(std::str::from_utf8(&datagram[..length]).unwrap());
        }
    });
    let node = statsd("udp", to).start().await;
    node.client().await.order([transaction(&TestIdentity::user(1), "app", "x")]).await;
    within("the metrics", all).await.unwrap();
    node.stop().await;

    let node = statsd("tcp", tcp.local_addr().unwrap()).start().await;
    let (mut stream, _) = within("a connection", tcp.accept()).await.unwrap();
    let mut text = String::new();
    within("the metrics", tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text)).await.unwrap();
    assert!(text.contains("net.orderer0.ledger.blockchain_height.app:1.000000|g\n"), "{text}");
    node.stop().await;
}
