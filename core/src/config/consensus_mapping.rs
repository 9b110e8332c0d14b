//! Selects the consenter that orders a channel on this node, from the channel's configuration and the operator's
//! settings.
//!
//! Peers of Fabric 3 know only the types etcdraft and BFT, but they validate only blocks and their signatures. So
//! another consenter can order a channel whose configuration says etcdraft, if all its orderers agree.

use super::consenters::{ConsentersError, validate_consenters};
use super::snapshot::ChannelSnapshot;

/// Consenter of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsenterKind {
    /// This node alone orders.
    Solo,
    /// A Kafka topic orders.
    Kafka {
        /// Brokers, each as host:port.
        brokers: Vec<String>,
    },
    /// The consenters in the configuration order together, by Raft.
    Raft,
}

/// How this node orders channels of type etcdraft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EtcdraftMapping {
    /// Such channels are not ordered.
    Nothing,
    /// This node alone orders, if it is the only consenter.
    Solo,
    /// A Kafka topic orders, on the brokers in [`ConsensusMapping::brokers`], or else on those in the channel's configuration.
    Kafka,
    /// The consenters order together by Raft, as Fabric's orderers do.
    #[default]
    Raft,
}

/// Settings of the operator: `Consensus.Serve` and `Kafka.Brokers`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsensusMapping {
    /// How channels of type etcdraft are ordered.
    pub etcdraft: EtcdraftMapping,
    /// Brokers, each as host:port, for channels of type etcdraft that Kafka orders. If empty, the brokers in the
    /// channel's configuration are used.
    pub brokers: Vec<String>,
}

/// A channel cannot be ordered on this node. Operators read the texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedConsensus {
    /// The type is BFT, whose blocks need the signatures of a quorum.
    #[error(
        "consensus type BFT is not served: its blocks carry signatures of a quorum of orderers that agree by a protocol this orderer does not speak"
    )]
    Bft,
    /// This orderer does not know the type.
    #[error("consensus type '{0}' is not served: solo, kafka and etcdraft are")]
    Unknown(String),
    /// The settings do not allow channels of type etcdraft.
    #[error(
        "consensus type etcdraft is not served: Consensus.Serve.etcdraft says none; raft, solo and kafka are possible"
    )]
    NotMapped,
    /// Solo is set for a channel with several consenters: each of them would create a chain of its own.
    #[error(
        "the configuration names {0} consenters, and Consensus.Serve.etcdraft is solo: each of them alone would make a chain of its own; set it to raft or kafka on all of them, or let the configuration name one"
    )]
    Several(usize),
    /// No Kafka brokers are configured.
    #[error("Consensus.Serve.etcdraft is kafka, but Kafka.Brokers names none")]
    NoBrokers,
    /// The consensus metadata is invalid.
    #[error("the metadata of consensus type etcdraft is invalid: {0}")]
    Consenters(#[from] ConsentersError),
}

impl ConsensusMapping {
    /// Returns the consenter for a channel with this configuration.
    pub fn engine(&self, snapshot: &ChannelSnapshot) -> Result<ConsenterKind, UnsupportedConsensus> {
        let orderer = snapshot.orderer();
        match orderer.consensus_type.as_str() {
            "solo" => Ok(ConsenterKind::Solo),
            "kafka" => Ok(ConsenterKind::Kafka { brokers: orderer.kafka_brokers.clone() }),
            "etcdraft" => self.raft_engine(snapshot),
            "BFT" => Err(UnsupportedConsensus::Bft),
            other => Err(UnsupportedConsensus::Unknown(other.to_owned())),
        }
    }

    fn raft_engine(&self, snapshot: &ChannelSnapshot) -> Result<ConsenterKind, UnsupportedConsensus> {
        if self.etcdraft == EtcdraftMapping::Nothing {
            return Err(UnsupportedConsensus::NotMapped);
        }
        let consenters = validate_consenters(snapshot)?.len();
        match self.etcdraft {
            EtcdraftMapping::Nothing => Err(UnsupportedConsensus::NotMapped),
            EtcdraftMapping::Solo if consenters > 1 => Err(UnsupportedConsensus::Several(consenters)),
            EtcdraftMapping::Solo => Ok(ConsenterKind::Solo),
            EtcdraftMapping::Raft => Ok(ConsenterKind::Raft),
            EtcdraftMapping::Kafka => {
                // a channel that was migrated from kafka still has its own brokers
                let own = &snapshot.orderer().kafka_brokers;
                let brokers = if self.brokers.is_empty() { own } else { &self.brokers };
                if brokers.is_empty() {
                    Err(UnsupportedConsensus::NoBrokers)
                } else {
                    Ok(ConsenterKind::Kafka { brokers: brokers.clone() })
                }
            }
        }
    }
}
