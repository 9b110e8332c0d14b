//! Tests of the operations endpoint: health, log levels, version, and access.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use world::http::{Answer, Http, send};
use world::messages::transaction;
use world::node::orderer_folder;
use world::{NET, Setup, TestIdentity};

async fn put(http: &Http, path: &str, body: &'static str) -> Answer {
    send(http.request(Method::PUT, path).body(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_names_what_is_not_served() {
    let setup = Setup::application();
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let health = operations.get("/healthz").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("OK")));
    assert!(health.json()["time"].as_str().unwrap().starts_with("20"));
    node.stop().await;

    fs::write(setup.ledger_file("app"), "no ledger").unwrap();
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let health = operations.get("/healthz").await;
    let failed = &health.json()["failed_checks"][0];
    assert_eq!((health.status, &failed["component"]), (503, &json!("channel app")));
    assert!(failed["reason"].as_str().unwrap().contains("not a ledger"), "{failed}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_levels_change_while_the_node_runs() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(operations.get("/logspec").await.json(), json!({"spec": "info"}));
    let client = node.client().await;
    let (status, _) = client.broadcast(transaction(&TestIdentity::user(1), "nowhere", "x")).await;
    assert_eq!(status, fabric_proto::common::Status::BadRequest);
    assert!(!node.log().contains("envelope rejected"));

    assert_eq!(put(&operations, "/logspec", r#"{"spec": "orderer.grpc=debug:info"}"#).await.status, 204);
    assert_eq!(operations.get("/logspec").await.json(), json!({"spec": "orderer.grpc=debug:info"}));
    client.broadcast(transaction(&TestIdentity::user(1), "nowhere", "x")).await;
    node.line("envelope rejected").await;

    for bad in [r#"{"spec": "orderer=loud"}"#, r#"{"level": "info"}"#, "spec=info", "", "[]"] {
        let refused = put(&operations, "/logspec", bad).await;
        assert_eq!(refused.status, 400, "{bad}: {refused:?}");
        assert!(!refused.error().is_empty());
    }
    assert_eq!(operations.get("/logspec").await.json(), json!({"spec": "orderer.grpc=debug:info"}));
    let posted = send(operations.request(Method::POST, "/logspec").body("{}")).await;
    assert_eq!((posted.status, posted.error().as_str()), (400, "invalid request method: POST"));
    let large = send(operations.request(Method::PUT, "/logspec").body(vec![b' '; 100 << 10])).await;
    assert_eq!(large.status, 413, "{large:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_and_nothing_else_is_told_to_anybody() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(operations.get("/version").await.json()["Version"], env!("CARGO_PKG_VERSION"));
    for path in ["/../etc/passwd", "/%2e%2e%2fversion", "/healthz/x"] {
        assert_eq!(operations.get(path).await.status, 404, "{path}");
    }
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_and_channels_are_shown_and_a_failed_channel_is_started_again() {
    let setup = Setup::application();
    let node = setup.start().await;
    let client = node.client().await;
    client.order([transaction(&TestIdentity::user(1), "app", "a transaction")]).await;
    client.block(&TestIdentity::user(1), "app", 1).await;
    node.stop().await;
    let ledger = setup.ledger_file("app");
    let aside = ledger.with_extension("aside");
    fs::rename(&ledger, &aside).unwrap();
    fs::write(&ledger, "no ledger").unwrap();

    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let failed = operations.get("/debug/channels/app").await.json();
    assert_eq!((&failed["state"], &failed["height"]), (&json!("failed"), &json!(null)), "{failed}");
    assert!(failed["cause"].as_str().unwrap().contains("not a ledger"), "{failed}");
    let restart = async || send(operations.request(Method::POST, "/debug/channels/app/restart")).await;
    let refused = restart().await;
    assert_eq!(refused.status, 500);
    assert!(refused.error().contains("not a ledger"), "the cause is still there: {refused:?}");
    fs::remove_file(&ledger).unwrap();
    assert!(restart().await.error().contains("no such file"), "now it is another");
    let failed = operations.get("/debug/channels/app").await.json();
    assert!(failed["cause"].as_str().unwrap().contains("no such file"), "{failed}");
    assert!(failed["action"].as_str().unwrap().contains("from a copy"), "{failed}");

    fs::rename(&aside, &ledger).unwrap();
    assert_eq!(restart().await.status, 202);
    node.wait_for_chain("app").await;
    let shown = operations.get("/debug/channels/app").await.json();
    assert_eq!(
        (&shown["state"], &shown["height"], &shown["consensus_type"]),
        (&json!("running"), &json!(2), &json!("solo"))
    );
    assert_eq!(restart().await.status, 409);
    node.client().await.order([transaction(&TestIdentity::user(1), "app", "another")]).await;

    let channels = operations.get("/debug/channels").await.json();
    assert_eq!((channels["channels"].as_array().unwrap().len(), &channels["channels"][0]["name"]), (1, &json!("app")));
    let actors = operations.get("/debug/actors").await.json();
    let writer = actors["actors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|actor| actor["path"] == "registrar/app/block-writer")
        .unwrap();
    assert_eq!(writer["state"], "running");
    assert!(writer["handled"].as_u64().unwrap() > 0 && writer["started_ms"].as_u64().unwrap() > 0, "{writer}");

    assert_eq!(operations.get("/debug/channels/other").await.status, 404);
    assert_eq!(operations.get("/debug/channels/UPPER").await.status, 400);
    let nowhere = send(operations.request(Method::POST, "/debug/channels/other/restart")).await;
    assert_eq!(nowhere.status, 404);
    let got = operations.get("/debug/channels/app/restart").await;
    assert_eq!((got.status, got.header("allow")), (405, "POST"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_only_who_shows_a_certificate_sees_more_than_health() {
    let tls = orderer_folder().join("tls");
    let org = |number: u8| Path::new(NET).join(format!("crypto/peerOrganizations/org{number}.example.com"));
    let setup = Setup::application()
        .set("METRICS_PROVIDER", "prometheus")
        .set("OPERATIONS_TLS_ENABLED", true)
        .set("OPERATIONS_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("OPERATIONS_TLS_PRIVATEKEY", tls.join("server.key").display())
        .set("OPERATIONS_TLS_CLIENTROOTCAS", org(1).join("tlsca/tlsca.org1.example.com-cert.pem").display());
    let mut node = setup.start().await;
    let (ca, with) = (tls.join("ca.crt"), org(1).join("users/Admin@org1.example.com/tls"));
    let anybody = Http::secured(&mut node, "operations", &ca, None).await;
    assert_eq!(anybody.get("/healthz").await.status, 200);
    assert_eq!(anybody.get("/version").await.status, 200);
    let refused = anybody.get("/logspec").await;
    assert_eq!(refused.status, 401);
    assert!(refused.error().contains("client certificate"), "{refused:?}");
    assert_eq!(anybody.get("/debug/actors").await.status, 401);
    assert_eq!(anybody.get("/metrics").await.status, 401);
    let operator = Http::secured(&mut node, "operations", &ca, Some(&with)).await;
    assert_eq!(operator.get("/logspec").await.status, 200);
    assert_eq!(operator.get("/debug/actors").await.status, 200);
    assert_eq!(operator.get("/metrics").await.status, 200);
    let restart = send(operator.request(Method::POST, "/debug/channels/app/restart")).await;
    assert_eq!(restart.status, 409, "{restart:?}");
    let line = node.line("requested by an operator").await;
    for part in
        ["orderer.audit", "/debug/channels/app/restart", "status=409", "CN=Admin@org1.example.com", "127.0.0.1:"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    node.stop().await;

    let mut node = setup.set("OPERATIONS_TLS_CLIENTAUTHREQUIRED", true).start().await;
    let anybody = Http::secured(&mut node, "operations", &ca, None).await;
    assert!(anybody.request(Method::GET, "/healthz").send().await.is_err());
    let operator = Http::secured(&mut node, "operations", &ca, Some(&with)).await;
    assert_eq!(operator.get("/healthz").await.status, 200);
    node.stop().await;
}

/// Returns a non-loopback address of this machine. Sends no packet.
fn outward_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_from_elsewhere_gets_health_and_metrics_and_no_contents() {
    let Some(outward) = outward_address() else { return eprintln!("this machine has no address but its own") };
    let setup = Setup::application().set("OPERATIONS_LISTENADDRESS", "0.0.0.0:0").set("METRICS_PROVIDER", "prometheus");
    let mut node = setup.start().await;
    let address = world::http::address(&mut node, "operations").await;
    let port = address.rsplit(':').next().unwrap();
    let statuses = async |host: &str| {
        let mut statuses = Vec::new();
        for path in ["/healthz", "/version", "/logspec", "/metrics", "/debug/", "/debug/channels", "/debug/config"] {
            statuses.push(reqwest::get(format!("http://{host}:{port}{path}")).await.unwrap().status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses(&outward.to_string()).await, [200, 200, 200, 200, 403, 403, 403]);
    assert_eq!(statuses("127.0.0.1").await, [200; 7]);
    node.stop().await;
}

/// Tests protection against DNS rebinding: a page of another site may point its own name at this node, and must not
/// read anything through a browser on this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_node_holds_is_shown_by_names_that_no_stranger_owns() {
    let setup = Setup::application();
    let mut node = setup.start().await;
    let operations = Http::of(&mut node, "operations").await;
    let asked = |path: &str, host: &str| operations.request(Method::GET, path).header("host", host);
    for path in ["/debug/channels", "/debug/channels/app/blocks/0", "/debug/config", "/debug/logs", "/debug/"] {
        assert_eq!(operations.get(path).await.status, 200, "{path}");
        assert_eq!(send(asked(path, "evil.example:8443")).await.status, 403, "{path}");
        assert_eq!(send(asked(path, "localhost:8443")).await.status, 200, "{path}");
    }
    for path in ["/healthz", "/version", "/logspec"] {
        assert_eq!(send(asked(path, "evil.example:8443")).await.status, 200, "{path} is as in Fabric");
    }
    node.stop().await;

    let mut node = setup.again(&["start"]).set("DEBUG_ENDPOINT", "open").start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(
        send(operations.request(Method::GET, "/debug/channels").header("host", "evil.example")).await.status,
        200
    );
    node.stop().await;

    let mut node = setup.again(&["start"]).set("DEBUG_ENDPOINT", "off").start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!((operations.get("/debug/channels").await.status, operations.get("/healthz").await.status), (404, 200));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changed_something_is_in_the_log() {
    let mut node = Setup::application().start().await;
    let operations = Http::of(&mut node, "operations").await;
    assert_eq!(put(&operations, "/logspec", r#"{"spec": "info"}"#).await.status, 204);
    let line = node.line("requested by an operator").await;
    for part in ["orderer.audit", "method=PUT", "/logspec", "status=204", "127.0.0.1:", "no certificate"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    node.stop().await;
}
