//! A profile as it is written: texts, numbers and names of files, not validated yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::yaml_document::YamlNode;

/// Known keys of each section.
const PROFILE: &[&str] = &["Consortium", "Application", "Orderer", "Consortiums", "Capabilities", "Policies"];
const POLICY: &[&str] = &["Type", "Rule"];
const APPLICATION: &[&str] = &["Organizations", "Capabilities", "Policies", "ACLs"];
const ORDERER: &[&str] = &[
    "OrdererType",
    "Addresses",
    "BatchTimeout",
    "BatchSize",
    "ConsenterMapping",
    "Kafka",
    "EtcdRaft",
    "SmartBFT",
    "Organizations",
    "MaxChannels",
    "Capabilities",
    "Policies",
];
const ORGANIZATION: &[&str] = &[
    "Name",
    "ID",
    "MSPDir",
    "MSPType",
    "Policies",
    "AnchorPeers",
    "OrdererEndpoints",
    "AdminPrincipal",
    "SkipAsForeign",
];
const CONSENTER: &[&str] = &["Host", "Port", "ClientTLSCert", "ServerTLSCert"];
const RAFT_OPTIONS: &[&str] =
    &["TickInterval", "ElectionTick", "HeartbeatTick", "MaxInflightBlocks", "SnapshotIntervalSize"];

/// A value, and the path of its key.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) path: String,
    pub(super) is: T,
}

#[derive(Debug)]
pub(super) struct Profile {
    pub(super) consortium: String,
    pub(super) application: Option<Application>,
    pub(super) orderer: Option<Orderer>,
    pub(super) consortiums: Option<BTreeMap<String, Vec<Organization>>>,
    pub(super) capabilities: BTreeMap<String, bool>,
    pub(super) policies: Located<BTreeMap<String, Policy>>,
}

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) kind: String,
    pub(super) rule: String,
}

#[derive(Debug)]
pub(super) struct Application {
    pub(super) organizations: Vec<Organization>,
    pub(super) capabilities: BTreeMap<String, bool>,
    pub(super) policies: Located<BTreeMap<String, Policy>>,
    pub(super) acls: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Orderer {
    pub(super) kind: Located<String>,
    pub(super) addresses: Located<Vec<String>>,
    pub(super) batch_timeout: Option<Duration>,
    pub(super) max_message_count: Option<u32>,
    pub(super) absolute_max_bytes: Option<u32>,
    pub(super) preferred_max_bytes: Option<u32>,
    pub(super) kafka_brokers: Option<Vec<String>>,
    pub(super) raft: Located<Option<Raft>>,
    pub(super) organizations: Vec<Organization>,
    pub(super) max_channels: u64,
    pub(super) capabilities: BTreeMap<String, bool>,
    pub(super) policies: Located<BTreeMap<String, Policy>>,
}

#[derive(Debug)]
pub(super) struct Raft {
    pub(super) consenters: Vec<Located<Consenter>>,
    pub(super) tick_interval: String,
    pub(super) election_tick: Option<u32>,
    pub(super) heartbeat_tick: Option<u32>,
    pub(super) max_inflight_blocks: Option<u32>,
    pub(super) snapshot_interval_size: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Consenter {
    pub(super) host: String,
    pub(super) port: Option<u32>,
    pub(super) client_tls_cert: String,
    pub(super) server_tls_cert: String,
}

#[derive(Debug)]
pub(super) struct Organization {
    /// Path with the organization's name, rather than its index in the list.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) msp_dir: String,
    pub(super) msp_type: String,
    pub(super) policies: Located<BTreeMap<String, Policy>>,
    pub(super) anchor_peers: Vec<Located<(String, Option<u16>)>>,
    pub(super) orderer_endpoints: Vec<String>,
    pub(super) foreign: bool,
}

impl Profile {
    pub(super) fn read(node: &YamlNode<'_>) -> Self {
        node.expect_only(PROFILE);
        let consortiums = node.field("Consortiums");
        let consortium = |(name, node): (String, YamlNode<'_>)| {
            node.expect_only(&["Organizations"]);
            (name, Organization::read_all(&node))
        };
        Self {
            consortium: node.field("Consortium").text(),
            application: present(&node.field("Application"), Application::read),
            orderer: present(&node.field("Orderer"), Orderer::read),
            consortiums: present(&consortiums, |node| node.members().into_iter().map(consortium).collect()),
            capabilities: flags(&node.field("Capabilities")),
            policies: Policy::read_all(node),
        }
    }
}

impl Application {
    pub(super) fn read(node: &YamlNode<'_>) -> Self {
        node.expect_only(APPLICATION);
        Self {
            organizations: Organization::read_all(node),
            capabilities: flags(&node.field("Capabilities")),
            policies: Policy::read_all(node),
            acls: node.field("ACLs").members().into_iter().map(|(name, node)| (name, node.text())).collect(),
        }
    }
}

impl Orderer {
    pub(super) fn read(node: &YamlNode<'_>) -> Self {
        node.expect_only(ORDERER);
        let batch = node.field("BatchSize");
        batch.expect_only(&["MaxMessageCount", "AbsoluteMaxBytes", "PreferredMaxBytes"]);
        let kafka = node.field("Kafka");
        kafka.expect_only(&["Brokers"]);
        let size = |name| batch.field(name).size().filter(|&size| size > 0);
        Self {
            kind: at(&node.field("OrdererType"), YamlNode::text),
            addresses: at(&node.field("Addresses"), YamlNode::texts),
            batch_timeout: node.field("BatchTimeout").duration(),
            max_message_count: size("MaxMessageCount"),
            absolute_max_bytes: size("AbsoluteMaxBytes"),
            preferred_max_bytes: size("PreferredMaxBytes"),
            kafka_brokers: present(&kafka.field("Brokers"), YamlNode::texts),
            raft: at(&node.field("EtcdRaft"), |node| present(node, Raft::read)),
            organizations: Organization::read_all(node),
            max_channels: node.field("MaxChannels").number().unwrap_or_default(),
            capabilities: flags(&node.field("Capabilities")),
            policies: Policy::read_all(node),
        }
    }
}

impl Raft {
    fn read(node: &YamlNode<'_>) -> Self {
        node.expect_only(&["Consenters", "Options"]);
        let options = node.field("Options");
        options.expect_only(RAFT_OPTIONS);
        let number = |name| options.field(name).size().filter(|&number| number > 0);
        let consenter = |node: &YamlNode<'_>| {
            node.expect_only(CONSENTER);
            Consenter {
                host: node.field("Host").text(),
                port: node.field("Port").number(),
                client_tls_cert: node.field("ClientTLSCert").text(),
                server_tls_cert: node.field("ServerTLSCert").text(),
            }
        };
        Self {
            consenters: node.field("Consenters").items().iter().map(|node| at(node, consenter)).collect(),
            tick_interval: options.field("TickInterval").text(),
            election_tick: number("ElectionTick"),
            heartbeat_tick: number("HeartbeatTick"),
            max_inflight_blocks: number("MaxInflightBlocks"),
            snapshot_interval_size: number("SnapshotIntervalSize"),
        }
    }
}

impl Organization {
    /// Reads the organizations of a section.
    fn read_all(section: &YamlNode<'_>) -> Vec<Self> {
        Self::read_list(&section.field("Organizations"))
    }

    /// Reads the organizations of a list.
    pub(super) fn read_list(list: &YamlNode<'_>) -> Vec<Self> {
        let read = |node: YamlNode<'_>| {
            let name = node.field("Name").text();
            let path = if name.is_empty() { node.path().to_owned() } else { format!("{}[{name}]", list.path()) };
            Self::read(&node.at_path(path), name)
        };
        list.items().into_iter().map(read).collect()
    }

    fn read(node: &YamlNode<'_>, name: String) -> Self {
        node.expect_only(ORGANIZATION);
        let peer = |node: &YamlNode<'_>| {
            node.expect_only(&["Host", "Port"]);
            (node.field("Host").text(), node.field("Port").number())
        };
        Self {
            path: node.path().to_owned(),
            name,
            id: node.field("ID").text(),
            msp_dir: node.field("MSPDir").text(),
            msp_type: node.field("MSPType").text(),
            policies: Policy::read_all(node),
            anchor_peers: node.field("AnchorPeers").items().iter().map(|node| at(node, peer)).collect(),
            orderer_endpoints: node.field("OrdererEndpoints").texts(),
            foreign: node.field("SkipAsForeign").flag(),
        }
    }
}

impl Policy {
    /// Reads the policies of a section.
    fn read_all(section: &YamlNode<'_>) -> Located<BTreeMap<String, Self>> {
        let read = |(name, node): (String, YamlNode<'_>)| {
            node.expect_only(POLICY);
            (name, Self { kind: node.field("Type").text(), rule: node.field("Rule").text() })
        };
        at(&section.field("Policies"), |node| node.members().into_iter().map(read).collect())
    }
}

/// Reads the names of capabilities, and whether they are enabled.
pub(super) fn flags(node: &YamlNode<'_>) -> BTreeMap<String, bool> {
    node.members().into_iter().map(|(name, node)| (name, node.flag())).collect()
}

fn at<'a, T>(node: &YamlNode<'a>, read: impl FnOnce(&YamlNode<'a>) -> T) -> Located<T> {
    Located { path: node.path().to_owned(), is: read(node) }
}

fn present<'a, T>(node: &YamlNode<'a>, read: impl FnOnce(&YamlNode<'a>) -> T) -> Option<T> {
    if node.is_absent() { None } else { Some(read(node)) }
}
