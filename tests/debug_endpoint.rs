//! Tests that the debug endpoint shows what happened, and that no request terminates the node.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use orderer_localconfig::yaml;

use std::collections::BTreeSet;

use fabric_proto::common::Status;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use world::http::{Http, send};
use world::messages::{oldest, seek_info, transaction, tx_id};
use world::{Setup, TestIdentity, within};

/// All paths below `/debug` that need no parameter but a channel.
const PATHS: [&str; 17] = [
    "/debug/actors",
    "/debug/channels",
    "/debug/channels/app",
    "/debug/channels/app/blocks/0",
    "/debug/channels/app/blocks/newest",
    "/debug/channels/app/config",
    "/debug/channels/app/history",
    "/debug/history",
    "/debug/refusals",
    "/debug/refusals?channel=app&limit=3",
    "/debug/streams",
    "/debug/orderers",
    "/debug/limits",
    "/debug/certificates",
    "/debug/warnings",
    "/debug/config",
    "/debug/logs?level=warn&logger=orderer&contains=app&limit=10",
];

fn texts<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_is_followed_from_its_stream_to_a_subscriber() {
    let setup = Setup::application();
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    let mut subscriber = client.deliver(&user, "app", seek_info(oldest(), world::messages::block(9))).await;
    subscriber.block().await;
    let envelope = transaction(&user, "app", "a transaction");
    let tx = tx_id(&envelope);
    let again = envelope.clone();
    client.order([envelope]).await;
    subscriber.block().await;

    let life = operations.get(&format!("/debug/tx/{tx}")).await.json();
    assert_eq!((&life["channel"], &life["block"]), (&json!("app"), &json!(1)), "{life}");
    let steps = texts(&life["steps"], "step");
    for step in ["received", "validated", "acknowledged", "cut", "written"] {
        assert!(steps.contains(&step), "{life}");
    }
    let times: Vec<u64> =
        life["steps"].as_array().unwrap().iter().map(|step| step["at_us"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{life}");
    assert_eq!(life["others"], json!([]));

    // the node counts a block as sent when the connection asks for the next one, and the client may be faster
    let counted = async {
        loop {
            let channel = operations.get("/debug/channels/app").await.json();
            if channel["streams"][0]["behind"] == 0 {
                return channel;
            }
            tokio::task::yield_now().await;
        }
    };
    let channel = within("the stream's position", counted).await;
    let block = &channel["blocks"][0];
    assert_eq!(
        (&block["number"], &block["envelopes"], &block["hash"]),
        (&json!(1), &json!(1), &channel["last_block_hash"])
    );
    assert!(block["written_ms"].as_u64().unwrap() > 0 && channel["blocks"][1]["written_ms"].is_null(), "{channel}");
    assert_eq!((&channel["engine"], &channel["subscribers"]), (&json!("solo"), &json!(1)));
    let stream = &channel["streams"][0];
    let of_user = (&stream["kind"], &stream["msp_id"], &stream["position"], &stream["behind"]);
    assert_eq!(of_user, (&json!("deliver"), &json!("Org1MSP"), &json!(2), &json!(0)), "{stream}");
    assert!(stream["subject"].as_str().unwrap().contains("User1"), "{stream}");
    let disk = |what: &str| channel["disk"][what].as_u64().unwrap();
    assert!(disk("ledger_bytes") > 0 && disk("free_bytes") > 0, "{channel}");
    let policies = channel["policies"].as_array().unwrap();
    let writers = policies.iter().find(|policy| policy["path"] == "/Channel/Writers").unwrap();
    assert!(writers["rule"].as_str().unwrap().contains("Writers below"), "{writers}");
    let all = operations.get("/debug/streams").await.json();
    assert_eq!(texts(&all["streams"], "kind").iter().filter(|kind| **kind == "deliver").count(), 1);

    let shown = operations.get("/debug/channels/app/blocks/1").await.json();
    let envelope = &shown["envelopes"][0];
    assert_eq!((&envelope["tx_id"], &envelope["creator"]["msp_id"]), (&json!(tx), &json!("Org1MSP")), "{envelope}");
    assert_eq!(shown["block"]["header"]["number"], "1");
    let config = operations.get("/debug/channels/app/config").await.json();
    assert_eq!((&config["block"], &config["previous_block"]), (&json!(0), &Value::Null));
    assert!(config["config"]["channel_group"]["groups"]["Orderer"].is_object());

    client.order([again]).await;
    subscriber.block().await;
    let life = operations.get(&format!("/debug/tx/{tx}")).await.json();
    let others = life["others"].as_array().unwrap();
    assert_eq!((&life["block"], &others[0]["block"], others.len()), (&json!(1), &json!(2), 1), "{life}");
    drop(subscriber);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_its_chain_does_not_take_is_told_by_its_transaction_and_sender() {
    let setup = Setup::application().variable("FAILPOINTS", "registrar/app/solo-chain:Order=1*panic");
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let envelope = transaction(&TestIdentity::user(1), "app", "a transaction");
    let tx = tx_id(&envelope);
    let (status, told) = node.client().await.broadcast(envelope).await;
    assert_eq!(status, Status::ServiceUnavailable);
    let refusals = operations.get("/debug/refusals").await.json();
    let refused = &refusals["refusals"][0];
    assert_eq!((&refused["tx_id"], &refused["channel"], &refused["why"]), (&json!(tx), &json!("app"), &json!(told)));
    assert_eq!((&refused["type"], &refused["who"]["msp_id"]), (&json!("ENDORSER_TRANSACTION"), &json!("Org1MSP")));
    let life = operations.get(&format!("/debug/tx/{tx}")).await.json();
    assert_eq!((&life["block"], texts(&life["steps"], "step").last()), (&Value::Null, Some(&"refused")), "{life}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_who_and_how_each_leaf_of_the_policy_was_judged() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    let client = node.client().await;
    let stranger = TestIdentity::user(1).under(TestIdentity::user(2).creator);
    let (status, told) = client.broadcast(transaction(&stranger, "app", "x")).await;
    assert_eq!(status, Status::Forbidden);
    let refusals = operations.get("/debug/refusals?channel=app").await.json();
    assert_eq!((&refusals["total"], &refusals["by_status"]["FORBIDDEN"]), (&json!(1), &json!(1)));
    let refused = &refusals["refusals"][0];
    assert_eq!((&refused["status"], refused["why"].as_str().unwrap()), (&json!("FORBIDDEN"), told.as_str()));
    assert_eq!(
        (&refused["who"]["msp_id"], &refused["who"]["organizational_units"][0]),
        (&json!("Org2MSP"), &json!("client"))
    );
    let policy = &refused["policy"];
    assert_eq!((&policy["path"], &policy["holds"]), (&json!("/Channel/Writers"), &json!(false)), "{policy}");
    assert!(policy["signers"].as_str().unwrap().contains("User1@org2"), "{policy}");
    let mut leaves = Vec::new();
    let mut nodes = vec![policy];
    while let Some(node) = nodes.pop() {
        nodes.extend(node["below"].as_array().into_iter().flatten());
        leaves.extend(node["principals"].as_array().into_iter().flatten());
    }
    assert!(leaves.len() > 3, "{policy}");
    assert!(
        leaves.iter().all(|leaf| leaf["satisfied"] == false && !leaf["why"].as_str().unwrap().is_empty()),
        "{policy}"
    );
    assert_eq!(operations.get("/debug/refusals?channel=other").await.json()["refusals"], json!([]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_as_it_happens() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut events = operations.request(Method::GET, "/debug/events").send().await.unwrap();
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        // the first chunk says that the first sample was taken
        within("the beginning", events.chunk()).await.unwrap().unwrap();
        readers.push((events, String::new()));
    }
    let client = node.client().await;
    client.order([transaction(&TestIdentity::user(1), "app", "x")]).await;
    client.broadcast(transaction(&TestIdentity::user(1), "nowhere", "x")).await;
    let mut looks = BTreeSet::new();
    for (events, told) in &mut readers {
        // a chunk may end in the middle of an event, which ends with an empty line
        let has = |told: &str, event: &str| told.split_once(event).is_some_and(|(_, rest)| rest.contains("\n\n"));
        while !(has(told, "event: block\n") && has(told, "event: refusals\n")) {
            let piece = within("an event", events.chunk()).await.unwrap().unwrap();
            told.push_str(std::str::from_utf8(&piece).unwrap());
        }
        let block = told.split("event: block\ndata: ").nth(1).unwrap().lines().next().unwrap();
        let block: Value = serde_json::from_str(block).unwrap();
        assert_eq!((&block["channel"], &block["height"], &block["count"]), (&json!("app"), &json!(2), &json!(1)));
        if !told.contains("event: missed") {
            looks.insert(block["at_ms"].as_u64().unwrap());
        }
    }
    assert!(looks.len() <= 1, "all who keep up are told of the same look: {looks:?}");
    // an event stream, which does not end by itself, does not delay the shutdown
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_certificates_and_log_are_shown_without_secrets() {
    let setup = Setup::application().set("KAFKA_SASLPLAIN_PASSWORD", "hunter2").set("KAFKA_SASLPLAIN_USER", "u");
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let config = operations.get("/debug/config").await;
    assert!(!String::from_utf8_lossy(&config.body).contains("hunter2"));
    let config = config.json();
    let key = |name: &str| config["keys"].as_array().unwrap().iter().find(|key| key["key"] == name).unwrap().clone();
    assert_eq!(key("Kafka.SASLPlain.Password")["hidden"], true);
    assert_eq!(key("General.LocalMSPID")["source"], "ORDERER_GENERAL_LOCALMSPID");
    let certificates = operations.get("/debug/certificates").await.json();
    let kinds = texts(&certificates["certificates"], "kind");
    for kind in ["enrollment", "root ca", "tls root ca"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    let left: Vec<i64> =
        certificates["certificates"].as_array().unwrap().iter().map(|c| c["not_after_ms"].as_i64().unwrap()).collect();
    assert!(left.is_sorted(), "the first to expire first");
    let logs = operations.get("/debug/logs?contains=Beginning").await.json();
    assert_eq!(texts(&logs["lines"], "message"), ["Beginning to serve requests"]);
    assert_eq!(logs["lines"][0]["fields"]["channels"], "1");
    assert_eq!(operations.get("/debug/warnings").await.json()["warnings"].as_array().map(Vec::len), Some(0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_their_status_and_a_reason_in_json() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    let long = "x".repeat(300);
    let cases = [
        (400, "/debug/channels/UPPER".to_owned()),
        (400, format!("/debug/channels/{long}")),
        (400, "/debug/channels/%ff".to_owned()),
        (400, "/debug/channels/..%2f..%2fetc".to_owned()),
        (404, "/debug/channels/other".to_owned()),
        (400, "/debug/channels/app/blocks/-1".to_owned()),
        (400, "/debug/channels/app/blocks/99999999999999999999999".to_owned()),
        (400, "/debug/channels/app/blocks/000000000000000000000".to_owned()),
        (400, "/debug/channels/app/blocks/+0".to_owned()),
        (404, "/debug/channels/app/blocks/18446744073709551615".to_owned()),
        (404, "/debug/channels/other/config".to_owned()),
        (400, "/debug/refusals?limit=0".to_owned()),
        (400, "/debug/refusals?limit=many".to_owned()),
        (400, "/debug/refusals?limit=1001".to_owned()),
        (400, format!("/debug/refusals?channel={long}")),
        (400, "/debug/logs?level=loud".to_owned()),
        (400, format!("/debug/logs?logger={long}")),
        (400, format!("/debug/logs?contains={long}")),
        (404, "/debug/tx/unknown".to_owned()),
        (400, format!("/debug/tx/{long}")),
        (404, "/debug/nothing".to_owned()),
    ];
    for (status, path) in cases {
        let refused = operations.get(&path).await;
        assert_eq!(refused.status, status, "{path}: {refused:?}");
        assert!(!refused.error().is_empty(), "{path}");
    }
    for path in PATHS.into_iter().chain(["/debug/events", "/debug/tx/x"]) {
        for method in [Method::POST, Method::DELETE] {
            let refused = send(operations.request(method.clone(), path).body("{}")).await;
            assert_eq!((refused.status, refused.header("allow")), (405, "GET"), "{method} {path}");
            assert!(!refused.error().is_empty());
        }
    }
    let large = operations.request(Method::POST, "/debug/channels/app/restart").body(vec![0; 1 << 20]);
    assert!([409, 413].contains(&send(large).await.status));
    let heads = operations.request(Method::GET, "/debug/actors").header("x-large", "y".repeat(200 << 10)).send().await;
    // the server may close the connection for a too large head before it has responded
    assert!(heads.map_or(true, |answer| answer.status().is_client_error()));
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_what_one_alone_gets() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    for path in PATHS {
        let alone = operations.get(path).await;
        assert_eq!((alone.status, alone.header("cache-control")), (200, "no-store"), "{path}: {alone:?}");
        let _ = alone.json();
    }
    let many = (0..10).flat_map(|_| PATHS).map(|path| operations.get(path));
    for answer in join_all(many).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut readers = Vec::new();
    for _ in 0..32 {
        readers.push(operations.request(Method::GET, "/debug/events").send().await.unwrap());
    }
    let refused = operations.get("/debug/events").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.error().contains("32 readers"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_that_is_described_is_there_and_answers_as_described() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.yaml");
    let document: yaml::Value = yaml::parse(&std::fs::read_to_string(document).unwrap()).unwrap();
    let paths = document["paths"].as_mapping().unwrap();
    let described = |path: &str| paths.contains_key(path);
    for path in PATHS {
        let path = path.split('?').next().unwrap().replace("/channels/app", "/channels/{channel}");
        let path = path.replace("/blocks/0", "/blocks/{block}").replace("/blocks/newest", "/blocks/{block}");
        assert!(described(&path), "{path}");
    }

    let mut node = Setup::application().set("CHANNELPARTICIPATION_ENABLED", true).start().await;
    let operations = Http::of(&mut node, "operations").await;
    let admin = Http::of(&mut node, "admin").await;
    for (path, methods) in paths {
        let path = path.as_str().unwrap();
        let Some(get) = methods.get("get") else { continue };
        let asked = path.replace("{channel}", "app").replace("{block}", "0").replace("{tx_id}", "nowhere");
        let of = if path.starts_with("/participation") { &admin } else { &operations };
        if asked == "/debug/events" {
            // this response has no end; another test reads it
            continue;
        }
        let status = of.get(&asked).await.status;
        let answers = get["responses"].as_mapping().unwrap();
        assert!(answers.contains_key(status.to_string().as_str()), "{asked}: {status} is not described");
        if path.starts_with("/debug") {
            let foreign = send(of.request(Method::GET, &asked).header("host", "evil.example")).await;
            assert_eq!(foreign.status, 403, "{asked} by a stranger's name");
            assert!(answers.contains_key("403"), "{asked}: 403 is not described");
        }
        let is_there = status == 200 || asked.starts_with("/debug/tx/") || asked == "/metrics";
        assert!(is_there, "{asked}: {status}");
    }
    node.stop().await;
}
