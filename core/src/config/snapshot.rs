//! One configuration of a channel, read and checked as a whole. It never changes: an update makes another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fabric_proto::common::{Block, Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, Policy};
use prost::Message as _;

use super::capabilities::ChannelCapabilities;
use super::update::UpdateError;
use super::values::{OrdererConfig, read_channel, read_msp, read_orderer};
use super::{elements, key};
use crate::channel::{ChannelId, ConfigSequence};
use crate::envelope::{EnvelopeError, Message, SignedEnvelope};
use crate::identity::{MspError, Msps};
use crate::policy::{Policies, PolicyError};

/// A configuration that a channel cannot run under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no channel group.
    #[error("the configuration has no channel group")]
    Empty,
    /// There is nobody to order the channel.
    #[error("config does not contain orderer config")]
    NoOrderer,
    /// A value.
    #[error("[Value]  {path}: {problem}")]
    Value {
        /// Full path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// An organization's MSP.
    #[error("[Value]  {path}: {cause}{because}", because = Because(cause))]
    Msp {
        /// Full path.
        path: String,
        /// What is wrong.
        cause: MspError,
    },
    /// Two organizations' MSPs contradict each other.
    #[error("{0}")]
    MspConflict(MspError),
    /// A policy.
    #[error("[Policy] {0}")]
    Policy(#[from] PolicyError),
    /// A key or the depth of the tree.
    #[error(transparent)]
    Tree(#[from] elements::TreeError),
    /// A capability that this node does not have.
    #[error("config requires unsupported {group} capabilities: {name} is required but not supported")]
    Capability {
        /// `channel` or `orderer`.
        group: &'static str,
        /// The capability.
        name: String,
    },
    /// A config block without one config message in it.
    #[error("block is not a config block: {0}")]
    NotAConfigBlock(String),
}

/// Prints the source of an error behind it, for texts that leave the process.
struct Because<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct ChannelSnapshot {
    channel: ChannelId,
    config: Arc<Config>,
    capabilities: ChannelCapabilities,
    orderer: OrdererConfig,
    /// MSP id by the name of the organization's group.
    application: Option<BTreeMap<String, String>>,
    consortiums: Option<BTreeMap<String, Consortium>>,
    msps: Msps,
    policies: Policies,
}

/// A consortium of a system channel.
#[derive(Debug, Clone)]
pub(super) struct Consortium {
    pub(super) organizations: BTreeMap<String, String>,
    pub(super) channel_creation_policy: Policy,
}

impl ChannelSnapshot {
    /// Reads and checks a whole configuration.
    pub fn from_config(channel: ChannelId, config: Config) -> Result<Self, ConfigError> {
        let group = config.channel_group.as_ref().ok_or(ConfigError::Empty)?;
        elements::check_keys(group)?;
        let capabilities = read_channel(group)?;
        let version = capabilities.msp_version();
        let mut msps = Vec::new();
        let mut organizations = |path: &str, group: &ConfigGroup| -> Result<BTreeMap<String, String>, ConfigError> {
            let mut ids = BTreeMap::new();
            for (name, organization) in &group.groups {
                let msp = read_msp(&format!("{path}/{name}"), organization, version)?;
                ids.insert(name.clone(), msp.id().to_owned());
                msps.push(Arc::new(msp));
            }
            Ok(ids)
        };
        let orderer_group = group.groups.get(key::ORDERER).ok_or(ConfigError::NoOrderer)?;
        let orderer = read_orderer(orderer_group, organizations("/Channel/Orderer", orderer_group)?)?;
        let application = match group.groups.get(key::APPLICATION) {
            Some(application) => Some(organizations("/Channel/Application", application)?),
            None => None,
        };
        let consortiums = match group.groups.get(key::CONSORTIUMS) {
            Some(consortiums) => {
                let mut read = BTreeMap::new();
                for (name, consortium) in &consortiums.groups {
                    let path = format!("/Channel/Consortiums/{name}");
                    read.insert(
                        name.clone(),
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
        Ok(Self {
            policies: Policies::from_config(group)?,
            msps: Msps::new(msps).map_err(ConfigError::MspConflict)?,
            channel,
            capabilities,
            orderer,
            application,
            consortiums,
            config: Arc::new(config),
        })
    }

    /// Reads the configuration out of a config block: the channel's genesis block, or one that changed it.
    pub fn from_config_block(block: &Block) -> Result<Self, ConfigError> {
        let not = |problem: &dyn std::fmt::Display| ConfigError::NotAConfigBlock(problem.to_string());
        let entries = block.data.as_ref().map_or(&[][..], |d| &d.data[..]);
        let [entry] = entries else { return Err(not(&format!("it has {} envelopes", entries.len()))) };
        let message = SignedEnvelope::parse(entry.clone()).and_then(Message::parse).map_err(|e| not(&e))?;
        Self::from_config_message(&message)
    }

    /// Reads the configuration out of a CONFIG message.
    pub fn from_config_message(message: &Message) -> Result<Self, ConfigError> {
        let not = |problem: &dyn std::fmt::Display| ConfigError::NotAConfigBlock(problem.to_string());
        let channel = ChannelId::parse(&message.channel_header.channel_id).map_err(|e| not(&e))?;
        let envelope = config_envelope(message).map_err(|e| not(&e))?;
        let config = envelope.config.ok_or(ConfigError::Empty)?;
        Self::from_config(channel, config)
    }

    /// Refuses what this node could not follow.
    pub fn check_supported(&self) -> Result<(), ConfigError> {
        if let Some(name) = self.orderer.capabilities.unsupported() {
            return Err(ConfigError::Capability { group: "orderer", name: format!("Orderer capability {name}") });
        }
        match self.capabilities.unsupported() {
            Some(name) => Err(ConfigError::Capability { group: "channel", name: format!("Channel capability {name}") }),
            None => Ok(()),
        }
    }

    /// Refuses a successor that contradicts this configuration.
    pub(super) fn check_successor(&self, next: &Self) -> Result<(), UpdateError> {
        let incompatible = |problem: String| Err(UpdateError::Incompatible(problem));
        if self.application.is_some() && next.application.is_none() {
            return incompatible("current config has application section, but new config does not".to_owned());
        }
        if self.consortiums.is_some() && next.consortiums.is_none() {
            return incompatible("current config has consortiums section, but new config does not".to_owned());
        }
        let (from, to) = (&self.orderer.consensus_type, &next.orderer.consensus_type);
        if from != to && !self.orderer.capabilities.consensus_type_migration() {
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

    /// The channel.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// How many updates led here.
    pub fn sequence(&self) -> ConfigSequence {
        ConfigSequence(self.config.sequence)
    }

    /// The configuration itself.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The root of the tree. (A snapshot without one cannot be made.)
    pub(super) fn channel_group(&self) -> &ConfigGroup {
        static EMPTY: ConfigGroup = ConfigGroup {
            version: 0,
            groups: BTreeMap::new(),
            values: BTreeMap::new(),
            policies: BTreeMap::<String, ConfigPolicy>::new(),
            mod_policy: String::new(),
        };
        self.config.channel_group.as_ref().unwrap_or(&EMPTY)
    }

    /// All organizations' MSPs.
    pub fn msps(&self) -> &Msps {
        &self.msps
    }

    /// All policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The Orderer group.
    pub fn orderer(&self) -> &OrdererConfig {
        &self.orderer
    }

    /// Whether other channels are created through this one.
    pub fn is_system_channel(&self) -> bool {
        self.consortiums.is_some()
    }

    pub(super) fn consortium(&self, name: &str) -> Option<&Consortium> {
        self.consortiums.as_ref()?.get(name)
    }
}

/// Data of a CONFIG message.
pub(crate) fn config_envelope(message: &Message) -> Result<ConfigEnvelope, EnvelopeError> {
    ConfigEnvelope::decode(message.data.clone()).map_err(EnvelopeError::Payload)
}
