//! Converts a profile as it is written to one from which a configuration can be created: fills in defaults, parses
//! rules and reads files. Every error is collected, with its key.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fabric_proto::common::{Capabilities, Capability};
use fabric_proto::etcdraft::{ConfigMetadata, Consenter, Options};
use orderer_core::config::genesis::{
    Application, Consensus, NamedPolicies, Orderer, Organization, OrganizationDefinition, Profile,
};
use orderer_core::config::{BatchSize, ChannelCapabilities, key, parse_go_duration};
use orderer_core::identity::{Msp, MspVersion};
use orderer_core::policy::dsl::{implicit_meta, implicit_meta_policy, signature, signature_policy};

use super::yaml::{self, Located};
use crate::yaml_document::YamlDocument;
use orderer_localconfig::local_msp::read_definition;

const BFT: &str = "a BFT channel is decided by agreement of its orderers, which this program does not make; \
                   use etcdraft, kafka or solo";

/// The context in which a profile is checked.
pub(super) struct Check<'a> {
    pub(super) document: &'a YamlDocument,
    /// The directory that relative paths are relative to.
    pub(super) folder: &'a Path,
    /// The rules for MSPs, by the channel's capabilities.
    version: MspVersion,
    /// Channel capability V3_0, which lists orderers by organization only.
    v3: bool,
}

/// Reads the files of a profile. Errors go to the document; the result is only valid without any.
pub(super) fn check(document: &YamlDocument, folder: &Path, profile: &yaml::Profile) -> Profile {
    let capabilities = capabilities(&profile.capabilities);
    let check = Check::new(document, folder, capabilities.as_ref());
    let consortiums = profile.consortiums.as_ref().map(|consortiums| {
        let organizations = |written: &Vec<_>| check.organizations(written, Section::Consortium);
        consortiums.iter().map(|(name, written)| (name.clone(), organizations(written))).collect()
    });
    Profile {
        policies: check.policies(&profile.policies, &[]),
        capabilities,
        consortium: Some(profile.consortium.clone()).filter(|name| !name.is_empty()),
        orderer: profile.orderer.as_ref().map(|orderer| check.orderer(orderer)),
        application: profile.application.as_ref().map(|application| Application {
            acls: application.acls.clone(),
            capabilities: self::capabilities(&application.capabilities),
            policies: check.policies(&application.policies, &[]),
            organizations: check.organizations(&application.organizations, Section::Application),
        }),
        consortiums,
    }
}

/// Reads the files of one organization, with the rules of these channel capabilities. Errors go to the document.
pub(super) fn check_organization(
    document: &YamlDocument,
    folder: &Path,
    written: &yaml::Organization,
    channel: &BTreeMap<String, bool>,
) -> Organization {
    let check = Check::new(document, folder, capabilities(channel).as_ref());
    let definition = (!written.foreign).then(|| check.definition(written, Section::Application));
    Organization { name: written.name.clone(), definition }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Orderer,
    Application,
    Consortium,
}

impl<'a> Check<'a> {
    fn new(document: &'a YamlDocument, folder: &'a Path, channel: Option<&BTreeSet<String>>) -> Self {
        let names = channel.into_iter().flatten().map(|name| (name.clone(), Capability {})).collect();
        let version = ChannelCapabilities::new(&Capabilities { capabilities: names }).msp_version();
        let v3 = channel.is_some_and(|names| names.contains("V3_0"));
        Self { document, folder, version, v3 }
    }

    fn report_error(&self, path: &str, problem: impl Into<String>) {
        self.document.report_error(path, problem);
    }

    fn orderer(&self, orderer: &yaml::Orderer) -> Orderer {
        let preferred = orderer.preferred_max_bytes.unwrap_or(2 << 20);
        let absolute = orderer.absolute_max_bytes.unwrap_or(10 << 20);
        if preferred > absolute {
            let batch = format!("{}.BatchSize.PreferredMaxBytes", parent(&orderer.kind.path));
            self.report_error(&batch, format!("{preferred} is more than AbsoluteMaxBytes, {absolute}"));
        }
        if self.v3 && !orderer.addresses.is.is_empty() {
            let problem = "capability V3_0 has orderers listed by organization, in OrdererEndpoints";
            self.report_error(&orderer.addresses.path, problem);
        }
        Orderer {
            consensus: self.consensus(orderer),
            addresses: orderer.addresses.is.clone(),
            batch_timeout: orderer.batch_timeout.unwrap_or(Duration::from_secs(2)),
            batch_size: BatchSize {
                max_message_count: orderer.max_message_count.unwrap_or(500),
                absolute_max_bytes: absolute,
                preferred_max_bytes: preferred,
            },
            max_channels: orderer.max_channels,
            capabilities: capabilities(&orderer.capabilities),
            policies: self.policies(&orderer.policies, &[key::BLOCK_VALIDATION]),
            organizations: self.organizations(&orderer.organizations, Section::Orderer),
        }
    }

    fn consensus(&self, orderer: &yaml::Orderer) -> Consensus {
        match orderer.kind.is.as_str() {
            "" | "solo" => return Consensus::Solo,
            "kafka" => {
                let brokers = orderer.kafka_brokers.clone();
                return Consensus::Kafka(brokers.unwrap_or_else(|| vec!["127.0.0.1:9092".to_owned()]));
            }
            "etcdraft" => match &orderer.raft.is {
                Some(raft) => return Consensus::Etcdraft(self.raft(&orderer.raft.path, raft)),
                None => {
                    self.report_error(&orderer.raft.path, "OrdererType etcdraft needs this section, and it is missing");
                }
            },
            "BFT" => self.report_error(&orderer.kind.path, BFT),
            other => self.report_error(&orderer.kind.path, format!("'{other}' is not one of solo, kafka, etcdraft")),
        }
        Consensus::Solo
    }

    fn raft(&self, path: &str, raft: &yaml::Raft) -> ConfigMetadata {
        let options = Options {
            tick_interval: Some(raft.tick_interval.clone()).filter(|t| !t.is_empty()).unwrap_or("500ms".to_owned()),
            election_tick: raft.election_tick.unwrap_or(10),
            heartbeat_tick: raft.heartbeat_tick.unwrap_or(1),
            max_inflight_blocks: raft.max_inflight_blocks.unwrap_or(5),
            snapshot_interval_size: raft.snapshot_interval_size.unwrap_or(16 << 20),
        };
        match parse_go_duration(&options.tick_interval) {
            Some((interval, false)) if !interval.is_zero() => {}
            _ => {
                let problem = format!("'{}' is not a duration, such as 500ms", options.tick_interval);
                self.report_error(&format!("{path}.Options.TickInterval"), problem);
            }
        }
        if options.election_tick <= options.heartbeat_tick {
            let problem =
                format!("{} must be greater than HeartbeatTick, {}", options.election_tick, options.heartbeat_tick);
            self.report_error(&format!("{path}.Options.ElectionTick"), problem);
        }
        if raft.consenters.is_empty() {
            self.report_error(&format!("{path}.Consenters"), "OrdererType etcdraft needs at least one");
        }
        let consenter = |Located { path, is }: &Located<yaml::Consenter>| {
            if is.host.is_empty() {
                self.report_error(&format!("{path}.Host"), "is missing");
            }
            if is.port.is_none_or(|port| port == 0 || port > u32::from(u16::MAX)) {
                self.report_error(&format!("{path}.Port"), "is missing, or no port");
            }
            Consenter {
                host: is.host.clone(),
                port: is.port.unwrap_or_default(),
                client_tls_cert: self.file(&format!("{path}.ClientTLSCert"), &is.client_tls_cert),
                server_tls_cert: self.file(&format!("{path}.ServerTLSCert"), &is.server_tls_cert),
            }
        };
        ConfigMetadata { consenters: raft.consenters.iter().map(consenter).collect(), options: Some(options) }
    }

    fn organizations(&self, written: &[yaml::Organization], section: Section) -> Vec<Organization> {
        let mut names = HashSet::new();
        let check = |organization: &yaml::Organization| {
            if organization.name.is_empty() {
                self.report_error(&format!("{}.Name", organization.path), "is missing");
            } else if !names.insert(organization.name.clone()) {
                self.report_error(&organization.path, "is there twice");
            }
            let definition = (!organization.foreign).then(|| self.definition(organization, section));
            Organization { name: organization.name.clone(), definition }
        };
        written.iter().map(check).collect()
    }

    fn definition(&self, written: &yaml::Organization, section: Section) -> OrganizationDefinition {
        let path = &written.path;
        if section == Section::Orderer && self.v3 && written.orderer_endpoints.is_empty() {
            self.report_error(&format!("{path}.OrdererEndpoints"), "capability V3_0 needs at least one");
        }
        if written.id.is_empty() {
            self.report_error(&format!("{path}.ID"), "is missing");
        }
        if !matches!(written.msp_type.as_str(), "" | "bccsp") {
            let problem = format!("'{}' is not supported, only bccsp (X.509)", written.msp_type);
            self.report_error(&format!("{path}.MSPType"), problem);
        }
        let peer = |Located { path, is: (host, port) }: &Located<(String, Option<u16>)>| {
            if host.is_empty() {
                self.report_error(&format!("{path}.Host"), "is missing");
            }
            if port.is_none_or(|port| port == 0) {
                self.report_error(&format!("{path}.Port"), "is missing, or no port");
            }
            (host.clone(), port.unwrap_or_default())
        };
        OrganizationDefinition {
            msp: self.msp(written),
            policies: self.policies(&written.policies, &[]),
            orderer_endpoints: written.orderer_endpoints.clone(),
            anchor_peers: written.anchor_peers.iter().map(peer).collect(),
        }
    }

    fn msp(&self, written: &yaml::Organization) -> fabric_proto::msp::MspConfig {
        let path = format!("{}.MSPDir", written.path);
        if written.msp_dir.is_empty() {
            self.report_error(&path, "is missing");
            return fabric_proto::msp::MspConfig::default();
        }
        let folder = self.resolve(&written.msp_dir);
        if !folder.is_dir() {
            self.report_error(&path, format!("no such folder: {}", folder.display()));
            return fabric_proto::msp::MspConfig::default();
        }
        let definition = match read_definition(&folder, &written.id) {
            Ok(definition) => {
                for line in &definition.left_out {
                    eprintln!("orderer: warning: {}: {line}", folder.display());
                }
                definition.config
            }
            Err(error) => {
                self.report_error(&path, orderer_actors::chain_state::error_chain(&error));
                return fabric_proto::msp::MspConfig::default();
            }
        };
        if !written.id.is_empty()
            && let Err(error) = Msp::from_config(&definition, self.version)
        {
            let problem = orderer_actors::chain_state::error_chain(&error);
            self.report_error(&path, format!("{}: {problem}", folder.display()));
        }
        definition
    }

    fn policies(
        &self,
        Located { path, is }: &Located<BTreeMap<String, yaml::Policy>>,
        needed: &[&str],
    ) -> NamedPolicies {
        for name in [key::READERS, key::WRITERS, key::ADMINS].iter().chain(needed) {
            if !is.contains_key(*name) {
                self.report_error(&format!("{path}.{name}"), "this policy is missing");
            }
        }
        let mut policies = NamedPolicies::new();
        for (name, written) in is {
            let read = match written.kind.as_str() {
                "ImplicitMeta" => implicit_meta_policy(&written.rule).map(|policy| implicit_meta(&policy)),
                "Signature" => signature_policy(&written.rule).map(|policy| signature(&policy)),
                other => {
                    let problem = format!("'{other}' is not one of ImplicitMeta, Signature");
                    self.report_error(&format!("{path}.{name}.Type"), problem);
                    continue;
                }
            };
            match read {
                Ok(policy) => drop(policies.insert(name.clone(), policy)),
                Err(error) => self.report_error(&format!("{path}.{name}.Rule"), format!("'{}': {error}", written.rule)),
            }
        }
        policies
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn file(&self, key: &str, path: &str) -> Bytes {
        if path.is_empty() {
            self.report_error(key, "is missing");
            return Bytes::new();
        }
        let path = self.resolve(path);
        std::fs::read(&path).map_or_else(
            |error| {
                self.report_error(key, format!("{}: {error}", path.display()));
                Bytes::new()
            },
            Bytes::from,
        )
    }
}

/// Returns the names of the enabled capabilities; `None` if the section is missing.
fn capabilities(flags: &BTreeMap<String, bool>) -> Option<BTreeSet<String>> {
    let meant = || flags.iter().filter(|(_, meant)| **meant).map(|(name, _)| name.clone()).collect();
    (!flags.is_empty()).then(meant)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(parent, _)| parent)
}
