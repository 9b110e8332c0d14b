//! Making configurations: the tree of a new channel from what a profile of configtx.yaml says, the genesis block around
//! it, and the transaction that creates a channel through a system channel, as Fabric's own tool makes them.

mod block;
mod creation;
mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fabric_proto::common::Policy;
use fabric_proto::etcdraft::ConfigMetadata;
use fabric_proto::msp::MspConfig;

pub use block::{genesis_block, genesis_block_of};
pub use creation::{CreationError, creation_envelope, creation_update};
pub use groups::channel_group;

use super::BatchSize;

/// Policies by name.
pub type NamedPolicies = BTreeMap<String, Policy>;

/// What is said of a channel: a profile of configtx.yaml, with what is in the files that it names.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Of the Channel group.
    pub policies: NamedPolicies,
    /// Of the Channel group; `None` leaves the value out.
    pub capabilities: Option<BTreeSet<String>>,
    /// The consortium that the channel belongs to.
    pub consortium: Option<String>,
    /// Who orders, and how.
    pub orderer: Option<Orderer>,
    /// Who uses the channel.
    pub application: Option<Application>,
    /// Who may create channels, by the name of the consortium: makes a system channel.
    pub consortiums: Option<BTreeMap<String, Vec<Organization>>>,
}

/// The Orderer group.
#[derive(Clone, Debug)]
pub struct Orderer {
    /// See [`Consensus`].
    pub consensus: Consensus,
    /// host:port of orderers that are listed for all organizations together.
    pub addresses: Vec<String>,
    /// After so long a batch that is not full is cut.
    pub batch_timeout: Duration,
    /// Limits of a batch.
    pub batch_size: BatchSize,
    /// So many channels may be created; 0 for any number.
    pub max_channels: u64,
    /// Of the group; `None` leaves the value out.
    pub capabilities: Option<BTreeSet<String>>,
    /// Of the group.
    pub policies: NamedPolicies,
    /// Those whose nodes order.
    pub organizations: Vec<Organization>,
}

/// How orderers agree.
#[derive(Clone, Debug)]
pub enum Consensus {
    /// One decides.
    Solo,
    /// A topic of a Kafka cluster, its brokers being host:port.
    Kafka(Vec<String>),
    /// Raft, among these, with their certificates in PEM.
    Etcdraft(ConfigMetadata),
}

impl Consensus {
    /// As configurations name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::Kafka(_) => "kafka",
            Self::Etcdraft(_) => "etcdraft",
        }
    }
}

/// The Application group.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Which policy guards which of a peer's resources.
    pub acls: BTreeMap<String, String>,
    /// Of the group; `None` leaves the value out.
    pub capabilities: Option<BTreeSet<String>>,
    /// Of the group.
    pub policies: NamedPolicies,
    /// Those who use the channel.
    pub organizations: Vec<Organization>,
}

/// An organization's group.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Name of the group.
    pub name: String,
    /// `None` for one that is known elsewhere: its group says nothing, and no genesis block is made with it.
    pub definition: Option<Definition>,
}

/// Who an organization is.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its MSP.
    pub msp: MspConfig,
    /// Of the group.
    pub policies: NamedPolicies,
    /// host:port of its orderers.
    pub orderer_endpoints: Vec<String>,
    /// Host and port of peers that others find it by.
    pub anchor_peers: Vec<(String, u16)>,
}
