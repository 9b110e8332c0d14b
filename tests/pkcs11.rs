//! Tests that the node signs with a key in a token (SoftHSM), is refused a start that cannot work, and loses nothing while the
//! token is away.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fabric_proto::common::Status;
use orderer_core::crypto::hex;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo};
use time::OffsetDateTime;
use world::client::entries;
use world::http::Http;
use world::messages::{transaction, tx_id};
use world::node::orderer_folder;
use world::token::{LABEL, PIN, Token, library, public_key};
use world::{NET, Setup, TestIdentity};

const CHANNEL: &str = "app";
/// Absence of the token during which a chain waits; the node's limit is twice as long.
const SHORT: Duration = Duration::from_secs(5);

/// A node that signs with a key in a token.
struct World {
    setup: Setup,
    token: Token,
}

impl World {
    fn new() -> Self {
        let (token, setup) = Token::of(Setup::application());
        Self { setup, token }
    }

    /// Makes a key in the token and its certificate in the MSP, as an operator does.
    fn enroll(&self, curve: &str) {
        let certificate = self.token.file("msp/signcerts/cert.pem");
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
        world.token.assert_signed(&chain);
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
    by_ski.token.import(orderer, |ski| hex(&ski));
    let mut by_alt_id = World::new();
    by_alt_id.token.import(orderer, |_| hex(b"any-key"));
    by_alt_id.setup = by_alt_id.setup.set("GENERAL_BCCSP_PKCS11_ALTID", "any-key");
    let mut by_mapping = World::new();
    by_mapping.token.import(orderer, |_| hex(b"this-key"));
    let ski = hex(&public_key(&by_mapping.token.certificate()).ski());
    by_mapping.setup = by_mapping.setup.set("GENERAL_BCCSP_PKCS11_KEYIDS", format!("{ski} this-key"));
    for world in [by_ski, by_alt_id, by_mapping] {
        let node = world.setup.start().await;
        let (client, user) = (node.client().await, TestIdentity::user(1));
        client.order([transaction(&user, CHANNEL, "one")]).await;
        client.block(&user, CHANNEL, 1).await;
        world.token.assert_signed(&client.chain(&user, CHANNEL).await);
        node.stop().await;
    }
}

/// A key that OpenSC's tool has made, with the SKI as its CKA_ID, as Fabric's documentation has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_pkcs11_tool_is_found_by_its_ski() {
    let world = World::new();
    let tool = |arguments: &[&str]| {
        let library = library().display().to_string();
        let access = ["--module", &library, "--token-label", LABEL, "--login", "--pin", PIN];
        world.token.command("pkcs11-tool", &[&access, arguments].concat());
    };
    let (public, request) = (world.token.file("public.der"), world.token.file("msp/signcerts/cert.pem"));
    tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", "01", "--usage-sign", "--label", "made elsewhere"]);
    tool(&["--read-object", "--type", "pubkey", "--id", "01", "--output-file", &public.display().to_string()]);
    // the authority of the organization certifies the public key
    fs::write(&request, certificate_of(&fs::read(&public).unwrap())).unwrap();
    let ski = hex(&public_key(&world.token.certificate()).ski());
    for kind in ["privkey", "pubkey"] {
        tool(&["--set-id", &ski, "--type", kind, "--id", "01"]);
    }
    let node = world.setup.start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    client.order([transaction(&user, CHANNEL, "one")]).await;
    client.block(&user, CHANNEL, 1).await;
    world.token.assert_signed(&client.chain(&user, CHANNEL).await);
    node.stop().await;
}

/// Returns a certificate of an orderer for a public key in DER, by the authority of the ordering organization, in PEM.
fn certificate_of(public: &[u8]) -> String {
    let folder = Path::new(NET).join("crypto/ordererOrganizations/example.com/ca");
    let key = KeyPair::from_pem(&fs::read_to_string(folder.join("priv_sk")).unwrap()).unwrap();
    let authority = fs::read_to_string(folder.join("ca.example.com-cert.pem")).unwrap();
    let mut certificate = CertificateParams::default();
    certificate.distinguished_name.push(DnType::CommonName, "orderer.example.com");
    certificate.distinguished_name.push(DnType::OrganizationalUnitName, "orderer");
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // within the time of the authority
    let now = OffsetDateTime::now_utc();
    certificate.not_before = now - time::Duration::minutes(1);
    certificate.not_after = now + time::Duration::days(1);
    let public = SubjectPublicKeyInfo::from_der(public).unwrap();
    certificate.signed_by(&public, &Issuer::from_ca_cert_pem(&authority, key).unwrap()).unwrap().pem()
}

#[test]
fn a_start_that_cannot_work_is_refused_with_its_cause_and_the_pin_is_not_shown() {
    let world = World::new();
    world.token.import("orderer.example.com", |ski| hex(&ski));
    world.token.softhsm(&[
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

    world.token.take_away();
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

    world.token.bring_back();
    let back = Instant::now();
    node.line("the token signs again").await;
    node.lines("the chain runs again", |lines| {
        lines.iter().filter(|line| line.contains("chain is running")).count() > 1
    })
    .await;
    eprintln!("back after {:?}", back.elapsed());

    // a short absence: the chain waits, and nobody is refused
    let (runs, went) = (node.log().matches("chain is running").count(), Instant::now());
    world.token.take_away();
    node.lines("it is away again", |lines| {
        lines.iter().filter(|line| line.contains("the token does not sign")).count() > 1
    })
    .await;
    world.token.bring_back();
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
    world.token.assert_signed(&chain);
    assert_eq!(operations.get("/healthz").await.status, 200);
    assert!(!node.log().contains("channel has failed"), "{}", node.log());
    assert!(!node.log().contains(PIN), "{}", node.log());
    node.assert_no_panic();
    node.stop().await;
}
