//! Builds configurations as Fabric's own tool does: the tree of a new channel from a profile of configtx.yaml, the
//! genesis block around it, and the transaction that creates a channel through a system channel.

mod anchor_peers;
mod block;
mod creation;
mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fabric_proto::common::Policy;
use fabric_proto::etcdraft::ConfigMetadata;
use fabric_proto::msp::MspConfig;

pub use anchor_peers::{AnchorPeersError, anchor_peers_update};
pub use block::{genesis_block, genesis_block_from_envelope};
pub use creation::{CreationError, channel_creation_envelope, channel_creation_update, channel_creation_update_within};
pub use groups::{application_organization_group, channel_group, orderer_organization_group};

use super::BatchSize;

/// Policies by name.
pub type NamedPolicies = BTreeMap<String, Policy>;

/// Description of a channel: a profile of configtx.yaml, with the contents of the files that it names.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Policies of the Channel group.
    pub policies: NamedPolicies,
    /// Capabilities of the Channel group; `None` omits the value.
    pub capabilities: Option<BTreeSet<String>>,
    /// Name of the consortium that the channel belongs to.
    pub consortium: Option<String>,
    /// The Orderer group, if the channel has one.
    pub orderer: Option<Orderer>,
    /// The Application group, if the channel has one.
    pub application: Option<Application>,
    /// Members of each consortium, by its name; they may create channels. Makes the channel a system channel.
    pub consortiums: Option<BTreeMap<String, Vec<Organization>>>,
}

/// Contents of the Orderer group.
#[derive(Clone, Debug)]
pub struct Orderer {
    /// Consensus type and its settings.
    pub consensus: Consensus,
    /// Addresses, host:port, of orderers that are listed for the whole channel.
    pub addresses: Vec<String>,
    /// Time after which a batch that is not full is cut.
    pub batch_timeout: Duration,
    /// Limits of a batch.
    pub batch_size: BatchSize,
    /// Maximum number of channels that may be created; 0 for no limit.
    pub max_channels: u64,
    /// Capabilities of the group; `None` omits the value.
    pub capabilities: Option<BTreeSet<String>>,
    /// Policies of the group.
    pub policies: NamedPolicies,
    /// Ordering organizations.
    pub organizations: Vec<Organization>,
}

/// Consensus type and its settings.
#[derive(Clone, Debug)]
pub enum Consensus {
    /// One orderer alone.
    Solo,
    /// A topic of a Kafka cluster, with its brokers as host:port.
    Kafka(Vec<String>),
    /// Raft, with these consenters and their certificates in PEM.
    Etcdraft(ConfigMetadata),
}

impl Consensus {
    /// Returns the name of the type in configurations.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::Kafka(_) => "kafka",
            Self::Etcdraft(_) => "etcdraft",
        }
    }
}

/// Contents of the Application group.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Policies that guard a peer's resources, by resource.
    pub acls: BTreeMap<String, String>,
    /// Capabilities of the group; `None` omits the value.
    pub capabilities: Option<BTreeSet<String>>,
    /// Policies of the group.
    pub policies: NamedPolicies,
    /// Organizations that use the channel.
    pub organizations: Vec<Organization>,
}

/// An organization's group.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Name of the group.
    pub name: String,
    /// Definition of the organization. `None` for one that is defined elsewhere: its group is empty, and no genesis
    /// block is built with it.
    pub definition: Option<OrganizationDefinition>,
}

/// Definition of an organization.
#[derive(Clone, Debug)]
pub struct OrganizationDefinition {
    /// Definition of the organization's MSP.
    pub msp: MspConfig,
    /// Policies of the organization's group.
    pub policies: NamedPolicies,
    /// Addresses of the organization's orderers, host:port.
    pub orderer_endpoints: Vec<String>,
    /// Host and port of the organization's anchor peers, through which other organizations discover its peers.
    pub anchor_peers: Vec<(String, u16)>,
}
