//! Tests which orderers blocks can be replicated from, and which TLS CAs they have.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod made_chain;

use std::io::Write as _;
use std::sync::Arc;

use fabric_proto::Message as _;
use fabric_proto::common::{ConfigGroup, ConfigValue, OrdererAddresses};
use made_chain::genesis_with;
use orderer_core::config::ChannelSnapshot;
use orderer_core::crypto::hex;
use orderer_core::replication::endpoints;

/// Returns the addresses of a changed configuration with the common names of their CAs. With REPLICATION_CASES=FILE the
/// case is appended to that file, as input for Fabric's `EndpointconfigFromConfigBlock`.
fn of(change: impl Fn(&mut ConfigGroup)) -> Vec<(String, Vec<String>)> {
    let block = genesis_with(change);
    if let Ok(file) = std::env::var("REPLICATION_CASES") {
        let line = serde_json::json!({ "case": "", "genesis": hex(&block.encode_to_vec()), "blocks": [] });
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
    let snapshot = ChannelSnapshot::from_config_block(&block, &Arc::default()).unwrap();
    let names = |authority: &Arc<orderer_x509::Certificate>| authority.subject().common_name().unwrap().to_owned();
    endpoints(&snapshot)
        .into_iter()
        .map(|endpoint| (endpoint.address, endpoint.authorities.iter().map(names).collect()))
        .collect()
}

fn addresses(addresses: &[&str]) -> ConfigValue {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    let value = OrdererAddresses { addresses }.encode_to_vec().into();
    ConfigValue { value, mod_policy: "Admins".to_owned(), version: 0 }
}

fn orderers(root: &mut ConfigGroup) -> &mut ConfigGroup {
    root.groups.get_mut("Orderer").unwrap()
}

fn organization(root: &mut ConfigGroup) -> &mut ConfigGroup {
    orderers(root).groups.get_mut("OrdererOrg").unwrap()
}

/// Adds another ordering organization, with Org1's MSP.
fn with_org1(root: &mut ConfigGroup) {
    let mut other = root.groups["Application"].groups["Org1MSP"].clone();
    other.values.remove("AnchorPeers");
    other.values.insert("Endpoints".to_owned(), addresses(&["one:7050", "shared:7050"]));
    orderers(root).groups.insert("Org1".to_owned(), other);
}

const ORDERER_CA: &str = "tlsca.example.com";
const ORG1_CA: &str = "tlsca.org1.example.com";

fn expected(all: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    all.iter().map(|(address, names)| ((*address).to_owned(), owned(names))).collect()
}

#[test]
fn organizations_come_before_the_channel() {
    assert_eq!(of(|_| {}), expected(&[("127.0.0.1:7050", &[ORDERER_CA])]));
    let other_global = of(|root| {
        root.values.insert("OrdererAddresses".to_owned(), addresses(&["global:7050"]));
    });
    assert_eq!(other_global, expected(&[("127.0.0.1:7050", &[ORDERER_CA])]));
    let several = of(|root| {
        organization(root).values.insert("Endpoints".to_owned(), addresses(&["a:1", "shared:7050", "a:1"]));
        with_org1(root);
    });
    let several_expected =
        [("a:1", &[ORDERER_CA][..]), ("shared:7050", &[ORDERER_CA, ORG1_CA]), ("one:7050", &[ORG1_CA])];
    assert_eq!(several, expected(&several_expected));
}

#[test]
fn the_channels_are_vouched_for_by_all_organizations() {
    let global = of(|root| {
        with_org1(root);
        organization(root).values.remove("Endpoints");
        orderers(root).groups.get_mut("Org1").unwrap().values.remove("Endpoints");
        root.values.insert("OrdererAddresses".to_owned(), addresses(&["x:1", "y:2", "x:1"]));
    });
    assert_eq!(global, expected(&[("x:1", &[ORDERER_CA, ORG1_CA]), ("y:2", &[ORDERER_CA, ORG1_CA])]));
    let nobody = of(|root| {
        organization(root).values.remove("Endpoints");
        root.values.remove("OrdererAddresses");
    });
    assert_eq!(nobody, expected(&[]));
}
