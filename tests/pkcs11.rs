//! Tests that the node signs with a key in a token (SoftHSM), is refused a start that cannot work, and loses nothing while the
//! token is away.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fabric_proto::Message as _;
use fabric_proto::common::{Block, Metadata, SignatureHeader, Status};
use fabric_proto::msp::SerializedIdentity;
use orderer_core::block::{EncodedBlock, verify_block_signatures};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::crypto::{PublicKey, hex};
use orderer_x509::{Certificate, pem};
use world::client::entries;
use world::http::Http;
use world::messages::{transaction, tx_id};
use world::node::orderer_folder;
use world::{NET, Setup, TestIdentity};

const CHANNEL: &str = "app";
const LABEL: &str = "ordering";
const PIN: &str = "p1n-of-the-token";
/// Absence of the token during which a chain waits; the node's limit is twice as long.
const SHORT: Duration = Duration::from_secs(5);

/// Returns the path of SoftHSM's library.
fn library() -> PathBuf {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    ];
    places
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .expect("SoftHSM is not installed (apt-get install softhsm2)")
}

/// A directory with a token, and an MSP without keys.
struct World {
    setup: Setup,
}

impl World {
    fn new() -> Self {
        Self::of(Setup::application())
    }

    fn of(setup: Setup) -> Self {
        let folder = setup.folder().to_owned();
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let configuration = folder.join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.join("tokens").display()
        );
        fs::write(&configuration, text).unwrap();
        fs::write(folder.join("pin"), format!("{PIN}\n")).unwrap();
        let msp = folder.join("msp");
        fs::create_dir_all(msp.join("signcerts")).unwrap();
        fs::create_dir_all(msp.join("cacerts")).unwrap();
        for (from, to) in [("cacerts", "cacerts"), ("config.yaml", "config.yaml")] {
            copy(&orderer_folder().join("msp").join(from), &msp.join(to));
        }
        let setup = setup
            .variable("SOFTHSM2_CONF", configuration.display())
            .set("GENERAL_LOCALMSPDIR", msp.display())
            .set("GENERAL_BCCSP_DEFAULT", "PKCS11")
            .set("GENERAL_BCCSP_PKCS11_LIBRARY", library().display())
            .set("GENERAL_BCCSP_PKCS11_LABEL", LABEL)
            .set("GENERAL_BCCSP_PKCS11_PIN", PIN);
        let world = Self { setup };
        world.softhsm(&["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "so-p1n"]);
        world
    }

    fn folder(&self) -> &Path {
        self.setup.folder()
    }

    fn softhsm(&self, arguments: &[&str]) {
        let mut command = Command::new("softhsm2-util");
        let ended = command.args(arguments).env("SOFTHSM2_CONF", self.folder().join("softhsm2.conf")).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// Puts the key of a fixtures' orderer into the token under this CKA_ID in hex, and its certificate into the MSP.
    fn import(&self, orderer: &str, id: impl FnOnce([u8; 32]) -> String) {
        let msp = orderer_folder().with_file_name(orderer).join("msp");
        let certificate = fs::read(msp.join(format!("signcerts/{orderer}-cert.pem"))).unwrap();
        fs::write(self.folder().join("msp/signcerts/cert.pem"), &certificate).unwrap();
        let key = msp.join("keystore/priv_sk").display().to_string();
        let id = id(public_key(&certificate).ski());
        self.softhsm(&["--import", &key, "--token", LABEL, "--label", orderer, "--id", &id, "--pin", PIN]);
    }

    /// Makes a key in the token and its certificate in the MSP, as an operator does.
    fn enroll(&self, curve: &str) {
        let certificate = self.folder().join("msp/signcerts/cert.pem");
        let _ = fs::remove_file(&certificate);
        let (library, certificate) = (library().display().to_string(), certificate.display().to_string());
        let authority = format!("{NET}/crypto/ordererOrganizations/example.com/ca");
        let made = self.setup.again(&[
            "crypto",
            "token-key",
            "--library",
            &library,
            "--label",
            LABEL,
            "--pin-file",
            "pin",
            "--curve",
            curve,
            "--common-name",
            "orderer.example.com",
            "--authority",
            &authority,
            "--output",
            &certificate,
        ]);
        let ended = made.run();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        assert!(!ended.stdout.contains(PIN), "{ended:?}");
    }

    /// Moves the token away, or back.
    fn take_token_away(&self) {
        fs::rename(self.folder().join("tokens"), self.folder().join("elsewhere")).unwrap();
    }

    fn bring_token_back(&self) {
        fs::rename(self.folder().join("elsewhere"), self.folder().join("tokens")).unwrap();
    }

    fn certificate(&self) -> Vec<u8> {
        fs::read(self.folder().join("msp/signcerts/cert.pem")).unwrap()
    }

    /// Asserts that the certificate's key signed every block but the first, as peers require.
    fn assert_signed(&self, chain: &[Block]) {
        let genesis = EncodedBlock::parse(&chain[0].encode_to_vec()).unwrap();
        let snapshot =
            ChannelSnapshot::from_config_block(&genesis.decode(), &Arc::new(ConfigCache::default())).unwrap();
        for block in &chain[1..] {
            let metadata = Metadata::decode(block.metadata.as_ref().unwrap().metadata[0].clone()).unwrap();
            let header = SignatureHeader::decode(metadata.signatures[0].signature_header.clone()).unwrap();
            assert_eq!(SerializedIdentity::decode(header.creator).unwrap().id_bytes, self.certificate());
            let block = EncodedBlock::parse(&block.encode_to_vec()).unwrap();
            verify_block_signatures(&block, &snapshot).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

fn public_key(certificate: &[u8]) -> PublicKey {
    let (block, _) = pem::decode(certificate).unwrap();
    PublicKey::from_x509(Certificate::parse(&block.contents).unwrap().public_key()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_made_in_the_token_signs_blocks() {
    for curve in ["p256", "p384"] {
        let world = World::new();
        world.enroll(curve);
        let checked = world.setup.again(&["config", "check", "--print"]).run();
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(said.contains("the token 'ordering' signs with the key of the certificate"), "{said}");
        assert!(!said.contains(PIN), "{said}");
        let mut node = world.setup.again(&["start"]).set("METRICS_PROVIDER", "prometheus").start().await;
        let (client, user) = (node.client().await, TestIdentity::user(1));
        client.order((0..20).map(|n| transaction(&user, CHANNEL, format!("{n}")))).await;
        // an acknowledged envelope is on the disk, and its block may follow later
        client.block(&user, CHANNEL, 1).await;
        let chain = client.chain(&user, CHANNEL).await;
        assert!(chain.len() > 1);
        world.assert_signed(&chain);
        let operations = Http::of(&mut node, "operations").await;
        let token = operations.get("/debug/certificates").await.json()["token"].clone();
        assert_eq!((&token["label"], &token["available"]), (&LABEL.into(), &true.into()), "{token}");
        let metrics = String::from_utf8_lossy(&operations.get("/metrics").await.body).into_owned();
        assert!(metrics.contains("orderer_token_available{token=\"ordering\"} 1"), "{metrics}");
        assert_eq!(operations.get("/healthz").await.status, 200);
        let shown = String::from_utf8_lossy(&operations.get("/debug/config").await.body).into_owned();
        assert!(shown.contains("General.BCCSP.PKCS11.Pin") && !shown.contains(PIN), "{shown}");
        assert!(!node.log().contains(PIN), "{}", node.log());
        node.assert_no_panic();
        node.stop().await;
    }
}

/// Fabric's tools give a key its SKI as CKA_ID, or any ID that its configuration names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_fabrics_tools_is_found() {
    let orderer = "orderer.example.com";
    let by_ski = World::new();
    by_ski.import(orderer, |ski| hex(&ski));
    let mut by_alt_id = World::new();
    by_alt_id.import(orderer, |_| hex(b"any-key"));
    by_alt_id.setup = by_alt_id.setup.set("GENERAL_BCCSP_PKCS11_ALTID", "any-key");
    let mut by_mapping = World::new();
    by_mapping.import(orderer, |_| hex(b"this-key"));
    let ski = hex(&public_key(&by_mapping.certificate()).ski());
    by_mapping.setup = by_mapping.setup.set("GENERAL_BCCSP_PKCS11_KEYIDS", format!("{ski} this-key"));
    for world in [by_ski, by_alt_id, by_mapping] {
        let node = world.setup.start().await;
        let (client, user) = (node.client().await, TestIdentity::user(1));
        client.order([transaction(&user, CHANNEL, "one")]).await;
        client.block(&user, CHANNEL, 1).await;
        world.assert_signed(&client.chain(&user, CHANNEL).await);
        node.stop().await;
    }
}

#[test]
fn a_start_that_cannot_work_is_refused_with_its_cause_and_the_pin_is_not_shown() {
    let world = World::new();
    world.import("orderer.example.com", |ski| hex(&ski));
    world.softhsm(&[
        "--import",
        &orderer_folder().with_file_name("orderer2.example.com").join("msp/keystore/priv_sk").display().to_string(),
        "--token",
        LABEL,
        "--label",
        "other",
        "--id",
        &hex(b"other"),
        "--pin",
        PIN,
    ]);
    let cases = [
        ("PIN", "wrong-p1n", "log in to the token 'ordering': the PIN is incorrect", "General.BCCSP.PKCS11.Pin"),
        (
            "LABEL",
            "nobody",
            "find the token with the label 'nobody': the library shows 'ordering'",
            "General.BCCSP.PKCS11.Label",
        ),
        ("LIBRARY", "/nowhere.so", "load the PKCS#11 library /nowhere.so", "General.BCCSP.PKCS11.Library"),
        ("ALTID", "nothing", "no private key has the CKA_ID 'nothing'", "orderer crypto token-key"),
        ("ALTID", "other", "it does not belong to the signing certificate", "General.BCCSP.PKCS11.AltID or KeyIDs"),
        ("PIN", "", "General.BCCSP.PKCS11.Pin must not be empty", ""),
    ];
    for (key, value, cause, action) in cases {
        let setup = world.setup.again(&["start"]).set(&format!("GENERAL_BCCSP_PKCS11_{key}"), value);
        for setup in [setup.again(&["config", "check"]), setup] {
            let ended = setup.variable("FABRIC_LOGGING_SPEC", "debug").run();
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert_eq!(ended.code, Some(1), "{key}={value}: {said}");
            assert!(said.contains(cause) && said.contains(action), "{key}={value}: {said}");
            assert!(!said.contains(PIN) && !said.contains("wrong-p1n"), "{said}");
        }
    }
}

/// A short absence is waited out, a long one is answered, and nothing that was acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_goes_away_and_comes_back_loses_nothing() {
    let world = World::new();
    world.enroll("p256");
    let mut node = world.setup.start().await;
    let user = TestIdentity::user(1);
    let client = node.client().await;
    let operations = Http::of(&mut node, "operations").await;
    client.order([transaction(&user, CHANNEL, "before")]).await;

    // sends until it is told to stop; each envelope is answered before the next one is sent
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let sending = tokio::spawn({
        let (client, user) = (client.clone(), TestIdentity::user(1));
        async move {
            let (mut acknowledged, mut refused) = (BTreeSet::new(), Vec::new());
            for number in 0u64.. {
                if *stopped.borrow() {
                    break;
                }
                let envelope = transaction(&user, CHANNEL, format!("{number}"));
                let id = tx_id(&envelope);
                match client.broadcast(envelope).await {
                    (Status::Success, _) => drop(acknowledged.insert(id)),
                    (Status::ServiceUnavailable, reason) => refused.push(reason),
                    other => panic!("{other:?}"),
                }
            }
            (acknowledged, refused)
        }
    });

    world.take_token_away();
    let began = Instant::now();
    node.line("the token does not sign").await;
    eprintln!("noticed after {:?}", began.elapsed());
    assert_eq!(operations.get("/healthz").await.status, 503);
    let token = operations.get("/debug/certificates").await.json()["token"].clone();
    assert_eq!(token["available"], false, "{token}");
    assert!(token["cause"].is_string() && token["action"].is_string(), "{token}");
    // the wait is bounded: then clients are told, and the chain waits for the token
    node.line("chain waits for the key to sign with").await;
    let state = operations.get(&format!("/debug/channels/{CHANNEL}")).await.json();
    assert!(state.to_string().contains("awaitingkey"), "{state}");
    let warnings = operations.get("/debug/warnings").await.json().to_string();
    assert!(warnings.contains("the token with the signing key has not signed"), "{warnings}");

    world.bring_token_back();
    let back = Instant::now();
    node.line("the token signs again").await;
    node.lines("the chain runs again", |lines| {
        lines.iter().filter(|line| line.contains("chain is running")).count() > 1
    })
    .await;
    eprintln!("back after {:?}", back.elapsed());

    // a short absence: the chain waits, and nobody is refused
    let (runs, went) = (node.log().matches("chain is running").count(), Instant::now());
    world.take_token_away();
    node.lines("it is away again", |lines| {
        lines.iter().filter(|line| line.contains("the token does not sign")).count() > 1
    })
    .await;
    world.bring_token_back();
    node.lines("it is back again", |lines| {
        lines.iter().filter(|line| line.contains("the token signs again")).count() > 1
    })
    .await;
    // a busy machine may need so long to bring it back that the absence is not short
    if went.elapsed() < SHORT {
        assert_eq!(node.log().matches("chain is running").count(), runs, "{}", node.log());
    }

    client.order([transaction(&user, CHANNEL, "after")]).await;
    stop.send(true).unwrap();
    let (acknowledged, refused) = world::within("the sender", sending).await.unwrap();
    assert!(!acknowledged.is_empty() && !refused.is_empty());
    let says = |reason: &String| reason.contains("token 'ordering'") || reason.contains("waits for the key");
    assert!(refused.iter().all(says), "{refused:?}");
    // the last ones may still wait for their block
    let mut blocks = client
        .deliver(
            &user,
            CHANNEL,
            world::messages::seek_info(world::messages::oldest(), world::messages::block(u64::MAX)),
        )
        .await;
    let (mut chain, mut missing) = (Vec::new(), acknowledged);
    let mut seen = BTreeSet::new();
    while !missing.is_empty() {
        let block = blocks.block().await;
        if !chain.is_empty() {
            for id in entries(&block).iter().map(tx_id) {
                assert!(seen.insert(id.clone()), "{id} is in the chain twice");
                missing.remove(&id);
            }
        }
        chain.push(block);
    }
    world.assert_signed(&chain);
    assert_eq!(operations.get("/healthz").await.status, 200);
    assert!(!node.log().contains("channel has failed"), "{}", node.log());
    assert!(!node.log().contains(PIN), "{}", node.log());
    node.assert_no_panic();
    node.stop().await;
}
