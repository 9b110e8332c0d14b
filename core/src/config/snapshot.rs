//! One configuration of a channel, read and checked as a whole. It never changes: an update makes another one.

use std::sync::Arc;

use fabric_proto::common::{Block, Config, ConfigGroup, HeaderType};

use super::bundle::{Bundle, Consortium};
use super::catalog::Catalog;
use super::tree::{ConfigMessage, KeyError, Tree, config_bytes};
use super::update::UpdateError;
use super::values::OrdererConfig;
use crate::channel::{ChannelId, ConfigSequence};
use crate::envelope::{Message, SignedEnvelope};
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
    /// A group.
    #[error("[Group]  {path}: {problem}")]
    Group {
        /// Full path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// An organization's MSP.
    #[error("[Value]  {path}: {cause}{because}", because = Because(&**cause))]
    Msp {
        /// Full path.
        path: String,
        /// What is wrong.
        cause: Box<MspError>,
    },
    /// Two organizations' MSPs contradict each other.
    #[error("{0}")]
    MspConflict(Box<MspError>),
    /// A policy.
    #[error("[Policy] {0}")]
    Policy(#[from] PolicyError),
    /// A key.
    #[error(transparent)]
    Tree(#[from] KeyError),
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

/// See the module's description. Small: what it says is shared with every channel that says the same.
#[derive(Clone, Debug)]
pub struct ChannelSnapshot {
    channel: ChannelId,
    sequence: ConfigSequence,
    bundle: Arc<Bundle>,
    catalog: Arc<Catalog>,
}

impl ChannelSnapshot {
    /// Reads and checks a whole configuration, unless the catalog knows it.
    pub fn from_config(channel: ChannelId, config: Config, catalog: &Arc<Catalog>) -> Result<Self, ConfigError> {
        let group = config.channel_group.ok_or(ConfigError::Empty)?;
        Self::from_tree(channel, config.sequence, Tree::of_message(group), catalog)
    }

    pub(super) fn from_tree(
        channel: ChannelId,
        sequence: u64,
        tree: Tree,
        catalog: &Arc<Catalog>,
    ) -> Result<Self, ConfigError> {
        let bundle = catalog.bundle(tree)?;
        Ok(Self { channel, sequence: ConfigSequence(sequence), bundle, catalog: Arc::clone(catalog) })
    }

    /// Reads the configuration out of a config block: the channel's genesis block, or one that changed it.
    pub fn from_config_block(block: &Block, catalog: &Arc<Catalog>) -> Result<Self, ConfigError> {
        let not = |problem: &dyn std::fmt::Display| ConfigError::NotAConfigBlock(problem.to_string());
        let entries = block.data.as_ref().map_or(&[][..], |d| &d.data[..]);
        let [entry] = entries else { return Err(not(&format!("it has {} envelopes", entries.len()))) };
        let message = SignedEnvelope::parse(entry.clone()).and_then(Message::parse).map_err(|e| not(&e))?;
        let header_type = message.channel_header.r#type;
        if ![HeaderType::Config as i32, HeaderType::OrdererTransaction as i32].contains(&header_type) {
            return Err(not(&format!("its message is of type {header_type}, not CONFIG")));
        }
        Self::from_config_message(&message, catalog)
    }

    /// Reads the configuration out of a CONFIG message.
    pub fn from_config_message(message: &Message, catalog: &Arc<Catalog>) -> Result<Self, ConfigError> {
        let not = |problem: &dyn std::fmt::Display| ConfigError::NotAConfigBlock(problem.to_string());
        let channel = ChannelId::parse(&message.channel_header.channel_id).map_err(|e| not(&e))?;
        let envelope = ConfigMessage::read(&message.data).map_err(|e| not(&e))?;
        let (sequence, tree) = envelope.config.ok_or(ConfigError::Empty)?;
        Self::from_tree(channel, sequence, tree.ok_or(ConfigError::Empty)?, catalog)
    }

    /// Refuses what this node could not follow.
    pub fn check_supported(&self) -> Result<(), ConfigError> {
        self.bundle.check_supported()
    }

    /// Refuses a successor that contradicts this configuration.
    pub(super) fn check_successor(&self, next: &Self) -> Result<(), UpdateError> {
        self.bundle.check_successor(&next.bundle)
    }

    /// The channel.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// How many updates led here.
    pub fn sequence(&self) -> ConfigSequence {
        self.sequence
    }

    /// The configuration as a message, without fields that are not known here.
    pub fn config(&self) -> Config {
        Config { sequence: self.sequence.0, channel_group: Some(self.channel_group()) }
    }

    /// The configuration, serialized: a `common.Config` with all its fields.
    pub fn config_bytes(&self) -> Vec<u8> {
        config_bytes(self.sequence.0, self.tree())
    }

    /// The root of the tree as a message, made when it is asked for, without fields that are not known here.
    pub fn channel_group(&self) -> ConfigGroup {
        self.bundle.tree().to_message()
    }

    pub(super) fn recursion_max(&self) -> usize {
        self.bundle.capabilities().recursion_max()
    }

    pub(crate) fn tree(&self) -> &Tree {
        self.bundle.tree()
    }

    /// All organizations' MSPs.
    pub fn msps(&self) -> &Msps {
        self.bundle.msps()
    }

    /// All policies.
    pub fn policies(&self) -> &Policies {
        self.bundle.policies()
    }

    /// The Orderer group.
    pub fn orderer(&self) -> &OrdererConfig {
        self.bundle.orderer()
    }

    /// Whether other channels are created through this one.
    pub fn is_system_channel(&self) -> bool {
        self.bundle.has_consortiums()
    }

    /// Whether applications use it.
    pub fn is_application_channel(&self) -> bool {
        self.bundle.has_application()
    }

    /// Whether two snapshots say the same and share it.
    pub fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bundle, &other.bundle)
    }

    pub(super) fn consortium(&self, name: &str) -> Option<&Consortium> {
        self.bundle.consortium(name)
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}
