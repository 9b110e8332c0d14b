//! Tests of the ways to trace a request through the node: spans at a collector, files with the requests, and profiles.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use fabric_proto::Message as _;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use world::http::Http;
use world::messages::{block, seek, seek_info, transaction};
use world::{Node, Setup, Step, TestIdentity, within};

const CHANNEL: &str = "app";
/// The trace and the span of the client.
const CLIENTS_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENTS_SPAN: &str = "b7ad6b7169203331";

/// A collector that keeps the spans that it receives.
struct Collector(watch::Sender<Vec<Span>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let sent = request.into_inner().resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        self.0.send_modify(|spans| spans.extend(sent));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Starts a collector. Returns its address and the spans received so far.
async fn collector() -> (String, watch::Receiver<Vec<Span>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, spans) = watch::channel(Vec::new());
    let service = TraceServiceServer::new(Collector(sender));
    let serving = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, spans)
}

fn hex(bytes: &[u8]) -> String {
    orderer_core::crypto::hex(bytes)
}

/// Returns an attribute as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn in_clients_trace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_is_followed_to_the_disk_and_its_block_to_the_subscriber_in_the_clients_trace() {
    let (address, mut spans) = collector().await;
    // the standard variable of OpenTelemetry replaces Tracing.Endpoint
    let node = Setup::application().variable("OTEL_EXPORTER_OTLP_ENDPOINT", &address).start().await;
    let (mut client, user) = (node.client().await, TestIdentity::user(1));
    let envelope = transaction(&user, CHANNEL, "traced");
    let sent = in_clients_trace(tokio_stream::iter([envelope]));
    let mut answers = client.grpc.broadcast(sent).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().status, 200);
    let wanted = seek(&user, CHANNEL, &seek_info(block(1), block(1)));
    let mut blocks = client.grpc.deliver(in_clients_trace(tokio_stream::iter([wanted]))).await.unwrap().into_inner();
    blocks.message().await.unwrap().unwrap();
    blocks.message().await.unwrap().unwrap();
    // an envelope of a client without a trace, and one that is rejected
    client.order([transaction(&user, CHANNEL, "another")]).await;
    client.broadcast(transaction(&user, "nowhere", "refused")).await;
    node.stop().await;

    let stages = ["judge", "gate", "chain", "writer", "block", "disk"];
    let ended = |spans: &Vec<Span>| spans.iter().filter(|span| span.name == "envelope").count() == 3;
    let spans = within("all spans are at the collector", spans.wait_for(ended)).await.unwrap().clone();
    let of_client: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == CLIENTS_TRACE).collect();
    let one = |name: &str| *of_client.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"));
    let below = |parent: &Span| -> BTreeSet<&str> {
        let below = spans.iter().filter(|span| span.parent_span_id == parent.span_id);
        below.map(|span| span.name.as_str()).collect()
    };
    let envelope = one("envelope");
    assert_eq!(hex(&envelope.parent_span_id), CLIENTS_SPAN);
    assert_eq!(attribute(envelope, "channel").as_deref(), Some(CHANNEL));
    assert_eq!(attribute(envelope, "kind").as_deref(), Some("ENDORSER_TRANSACTION"));
    assert_eq!(attribute(envelope, "tx").map(|tx| tx.len()), Some(64));
    assert_eq!(below(envelope), BTreeSet::from(stages));
    let mut began = 0;
    for stage in stages {
        let span = spans.iter().find(|s| s.name == stage && s.parent_span_id == envelope.span_id).unwrap();
        assert!(span.start_time_unix_nano >= began && span.end_time_unix_nano >= span.start_time_unix_nano, "{stage}");
        assert!(span.trace_id == envelope.trace_id, "one trace");
        began = span.start_time_unix_nano;
    }
    let deliver = one("deliver");
    assert_eq!(hex(&deliver.parent_span_id), CLIENTS_SPAN);
    assert_eq!(attribute(one("send block"), "number").as_deref(), Some("1"));
    assert_eq!(one("send block").parent_span_id, deliver.span_id);

    let other: Vec<&Span> =
        spans.iter().filter(|span| span.name == "envelope" && hex(&span.trace_id) != CLIENTS_TRACE).collect();
    assert!(other.len() == 2 && other.iter().all(|span| span.parent_span_id.is_empty()), "each in a trace of its own");
    let refused = other.iter().find(|span| attribute(span, "channel").as_deref() == Some("nowhere")).unwrap();
    assert!(attribute(refused, "refused").unwrap().contains("nowhere"), "{refused:?}");
    let block = spans.iter().find(|s| s.name == "block" && attribute(s, "number").as_deref() == Some("1")).unwrap();
    assert_eq!(below(block), BTreeSet::from(["assemble", "commit"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_disturbs_nobody() {
    let setup = Setup::application().set("TRACING_ENDPOINT", "http://127.0.0.1:9");
    let node = setup.start().await;
    let user = TestIdentity::user(1);
    let client = node.client().await;
    client.order((0..20).map(|n| transaction(&user, CHANNEL, format!("{n}")))).await;
    node.assert_no_panic();
    node.stop().await;
    let ended = setup.set("TRACING_ENDPOINT", "collector:4317").run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("Tracing.Endpoint: 'collector:4317' is not http://host:port"), "{}", ended.stderr);
}

/// Returns the content of the directory's files of this service, in the order in which the requests were read.
fn written(folder: &Path, service: &str) -> Vec<Vec<u8>> {
    let all = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = all.filter(|path| path.extension().is_some_and(|e| e == service)).collect();
    // names sort by time because they have the same number of digits
    files.sort();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let (nanos, number) = name.split_once('.').unwrap().0.split_once('_').unwrap();
        assert!(nanos.parse::<u64>().is_ok() && number.starts_with("0x"), "{name}");
    }
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_streams_read_is_written_byte_by_byte() {
    let setup = Setup::application()
        .set("DEBUG_BROADCASTTRACEDIR", "traces/broadcast")
        .set("DEBUG_DELIVERTRACEDIR", "traces/deliver");
    let (broadcast, deliver) = (setup.folder().join("traces/broadcast"), setup.folder().join("traces/deliver"));
    let node = setup.start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let good = transaction(&user, CHANNEL, "good");
    let refused = transaction(&user, "nowhere", "refused");
    client.order([good.clone()]).await;
    client.broadcast(refused.clone()).await;
    let request = seek(&user, CHANNEL, &seek_info(block(0), block(0)));
    let mut delivering = client.delivering().await;
    delivering.send(request.clone()).await;
    assert!(matches!(delivering.next().await, Step::Block(_)));
    drop(delivering);
    node.stop().await;
    assert_eq!(written(&broadcast, "Broadcast"), [good.encode_to_vec(), refused.encode_to_vec()]);
    assert_eq!(written(&deliver, "Deliver"), [request.encode_to_vec()]);
}

async fn profiled(setup: Setup) -> (Node, Http) {
    let mut node =
        setup.set("GENERAL_PROFILE_ENABLED", true).set("GENERAL_PROFILE_ADDRESS", "127.0.0.1:0").start().await;
    let http = Http::of(&mut node, "profile").await;
    (node, http)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_are_in_pprofs_format_at_its_paths() {
    let (node, http) = profiled(Setup::application()).await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let mut attempts = 0;
    let (taken, refused) = loop {
        // both requests arrive at once and a profile takes three seconds, so the second arrives while the first runs
        let (one, other, ()) = tokio::join!(
            http.get("/debug/pprof/profile?seconds=3"),
            http.get("/debug/pprof/profile?seconds=3"),
            client.order((0..200).map(|n| transaction(&user, CHANNEL, format!("{n}")))),
        );
        attempts += 1;
        // on a busy machine one may arrive so late that the other has ended
        if (one.status, other.status) != (200, 200) || attempts == 5 {
            break if one.status == 200 { (one, other) } else { (other, one) };
        }
    };
    assert_eq!((taken.status, refused.status), (200, 409), "{taken:?} {refused:?}");
    let profile = unzipped(&taken.body);
    assert_eq!(profile.string_table[0], "");
    assert_eq!(profile.sample_type.len(), 2);
    assert!(profile.sample.iter().all(|sample| sample.value.len() == 2 && !sample.location_id.is_empty()));

    let actors = http.get("/debug/pprof/goroutine").await;
    assert!(String::from_utf8_lossy(&actors.body).contains("registrar/app/block-writer: running"), "{actors:?}");
    assert!(String::from_utf8_lossy(&http.get("/debug/pprof/").await.body).contains("go tool pprof"));
    let heap = http.get("/debug/pprof/heap").await;
    assert_eq!((heap.status, heap.header("content-type")), (200, "application/octet-stream"), "{heap:?}");
    let heap = unzipped(&heap.body);
    let named = |index: i64| heap.string_table[usize::try_from(index).unwrap()].as_str();
    assert_eq!((named(heap.sample_type[0].first), named(heap.sample_type[0].second)), ("inuse_space", "bytes"));
    assert!(named(heap.drop_frames).contains("_rjem_"), "the allocator's own frames are left out");
    let bytes: i64 = heap.sample.iter().map(|sample| sample.value[0]).sum();
    assert!(bytes > 1 << 20, "caches and buffers are some megabytes, not {bytes}");
    assert!(heap.string_table.iter().any(|name| name.contains("orderer")), "{:?}", heap.string_table);
    for bad in ["seconds=0", "seconds=51", "seconds=x", "seconds=-1", "seconds="] {
        assert_eq!(http.get(&format!("/debug/pprof/profile?{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(http.get("/debug/channels").await.status, 404, "nothing else is served here");
    node.assert_no_panic();
    node.stop().await;
}

fn unzipped(body: &[u8]) -> Profile {
    let mut profile = Vec::new();
    flate2::read::MultiGzDecoder::new(body).read_to_end(&mut profile).unwrap();
    Profile::decode(&profile[..]).unwrap()
}

/// The part of the profile format that the test reads.
#[derive(Clone, PartialEq, fabric_proto::Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "7")]
    drop_frames: i64,
}

#[derive(Clone, PartialEq, fabric_proto::Message)]
struct Pair {
    #[prost(int64, tag = "1")]
    first: i64,
    #[prost(int64, tag = "2")]
    second: i64,
}

#[derive(Clone, PartialEq, fabric_proto::Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heap_profile_costs_no_memory_that_stays() {
    const MB: usize = 1 << 20;
    let (node, http) = profiled(Setup::application()).await;
    // the allocator samples what is allocated: if the node holds little, it has no frames to resolve, and reads no
    // symbol tables
    let (client, user) = (node.client().await, TestIdentity::user(1));
    client.order((0..500).map(|_| transaction(&user, CHANNEL, vec![7; 10_000]))).await;
    let before = node.memory("VmRSS");
    assert_eq!(http.get("/debug/pprof/heap").await.status, 200);
    let most = node.memory("VmHWM");
    // freed memory is returned to the system within seconds
    let given_back = async {
        while node.memory("VmRSS") > before + 10 * MB {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let ended = tokio::time::timeout(std::time::Duration::from_secs(40), given_back).await;
    let after = node.memory("VmRSS");
    assert!(most > before + 40 * MB, "the tables are that large: {} MB before, {} MB at most", before / MB, most / MB);
    assert!(ended.is_ok(), "{} MB before, {} MB at most, {} MB after", before / MB, most / MB, after / MB);
    node.stop().await;
}
