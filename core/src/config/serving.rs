//! Which engine orders a channel here: what its configuration says, and what the operator makes of it.
//!
//! Peers of Fabric 3 know only etcdraft and BFT, yet check no more than blocks and their signatures. So a channel whose
//! configuration says etcdraft can be ordered by another engine, if all who order it agree.

use super::consenters::{ConsentersError, check_consenters};
use super::snapshot::ChannelSnapshot;

/// What orders a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// This node alone.
    Solo,
    /// A topic.
    Kafka {
        /// host:port each.
        brokers: Vec<String>,
    },
}

/// How channels of type etcdraft are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RaftAs {
    /// Not at all.
    Nothing,
    /// By this node alone, if it is the only consenter.
    #[default]
    Solo,
    /// By a topic of the brokers in [`Serving::brokers`].
    Kafka,
}

/// What the operator says: `Consensus.Serve` and `Kafka.Brokers`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// See [`RaftAs`].
    pub etcdraft: RaftAs,
    /// For channels whose configuration names no brokers: host:port each.
    pub brokers: Vec<String>,
}

/// Why a channel cannot be ordered here. The texts are for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotServed {
    /// Blocks would need the signatures of a quorum.
    #[error(
        "consensus type BFT is not served: its blocks carry signatures of a quorum of orderers that agree by a protocol this orderer does not speak"
    )]
    Bft,
    /// No type this orderer knows.
    #[error("consensus type '{0}' is not served: solo, kafka and etcdraft are")]
    Unknown(String),
    /// As configured.
    #[error("consensus type etcdraft is not served: Consensus.Serve.etcdraft says none; solo and kafka are possible")]
    NotMapped,
    /// Each orderer alone would make a chain of its own.
    #[error(
        "the configuration names {0} consenters, and Consensus.Serve.etcdraft is solo: each of them alone would make a chain of its own; set it to kafka on all of them, or let the configuration name one"
    )]
    Several(usize),
    /// Nowhere to order.
    #[error("Consensus.Serve.etcdraft is kafka, but Kafka.Brokers names none")]
    NoBrokers,
    /// What it says of its consenters.
    #[error("the metadata of consensus type etcdraft is invalid: {0}")]
    Consenters(#[from] ConsentersError),
}

impl Serving {
    /// The engine for a channel with this configuration.
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
            RaftAs::Kafka => {
                // a channel that came from kafka still names its own
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
