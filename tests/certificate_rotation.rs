//! Tests that the node's signing identity can be replaced while the node runs.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Block, Metadata, SignatureHeader};
use fabric_proto::msp::SerializedIdentity;
use world::messages::transaction;
use world::node::orderer_folder;
use world::{Setup, TestIdentity};

const CHANNEL: &str = "app";

/// Copies the certificate and key of another orderer into an MSP directory.
fn enroll(msp: &Path, of: &str) {
    for folder in ["signcerts", "keystore"] {
        let (from, to) = (orderer_folder().with_file_name(of).join("msp").join(folder), msp.join(folder));
        let _ = fs::remove_dir_all(&to);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

/// Returns the certificate of the block's signer, in PEM.
fn signer(block: &Block) -> Bytes {
    let metadata = Metadata::decode(block.metadata.as_ref().unwrap().metadata[0].clone()).unwrap();
    let header = SignatureHeader::decode(metadata.signatures[0].signature_header.clone()).unwrap();
    SerializedIdentity::decode(header.creator).unwrap().id_bytes
}

fn certificate_of(orderer: &str) -> Bytes {
    let file = orderer_folder().with_file_name(orderer).join(format!("msp/signcerts/{orderer}-cert.pem"));
    fs::read(file).unwrap().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_signs_the_next_block() {
    let folder = tempfile::tempdir().unwrap();
    enroll(folder.path(), "orderer.example.com");
    let mut node = Setup::application().set("GENERAL_LOCALMSPDIR", folder.path().display()).start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    client.order([transaction(&user, CHANNEL, "one")]).await;
    assert_eq!(signer(&client.block(&user, CHANNEL, 1).await), certificate_of("orderer.example.com"));

    enroll(folder.path(), "orderer2.example.com");
    node.signal("HUP");
    node.line("certificate was reloaded").await;
    client.order([transaction(&user, CHANNEL, "two")]).await;
    assert_eq!(signer(&client.block(&user, CHANNEL, 2).await), certificate_of("orderer2.example.com"));

    // an incomplete renewal: a new certificate without its key
    fs::write(folder.path().join("signcerts/orderer2.example.com-cert.pem"), certificate_of("orderer.example.com"))
        .unwrap();
    node.signal("HUP");
    let line = node.line("failed to load the new certificate").await;
    assert!(line.contains("no key in") && line.contains("belongs to the certificate"), "{line}");
    client.order([transaction(&user, CHANNEL, "three")]).await;
    assert_eq!(signer(&client.block(&user, CHANNEL, 3).await), certificate_of("orderer2.example.com"));
    node.stop().await;
}

/// Copies the certificate and key of another organization into an MSP directory. Peers reject blocks that they sign.
fn enroll_stranger(msp: &Path) {
    let user = Path::new(world::NET).join("crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp");
    for folder in ["signcerts", "keystore"] {
        let (from, to) = (user.join(folder), msp.join(folder));
        let _ = fs::remove_dir_all(&to);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_whose_blocks_no_peer_takes_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    enroll(folder.path(), "orderer.example.com");
    let setup = Setup::application().set("GENERAL_LOCALMSPDIR", folder.path().display());
    let mut node = setup.start().await;
    let (client, user) = (node.client().await, TestIdentity::user(1));
    enroll_stranger(folder.path());
    node.signal("HUP");
    let line = node.line("the new certificate cannot be used").await;
    assert!(line.contains("channel=app") && line.contains("BlockValidation"), "{line}");
    client.order([transaction(&user, CHANNEL, "one")]).await;
    assert_eq!(signer(&client.block(&user, CHANNEL, 1).await), certificate_of("orderer.example.com"));
    node.signal("USR1");
    let line = node.line("actor=registrar/app/solo-chain").await;
    assert!(line.contains("state=running") && line.contains("in_hand="), "{line}");
    node.stop().await;

    // the next start has no other identity
    let checked = setup.again(&["config", "check"]).run();
    assert_eq!(checked.code, Some(1));
    assert!(checked.stdout.contains("do not satisfy BlockValidation of channel app"), "{}", checked.stdout);
    let mut node = setup.spawn();
    node.line("channel has failed").await;
    node.line("Beginning to serve requests").await;
    let client = node.client().await;
    let (status, told) = client.broadcast(transaction(&user, CHANNEL, "two")).await;
    assert_eq!(status, fabric_proto::common::Status::ServiceUnavailable, "{told}");
    assert!(told.contains("do not satisfy BlockValidation") && told.contains("General.LocalMSPID"), "{told}");
    let height = client.chain(&user, CHANNEL).await.len();
    assert_eq!(height, 2, "what was there is served, and nothing was added");
    node.stop().await;
    let verified = setup.again(&["ledger", "verify"]).run();
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// The bootstrap file is a named pipe, which blocks the node after it has read its certificates and before it serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_replaced_while_the_node_starts_are_noticed() {
    let setup = Setup::application();
    let (msp, tls) = (setup.folder().join("msp"), setup.folder().join("tls"));
    enroll(&msp, "orderer.example.com");
    fs::create_dir(&tls).unwrap();
    let put_tls = |of: &str| {
        for file in ["server.crt", "server.key"] {
            fs::copy(orderer_folder().with_file_name(of).join("tls").join(file), tls.join(file)).unwrap();
        }
    };
    put_tls("orderer.example.com");
    let pipe = setup.folder().join("genesis.pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let setup = setup
        .set("GENERAL_LOCALMSPDIR", msp.display())
        .set("GENERAL_BOOTSTRAPFILE", pipe.display())
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display());
    let mut node = setup.spawn();
    let genesis = fs::read(Path::new(world::NET).join("AppSolo.block")).unwrap();
    let replaced = {
        let (pipe, msp) = (pipe.clone(), msp.clone());
        let opened = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(pipe).unwrap());
        // both ends of the pipe are open, so the node has read its certificates and the stamps of their files
        let mut opened = world::within("the node reads its bootstrap file", opened).await.unwrap();
        assert!(!node.log().contains("Beginning to serve requests"));
        enroll(&msp, "orderer2.example.com");
        put_tls("orderer2.example.com");
        opened.write_all(&genesis)
    };
    replaced.unwrap();
    node.line("Beginning to serve requests").await;
    for certificate in ["certificate=\"enrollment\"", "certificate=\"TLS\""] {
        node.lines("both are read anew", |lines| {
            lines.iter().any(|line| line.contains("certificate was reloaded") && line.contains(certificate))
        })
        .await;
    }
    node.stop().await;
}
