//! Tests of the channel participation API: channels are joined and removed at run time, with all kinds of requests and
//! crashes.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::path::Path;

use fabric_proto::Message as _;
use fabric_proto::common::{Block, ConfigUpdate, Envelope, Status};
use fabric_proto::orderer::BatchSize;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use world::config_updates::{
    config_of, consenters, genesis_of_type, last_config, same_version, signed_update, update_of,
};
use world::http::{Answer, Http, send};
use world::messages::{oldest, seek_info, transaction};
use world::node::orderer_folder;
use world::tls;
use world::{Client, NET, Node, Setup, TestIdentity};

const CHANNELS: &str = "/participation/v1/channels";
const APP: &str = "/participation/v1/channels/app";

fn without_channels() -> Setup {
    let setup = Setup::without_channels();
    let ledger = setup.folder().join("ledger");
    setup
        .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("FILELEDGER_LOCATION", ledger.display())
        .set("CHANNELPARTICIPATION_ENABLED", true)
}

fn fixture(block: &str) -> Vec<u8> {
    std::fs::read(Path::new(NET).join(block)).unwrap()
}

async fn join(admin: &Http, block: Vec<u8>) -> Answer {
    admin.form(Method::POST, CHANNELS, "config-block", block).await
}

async fn names(admin: &Http) -> Value {
    admin.get(CHANNELS).await.json()
}

async fn orders(client: &Client, channel: &str) {
    client.order([transaction(&TestIdentity::user(1), channel, "a transaction")]).await;
}

/// Starts a node and joins the channel `app`.
async fn joined(setup: &Setup) -> (Node, Http) {
    let mut node = setup.start().await;
    let admin = Http::of(&mut node, "admin").await;
    assert_eq!(join(&admin, fixture("AppSolo.block")).await.status, 201);
    node.wait_for_chain("app").await;
    (node, admin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_joined_listed_used_and_removed() {
    let setup = without_channels();
    let mut node = setup.start().await;
    let admin = Http::of(&mut node, "admin").await;
    assert_eq!(names(&admin).await, json!({"systemChannel": null, "channels": null}));

    let answer = join(&admin, fixture("AppSolo.block")).await;
    let info = json!({"name": "app", "url": APP, "consensusRelation": "other", "status": "active", "height": 1});
    assert_eq!((answer.status, answer.json()), (201, info.clone()));
    assert_eq!(answer.header("location"), APP);
    let listed = admin.get(APP).await;
    assert_eq!((listed.status, listed.json(), listed.header("cache-control")), (200, info, "no-store"));
    assert_eq!(names(&admin).await, json!({"systemChannel": null, "channels": [{"name": "app", "url": APP}]}));
    let again = join(&admin, fixture("AppSolo.block")).await;
    assert_eq!((again.status, again.header("allow")), (405, "GET, DELETE"));
    assert_eq!(again.error(), "cannot join: channel already exists");

    node.wait_for_chain("app").await;
    let client = node.client().await;
    orders(&client, "app").await;
    let user = TestIdentity::user(1);
    let mut follower = client.deliver(&user, "app", seek_info(oldest(), world::messages::block(1000))).await;
    for _ in 0..2 {
        follower.block().await;
    }
    assert_eq!(admin.get(APP).await.json()["height"], 2);

    assert_eq!(admin.delete(APP).await.status, 204);
    assert_eq!(follower.status().await, Status::NotFound);
    let (status, info) = client.broadcast(transaction(&user, "app", "too late")).await;
    assert_eq!(status, Status::BadRequest, "{info}");
    assert_eq!(admin.get(APP).await.status, 404);
    assert_eq!(admin.delete(APP).await.error(), "cannot remove: channel does not exist");
    let left: Vec<_> = std::fs::read_dir(setup.folder().join("ledger/channels")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    // the same name can be joined again as a new chain
    assert_eq!(join(&admin, fixture("AppSolo.block")).await.json()["height"], 1);
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_true_after_a_crash() {
    let setup = without_channels();
    let (mut node, _) = joined(&setup).await;
    node.kill();
    let mut node = setup.start().await;
    let admin = Http::of(&mut node, "admin").await;
    orders(&node.client().await, "app").await;
    assert_eq!(admin.delete(APP).await.status, 204);
    node.kill();

    // a removal that a crash interrupted after its first step
    let channels = setup.folder().join("ledger/channels");
    let half = channels.join(".removed.app");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("ledger.redb"), "what is left").unwrap();
    let mut node = setup.start().await;
    let admin = Http::of(&mut node, "admin").await;
    assert_eq!(names(&admin).await["channels"], Value::Null);
    assert!(!half.exists());
    assert_eq!(join(&admin, fixture("AppSolo.block")).await.status, 201);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_channel_comes_first_or_not_at_all() {
    let setup = without_channels();
    let (mut node, admin) = joined(&setup).await;
    let refused = join(&admin, fixture("SysSolo.block")).await;
    assert_eq!((refused.status, refused.error().as_str()), (403, "cannot join: application channels already exist"));
    assert_eq!(admin.delete(APP).await.status, 204);

    assert_eq!(join(&admin, fixture("SysSolo.block")).await.status, 201);
    node.wait_for_chain("syschan").await;
    let system = json!({"name": "syschan", "url": format!("{CHANNELS}/syschan")});
    assert_eq!(names(&admin).await, json!({"systemChannel": system, "channels": null}));
    let refused = join(&admin, fixture("AppSolo.block")).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET"));
    assert_eq!(refused.error(), "cannot join: system channel exists");
    let client = node.client().await;
    world::config_updates::create_channel(&mut node, &client, "mychan.tx").await;
    let refused = admin.delete(&format!("{CHANNELS}/mychan")).await;
    assert_eq!((refused.status, refused.error().as_str()), (405, "cannot remove: system channel exists"));

    // the migration of a network away from the system channel: it is removed, the other channels stay
    assert_eq!(admin.delete(&format!("{CHANNELS}/syschan")).await.status, 204);
    orders(&node.client().await, "mychan").await;
    assert_eq!(join(&admin, fixture("AppSolo.block")).await.status, 201);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_is_answered_by_what_the_node_will_be_to_the_channel() {
    let mut node = tls::secured(without_channels()).start().await;
    let admin = Http::of(&mut node, "admin").await;
    let info = |relation: &str, status: &str, height: u64| json!({"name": "app", "url": APP, "consensusRelation": relation, "status": status, "height": height});
    let two = consenters(&["orderer.example.com", "orderer2.example.com"]);
    let answer = join(&admin, genesis_of_type("etcdraft", &two)).await;
    assert_eq!((answer.status, answer.json()), (201, info("consenter", "active", 1)));
    assert_eq!(admin.delete(APP).await.status, 204);
    // the follower has no block yet
    let other = consenters(&["orderer2.example.com"]);
    let answer = join(&admin, genesis_of_type("etcdraft", &other)).await;
    assert_eq!((answer.status, answer.json()), (201, info("follower", "onboarding", 0)));
    node.line("is not a consenter of the channel; following it").await;
    assert_eq!(admin.get(APP).await.json(), info("follower", "active", 1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_of_fabric_3_are_ordered_by_another_engine() {
    let setup = without_channels().set("CONSENSUS_SERVE_ETCDRAFT", "solo");
    let mut node = setup.start().await;
    let admin = Http::of(&mut node, "admin").await;
    let two = consenters(&["orderer.example.com", "orderer2.example.com"]);
    let refused = join(&admin, genesis_of_type("etcdraft", &two)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("names 2 consenters"), "{refused:?}");
    let refused = join(&admin, genesis_of_type("BFT", &())).await;
    assert!(
        refused.error().starts_with("cannot join: failed to find a consenter for consensus type: BFT: "),
        "{refused:?}"
    );
    let refused = join(&admin, genesis_of_type("etcdraft", &consenters(&[]))).await;
    assert!(refused.error().contains("the set of consenters is empty"), "{refused:?}");

    // a consenter is recognized by its TLS certificate
    let alone = genesis_of_type("etcdraft", &consenters(&["orderer.example.com"]));
    let refused = join(&admin, alone.clone()).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("this node has none: enable General.TLS"), "{refused:?}");
    node.stop().await;
    let tls = |name: &str| world::node::orderer_folder().with_file_name(name).join("tls");
    let secured = |name: &str| {
        let files = tls(name);
        let certificate = files.join("server.crt").display().to_string();
        setup
            .again(&["start"])
            .set("GENERAL_TLS_ENABLED", "true")
            .set("GENERAL_TLS_CERTIFICATE", certificate)
            .set("GENERAL_TLS_PRIVATEKEY", files.join("server.key").display())
    };
    let mut node = secured("orderer2.example.com").start().await;
    let admin = Http::of(&mut node, "admin").await;
    let refused = join(&admin, alone.clone()).await;
    assert!(refused.error().contains("has another public key than this node's"), "{refused:?}");
    node.stop().await;

    let setup = secured("orderer.example.com");
    let mut node = setup.start().await;
    let admin = Http::of(&mut node, "admin").await;
    let answer = join(&admin, alone).await;
    assert_eq!((answer.status, &answer.json()["consensusRelation"]), (201, &json!("consenter")));
    node.wait_for_chain("app").await;
    let client = tls::client(&node).await;
    orders(&client, "app").await;
    client.block(&TestIdentity::user(1), "app", 1).await;
    node.stop().await;

    let node = setup.start().await;
    let client = tls::client(&node).await;
    orders(&client, "app").await;
    client.block(&TestIdentity::user(1), "app", 2).await;
    node.stop().await;

    // Kafka cannot continue a chain that solo has ordered; this is reported before any broker is contacted
    let by_kafka = setup.again(&["start"]).set("CONSENSUS_SERVE_ETCDRAFT", "kafka").set("KAFKA_BROKERS", "127.0.0.1:1");
    let mut node = by_kafka.spawn();
    let line = node.line("channel has failed").await;
    assert!(line.contains("solo ordered the channel before") && line.contains("back to solo"), "{line}");
    node.line("Beginning to serve requests").await;
    assert_eq!(tls::client(&node).await.chain(&TestIdentity::user(1), "app").await.len(), 3);
    node.stop().await;

    // after the setting is withdrawn the channel has failed, and its blocks can still be read
    let mut node = setup.set("CONSENSUS_SERVE_ETCDRAFT", "none").spawn();
    node.line("channel has failed").await;
    let admin = Http::of(&mut node, "admin").await;
    assert_eq!(admin.get(APP).await.json()["status"], "failed");
    assert_eq!(tls::client(&node).await.chain(&TestIdentity::user(1), "app").await.len(), 3);
    node.stop().await;
}

fn larger_batches(config: &fabric_proto::common::Config, count: u32) -> ConfigUpdate {
    update_of(config, "app", |read, write| {
        let orderer = &config.channel_group.as_ref().unwrap().groups["Orderer"];
        read.groups.insert("Orderer".to_owned(), same_version(orderer));
        let mut changed = same_version(orderer);
        let mut value = orderer.values["BatchSize"].clone();
        let size = BatchSize::decode(value.value).unwrap();
        value.version += 1;
        value.value = BatchSize { max_message_count: count, ..size }.encode_to_vec().into();
        changed.values.insert("BatchSize".to_owned(), value);
        write.groups.insert("Orderer".to_owned(), changed);
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_are_updated_and_blocks_fetched() {
    let setup = without_channels();
    let (mut node, admin) = joined(&setup).await;
    let operations = Http::of(&mut node, "operations").await;
    let charged = async || {
        let limits = operations.get("/debug/limits").await.json();
        let clients = limits["clients"].as_array().unwrap();
        clients.iter().map(|client| client["accepted"].as_u64().unwrap()).sum::<u64>()
    };
    let client = node.client().await;
    orders(&client, "app").await;
    let config = last_config(&client, &TestIdentity::user(1), "app").await;
    let (user, orderer) = (TestIdentity::user(1), TestIdentity::orderer_admin());
    let update = larger_batches(&config, 77);
    let put = async |envelope: Vec<u8>| admin.form(Method::PUT, CHANNELS, "config-update-envelope", envelope).await;

    let unsigned = signed_update(&user, &[], "app", &update);
    let refused = put(unsigned.encode_to_vec()).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("BatchSize"), "{refused:?}");
    let nowhere = signed_update(&user, &[&orderer], "nowhere", &update);
    assert_eq!(put(nowhere.encode_to_vec()).await.status, 405);
    let signed = signed_update(&user, &[&orderer], "app", &update);
    let not_a_writer = put(Envelope { signature: nowhere.signature, ..signed }.encode_to_vec()).await;
    assert_eq!(not_a_writer.status, 400, "{not_a_writer:?}");
    let no_update = put(transaction(&user, "app", "a transaction").encode_to_vec()).await;
    assert!(no_update.error().contains("not of type CONFIG_UPDATE"), "{no_update:?}");

    let before = charged().await;
    let answer = put(signed_update(&user, &[&orderer], "app", &update).encode_to_vec()).await;
    assert_eq!((answer.status, &answer.json()["height"]), (201, &json!(3)), "{answer:?}");
    assert_eq!((before > 0, charged().await), (true, before), "who administers has no rate");

    let fetched = async |block: &str| admin.get(&format!("{APP}/blocks/{block}")).await;
    for (name, number) in [("oldest", 0), ("newest", 2), ("config", 2), ("1", 1)] {
        let answer = fetched(name).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/octet-stream"));
        let block = Block::decode(answer.body).unwrap();
        assert_eq!(block.header.as_ref().unwrap().number, number, "{name}");
        assert_eq!(block, client.block(&user, "app", number).await, "{name}");
    }
    let config = config_of(&Block::decode(fetched("config").await.body).unwrap());
    assert_eq!(config.sequence, 1);
    assert_eq!(fetched("3").await.status, 404);
    for bad in ["-1", "latest", "18446744073709551616"] {
        let refused = fetched(bad).await;
        assert_eq!(refused.status, 400);
        assert!(refused.error().contains("invalid block ID"), "{refused:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_their_status_and_a_reason() {
    let setup = without_channels().set("CHANNELPARTICIPATION_MAXREQUESTBODYSIZE", "64 KB");
    let (mut node, admin) = joined(&setup).await;
    let client = node.client().await;
    orders(&client, "app").await;

    let refused = |answer: &Answer, status: u16, text: &str| {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.error().contains(text), "{answer:?}");
    };
    refused(&join(&admin, b"no block".to_vec()).await, 400, "invalid join block");
    refused(&join(&admin, vec![]).await, 400, "invalid join block: block is not a config block");
    refused(&join(&admin, vec![7; 65 << 10]).await, 400, "cannot read form from request body");
    let wrong_part = admin.form(Method::POST, CHANNELS, "block", fixture("AppSolo.block")).await;
    refused(&wrong_part, 400, "form does not contains part key: config-block");
    let two = Form::new()
        .part("config-block", Part::bytes(fixture("AppSolo.block")).file_name("a"))
        .part("other", Part::bytes(vec![1]).file_name("b"));
    let two = send(admin.request(Method::POST, CHANNELS).multipart(two)).await;
    refused(&two, 400, "form contains too many parts");
    let text = send(admin.request(Method::POST, CHANNELS).header("content-type", "text/plain").body("x")).await;
    refused(&text, 400, "unsupported Content-Type: [text/plain]");
    let cut_short = admin.request(Method::POST, CHANNELS).header("content-type", "multipart/form-data; boundary=b");
    refused(&send(cut_short.body("--b\r\nContent-Disp")).await, 400, "cannot read form");
    let no_boundary = admin.request(Method::POST, CHANNELS).header("content-type", "multipart/form-data");
    refused(&send(no_boundary.body("x")).await, 400, "cannot read form");

    // valid blocks that cannot be joined
    let normal = client.block(&TestIdentity::user(1), "app", 1).await;
    refused(&join(&admin, normal.encode_to_vec()).await, 400, "invalid join block");
    let genesis = Block::decode(&fixture("AppSolo.block")[..]).unwrap();
    let mut later = genesis.clone();
    later.header.as_mut().unwrap().number = 7;
    refused(&join(&admin, later.encode_to_vec()).await, 400, "block 7 is not the channel's first");
    let mut tampered = genesis.clone();
    tampered.header.as_mut().unwrap().data_hash = vec![0; 32].into();
    refused(&join(&admin, tampered.encode_to_vec()).await, 400, "data hash");

    refused(&admin.get("/participation/v1/channels/UPPER").await, 400, "invalid channel ID");
    refused(&admin.get("/participation/v1/channels/..%2f..%2fetc").await, 400, "invalid channel ID");
    refused(&admin.delete("/participation/v1/channels/.removed.app").await, 400, "invalid channel ID");
    refused(&admin.get("/elsewhere").await, 404, "nothing here");
    let patch = send(admin.request(Method::PATCH, CHANNELS)).await;
    refused(&patch, 405, "invalid request method: PATCH");
    assert_eq!(patch.header("allow"), "GET, POST, PUT");
    let put = send(admin.request(Method::PUT, APP)).await;
    assert_eq!((put.status, put.header("allow")), (405, "GET, DELETE"));
    let html = send(admin.request(Method::GET, CHANNELS).header("accept", "text/html")).await;
    refused(&html, 406, "application/json only");
    let any = send(admin.request(Method::GET, CHANNELS).header("accept", "text/html, */*;q=0.1")).await;
    assert_eq!(any.status, 200);
    let base = admin.get("/participation/v1/").await;
    assert_eq!((base.status, base.header("location")), (302, CHANNELS));

    // a page of another site could make its reader's browser submit a form
    let page = |method, path| admin.request(method, path).header("origin", "http://elsewhere.example");
    let form = Form::new().part("config-block", Part::bytes(fixture("AppSolo.block")).file_name("a"));
    refused(&send(page(Method::POST, CHANNELS).multipart(form)).await, 403, "a page of another site");
    let rebound = page(Method::DELETE, APP).header("host", "elsewhere.example");
    refused(&send(rebound).await, 403, "open the page by an IP address");

    orders(&client, "app").await;
    node.assert_no_panic();
    node.stop().await;

    node = setup.set("CHANNELPARTICIPATION_ENABLED", false).start().await;
    let admin = Http::of(&mut node, "admin").await;
    refused(&admin.get(CHANNELS).await, 503, "channel participation API is disabled");
    refused(&join(&admin, fixture("AppSolo.block")).await, 503, "disabled");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_with_a_certificate_are_let_in() {
    let tls = orderer_folder().join("tls");
    let org = |number: u8| Path::new(NET).join(format!("crypto/peerOrganizations/org{number}.example.com"));
    let root_of = |number: u8| org(number).join(format!("tlsca/tlsca.org{number}.example.com-cert.pem"));
    let admin_of = |number: u8| org(number).join(format!("users/Admin@org{number}.example.com/tls"));
    let setup = without_channels()
        .set("ADMIN_TLS_ENABLED", true)
        .set("ADMIN_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("ADMIN_TLS_PRIVATEKEY", tls.join("server.key").display())
        .set("ADMIN_TLS_CLIENTROOTCAS", root_of(1).display());
    let mut node = setup.start().await;
    let (ca, with) = (tls.join("ca.crt"), admin_of(1));
    let admin = Http::secured(&mut node, "admin", &ca, Some(&with)).await;
    assert_eq!(join(&admin, fixture("AppSolo.block")).await.status, 201);
    node.wait_for_chain("app").await;
    let update = admin.form(Method::PUT, CHANNELS, "config-update-envelope", vec![1]).await;
    assert_eq!(update.status, 400, "{update:?}");
    assert_eq!(admin.delete(APP).await.status, 204);
    assert_eq!(admin.delete(APP).await.status, 404);
    assert_eq!(join(&admin, fixture("AppSolo.block")).await.status, 201);
    // each audit line names the client, its address, the request and the result
    for parts in [
        ["method=POST", "path=\"/participation/v1/channels\"", "status=201", "made=\"/participation/v1/channels/app\""],
        ["method=PUT", "path=\"/participation/v1/channels\"", "status=400", ""],
        ["method=DELETE", "path=\"/participation/v1/channels/app\"", "status=204", ""],
        ["method=DELETE", "path=\"/participation/v1/channels/app\"", "status=404", ""],
    ] {
        let who = ["orderer.audit", "CN=Admin@org1.example.com", "127.0.0.1:"];
        node.lines("an audit line", |lines| {
            lines.iter().any(|line| parts.iter().chain(&who).all(|part| line.contains(part)))
        })
        .await;
    }
    // members of the channel are not administrators of the node
    for nobody in [None, Some(admin_of(2))] {
        let http = Http::secured(&mut node, "admin", &ca, nobody.as_deref()).await;
        assert!(http.request(Method::GET, CHANNELS).send().await.is_err());
    }
    let plain = Http::of(&mut node, "admin").await;
    assert!(plain.request(Method::GET, CHANNELS).send().await.is_err());
    node.stop().await;

    let ended = setup.set("ADMIN_TLS_CLIENTAUTHREQUIRED", false).run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("Admin.TLS.ClientAuthRequired must be true"), "{}", ended.stderr);
}
