//! Tests of the sample clients: what they send, what they print, and how they end.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::{Path, PathBuf};

use fabric_proto::Message as _;
use orderer_core::block::EncodedBlock;
use serde_json::Value;
use world::messages::{transaction, tx_id};
use world::node::{Node, ProcessOutput, orderer_folder};
use world::{NET, Setup, TestIdentity};

const DEV: [&str; 3] = ["start", "--dev", "orderer-dev"];

fn lines(ended: &ProcessOutput) -> Vec<&str> {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    ended.stdout.lines().collect()
}

/// Asserts that the command failed with one line on stderr, and returns the line.
fn complaint(ended: &ProcessOutput) -> &str {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.stderr.trim_end().strip_prefix("orderer: ").unwrap()
}

async fn dev_node() -> (Setup, Node) {
    let setup = Setup::without_channels().arguments(&DEV);
    let node = setup.start().await;
    (setup, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_development_node_is_used_without_any_flag() {
    let (setup, node) = dev_node().await;

    let sent = setup.again(&["client", "broadcast"]).run_with("first\nsecond\n");
    let answers: Vec<&str> = lines(&sent).iter().map(|line| line.strip_prefix("SUCCESS ").unwrap()).collect();
    assert_eq!(answers.len(), 2);

    let followed = setup.again(&["client", "deliver", "--from", "oldest", "--to", "1"]).run();
    let blocks: Vec<Value> = lines(&followed).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(blocks[0]["types"]["CONFIG"], 1);
    assert_eq!(blocks[1]["previous_hash"], blocks[0]["hash"]);
    assert_eq!(blocks[1]["tx_ids"][0], answers[0]);
    let first = &blocks[1];
    assert_eq!(first["types"]["ENDORSER_TRANSACTION"], first["envelopes"]);
    assert!(first["time"].as_str().unwrap().ends_with('Z') && first["bytes"].as_u64().unwrap() > 1000);

    let table = setup.again(&["client", "deliver", "--from=1", "--to=1", "--format", "table"]).run();
    let table = lines(&table);
    assert!(table[0].contains("BLOCK") && table[1].contains("ENDORSER_TRANSACTION"), "{table:?}");

    let fetched = setup.again(&["client", "fetch", "config"]).run();
    assert!(lines(&fetched)[0].starts_with("block 0 of devchannel (1 envelope, "), "{fetched:?}");
    let file = |name: &str| fs::read(setup.folder().join(name)).unwrap();
    assert_eq!(file("devchannel_config.block"), file("orderer-dev/genesis/devchannel.block"));
    lines(&setup.again(&["client", "fetch", "newest", "newest.block"]).run());
    assert!(EncodedBlock::parse(&file("newest.block")).unwrap().number().0 >= 1);

    let generated = setup.again(&["client", "broadcast", "--generate", "150", "--payload-bytes", "10"]).run();
    assert_eq!(lines(&generated), ["150 SUCCESS"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_sent_as_they_are_and_a_refusal_stops_none_behind_it() {
    let (setup, node) = dev_node().await;
    let msp =
        setup.folder().join("orderer-dev/crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp");
    let user = TestIdentity::from_msp(&msp, "Org1MSP");
    let [good, mut bad, last] = ["good", "bad", "last"].map(|data| transaction(&user, "devchannel", data));
    bad.signature = "spoilt".into();
    for (name, envelope) in [("good", &good), ("bad", &bad), ("last", &last)] {
        // an unknown field has to be preserved
        let bytes = [envelope.encode_to_vec(), vec![0x7a, 1, 9]].concat();
        fs::write(setup.folder().join(name), bytes).unwrap();
    }
    let sent = setup.again(&["client", "broadcast", "good", "bad", "last"]).run();
    assert_eq!(sent.code, Some(1));
    let answers: Vec<&str> = sent.stdout.lines().collect();
    assert_eq!((answers[0], answers[2], answers.len()), ("SUCCESS good", "SUCCESS last", 3));
    assert!(answers[1].starts_with("FORBIDDEN bad: "), "{}", answers[1]);

    let (client, mut entries, mut number) = (node.client().await, Vec::new(), 0);
    while entries.len() < 2 {
        number += 1;
        entries.extend(client.block(&user, "devchannel", number).await.data.unwrap().data);
    }
    // the entry after the last one is the fence, so nothing was sent twice
    let fence = transaction(&user, "devchannel", "fence");
    client.order([fence.clone()]).await;
    while entries
        .iter()
        .all(|entry| tx_id(&fabric_proto::common::Envelope::decode(entry.clone()).unwrap()) != tx_id(&fence))
    {
        number += 1;
        entries.extend(client.block(&user, "devchannel", number).await.data.unwrap().data);
    }
    entries.pop();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.ends_with(&[0x7a, 1, 9])));
    assert_eq!(tx_id(&fabric_proto::common::Envelope::decode(entries[1].clone()).unwrap()), tx_id(&last));

    fs::write(setup.folder().join("garbage"), "garbage").unwrap();
    assert!(complaint(&setup.again(&["client", "broadcast", "garbage"]).run()).contains("garbage is no envelope"));
    assert!(complaint(&setup.again(&["client", "broadcast", "nowhere"]).run()).contains("read nowhere"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_explained_in_one_line() {
    let nowhere = Setup::without_channels();
    let complain = |arguments: &[&str]| complaint(&nowhere.again(arguments).run()).to_owned();
    assert!(complain(&["client", "fetch", "newest"]).contains("nobody to sign as"));
    let msp = user_msp();
    let identity = ["--msp-id", "Org1MSP", "--msp-dir", msp.to_str().unwrap()];
    let with = |arguments: &[&'static str]| [arguments, &identity].concat();
    assert!(complain(&with(&["client", "fetch", "newest"])).contains("name one with -o HOST:PORT"));
    assert!(complain(&with(&["client", "fetch", "newest", "-o", "127.0.0.1:1"])).contains("no channel"));
    let refused = with(&["client", "fetch", "newest", "-c", "app", "-o", "127.0.0.1:1"]);
    assert!(complain(&refused).contains("connect to 127.0.0.1:1"));

    let (setup, node) = dev_node().await;
    let complain = |arguments: &[&str]| complaint(&setup.again(arguments).run()).to_owned();
    assert!(complain(&["client", "fetch", "999"]).contains("block 999 of devchannel: the orderer answers NOT_FOUND"));
    assert!(complain(&["client", "deliver", "-c", "other"]).contains("answers NOT_FOUND"));
    assert!(complain(&["client", "fetch", "newest", "-c", "system-channel"]).contains("answers FORBIDDEN"));
    let wrong = setup.again(&["client", "fetch", "sometime"]).run();
    assert_eq!(wrong.code, Some(2));
    node.stop().await;
    assert!(complain(&["client", "fetch", "newest"]).contains("is the development node running?"));
}

fn user_msp() -> PathBuf {
    Path::new(NET).join("crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_works_with_the_flags_and_variables_of_peer() {
    let (tls, root) = (orderer_folder().join("tls"), format!("{NET}/crypto/peerOrganizations/org1.example.com/tlsca"));
    let setup = Setup::application()
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display())
        .set("GENERAL_TLS_CLIENTAUTHREQUIRED", true)
        .set("GENERAL_TLS_CLIENTROOTCAS", format!("{root}/tlsca.org1.example.com-cert.pem"))
        .variable("CORE_PEER_LOCALMSPID", "Org1MSP")
        .variable("CORE_PEER_MSPCONFIGPATH", user_msp().display());
    let node = setup.start().await;
    let (ca, own) = (tls.join("ca.crt"), user_msp().with_file_name("tls"));
    let (certificate, key) = (own.join("client.crt"), own.join("client.key"));
    let trusting = ["-c", "app", "-o", &node.address, "--tls", "--cafile", ca.to_str().unwrap()];
    let named = ["--ordererTLSHostnameOverride", "orderer.example.com"];
    let showing = ["--clientauth", "--certfile", certificate.to_str().unwrap(), "--keyfile", key.to_str().unwrap()];

    let all = [&["client", "broadcast", "--generate", "3"][..], &trusting, &named, &showing].concat();
    assert_eq!(lines(&setup.again(&all).run()), ["3 SUCCESS"]);
    let all = [&["client", "deliver", "--from=1", "--to=1"][..], &trusting, &showing].concat();
    assert_eq!(lines(&setup.again(&all).run()).len(), 1);
    let all = [&["client", "fetch", "1", "one.block"][..], &trusting, &showing].concat();
    assert!(lines(&setup.again(&all).run())[0].starts_with("block 1 of app ("));
    let without = [&["client", "fetch", "oldest"][..], &trusting].concat();
    complaint(&setup.again(&without).run());
    let without = ["client", "fetch", "oldest", "-c", "app", "-o", &node.address, "--tls"];
    assert!(complaint(&setup.again(&without).run()).contains("--tls needs --cafile"));
    node.stop().await;
}

/// Writes the files of a self-signed client certificate.
fn stranger(folder: &Path) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["stranger".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (certificate_file, key_file) = (folder.join("stranger.crt"), folder.join("stranger.key"));
    fs::write(&certificate_file, certificate.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    (certificate_file.display().to_string(), key_file.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_fails_is_one_plain_line_and_nothing_may_be_in_the_chain() {
    let (tls, org1) = (orderer_folder().join("tls"), format!("{NET}/crypto/peerOrganizations/org1.example.com"));
    let root = format!("{org1}/tlsca/tlsca.org1.example.com-cert.pem");
    let setup = Setup::application()
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display())
        .set("GENERAL_TLS_CLIENTAUTHREQUIRED", true)
        .set("GENERAL_TLS_CLIENTROOTCAS", &root)
        .variable("CORE_PEER_LOCALMSPID", "Org1MSP")
        .variable("CORE_PEER_MSPCONFIGPATH", user_msp().display());
    let mut secured = setup.start().await;
    let mut plain = Setup::application().start().await;
    let operations = world::http::address(&mut plain, "operations").await;
    let ca = tls.join("ca.crt").display().to_string();
    let own = user_msp().with_file_name("tls");
    let (certificate, key) =
        (own.join("client.crt").display().to_string(), own.join("client.key").display().to_string());
    let (strange, strange_key) = stranger(setup.folder());
    let to = |address: &str, flags: &[&str]| {
        let all = [&["-c", "app", "-o", address][..], flags].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let trusting = ["--tls", "--cafile", &ca];
    let cases = [
        (to(&secured.address, &[]), "it wants TLS: give --tls and --cafile"),
        (to(&plain.address, &trusting), "it may not speak TLS"),
        (to(&secured.address, &trusting), "it requires a client certificate"),
        (
            to(
                &secured.address,
                &[&trusting[..], &["--clientauth", "--certfile", &strange, "--keyfile", &strange_key]].concat(),
            ),
            "it does not trust the client certificate",
        ),
        (
            to(
                &secured.address,
                &[&trusting[..], &["--clientauth", "--certfile", &certificate, "--keyfile", &strange_key]].concat(),
            ),
            "stranger.key: it is not the key of the certificate",
        ),
        (to(&secured.address, &["--tls", "--cafile", &root]), "leads to none of the authorities"),
        (
            to(&secured.address, &[&trusting[..], &["--ordererTLSHostnameOverride", "other.example.com"]].concat()),
            "not valid for the name that was asked for",
        ),
        (to(&secured.address, &["--tls", "--cafile", &key]), "client.key: no certificate in PEM found"),
        (to(&secured.address, &["--tls"]), "--tls needs --cafile"),
        (to(&operations, &[]), "this may be another port"),
        (to("127.0.0.1:1", &[]), "connection refused: nothing listens there"),
    ];
    let endings = [["client", "broadcast", "--generate=2"], ["client", "deliver", "--from=oldest"]];
    for (flags, said) in &cases {
        for command in endings {
            let all: Vec<&str> = command.into_iter().chain(flags.iter().map(String::as_str)).collect();
            let ended = setup.again(&all).run();
            let complaint = complaint(&ended);
            assert!(complaint.contains(said), "{all:?}: '{said}' is not in '{complaint}'");
            assert!(!complaint.contains("in the chain") && !complaint.contains(['{', '"']), "{all:?}: {complaint}");
            let mut parts: Vec<&str> = complaint.split(": ").collect();
            parts.sort_unstable();
            assert!(parts.windows(2).all(|pair| pair[0] != pair[1]), "a cause is said twice: {complaint}");
        }
    }
    // the nodes log the causes
    secured.line("TLS handshake failed: the client does not speak TLS, and this port does").await;
    secured.line("TLS handshake failed: the client showed no certificate, and has to").await;
    secured.line("TLS handshake failed: the client does not trust this node's certificate").await;
    plain.line("connection rejected: the client uses TLS, and this port does not").await;
    secured.stop().await;
    plain.stop().await;
}
