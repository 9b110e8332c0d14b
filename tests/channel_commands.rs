//! Tests of `orderer channel`: the flags and output of osnadmin, with and without TLS, and exit codes.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::{Path, PathBuf};

use fabric_proto::common::ConfigUpdate;
use world::config_updates::signed_update;
use world::http::address;
use world::node::{ProcessOutput, orderer_folder};
use world::{NET, Setup, TestIdentity};

fn net(name: &str) -> String {
    Path::new(NET).join(name).display().to_string()
}

fn without_channels() -> Setup {
    let setup = Setup::without_channels();
    let ledger = setup.folder().join("ledger");
    setup
        .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("FILELEDGER_LOCATION", ledger.display())
        .set("CHANNELPARTICIPATION_ENABLED", true)
}

fn org(number: u8) -> PathBuf {
    Path::new(NET).join(format!("crypto/peerOrganizations/org{number}.example.com"))
}

/// Returns the exit code and standard output of a command that wrote nothing to stderr.
fn said(ended: &ProcessOutput) -> (Option<i32>, &str) {
    assert_eq!(ended.stderr, "", "{ended:?}");
    (ended.code, &ended.stdout)
}

const LISTED: &str = "\
Status: 200
{
\t\"systemChannel\": null,
\t\"channels\": [
\t\t{
\t\t\t\"name\": \"app\",
\t\t\t\"url\": \"/participation/v1/channels/app\"
\t\t}
\t]
}
";

const INFO: &str = "\
{
\t\"name\": \"app\",
\t\"url\": \"/participation/v1/channels/app\",
\t\"consensusRelation\": \"other\",
\t\"status\": \"active\",
\t\"height\": 1
}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_joined_listed_fetched_and_removed() {
    let setup = without_channels();
    let mut node = setup.start().await;
    let admin = address(&mut node, "admin").await;
    let run = |arguments: &[&str]| setup.again(&[&["channel"], arguments, &["-o", &admin]].concat()).run();
    let none = "Status: 200\n{\n\t\"systemChannel\": null,\n\t\"channels\": null\n}\n";
    assert_eq!(said(&run(&["list"])), (Some(0), none));

    let block = net("AppSolo.block");
    let joined = run(&["join", "--channelID", "app", "--config-block", &block]);
    assert_eq!(said(&joined), (Some(0), &*format!("Status: 201\n{INFO}")));
    node.wait_for_chain("app").await;
    assert_eq!(said(&run(&["list"])), (Some(0), LISTED));
    assert_eq!(said(&run(&["list", "-c", "app", "--no-status"])), (Some(0), INFO));

    let fetched = run(&["fetch", "-c", "app", "-b", "0", "-f", "0.block"]);
    assert_eq!(said(&fetched), (Some(0), "Status: 200\n\n"));
    assert!(fs::read(setup.folder().join("0.block")).unwrap() == fs::read(&block).unwrap());
    let missing = run(&["fetch", "-c", "app", "-b", "9", "-f", "9.block"]);
    let no_block = "Status: 404\n{\n\t\"error\": \"block 9 does not exist\"\n}\n";
    assert_eq!(said(&missing), (Some(1), no_block));
    assert!(!setup.folder().join("9.block").exists());

    assert_eq!(said(&run(&["remove", "-c", "app"])), (Some(0), "Status: 204\n\n"));
    let again = "Status: 404\n{\n\t\"error\": \"cannot remove: channel does not exist\"\n}\n";
    assert_eq!(said(&run(&["remove", "-c", "app"])), (Some(1), again));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_another_channel_is_not_sent() {
    let setup = without_channels();
    let update = ConfigUpdate { channel_id: "other".to_owned(), ..ConfigUpdate::default() };
    let admin = TestIdentity::admin(1);
    let envelope = signed_update(&admin, &[&admin], "other", &update);
    fs::write(setup.folder().join("update.tx"), fabric_proto::Message::encode_to_vec(&envelope)).unwrap();
    let block = net("AppSolo.block");
    let nobody = "127.0.0.1:1";
    for (arguments, why) in [
        (
            &["join", "-c", "mychan", "-b", &block][..],
            "--channelID mychan does not match channel ID app in config block",
        ),
        (
            &["update", "-c", "app", "-e", "update.tx"],
            "--channelID app does not match channel ID other in config update envelope",
        ),
        (&["join", "-c", "app", "-b", "update.tx"], "update.tx: "),
        (&["join", "-c", "app", "-b", "missing.block"], "read missing.block"),
        (&["list"], "ask 127.0.0.1:1: "),
    ] {
        let ended = setup.again(&[&["channel"], arguments, &["-o", nobody]].concat()).run();
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
        assert!(ended.stderr.contains(why), "'{why}' is not in {}", ended.stderr);
    }
    for arguments in [&["list"][..], &["list", "-c", "UPPER"], &["fetch", "-c", "a", "-b", "last", "-f", "x"]] {
        let ended = setup.again(&[&["channel"], arguments].concat()).run();
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_is_spoken() {
    let tls = orderer_folder().join("tls");
    let root = org(1).join("tlsca/tlsca.org1.example.com-cert.pem");
    let setup = without_channels()
        .set("ADMIN_TLS_ENABLED", true)
        .set("ADMIN_TLS_CLIENTAUTHREQUIRED", true)
        .set("ADMIN_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("ADMIN_TLS_PRIVATEKEY", tls.join("server.key").display())
        .set("ADMIN_TLS_CLIENTROOTCAS", root.display());
    let mut node = setup.start().await;
    let admin = address(&mut node, "admin").await;
    let text = |path: PathBuf| path.display().to_string();
    let (ca, wrong_ca) = (text(tls.join("ca.crt")), text(root.clone()));
    let shown =
        |number: u8, file: &str| text(org(number).join(format!("users/Admin@org{number}.example.com/tls/{file}")));
    let run = |ca: &str, number: u8, more: &[&str]| {
        let (certificate, key) = (shown(number, "client.crt"), shown(number, "client.key"));
        let tls = ["-o", &admin, "--ca-file", ca, "--client-cert", &certificate, "--client-key", &key];
        setup.again(&[&["channel"], more, &tls].concat()).run()
    };
    let joined = run(&ca, 1, &["join", "-c", "app", "-b", &net("AppSolo.block")]);
    assert_eq!(said(&joined), (Some(0), &*format!("Status: 201\n{INFO}")));
    assert_eq!(said(&run(&ca, 1, &["list"])), (Some(0), LISTED));

    let unreached = |ended: &ProcessOutput, why: &str| {
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
        assert!(ended.stderr.starts_with("orderer: ask ") && ended.stderr.contains(why), "{}", ended.stderr);
    };
    unreached(&run(&ca, 2, &["list"]), "");
    unreached(&run(&wrong_ca, 1, &["list"]), "certificate");
    unreached(&setup.again(&["channel", "list", "-o", &admin, "--ca-file", &ca]).run(), "");
    unreached(&setup.again(&["channel", "list", "-o", &admin]).run(), "");
    // the node's certificate was not valid a hundred years ago
    let early = run(&ca, 1, &["fetch", "-c", "app", "-b", "0", "-f", "x", "--tlsHandshakeTimeShift", "876000h"]);
    unreached(&early, "not valid yet");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_channel_is_restarted() {
    let setup = Setup::application();
    setup.start().await.stop().await;
    let (ledger, aside) = (setup.ledger_file("app"), setup.folder().join("aside"));
    fs::rename(&ledger, &aside).unwrap();
    fs::write(&ledger, "no ledger").unwrap();
    let mut node = setup.start().await;
    let operations = address(&mut node, "operations").await;
    let restart = || setup.again(&["channel", "restart", "-c", "app", "-o", &operations]).run();
    let refused = restart();
    let (code, text) = said(&refused);
    assert!(code == Some(1) && text.starts_with("Status: 500\n") && text.contains("not a ledger"), "{text}");
    fs::rename(&aside, &ledger).unwrap();
    assert_eq!(said(&restart()), (Some(0), "Status: 202\n\n"));
    node.wait_for_chain("app").await;
    let running = restart();
    assert!(running.stdout.starts_with("Status: 409\n"), "{running:?}");
    node.stop().await;
}
