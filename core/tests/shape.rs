//! Tests which groups and values a configuration may have at each place.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use fabric_proto::Message as _;
use fabric_proto::common::{Capabilities, Capability, Config, ConfigGroup, ConfigValue};
use fabric_proto::orderer::ConsensusType;
use fabric_proto::protos::{AcLs, AnchorPeer, AnchorPeers, ApiResource};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::types::ChannelId;

fn config(file: &str) -> Config {
    let path = format!("{}/../tests/fixtures/net/{file}", env!("CARGO_MANIFEST_DIR"));
    let block = EncodedBlock::parse(&std::fs::read(path).unwrap()).unwrap();
    ChannelSnapshot::from_config_block(&block.decode(), &Arc::<ConfigCache>::default()).unwrap().config()
}

fn outcome(file: &str, change: impl FnOnce(&mut ConfigGroup)) -> Result<(), String> {
    let mut config = config(file);
    change(config.channel_group.as_mut().unwrap());
    let read = ChannelSnapshot::from_config(ChannelId::parse("app").unwrap(), config, &Arc::default());
    read.map(drop).map_err(|e| e.to_string())
}

fn group<'a>(root: &'a mut ConfigGroup, path: &[&str]) -> &'a mut ConfigGroup {
    path.iter().fold(root, |group, name| group.groups.get_mut(*name).unwrap())
}

fn value(bytes: impl Into<bytes::Bytes>) -> ConfigValue {
    ConfigValue { version: 0, value: bytes.into(), mod_policy: "Admins".to_owned() }
}

fn capabilities(names: &[&str]) -> ConfigValue {
    let capabilities = names.iter().map(|&name| (name.to_owned(), Capability {})).collect();
    value(Capabilities { capabilities }.encode_to_vec())
}

fn set(root: &mut ConfigGroup, path: &[&str], name: &str, value: ConfigValue) {
    group(root, path).values.insert(name.to_owned(), value);
}

/// Returns the path as error texts name it, after the root.
fn path_text(path: &[&str]) -> String {
    path.iter().fold(String::new(), |text, name| text + "/" + name)
}

const ORG1: [&str; 2] = ["Application", "Org1MSP"];
const ORDERER_ORG: [&str; 2] = ["Orderer", "OrdererOrg"];

#[test]
fn groups_that_nobody_knows_are_refused() {
    let refused = outcome("AppSolo.block", |root| {
        root.groups.insert("Extras".to_owned(), ConfigGroup::default());
    });
    assert_eq!(refused, Err("[Group]  /Channel/Extras: disallowed channel group".to_owned()));
    let below = |path: &[&str], file: &str| {
        let refused = outcome(file, |root| {
            group(root, path).groups.insert("Below".to_owned(), ConfigGroup::default());
        });
        assert_eq!(
            refused,
            Err(format!("[Group]  /Channel/{}: organizations do not support sub-groups", path.join("/")))
        );
    };
    below(&ORG1, "AppSolo.block");
    below(&ORDERER_ORG, "AppSolo.block");
    below(&["Consortiums", "Sample", "Org1MSP"], "SysSolo.block");
}

#[test]
fn values_that_nobody_knows_are_refused_wherever_they_are() {
    let places: [(&str, &[&str], &str); 8] = [
        ("AppSolo.block", &[], "Endpoints"),
        ("AppSolo.block", &["Orderer"], "ACLs"),
        ("AppSolo.block", &["Application"], "BatchSize"),
        ("AppSolo.block", &ORG1, "Endpoints"),
        ("AppSolo.block", &ORDERER_ORG, "AnchorPeers"),
        ("SysSolo.block", &["Consortiums", "Sample"], "MSP"),
        ("SysSolo.block", &["Consortiums", "Sample", "Org1MSP"], "AnchorPeers"),
        // only newer networks have this value
        ("AppSolo.block", &["Orderer"], "Orderers"),
    ];
    for (file, path, name) in places {
        let refused = outcome(file, |root| set(root, path, name, value("")));
        let path = path_text(path);
        assert_eq!(refused, Err(format!("[Value]  /Channel{path}/{name}: unexpected key {name}")));
    }
    // Fabric does not check these
    assert_eq!(outcome("SysSolo.block", |root| set(root, &["Consortiums"], "Whatever", value("\u{1}"))), Ok(()));
}

#[test]
fn values_that_do_not_parse_are_refused_though_an_orderer_needs_none_of_them() {
    let places: [(&[&str], &str); 6] = [
        (&[], "Consortium"),
        (&["Application"], "ACLs"),
        (&["Application"], "Capabilities"),
        (&ORG1, "AnchorPeers"),
        (&ORDERER_ORG, "Endpoints"),
        (&["Orderer"], "KafkaBrokers"),
    ];
    for (path, name) in places {
        // a field whose length exceeds its contents
        let refused = outcome("AppSolo.block", |root| set(root, path, name, value(vec![0x0a, 0x7f]))).unwrap_err();
        let path = path_text(path);
        assert!(refused.starts_with(&format!("[Value]  /Channel{path}/{name}: ")), "{refused}");
    }
}

#[test]
fn access_lists_and_endpoints_come_with_their_capabilities() {
    let acls = |capability: &str| {
        outcome("AppSolo.block", |root| {
            let resource = ApiResource { policy_ref: "/Channel/Application/Readers".to_owned() };
            let acls = AcLs { acls: [("event/Block".to_owned(), resource)].into() };
            set(root, &["Application"], "ACLs", value(acls.encode_to_vec()));
            set(root, &["Application"], "Capabilities", capabilities(&[capability]));
        })
    };
    for capability in ["V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"] {
        assert_eq!(acls(capability), Ok(()), "{capability}");
    }
    assert!(acls("V1_1").unwrap_err().contains("ACLs may not be specified without the required capability"));

    let endpoints =
        |capability: &str| outcome("AppSolo.block", |root| set(root, &[], "Capabilities", capabilities(&[capability])));
    assert_eq!(endpoints("V1_4_2"), Ok(()));
    assert!(endpoints("V1_3").unwrap_err().contains("cannot contain endpoints value until V1_4_2+"));
}

#[test]
fn orderers_have_capabilities_before_others_do() {
    let without = |names: &[&[&str]]| {
        outcome("AppSolo.block", |root| {
            for path in names {
                group(root, path).values.remove("Capabilities");
            }
        })
    };
    let refused = |enabled: &str| {
        let text = format!("cannot enable {enabled} capabilities without orderer support first");
        Err(format!("[Value]  /Channel/Orderer/Capabilities: {text}"))
    };
    assert_eq!(without(&[&["Orderer"]]), refused("channel"));
    // nor endpoints, which need a capability of the channel
    let without_channels = |root: &mut ConfigGroup| {
        group(root, &[]).values.remove("Capabilities");
        group(root, &["Orderer"]).values.remove("Capabilities");
        group(root, &ORDERER_ORG).values.remove("Endpoints");
    };
    assert_eq!(outcome("AppSolo.block", without_channels), refused("application"));
}

#[test]
fn newer_networks_are_read() {
    let read = outcome("AppSolo.block", |root| {
        set(root, &[], "Capabilities", capabilities(&["V3_0"]));
        group(root, &[]).values.remove("OrdererAddresses");
        set(root, &["Orderer"], "Orderers", value(""));
        group(root, &[]).values.remove("OrdererAddresses");
        set(root, &[], "HashingAlgorithm", value("\u{a}\u{8}SHA3_256"));
        let anchor = AnchorPeer { host: "peer".to_owned(), port: 7051 };
        set(root, &ORG1, "AnchorPeers", value(AnchorPeers { anchor_peers: vec![anchor] }.encode_to_vec()));
    });
    assert_eq!(read, Ok(()));
}

#[test]
fn orderers_of_v3_0_are_listed_with_their_organizations() {
    let v3 = |change: fn(&mut ConfigGroup)| {
        outcome("AppSolo.block", |root| {
            set(root, &[], "Capabilities", capabilities(&["V3_0"]));
            change(root);
        })
    };
    let text = "global OrdererAddresses are not allowed with V3_0 capability, use org specific addresses only";
    assert!(v3(|_| {}).unwrap_err().contains(text));
    let missing = v3(|root| {
        group(root, &[]).values.remove("OrdererAddresses");
        group(root, &ORDERER_ORG).values.remove("Endpoints");
    });
    assert!(missing.unwrap_err().contains("some orderer organizations endpoints are empty: ["));
}

#[test]
fn in_maintenance_orderers_alone_read_and_write() {
    let policies = |state: i32| {
        let mut config = config("AppSolo.block");
        let consensus = ConsensusType { r#type: "solo".to_owned(), state, ..ConsensusType::default() };
        set(config.channel_group.as_mut().unwrap(), &["Orderer"], "ConsensusType", value(consensus.encode_to_vec()));
        let read = ChannelSnapshot::from_config(ChannelId::parse("app").unwrap(), config, &Arc::default()).unwrap();
        (read.orderer().readers_policy(), read.orderer().writers_policy())
    };
    assert_eq!(policies(0), ("/Channel/Readers", "/Channel/Writers"));
    assert_eq!(policies(1), ("/Channel/Orderer/Readers", "/Channel/Orderer/Writers"));
}
