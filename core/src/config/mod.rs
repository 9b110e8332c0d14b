//! A channel's configuration: the tree, what it means, and how it may change.

mod bundle;
mod capabilities;
mod catalog;
mod compute;
mod consenters;
mod delta;
mod duration;
pub mod genesis;
mod maintenance;
mod serving;
mod shape;
mod snapshot;
mod template;
pub(crate) mod tree;
mod update;
mod values;

pub use capabilities::{ChannelCapabilities, OrdererCapabilities};
pub use catalog::Catalog;
pub use compute::{ComputeError, compute_update};
pub use consenters::{ConsentersError, check_consenters, check_consenters_step, check_created};
pub use duration::{go_duration_text, parse_go_duration};
pub use maintenance::{MaintenanceError, inspect_change};
pub use serving::{Engine, NotServed, RaftAs, Serving};
pub use snapshot::{ChannelSnapshot, ConfigError};
pub use template::{TemplateError, new_channel};
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
    /// Value of a consortium, and policy: who may create a channel.
    pub const CHANNEL_CREATION_POLICY: &str = "ChannelCreationPolicy";
    /// Policy: who may change things.
    pub const ADMINS: &str = "Admins";
    /// Policy: who may send.
    pub const WRITERS: &str = "Writers";
    /// Policy: who may read.
    pub const READERS: &str = "Readers";
    /// Policy: who may sign blocks.
    pub const BLOCK_VALIDATION: &str = "BlockValidation";
    /// Value.
    pub const HASHING_ALGORITHM: &str = "HashingAlgorithm";
    /// Value.
    pub const BLOCK_DATA_HASHING_STRUCTURE: &str = "BlockDataHashingStructure";
    /// Value.
    pub const ORDERER_ADDRESSES: &str = "OrdererAddresses";
    /// Value of an ordering organization: its orderers' addresses.
    pub const ENDPOINTS: &str = "Endpoints";
    /// Value.
    pub const CONSENSUS_TYPE: &str = "ConsensusType";
    /// Value.
    pub const BATCH_SIZE: &str = "BatchSize";
    /// Value.
    pub const BATCH_TIMEOUT: &str = "BatchTimeout";
    /// Value.
    pub const KAFKA_BROKERS: &str = "KafkaBrokers";
    /// Value.
    pub const CHANNEL_RESTRICTIONS: &str = "ChannelRestrictions";
    /// Value: the orderers by number, for consensus type BFT.
    pub const ORDERERS: &str = "Orderers";
    /// Value: which policy guards which of a peer's resources.
    pub const ACLS: &str = "ACLs";
    /// Value of an application's organization: peers that others find it by.
    pub const ANCHOR_PEERS: &str = "AnchorPeers";
}
