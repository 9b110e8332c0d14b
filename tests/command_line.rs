//! Tests that arguments and configuration files are either accepted or rejected with one clear line for each error.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use fabric_proto::common::Status;
use orderer_core::block::EncodedBlock;
use orderer_core::config::genesis::genesis_block_from_envelope;
use world::messages::transaction;
use world::node::{ProcessOutput, orderer_folder};
use world::{NET, Setup, TestIdentity};

/// Asserts that the command failed with these lines on stderr and nothing else: no log and no backtrace.
fn assert_complains(ended: &ProcessOutput, code: i32, lines: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "");
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(said.len(), lines.len(), "{}", ended.stderr);
    for (said, wanted) in said.iter().zip(lines) {
        assert!(said.starts_with("orderer: ") && said.contains(wanted), "'{wanted}' is not in '{said}'");
    }
}

/// Asserts that the last line names the error. Log lines may precede it.
fn assert_ends_with(ended: &ProcessOutput, parts: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("orderer: "), "{}", ended.stderr);
    assert!(parts.iter().all(|part| last.contains(part)), "{last}");
    for trace in ["panicked", "stack backtrace", "RUST_BACKTRACE", "Caused by"] {
        assert!(!ended.stderr.contains(trace), "{}", ended.stderr);
    }
}

#[test]
fn version_says_what_the_program_is() {
    let ended = Setup::without_channels().arguments(&["version"]).run();
    assert_eq!(ended.code, Some(0));
    for part in ["orderer:\n Version: ", "\n Commit SHA: ", "\n Rust version: 1.", "\n OS/Arch: "] {
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
}

#[test]
fn help_teaches() {
    for arguments in [&["--help"][..], &["start", "--help"], &["help"]] {
        let ended = Setup::without_channels().arguments(arguments).run();
        assert_eq!(ended.code, Some(0), "{arguments:?}");
        for part in ["orderer start --dev", "FABRIC_LOGGING_SPEC", "ORDERER_SECTION_KEY", "Exit codes"] {
            assert!(ended.stdout.contains(part), "{arguments:?} does not mention {part}");
        }
    }
}

#[test]
fn wrong_arguments_end_with_code_2() {
    let all: [&[&str]; 4] =
        [&["frobnicate"], &["start", "--frob"], &["start", "--config", "x", "--dev"], &["version", "x"]];
    for arguments in all {
        let ended = Setup::without_channels().arguments(arguments).run();
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    }
}

#[test]
fn each_mistake_in_the_configuration_is_one_line() {
    let setup = Setup::without_channels().unset("GENERAL_LISTENPORT").set("SOLO_DURABILITY", "perhaps");
    let text = "General:\n  ListenPrt: 7050\n  ListenPort: many\n  LocalMSPDir: nowhere\n  Keepalive:\n    \
                ServerInterval: soon\n  BootstrapMethod: file\n  BootstrapFile: none.block\n  TLS:\n    Enabled: true\n";
    fs::write(setup.folder().join("orderer.yaml"), text).unwrap();
    let ended = setup.run();
    let lines = [
        "orderer.yaml:2: unknown key General.ListenPrt; did you mean General.ListenPort?",
        "orderer.yaml:3: General.ListenPort: 'many' is not a port",
        "orderer.yaml:6: General.Keepalive.ServerInterval: 'soon' is not a duration",
        "ORDERER_SOLO_DURABILITY: Solo.Durability: 'perhaps' is not one of: disk, memory",
        "General.TLS.Certificate: no such file: ",
        "General.TLS.PrivateKey: no such file: ",
        "orderer.yaml:4: General.LocalMSPDir: no such folder: ",
    ];
    assert_complains(&ended, 1, &lines);
}

#[test]
fn a_configuration_that_is_not_there_or_is_no_yaml_is_one_line() {
    let setup = Setup::without_channels().arguments(&["start", "--config", "nowhere.yaml"]);
    assert_complains(&setup.run(), 1, &["nowhere.yaml: no such file, named by --config"]);
    let setup = Setup::without_channels().variable("FABRIC_CFG_PATH", "nowhere");
    assert_complains(&setup.run(), 1, &["nowhere/orderer.yaml: no such file, named by FABRIC_CFG_PATH"]);
    let setup = Setup::without_channels();
    fs::write(setup.folder().join("orderer.yaml"), "General: [\n").unwrap();
    assert_complains(&setup.run(), 1, &["orderer.yaml:2: is not YAML"]);
    let setup = Setup::without_channels().variable("FABRIC_LOGGING_SPEC", "loud");
    assert_complains(&setup.run(), 1, &["FABRIC_LOGGING_SPEC: 'loud' is not LEVEL"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_working_folders_file_is_found_and_a_node_without_channels_serves() {
    let setup = Setup::without_channels().set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display());
    fs::write(setup.folder().join("orderer.yaml"), "FileLedger:\n  Location: blocks\n").unwrap();
    let node = setup.start().await;
    let client = node.client().await;
    let (status, info) = client.broadcast(transaction(&TestIdentity::user(1), "mychan", "x")).await;
    assert_eq!(status, Status::BadRequest, "{info}");
    assert!(setup.folder().join("blocks/channels").is_dir(), "a relative path is relative to the file");
    node.stop().await;
}

#[test]
fn a_port_that_is_taken_is_named() {
    let setup = Setup::application();
    let _taken = TcpListener::bind(("127.0.0.1", setup.port())).unwrap();
    let address = format!("127.0.0.1:{}", setup.port());
    assert_ends_with(&setup.run(), &["listen on", &address, "in use"]);
    assert!(!setup.folder().join("ledger").exists(), "nothing was written");
}

#[test]
fn a_bootstrap_file_that_is_no_genesis_block_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("genesis.block");
    for garbage in [&b""[..], b"garbage", &[0x0a; 1000]] {
        fs::write(&file, garbage).unwrap();
        let ended = Setup::of_block_file(file.clone()).run();
        assert_ends_with(&ended, &["General.BootstrapFile", "genesis.block: "]);
    }
    // the replacement has the same length, so the block stays valid, but no consensus type is called dice
    let block = EncodedBlock::parse(&fs::read(format!("{NET}/AppSolo.block")).unwrap()).unwrap().decode();
    let mut envelope = block.data.unwrap().data[0].to_vec();
    let at = envelope.windows(4).position(|word| word == b"solo").unwrap();
    envelope[at..at + 4].copy_from_slice(b"dice");
    fs::write(&file, genesis_block_from_envelope(envelope.into(), true)).unwrap();
    assert_ends_with(
        &Setup::of_block_file(file).run(),
        &["genesis.block", "consensus type 'dice' is not served: solo, kafka and etcdraft are"],
    );
}

#[test]
fn an_msp_folder_without_certificate_or_key_is_named() {
    let setup = Setup::application();
    let msp = setup.folder().join("msp");
    let setup = setup.set("GENERAL_LOCALMSPDIR", msp.display());
    fs::create_dir(&msp).unwrap();
    assert_ends_with(&setup.run(), &["General.LocalMSPDir", "signcerts"]);
    fs::create_dir(msp.join("signcerts")).unwrap();
    assert_ends_with(&setup.run(), &["General.LocalMSPDir", "signcerts has no certificate"]);
    copy_files(&orderer_folder().join("msp/signcerts"), &msp.join("signcerts"));
    fs::create_dir(msp.join("keystore")).unwrap();
    assert_ends_with(&setup.run(), &["General.LocalMSPDir", "keystore has no key"]);
    let another = orderer_folder().with_file_name("orderer2.example.com").join("msp/keystore");
    copy_files(&another, &msp.join("keystore"));
    assert_ends_with(&setup.run(), &["General.LocalMSPDir", "no key in", "belongs to the certificate"]);
    fs::write(msp.join("signcerts/orderer.example.com-cert.pem"), "garbage").unwrap();
    assert_ends_with(&setup.run(), &["General.LocalMSPDir"]);
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Returns the only client of the development network.
fn developer(network: &Path) -> TestIdentity {
    TestIdentity::from_msp(
        &network.join("crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp"),
        "Org1MSP",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_development_network_serves_at_once_and_goes_on_where_it_was() {
    let setup = Setup::without_channels().arguments(&["start", "--dev", "net"]);
    let mut node = setup.start().await;
    // the time that the node computes does not depend on what else the machine does
    let computed = node.processor_time();
    eprintln!("from the command to serving: {computed:?} of a processor");
    assert!(computed < Duration::from_secs(5), "{computed:?} in a debug build");
    let greeting = node.wait_for_stdout("orderer health --dev").await;
    for part in ["A development network created in", "devchannel", "peer channel fetch newest", &node.address] {
        assert!(greeting.contains(part), "{greeting}");
    }
    // the printed commands work in any directory
    let program = Path::new(env!("CARGO_BIN_EXE_orderer")).parent().unwrap();
    let commands: Vec<&str> =
        greeting.lines().filter(|line| line.contains("orderer ") && line.contains("--dev")).collect();
    assert_eq!(commands.len(), 4, "{greeting}");
    for command in commands {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", command]).current_dir(elsewhere.path()).stdin(std::process::Stdio::null());
        shell.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
        shell.env("ORDERER_GENERAL_LISTENPORT", setup.port().to_string());
        shell.env("ORDERER_OPERATIONS_LISTENADDRESS", "127.0.0.1:0").env_remove("CORE_PEER_MSPCONFIGPATH");
        let ended = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
        assert!(ended.status.success(), "{command}: {ended:?}");
    }
    let checked = setup.again(&["config", "check", "--dev", "net"]).run();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let user = developer(&setup.folder().join("net"));
    let client = node.client().await;
    // what the command broadcast may still wait for its batch's time, and would share a block with the next envelope
    client.block(&user, "devchannel", 1).await;
    client.order([transaction(&user, "devchannel", "before")]).await;
    client.block(&user, "devchannel", 2).await;
    node.stop().await;

    let mut node = setup.start().await;
    assert!(node.wait_for_stdout("orderer health --dev").await.contains("A development network continued in"));
    let client = node.client().await;
    let chain = client.chain(&user, "devchannel").await;
    assert_eq!(chain.len(), 3);
    client.order([transaction(&user, "devchannel", "after")]).await;
    client.block(&user, "devchannel", 3).await;
    node.stop().await;
}

#[test]
fn a_development_network_is_not_made_among_other_files() {
    let setup = Setup::without_channels().arguments(&["start", "--dev", "net"]);
    let net = setup.folder().join("net");
    fs::create_dir(&net).unwrap();
    fs::write(net.join("thesis.tex"), "").unwrap();
    assert_complains(&setup.run(), 1, &["net is not empty and has no orderer.yaml: name an empty folder"]);
    assert_eq!(fs::read_dir(&net).unwrap().count(), 1, "nothing was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_json_on_request_and_follow_the_spec() {
    let setup = Setup::application()
        .variable("FABRIC_LOGGING_FORMAT", "json")
        .variable("FABRIC_LOGGING_SPEC", "warn:orderer.node=info");
    let mut node = setup.spawn();
    let line = node.line("\"Beginning to serve requests\"").await;
    node.terminate();
    node.line("stopped").await;
    assert!(!node.log().contains("orderer.chain"), "{}", node.log());
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["target"], "orderer.node");
    assert_eq!(line["channels"], 1);
}

#[test]
fn the_msps_key_that_will_not_do_is_named_with_its_certificate() {
    let setup = Setup::application();
    let msp = setup.folder().join("msp");
    for name in ["cacerts", "signcerts", "keystore"] {
        fs::create_dir_all(msp.join(name)).unwrap();
        copy_files(&orderer_folder().join("msp").join(name), &msp.join(name));
    }
    let key = fs::read_dir(msp.join("keystore")).unwrap().next().unwrap().unwrap().path();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned();
    let another = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (pem, why) in [(encrypted, "the key is encrypted"), (another, "does not belong to the certificate")] {
        fs::write(&key, pem).unwrap();
        let setup = setup.again(&["start"]).set("GENERAL_LOCALMSPDIR", msp.display());
        for ended in [setup.run(), setup.again(&["config", "check"]).run()] {
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let said = format!("{}{}", ended.stdout, ended.stderr);
            let line = said.lines().find(|line| line.contains(why)).unwrap_or_else(|| panic!("'{why}': {said}"));
            let file = key.file_name().unwrap().to_str().unwrap();
            assert!(line.contains("signcerts") && line.contains("keystore") && line.contains(file), "{line}");
        }
    }
}

#[test]
fn kafka_is_looked_at_without_an_msp_and_brokers_that_are_gone_are_to_be_seen_to() {
    let setup =
        Setup::without_channels().set("GENERAL_LOCALMSPDIR", "nowhere").set("KAFKA_RETRY_SHORTINTERVAL", "10ms");
    let block = format!("{}/AppKafka.block", world::NET);
    let ended = setup.arguments(&["kafka", "check", "--block", &block, "--brokers", "127.0.0.1:1"]).run();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stdout.contains("cannot be reached") && ended.stdout.contains("start the brokers"), "{ended:?}");
    assert!(!ended.stdout.contains("nowhere"), "{ended:?}");
}
