//! Tests that the chains of a running node are copied, verified and exported while it orders, and that a node starts
//! from a copy.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use world::client::number;
use world::http::{Http, address};
use world::messages::transaction;
use world::node::ProcessOutput;
use world::{Setup, TestIdentity};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn run(setup: &Setup, arguments: &[&str]) -> ProcessOutput {
    let command = setup.again(&[&["ledger"], arguments].concat());
    tokio::task::spawn_blocking(move || command.run()).await.unwrap()
}

async fn done(setup: &Setup, arguments: &[&str]) -> String {
    let ended = run(setup, arguments).await;
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{arguments:?}: {ended:?}");
    ended.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_made_under_load_is_restored_and_goes_on() {
    let setup = Setup::application().set("CHANNELPARTICIPATION_ENABLED", true);
    let mut node = setup.start().await;
    let admin = address(&mut node, "admin").await;
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (client, watched) = (node.client().await, (Arc::clone(&stop), Arc::clone(&acknowledged)));
    let load = tokio::spawn(async move {
        let (stop, acknowledged) = watched;
        while !stop.load(Ordering::SeqCst) {
            let envelopes = (0..10).map(|_| transaction(&TestIdentity::user(1), "app", "under load"));
            client.order(envelopes).await;
            acknowledged.fetch_add(10, Ordering::SeqCst);
        }
        client
    });
    // one copy at least takes longer than the order of some envelopes
    let mut copy = 0;
    loop {
        let before = acknowledged.load(Ordering::SeqCst);
        let to = format!("copy-{copy}");
        let said = done(&setup, &["backup", "--from-node", &admin, "--to", &to]).await;
        assert!(said.starts_with("app: ") && said.contains("verified and written"), "{said}");
        let during = acknowledged.load(Ordering::SeqCst) - before;
        if before > 0 && during > 0 {
            break;
        }
        copy += 1;
        assert!(copy < 50, "no envelope was acknowledged while a copy was made");
    }
    stop.store(true, Ordering::SeqCst);
    let client = load.await.unwrap();

    let copied = setup.folder().join(format!("copy-{copy}"));
    let restored = setup.folder().join("restored");
    let place = ["--ledger", text(&restored)];
    let said = done(&setup, &[&["import", "--from", text(&copied)], &place[..]].concat()).await;
    assert!(said.contains("imported"), "{said}");
    // after an interruption the command can be repeated
    let again = done(&setup, &[&["import", "--from", text(&copied)], &place[..]].concat()).await;
    assert!(again.contains("is here already"), "{again}");
    let verified = done(&setup, &[&["verify", "--json"], &place[..]].concat()).await;
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified[0]["good"], true, "{verified}");
    let height = verified[0]["height"].as_u64().unwrap();
    assert!(height > 1, "{verified}");

    let other = Setup::application().set("FILELEDGER_LOCATION", restored.display());
    let started = other.start().await;
    let reader = TestIdentity::user(1);
    let restored_client = started.client().await;
    for block in 0..height {
        let (ours, theirs) =
            (restored_client.block(&reader, "app", block).await, client.block(&reader, "app", block).await);
        assert_eq!(ours, theirs, "block {block}");
    }
    restored_client.order([transaction(&reader, "app", "goes on")]).await;
    let newest = restored_client.block(&reader, "app", height).await;
    assert_eq!(number(&newest), height);
    started.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_are_verified_and_exported_while_the_node_runs() {
    let setup = Setup::application().set("CHANNELPARTICIPATION_ENABLED", true);
    let mut node = setup.start().await;
    let client = node.client().await;
    for part in 0..5 {
        client.order([transaction(&TestIdentity::user(1), "app", format!("transaction {part}"))]).await;
        client.block(&TestIdentity::user(1), "app", part + 1).await;
    }
    let admin = address(&mut node, "admin").await;
    let from = ["--from-node", &admin];
    let verified = done(&setup, &[&["verify"], &from[..]].concat()).await;
    assert!(verified.starts_with("app: good: 6 blocks, 1 with a configuration"), "{verified}");
    done(&setup, &[&["export", "--channel", "app", "--to", "running.blocks"], &from[..]].concat()).await;
    done(&setup, &[&["export", "--to-fabric", "fabric"], &from[..]].concat()).await;
    assert!(setup.folder().join("fabric/chains/app/blockfile_000000").exists());
    let fail = async |arguments: &[&str], part: &str| {
        let ended = run(&setup, &[arguments, &from[..]].concat()).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{arguments:?}: {ended:?}");
    };
    fail(&["export", "--channel", "app", "--to", "running.blocks"], "exists").await;
    fail(&["backup", "--channel", "nowhere", "--to", "copy"], "channel nowhere: the node does not have it").await;
    assert!(!setup.folder().join("copy").exists());
    let both = run(&setup, &[&["verify", "--ledger", "x"], &from[..]].concat()).await;
    assert_eq!(both.code, Some(2), "{both:?}");

    // a pruned chain, whose config block is kept
    node.stop().await;
    done(&setup, &["export", "--channel", "app", "--to", "stopped.blocks"]).await;
    let (running, stopped) = ("running.blocks", "stopped.blocks");
    let read = |name: &str| fs::read(setup.folder().join(name)).unwrap();
    assert_eq!(read(running), read(stopped));
    done(&setup, &["prune", "--channel", "app", "--keep", "2"]).await;
    let mut node = setup.start().await;
    let http = Http::of(&mut node, "admin").await;
    let listed = http.get("/participation/v1/channels/app/blocks").await;
    assert_eq!(listed.json(), json!({"name": "app", "height": 6, "horizon": 4, "history": [0]}));
    assert_eq!(http.get("/participation/v1/channels/nowhere/blocks").await.status, 404);
    let admin = address(&mut node, "admin").await;
    done(&setup, &["backup", "--from-node", &admin, "--to", "pruned"]).await;
    let verified = done(&setup, &["verify", "--from-node", &admin]).await;
    assert!(verified.contains("3 blocks, 1 with a configuration") && verified.contains("before block 4"), "{verified}");
    let restored = ["--ledger", "restored"];
    done(&setup, &[&["import", "--from", "pruned"], &restored[..]].concat()).await;
    let stats = done(&setup, &[&["stats", "--json"], &restored[..]].concat()).await;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!((&stats[0]["height"], &stats[0]["horizon"]), (&json!(6), &json!(4)), "{stats}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_of_the_participation_api_get_blocks() {
    let setup = Setup::application();
    let mut node = setup.start().await;
    let admin = address(&mut node, "admin").await;
    let refused = run(&setup, &["backup", "--from-node", &admin, "--to", "copy"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("503: channel participation API is disabled"), "{refused:?}");
    node.stop().await;
}
