//! Checks what starts the node elsewhere: compose files, the Helm chart's values, and the variables that operators of Kubernetes set.
//! `packaging/kubernetes/check` renders the chart.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use orderer_localconfig::yaml;
use world::Setup;
use world::node::orderer_folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn parsed(path: &str) -> yaml::Value {
    yaml::parse(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

fn mapping(value: &yaml::Value) -> impl Iterator<Item = (&str, &yaml::Value)> {
    value.as_mapping().into_iter().flatten().map(|(name, value)| (name.as_str().unwrap(), value))
}

/// Creates the network of the examples, and returns its directory.
fn network(setup: &Setup) -> PathBuf {
    let folder = setup.folder().join("network");
    let config = root().join("examples/network/crypto-config.yaml");
    let (config, crypto) = (config.display().to_string(), folder.join("crypto").display().to_string());
    let created = setup.again(&["crypto", "--config", &config, "--output", &crypto]).run();
    assert_eq!(created.code, Some(0), "{created:?}");
    fs::copy(root().join("examples/network/configtx.yaml"), folder.join("configtx.yaml")).unwrap();
    folder
}

/// Runs `config check`, and asserts that it finds neither an error nor a warning.
fn assert_checked(setup: &Setup, name: &str) {
    let checked = setup.again(&["config", "check"]).run();
    assert_eq!(checked.code, Some(0), "{name}: {checked:?}");
    assert!(!checked.stdout.lines().any(|line| line.starts_with("warning")), "{name}: {}", checked.stdout);
}

#[test]
fn orderers_of_the_compose_files_start_with_their_variables() {
    let setup = Setup::without_channels();
    let network = network(&setup);
    for (file, orderers) in [("one", 1), ("raft", 3), ("kafka", 1)] {
        let compose = parsed(&format!("packaging/compose/{file}.yaml"));
        let volumes: BTreeSet<&str> = mapping(&compose["volumes"]).map(|(name, _)| name).collect();
        let mut seen = 0;
        for (name, service) in mapping(&compose["services"]) {
            assert_eq!(service["container_name"].as_str(), Some(name));
            if !service["image"].as_str().unwrap().contains("ORDERER_IMAGE") {
                continue;
            }
            seen += 1;
            let mut node = setup.again(&[]);
            let mounts: Vec<(String, &str)> = service["volumes"]
                .as_sequence()
                .unwrap()
                .iter()
                .map(|volume| {
                    let volume = volume.as_str().unwrap().trim_end_matches(":ro");
                    let (from, to) = volume.rsplit_once(':').unwrap();
                    let here = from.replace("${NETWORK:-./network}", &network.display().to_string());
                    if here == from {
                        assert!(volumes.contains(from), "{name}: volume {from}");
                        return (setup.folder().join(from).display().to_string(), to);
                    }
                    assert!(Path::new(&here).is_dir(), "{name}: {here}");
                    (here, to)
                })
                .collect();
            assert!(mounts.iter().any(|(_, to)| *to == "/var/hyperledger/production/orderer"), "{name}");
            for (variable, value) in mapping(&service["environment"]) {
                let mut value = yaml::text(value).unwrap();
                for (from, to) in &mounts {
                    value = value.replace(to, from);
                }
                // many nodes share a machine
                match variable {
                    "ORDERER_OPERATIONS_LISTENADDRESS" => assert_eq!(value, format!("{name}:9443")),
                    "ORDERER_GENERAL_LISTENPORT" => assert_eq!(value, "7050"),
                    "ORDERER_ADMIN_LISTENADDRESS" => assert_eq!(value, "0.0.0.0:7053"),
                    _ => node = node.variable(variable, value),
                }
            }
            let ledger = &mounts.iter().find(|(_, to)| to.ends_with("production/orderer")).unwrap().0;
            assert_checked(&node.set("FILELEDGER_LOCATION", ledger), &format!("{file}: {name}"));
        }
        assert_eq!(seen, orderers, "{file}");
    }
}

#[test]
fn every_profile_of_the_examples_makes_a_channel() {
    let setup = Setup::without_channels();
    let network = network(&setup);
    let folder = network.display().to_string();
    let profiles = parsed("examples/network/configtx.yaml");
    let names: Vec<&str> = mapping(&profiles["Profiles"]).map(|(name, _)| name).collect();
    assert!(names.len() > 5);
    for name in names {
        let output = network.join(name).display().to_string();
        let kind = if name == "AppChan" { "--outputCreateChannelTx" } else { "--outputBlock" };
        let arguments =
            ["genesis", "--configPath", &folder, "--profile", name, "--channelID", "mychannel", kind, &output];
        let created = setup.again(&arguments).run();
        assert_eq!(created.code, Some(0), "{name}: {created:?}");
        assert!(fs::metadata(output).unwrap().len() > 100, "{name}");
    }
}

/// Runs the commands of the section on compose unchanged in a shell.
#[test]
fn the_packaging_document_creates_the_network_of_the_compose_files() {
    let document = fs::read_to_string(root().join("docs/packaging.md")).unwrap();
    let section = document.split("\n## ").find(|section| section.starts_with("Compose")).unwrap();
    let commands = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), folder.path().join("examples")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_orderer")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("bash");
    let ended = shell.args(["-euc", commands]).current_dir(folder.path()).env("PATH", path).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(folder.path().join("network/mychannel.block").is_file());
}

/// The variables of the chart `hlf-ordnode` of bevel-operator-fabric, with the paths of this test.
fn bevel(setup: Setup, msp: &str, tls: &str) -> Setup {
    let ledger = setup.folder().join("ledger").display().to_string();
    setup
        .variable("FABRIC_CA_CLIENT_HOME", "/var/hyperledger/fabric-ca-client")
        .variable("GODEBUG", "netdns=go")
        .variable("ADMIN_MSP_PATH", "/var/hyperledger/admin_msp")
        .variable("FABRIC_LOGGING_SPEC", "info")
        .set("GENERAL_LEDGERTYPE", "file")
        .set("FILELEDGER_LOCATION", ledger)
        .set("GENERAL_BATCHTIMEOUT", "1s")
        .set("GENERAL_BATCHSIZE_MAXMESSAGECOUNT", "10")
        .set("GENERAL_MAXWINDOWSIZE", "1000")
        .set("GENERAL_ORDERERTYPE", "etcdraft")
        .set("GENERAL_LISTENADDRESS", "0.0.0.0")
        .set("GENERAL_LOGLEVEL", "info")
        .set("GENERAL_LOCALMSPDIR", msp)
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("GENERAL_BOOTSTRAPMETHOD", "none")
        .set("GENERAL_GENESISFILE", "/hl_config/genesis/genesis.block")
        .set("GENERAL_GENESISPROFILE", "initial")
        .set("GENERAL_TLS_ENABLED", "true")
        .set("GENERAL_TLS_CERTIFICATE", format!("{tls}/server.crt"))
        .set("GENERAL_TLS_PRIVATEKEY", format!("{tls}/server.key"))
        .set("GENERAL_TLS_ROOTCAS", format!("{tls}/ca.crt"))
        .set("GENERAL_TLS_CLIENTAUTHREQUIRED", "false")
        .set("GENERAL_TLS_CLIENTROOTCAS", format!("[{tls}/ca.crt]"))
        .set("GENERAL_CLUSTER_CLIENTCERTIFICATE", format!("{tls}/server.crt"))
        .set("GENERAL_CLUSTER_CLIENTPRIVATEKEY", format!("{tls}/server.key"))
        .set("GENERAL_CLUSTER_ROOTCAS", format!("{tls}/ca.crt"))
        .set("CHANNELPARTICIPATION_ENABLED", "true")
        .set("ADMIN_TLS_ENABLED", "true")
        .set("ADMIN_TLS_CERTIFICATE", format!("{tls}/server.crt"))
        .set("ADMIN_TLS_PRIVATEKEY", format!("{tls}/server.key"))
        .set("ADMIN_TLS_ROOTCAS", format!("[{tls}/ca.crt]"))
        .set("ADMIN_TLS_CLIENTROOTCAS", format!("[{tls}/ca.crt]"))
        .set("METRICS_PROVIDER", "prometheus")
        .set("OPERATIONS_TLS_ENABLED", "false")
}

/// The variables of the orderer's ConfigMap and Deployment of fabric-operator, with the paths of this test.
fn fabric_operator(setup: Setup, msp: &str, tls: &str) -> Setup {
    let folder = setup.folder().display().to_string();
    setup
        .variable("LICENSE", "accept")
        .set("GENERAL_LISTENADDRESS", "0.0.0.0")
        .set("GENERAL_LEDGERTYPE", "file")
        .set("FILELEDGER_LOCATION", format!("{folder}/ledger/ibporderer"))
        .set("GENERAL_TLS_ENABLED", "true")
        .set("GENERAL_LOCALMSPDIR", msp)
        .set("GENERAL_LOCALMSPID", "OrdererMSP")
        .set("GENERAL_BOOTSTRAPMETHOD", "none")
        .set("GENERAL_TLS_PRIVATEKEY", format!("{tls}/server.key"))
        .set("GENERAL_TLS_CERTIFICATE", format!("{tls}/server.crt"))
        .set("GENERAL_TLS_ROOTCAS", format!("{tls}/ca.crt"))
        .set("GENERAL_KEEPALIVE_SERVERMININTERVAL", "25s")
        .set("OPERATIONS_TLS_ENABLED", "true")
        .set("OPERATIONS_TLS_CERTIFICATE", format!("{tls}/server.crt"))
        .set("OPERATIONS_TLS_PRIVATEKEY", format!("{tls}/server.key"))
        .set("OPERATIONS_TLS_CLIENTAUTHREQUIRED", "false")
        .set("OPERATIONS_TLS_ROOTCAS", format!("{tls}/ca.crt"))
        .set("OPERATIONS_TLS_CLIENTROOTCAS", format!("{tls}/ca.crt"))
        .set("CONSENSUS_WALDIR", format!("{folder}/raft/ibporderer/wal"))
        .set("CONSENSUS_SNAPDIR", format!("{folder}/raft/ibporderer/snapshot"))
        .set("GENERAL_CLUSTER_CLIENTCERTIFICATE", format!("{tls}/server.crt"))
        .set("GENERAL_CLUSTER_CLIENTPRIVATEKEY", format!("{tls}/server.key"))
        .set("GENERAL_CLUSTER_ROOTCAS", format!("{tls}/ca.crt"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_variables_of_operators_start_the_node() {
    let (msp, tls) = (orderer_folder().join("msp"), orderer_folder().join("tls"));
    let (msp, tls) = (msp.display().to_string(), tls.display().to_string());
    for operator in [bevel, fabric_operator] {
        let setup = operator(Setup::without_channels().arguments(&[]), &msp, &tls);
        let checked = setup.again(&["config", "check"]).run();
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let node = setup.start().await;
        node.stop().await;
    }
}

/// Every value that a template of the chart uses has a default, and every default is used.
#[test]
fn values_of_the_chart_are_those_that_its_templates_use() {
    let chart = "packaging/kubernetes/orderer";
    let values = parsed(&format!("{chart}/values.yaml"));
    let mut used = BTreeSet::new();
    for file in fs::read_dir(root().join(chart).join("templates")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for rest in text.split(".Values.").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap();
            used.insert(rest[..end].to_owned());
        }
    }
    assert!(used.len() > 15, "{used:?}");
    for path in &used {
        let found = path.split('.').try_fold(&values, |value, key| value.get(key));
        assert!(found.is_some(), "{path} has no default");
    }
    for (name, _) in mapping(&values) {
        assert!(used.iter().any(|path| path.split('.').next() == Some(name)), "{name} is not used");
    }
}
