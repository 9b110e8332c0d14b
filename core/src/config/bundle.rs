//! A configuration tree, parsed and validated as a whole.

use std::collections::BTreeMap;

use fabric_proto::common::Policy;

use super::cache::ConfigCache;
use super::capabilities::ChannelCapabilities;
use super::snapshot::ConfigError;
use super::tree::{GroupRef, Tree};
use super::update::UpdateError;
use super::values::{OrdererConfig, read_channel, read_msp, read_orderer};
use super::{key, schema};
use crate::identity::{MspManager, WorkLimit};
use crate::policy::PolicyManager;

/// A configuration, parsed and validated as a whole. It does not name its channel: channels with
/// equal configurations share one.
#[derive(Debug)]
pub(super) struct Bundle {
    tree: Tree,
    capabilities: ChannelCapabilities,
    orderer: OrdererConfig,
    /// MSP ID by the name of the organization's group.
    application: Option<BTreeMap<String, String>>,
    consortiums: Option<BTreeMap<String, Consortium>>,
    msps: MspManager,
    policies: PolicyManager,
}

/// A consortium of a system channel.
#[derive(Debug, Clone)]
pub(super) struct Consortium {
    pub(super) organizations: BTreeMap<String, String>,
    pub(super) channel_creation_policy: Policy,
}

impl Bundle {
    /// Parses and validates the tree whose root is the Channel group.
    pub(super) fn read(tree: Tree, catalog: &ConfigCache, effort: WorkLimit) -> Result<Self, ConfigError> {
        let group = tree.root();
        if catalog.checks_schema() {
            schema::check(group)?;
        }
        let capabilities = read_channel(group)?;
        let version = capabilities.msp_version();
        let mut msps = Vec::new();
        let mut organizations = |path: &str, group: GroupRef<'_>| -> Result<BTreeMap<String, String>, ConfigError> {
            let mut ids = BTreeMap::new();
            for (name, organization) in group.groups() {
                let msp = read_msp(&format!("{path}/{name}"), organization, version, (catalog, effort))?;
                ids.insert(name.to_owned(), msp.id().to_owned());
                msps.push(msp);
            }
            Ok(ids)
        };
        let orderer_group = group.below(key::ORDERER).ok_or(ConfigError::NoOrderer)?;
        let orderer = read_orderer(orderer_group, &capabilities, organizations("/Channel/Orderer", orderer_group)?)?;
        let application = match group.below(key::APPLICATION) {
            Some(application) => Some(organizations("/Channel/Application", application)?),
            None => None,
        };
        let consortiums = match group.below(key::CONSORTIUMS) {
            Some(consortiums) => {
                let mut read = BTreeMap::new();
                for (name, consortium) in consortiums.groups() {
                    let path = format!("/Channel/Consortiums/{name}");
                    read.insert(
                        name.to_owned(),
                        Consortium {
                            organizations: organizations(&path, consortium)?,
                            channel_creation_policy: super::values::value(
                                &path,
                                consortium,
                                key::CHANNEL_CREATION_POLICY,
                            )?,
                        },
                    );
                }
                Some(read)
            }
            None => None,
        };
        let msps = MspManager::new(msps).map_err(|cause| ConfigError::MspConflict(Box::new(cause)))?;
        let policies = PolicyManager::from_tree(&tree, capabilities.recursion_max())?;
        tree.check_keys()?;
        Ok(Self { tree, capabilities, orderer, application, consortiums, msps, policies })
    }

    /// Rejects a configuration that requires a capability this node does not have.
    pub(super) fn check_supported(&self) -> Result<(), ConfigError> {
        if let Some(name) = self.orderer.capabilities.unsupported() {
            return Err(ConfigError::Capability { group: "orderer", name: format!("Orderer capability {name}") });
        }
        match self.capabilities.unsupported() {
            Some(name) => Err(ConfigError::Capability { group: "channel", name: format!("Channel capability {name}") }),
            None => Ok(()),
        }
    }

    /// Rejects a successor that is incompatible with this configuration.
    pub(super) fn check_successor(&self, next: &Self) -> Result<(), UpdateError> {
        let incompatible = |problem: String| Err(UpdateError::Incompatible(problem));
        if self.application.is_some() && next.application.is_none() {
            return incompatible("current config has application section, but new config does not".to_owned());
        }
        if self.consortiums.is_some() && next.consortiums.is_none() {
            return incompatible("current config has consortiums section, but new config does not".to_owned());
        }
        if self.consortiums.is_none() && next.consortiums.is_some() {
            return incompatible("current config has no consortiums section, but new config does".to_owned());
        }
        let (from, to) = (&self.orderer.consensus_type, &next.orderer.consensus_type);
        if from != to && !self.capabilities.consensus_type_migration() {
            return incompatible(format!("attempted to change consensus type from {from} to {to}"));
        }
        let empty = BTreeMap::new();
        let mut pairs = vec![
            ("orderer", &self.orderer.organizations, &next.orderer.organizations),
            ("application", self.application.as_ref().unwrap_or(&empty), next.application.as_ref().unwrap_or(&empty)),
        ];
        for (name, consortium) in self.consortiums.iter().flatten() {
            if let Some(successor) = next.consortiums.as_ref().and_then(|c| c.get(name)) {
                pairs.push(("consortium", &consortium.organizations, &successor.organizations));
            }
        }
        for (kind, current, new) in pairs {
            for (organization, id) in current {
                if let Some(new_id) = new.get(organization)
                    && new_id != id
                {
                    return incompatible(format!(
                        "{kind} org {organization} attempted to change MSP ID from {id} to {new_id}"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn capabilities(&self) -> &ChannelCapabilities {
        &self.capabilities
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn msps(&self) -> &MspManager {
        &self.msps
    }

    pub(super) fn policies(&self) -> &PolicyManager {
        &self.policies
    }

    pub(super) fn orderer(&self) -> &OrdererConfig {
        &self.orderer
    }

    pub(super) fn has_application(&self) -> bool {
        self.application.is_some()
    }

    pub(super) fn has_consortiums(&self) -> bool {
        self.consortiums.is_some()
    }

    pub(super) fn consortium(&self, name: &str) -> Option<&Consortium> {
        self.consortiums.as_ref()?.get(name)
    }
}
