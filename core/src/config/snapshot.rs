//! One configuration of a channel, parsed and validated as a whole. It is immutable: an update creates a new
//! snapshot.

use std::sync::Arc;

use fabric_proto::common::{Block, Config, ConfigGroup, HeaderType};

use super::bundle::{Bundle, Consortium};
use super::cache::ConfigCache;
use super::tree::{ConfigMessage, KeyError, Tree, config_bytes};
use super::update::UpdateError;
use super::values::OrdererConfig;
use crate::envelope::{ParsedEnvelope, SignedEnvelope};
use crate::identity::{MspError, MspManager, WorkLimit};
use crate::policy::{PolicyError, PolicyManager};
use crate::types::{ChannelId, ConfigSequence};

/// A configuration is invalid: a channel cannot run under it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no channel group.
    #[error("the configuration has no channel group")]
    Empty,
    /// There is no Orderer group.
    #[error("config does not contain orderer config")]
    NoOrderer,
    /// A value is invalid.
    #[error("[Value]  {path}: {problem}")]
    Value {
        /// Full path of the value.
        path: String,
        /// Description of the error.
        problem: String,
    },
    /// A group is invalid.
    #[error("[Group]  {path}: {problem}")]
    Group {
        /// Full path of the group.
        path: String,
        /// Description of the error.
        problem: String,
    },
    /// The MSP definition of an organization is invalid.
    #[error("[Value]  {path}: {cause}{because}", because = ErrorCause(&**cause))]
    Msp {
        /// Full path of the value.
        path: String,
        /// Error of the definition.
        cause: Box<MspError>,
    },
    /// Two organizations define the same MSP differently.
    #[error("{0}")]
    MspConflict(Box<MspError>),
    /// A policy is invalid.
    #[error("[Policy] {0}")]
    Policy(#[from] PolicyError),
    /// A key in the tree is invalid.
    #[error(transparent)]
    Tree(#[from] KeyError),
    /// The configuration requires a capability that this node does not have.
    #[error("config requires unsupported {group} capabilities: {name} is required but not supported")]
    Capability {
        /// `channel` or `orderer`.
        group: &'static str,
        /// Name of the capability.
        name: String,
    },
    /// A config block does not have exactly one config message.
    #[error("block is not a config block: {0}")]
    NotAConfigBlock(String),
}

/// Prints the chain of sources of an error, for texts that leave the process.
struct ErrorCause<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for ErrorCause<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// One configuration of a channel, parsed and validated as a whole. Cheap to clone, and channels with equal
/// configurations share the contents.
#[derive(Clone, Debug)]
pub struct ChannelSnapshot {
    channel: ChannelId,
    sequence: ConfigSequence,
    bundle: Arc<Bundle>,
    catalog: Arc<ConfigCache>,
}

impl ChannelSnapshot {
    /// Parses and validates a whole configuration, unless the catalog has it.
    pub fn from_config(channel: ChannelId, config: Config, catalog: &Arc<ConfigCache>) -> Result<Self, ConfigError> {
        let group = config.channel_group.ok_or(ConfigError::Empty)?;
        Self::from_tree(channel, config.sequence, Tree::of_message(group), (catalog, WorkLimit::AsNeeded))
    }

    pub(super) fn from_tree(
        channel: ChannelId,
        sequence: u64,
        tree: Tree,
        (catalog, effort): (&Arc<ConfigCache>, WorkLimit),
    ) -> Result<Self, ConfigError> {
        let bundle = catalog.bundle(tree, effort)?;
        Ok(Self { channel, sequence: ConfigSequence(sequence), bundle, catalog: Arc::clone(catalog) })
    }

    /// Reads the configuration from a config block: the channel's genesis block, or a later one.
    pub fn from_config_block(block: &Block, catalog: &Arc<ConfigCache>) -> Result<Self, ConfigError> {
        let not = |problem: &dyn std::fmt::Display| ConfigError::NotAConfigBlock(problem.to_string());
        let entries = block.data.as_ref().map_or(&[][..], |d| &d.data[..]);
        let [entry] = entries else { return Err(not(&format!("it has {} envelopes", entries.len()))) };
        let message = SignedEnvelope::parse(entry.clone()).and_then(ParsedEnvelope::parse).map_err(|e| not(&e))?;
        let header_type = message.channel_header.r#type;
        if ![HeaderType::Config as i32, HeaderType::OrdererTransaction as i32].contains(&header_type) {
            return Err(not(&format!("its message is of type {header_type}, not CONFIG")));
        }
        Self::from_config_message(&message, catalog)
    }

    /// Reads the configuration from a CONFIG message.
    pub fn from_config_message(message: &ParsedEnvelope, catalog: &Arc<ConfigCache>) -> Result<Self, ConfigError> {
        let not = |problem: &dyn std::fmt::Display| ConfigError::NotAConfigBlock(problem.to_string());
        let channel = ChannelId::parse(&message.channel_header.channel_id).map_err(|e| not(&e))?;
        let envelope = ConfigMessage::read(&message.data).map_err(|e| not(&e))?;
        let (sequence, tree) = envelope.config.ok_or(ConfigError::Empty)?;
        Self::from_tree(channel, sequence, tree.ok_or(ConfigError::Empty)?, (catalog, WorkLimit::AsNeeded))
    }

    /// Rejects a configuration that requires a capability this node does not have.
    pub fn check_supported(&self) -> Result<(), ConfigError> {
        self.bundle.check_supported()
    }

    /// Rejects a successor that is incompatible with this configuration.
    pub(super) fn check_successor(&self, next: &Self) -> Result<(), UpdateError> {
        self.bundle.check_successor(&next.bundle)
    }

    /// Returns the channel.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Returns the number of updates since the genesis block.
    pub fn sequence(&self) -> ConfigSequence {
        self.sequence
    }

    /// Returns the configuration as a message, without unknown fields.
    pub fn config(&self) -> Config {
        Config { sequence: self.sequence.0, channel_group: Some(self.channel_group()) }
    }

    /// Returns the configuration, serialized: a `common.Config` with all its fields.
    pub fn config_bytes(&self) -> Vec<u8> {
        config_bytes(self.sequence.0, self.tree())
    }

    /// Builds the root of the tree as a message, without unknown fields.
    pub fn channel_group(&self) -> ConfigGroup {
        self.bundle.tree().to_message()
    }

    pub(super) fn recursion_max(&self) -> usize {
        self.bundle.capabilities().recursion_max()
    }

    pub(crate) fn tree(&self) -> &Tree {
        self.bundle.tree()
    }

    /// Returns the MSPs of all organizations.
    pub fn msps(&self) -> &MspManager {
        self.bundle.msps()
    }

    /// Returns all policies.
    pub fn policies(&self) -> &PolicyManager {
        self.bundle.policies()
    }

    /// Returns the Orderer group.
    pub fn orderer(&self) -> &OrdererConfig {
        self.bundle.orderer()
    }

    /// Whether this is a system channel, through which other channels are created.
    pub fn is_system_channel(&self) -> bool {
        self.bundle.has_consortiums()
    }

    /// Whether this is an application channel.
    pub fn is_application_channel(&self) -> bool {
        self.bundle.has_application()
    }

    /// Whether two snapshots are equal and share their contents.
    pub fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bundle, &other.bundle)
    }

    pub(super) fn consortium(&self, name: &str) -> Option<&Consortium> {
        self.bundle.consortium(name)
    }

    pub(crate) fn catalog(&self) -> &Arc<ConfigCache> {
        &self.catalog
    }
}
