//! A channel's configuration: its tree, its validation, and its updates.

mod bundle;
mod cache;
mod capabilities;
mod compute;
mod consensus_mapping;
mod consenters;
mod delta;
mod duration;
pub mod genesis;
mod maintenance;
mod schema;
mod snapshot;
mod template;
pub(crate) mod tree;
mod update;
mod values;

pub use cache::ConfigCache;
pub use capabilities::{ChannelCapabilities, OrdererCapabilities};
pub use compute::{ComputeError, compute_difference, compute_update};
pub use consensus_mapping::{ConsensusMapping, ConsenterKind, EtcdraftMapping, UnsupportedConsensus};
pub use consenters::{
    ConsentersError, check_created, consensus_metadata, validate_consenters, validate_consenters_change,
};
pub use duration::{go_duration_text, parse_go_duration};
pub use maintenance::{MaintenanceError, validate_migration};
pub use snapshot::{ChannelSnapshot, ConfigError};
pub use template::{TemplateError, channel_from_template};
pub use tree::KeyError;
pub use update::{ProposedConfig, UpdateError};
pub use values::{BatchSize, ConsensusState, OrdererConfig};

/// Names of groups, values and policies that have a meaning to an orderer.
pub mod key {
    /// Group of the ordering organizations.
    pub const ORDERER: &str = "Orderer";
    /// Group of the application's organizations.
    pub const APPLICATION: &str = "Application";
    /// Group of consortiums; its presence makes a system channel.
    pub const CONSORTIUMS: &str = "Consortiums";
    /// Value: the consortium a channel was made from.
    pub const CONSORTIUM: &str = "Consortium";
    /// Value: capabilities that every node must have.
    pub const CAPABILITIES: &str = "Capabilities";
    /// Value: the definition of an organization's MSP.
    pub const MSP: &str = "MSP";
    /// Value of a consortium, and policy: signers that may create a channel.
    pub const CHANNEL_CREATION_POLICY: &str = "ChannelCreationPolicy";
    /// Policy: signers that may change the group.
    pub const ADMINS: &str = "Admins";
    /// Policy: clients that may send messages.
    pub const WRITERS: &str = "Writers";
    /// Policy: clients that may receive blocks.
    pub const READERS: &str = "Readers";
    /// Policy: orderers that may sign blocks.
    pub const BLOCK_VALIDATION: &str = "BlockValidation";
    /// Value: the algorithm that blocks are hashed with.
    pub const HASHING_ALGORITHM: &str = "HashingAlgorithm";
    /// Value: the width of the Merkle tree over a block's data.
    pub const BLOCK_DATA_HASHING_STRUCTURE: &str = "BlockDataHashingStructure";
    /// Value: the orderers' addresses for the whole channel.
    pub const ORDERER_ADDRESSES: &str = "OrdererAddresses";
    /// Value of an ordering organization: its orderers' addresses.
    pub const ENDPOINTS: &str = "Endpoints";
    /// Value: the type, metadata and state of consensus.
    pub const CONSENSUS_TYPE: &str = "ConsensusType";
    /// Value: the limits of a batch.
    pub const BATCH_SIZE: &str = "BatchSize";
    /// Value: the time after which a batch that is not full is cut.
    pub const BATCH_TIMEOUT: &str = "BatchTimeout";
    /// Value: the Kafka brokers' addresses.
    pub const KAFKA_BROKERS: &str = "KafkaBrokers";
    /// Value: the maximum number of channels.
    pub const CHANNEL_RESTRICTIONS: &str = "ChannelRestrictions";
    /// Value: the orderers by number, for consensus type BFT.
    pub const ORDERERS: &str = "Orderers";
    /// Value: the policies that guard a peer's resources.
    pub const ACLS: &str = "ACLs";
    /// Value of an application's organization: peers through which other organizations discover its
    /// peers.
    pub const ANCHOR_PEERS: &str = "AnchorPeers";
}
