//! Selects the consenter that orders a channel on this node, from the channel's configuration and the operator's
//! settings.
//!
//! Peers of Fabric 3 know only the types etcdraft and BFT, but they validate only blocks and their signatures. So
//! another consenter can order a channel whose configuration says etcdraft, if all its orderers agree.

use super::consenters::{ConsentersError, check_consenters};
use super::snapshot::ChannelSnapshot;

/// Consenter of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
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
pub enum RaftAs {
    /// Such channels are not ordered.
    Nothing,
    /// This node alone orders, if it is the only consenter.
    Solo,
    /// A Kafka topic orders, on the brokers in [`Serving::brokers`], or else on those in the channel's configuration.
    Kafka,
    /// The consenters order together by Raft, as Fabric's orderers do.
    #[default]
    Raft,
}

/// Settings of the operator: `Consensus.Serve` and `Kafka.Brokers`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// How channels of type etcdraft are ordered.
    pub etcdraft: RaftAs,
    /// Brokers, each as host:port, for channels of type etcdraft that Kafka orders. If empty, the brokers in the
    /// channel's configuration are used.
    pub brokers: Vec<String>,
}

/// A channel cannot be ordered on this node. Operators read the texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotServed {
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

impl Serving {
    /// Returns the consenter for a channel with this configuration.
    pub fn engine(&self, snapshot: &ChannelSnapshot) -> Result<Engine, NotServed> {
        let orderer = snapshot.orderer();
        match orderer.consensus_type.as_str() {
            "solo" => Ok(Engine::Solo),
            "kafka" => Ok(Engine::Kafka { brokers: orderer.kafka_brokers.clone() }),
            "etcdraft" => self.raft_engine(snapshot),
            "BFT" => Err(NotServed::Bft),
            other => Err(NotServed::Unknown(other.to_owned())),
        }
    }

    fn raft_engine(&self, snapshot: &ChannelSnapshot) -> Result<Engine, NotServed> {
        if self.etcdraft == RaftAs::Nothing {
            return Err(NotServed::NotMapped);
        }
        let consenters = check_consenters(snapshot)?.len();
        match self.etcdraft {
            RaftAs::Nothing => Err(NotServed::NotMapped),
            RaftAs::Solo if consenters > 1 => Err(NotServed::Several(consenters)),
            RaftAs::Solo => Ok(Engine::Solo),
            RaftAs::Raft => Ok(Engine::Raft),
            RaftAs::Kafka => {
                // a channel that was migrated from kafka still has its own brokers
                let own = &snapshot.orderer().kafka_brokers;
                let brokers = if self.brokers.is_empty() { own } else { &self.brokers };
                if brokers.is_empty() {
                    Err(NotServed::NoBrokers)
                } else {
                    Ok(Engine::Kafka { brokers: brokers.clone() })
                }
            }
        }
    }
}
