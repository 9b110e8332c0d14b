//! Tests that orderers continue to order by Raft while their certificates are renewed, replaced or expired.

#![allow(clippy::float_cmp, reason = "counts are exact")]
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::time::Duration;

use fabric_proto::common::Status;
use fabric_proto::etcdraft::ConfigMetadata;
use fabric_proto::orderer::ConsensusType;
use fabric_proto::{Message as _, common::Envelope};
use rcgen::KeyPair;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use world::config_updates::{last_config, parse, same_version, signed_update, update_of};
use world::http::Http;
use world::messages::transaction;
use world::metrics::Scrape;
use world::raft::{
    CHANNEL, above, certificate, certificate_until, connected, members, of_app, operations, orders, tls_file,
};
use world::{Client, Node, Setup, TestIdentity, within};

/// Waits until a node has reloaded its TLS certificate and its cluster certificate.
async fn read_anew(node: &mut Node) {
    let both = |lines: &Vec<String>| {
        let of = |kind: &str| lines.iter().any(|line| line.contains("certificate was reloaded") && line.contains(kind));
        of(r#"certificate="TLS""#) && of(r#"certificate="cluster""#)
    };
    node.lines("both certificates were read anew", both).await;
}

fn key_of(setup: &Setup) -> KeyPair {
    KeyPair::from_pem(&fs::read_to_string(tls_file(setup, "server.key")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_renewed_with_its_key_needs_no_restart_and_no_update() {
    // an election takes ten ticks at least, so that only a lost connection costs the leader, and not a busy machine
    let (setups, mut nodes) = members::<2>().with_tick("1s").start().await;
    let http = operations(&mut nodes).await;
    orders(&nodes[0], 10).await;
    let height = above(&http, 0.0).await;
    let changes = |scrape: &Scrape| of_app(scrape, "consensus_etcdraft_leader_changes");
    let before = changes(&Scrape::of(&http[0]).await);
    fs::write(tls_file(&setups[1], "server.crt"), certificate(&key_of(&setups[1]))).unwrap();
    nodes[1].signal("HUP");
    read_anew(&mut nodes[1]).await;
    for node in &nodes {
        orders(node, 10).await;
    }
    above(&http, height).await;
    let connections = "cluster_comm_egress_tls_connection_count";
    let one_each = async {
        loop {
            let scrapes = [Scrape::of(&http[0]).await, Scrape::of(&http[1]).await];
            if scrapes.iter().all(|scrape| scrape.value(connections) == 1.0) {
                return changes(&scrapes[0]);
            }
        }
    };
    assert_eq!(within("one connection each", one_each).await, before, "nobody has lost the leader");
    for node in nodes {
        node.assert_no_panic();
        node.stop().await;
    }
}

/// Sends envelopes to a node, one after the other, until `end`. Returns how many were ordered.
async fn load(channel: Channel, end: CancellationToken) -> usize {
    let (client, user) = (Client::over(channel), TestIdentity::user(1));
    let mut ordered = 0;
    while !end.is_cancelled() {
        match client.broadcast(transaction(&user, CHANNEL, vec![7; 100])).await {
            (Status::Success, _) => ordered += 1,
            (Status::ServiceUnavailable, _) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => panic!("{other:?}"),
        }
    }
    ordered
}

/// Returns the update that changes the certificate of one consenter.
async fn pinned(node: &Node, at: usize, certificate: &str) -> Envelope {
    let change = |metadata: &mut ConfigMetadata| {
        metadata.consenters[at].client_tls_cert = certificate.as_bytes().to_vec().into();
        metadata.consenters[at].server_tls_cert = metadata.consenters[at].client_tls_cert.clone();
    };
    changed(node, change).await
}

/// Returns an update of the consenters.
async fn changed(node: &Node, change: impl FnOnce(&mut ConfigMetadata)) -> Envelope {
    let (client, admin) = (Client::over(connected(node).await), TestIdentity::orderer_admin());
    let config = last_config(&client, &TestIdentity::user(1), CHANNEL).await;
    let orderer = &config.channel_group.as_ref().unwrap().groups["Orderer"];
    let mut value = orderer.values["ConsensusType"].clone();
    let mut consensus: ConsensusType = parse(value.value);
    let mut metadata: ConfigMetadata = parse(consensus.metadata);
    change(&mut metadata);
    consensus.metadata = metadata.encode_to_vec().into();
    (value.version, value.value) = (value.version + 1, consensus.encode_to_vec().into());
    let update = update_of(&config, CHANNEL, |read, write| {
        let group = same_version(orderer);
        read.groups.insert("Orderer".to_owned(), group.clone());
        let mut changed = group;
        changed.values.insert("ConsensusType".to_owned(), value);
        write.groups.insert("Orderer".to_owned(), changed);
    });
    signed_update(&admin, &[&admin], CHANNEL, &update)
}

/// Has a node accept an update of the consenters. Retries until the leader has connections to enough of them.
async fn accepted(node: &Node, update: Envelope) {
    let accepted = async {
        loop {
            match Client::over(connected(node).await).broadcast(update.clone()).await {
                (Status::Success, _) => return,
                (Status::ServiceUnavailable, _) => {}
                (Status::BadRequest, info) if info.contains("nodes are alive") => {}
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the update is accepted", accepted).await;
}

/// For each of three consenters, an update names the certificate of a new key, and then the files are replaced. One of
/// the three is the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_comes_by_an_update_and_a_file_while_envelopes_are_ordered() {
    let (setups, mut nodes) = members::<3>().start().await;
    let http = operations(&mut nodes).await;
    let mut height = 0.0;
    for at in 0..3 {
        let end = CancellationToken::new();
        let loads = [&nodes[(at + 1) % 3], &nodes[(at + 2) % 3]];
        let mut under_way = Vec::new();
        for node in loads {
            under_way.push(tokio::spawn(load(connected(node).await, end.clone())));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = certificate(&key);
        let other = &nodes[(at + 1) % 3];
        accepted(other, pinned(other, at, &certificate).await).await;
        // SUCCESS does not mean that the block exists; files that are replaced before it exists disconnect the node
        let in_force = format!("configuration updated channel={CHANNEL} sequence={}", at + 1);
        for other in [(at + 1) % 3, (at + 2) % 3] {
            nodes[other].line(&in_force).await;
        }
        fs::write(tls_file(&setups[at], "server.key"), key.serialize_pem()).unwrap();
        fs::write(tls_file(&setups[at], "server.crt"), &certificate).unwrap();
        nodes[at].signal("HUP");
        read_anew(&mut nodes[at]).await;
        // the node is still a consenter, with its new key
        orders(&nodes[at], 10).await;
        end.cancel();
        for load in under_way {
            let ordered = within("the load ends", load).await.unwrap();
            eprintln!("{ordered} envelopes were ordered meanwhile");
            assert!(ordered > 0);
        }
        height = above(&http, height).await;
    }
    // the same after a restart
    nodes[1].kill();
    nodes[1] = setups[1].spawn();
    nodes[1].line("Raft leader changed:").await;
    nodes[1].line("Beginning to serve requests").await;
    orders(&nodes[1], 10).await;
    for node in nodes {
        node.assert_no_panic();
        node.stop().await;
    }
}

/// Returns how many of a node's certificates `/debug/certificates` lists as not used yet.
async fn pending(http: &Http) -> usize {
    let shown = http.get("/debug/certificates").await.json();
    shown["certificates"].as_array().unwrap().iter().filter(|one| one["pending"] == true).count()
}

/// The files of all consenters are replaced first, as in Fabric, and then updates name the new keys, one consenter after
/// the other. No node loses the others meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_replaced_before_the_updates_are_not_used_before_them() {
    let (setups, mut nodes) = members::<3>().start().await;
    let http = operations(&mut nodes).await;
    let mut height = above(&http, 0.0).await;
    let mut new = Vec::new();
    for (setup, node) in setups.iter().zip(&mut nodes) {
        let key = KeyPair::generate().unwrap();
        fs::write(tls_file(setup, "server.key"), key.serialize_pem()).unwrap();
        fs::write(tls_file(setup, "server.crt"), certificate(&key)).unwrap();
        new.push(fs::read_to_string(tls_file(setup, "server.crt")).unwrap());
        node.signal("HUP");
        let both_wait = |lines: &Vec<String>| {
            let waits = |kind: &str| {
                lines
                    .iter()
                    .any(|line| line.contains("the new certificate was not taken into use") && line.contains(kind))
            };
            waits(r#"certificate="TLS""#) && waits(r#"certificate="cluster""#)
        };
        node.lines("both certificates wait", both_wait).await;
    }
    for http in &http {
        // as a server and as a client; the log tells of a certificate before the endpoint does
        let both_wait = async { while pending(http).await != 2 {} };
        within("both certificates are shown as pending", both_wait).await;
        let warnings = http.get("/debug/warnings").await.json().to_string();
        assert!(warnings.contains("new certificates are not used yet"), "{warnings}");
    }
    // blocks need connections: with the new certificates there would be none
    for node in &nodes {
        orders(node, 10).await;
        height = above(&http, height).await;
    }
    for at in 0..3 {
        let other = &nodes[(at + 1) % 3];
        accepted(other, pinned(other, at, &new[at]).await).await;
        read_anew(&mut nodes[at]).await;
        let none_waits = async { while pending(&http[at]).await != 0 {} };
        within("the new certificates are in use", none_waits).await;
        for node in &nodes {
            orders(node, 10).await;
        }
        height = above(&http, height).await;
    }
    for node in nodes {
        assert!(!node.log().contains("Detected our own eviction"), "{}", node.log());
        node.assert_no_panic();
        node.stop().await;
    }
}

/// Returns the update that removes one consenter.
async fn without(node: &Node, at: usize) -> Envelope {
    changed(node, |metadata| drop(metadata.consenters.remove(at))).await
}

/// A consenter that was removed while it was down learns so from the others, which do not accept it any more, long before
/// `Consensus.EvictionSuspicion`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_removed_while_it_was_down_notices_it() {
    let (setups, mut nodes) = members::<3>().start().await;
    let http = operations(&mut nodes).await;
    // on a busy machine the leader may change
    let leads = async {
        loop {
            for (at, http) in http.iter().enumerate() {
                if of_app(&Scrape::of(http).await, "consensus_etcdraft_is_leader") == 1.0 {
                    return at;
                }
            }
        }
    };
    let leader = within("a leader", leads).await;
    let rest = [(leader + 1) % 3, (leader + 2) % 3];
    nodes[leader].kill();
    accepted(&nodes[rest[0]], without(&nodes[rest[0]], leader).await).await;
    for at in rest {
        nodes[at].line(&format!("configuration updated channel={CHANNEL} sequence=1")).await;
    }
    nodes[leader] = setups[leader].spawn();
    nodes[leader].line("Detected our own eviction from the channel").await;
    nodes[leader].line("this orderer is not a consenter of the channel; following it").await;
    orders(&nodes[rest[1]], 10).await;
    let http = operations(&mut nodes).await;
    above(&http, 2.0).await;
    for node in nodes {
        node.assert_no_panic();
        node.stop().await;
    }
}

/// Nodes that tolerate expired certificates work with them, and nodes that do not name them in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_certificates_are_tolerated_where_that_is_set() {
    let expired = |members: world::raft::Members<2>, tolerate: bool| {
        members.map(|at, setup| {
            if at == 1 {
                let yesterday = OffsetDateTime::now_utc() - time::Duration::days(1);
                fs::write(tls_file(&setup, "server.crt"), certificate_until(&key_of(&setup), yesterday)).unwrap();
            }
            setup.set("GENERAL_CLUSTER_TOLERATEEXPIREDCERTIFICATES", tolerate)
        })
    };
    let (setups, mut nodes) = expired(members::<2>(), true).start().await;
    let http = operations(&mut nodes).await;
    orders(&nodes[0], 10).await;
    above(&http, 0.0).await;
    // without the setting the nodes have no leader, and the log names the reason
    let [one, mut other] = nodes;
    one.stop().await;
    other.kill();
    let one = setups[0].again(&["start"]).set("GENERAL_CLUSTER_TOLERATEEXPIREDCERTIFICATES", false);
    let mut one = one.spawn();
    let mut other = setups[1].spawn();
    one.line("its certificate is refused: certificate has expired").await;
    one.assert_no_panic();
    one.kill();
    other.kill();
}
