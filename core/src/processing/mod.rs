//! Message processing before ordering: filters, config updates, channel creation. The checks run in Fabric's order, so
//! that a client whose message has two errors is told the same one.

mod configure;
mod creator;
mod filters;
mod refusal;
mod seek;

pub use configure::{Proposed, Stamp, apply_config, created_channel, propose_creation, propose_update, recheck_config};
pub use creator::Creator;
pub use filters::{Judged, check_normal, check_normal_of};
pub use refusal::{Refusal, RefusalKind};
pub use seek::{SeekError, SeekPlan};

use fabric_proto::common::HeaderType;

use crate::channel::UnixSeconds;
use crate::identity::Effort;

/// How a message is processed, by its header type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The message is ordered as it is.
    Normal,
    /// A config update: it is made into a config message, which is ordered.
    ConfigUpdate,
    /// A config message: only orderers make these, and one from a client is rejected.
    Config,
}

/// Returns the class of a header type. Numbers that an orderer does not know are normal.
pub fn classify(header_type: i32) -> Class {
    match HeaderType::try_from(header_type) {
        Ok(HeaderType::ConfigUpdate) => Class::ConfigUpdate,
        Ok(HeaderType::Config | HeaderType::OrdererTransaction) => Class::Config,
        _ => Class::Normal,
    }
}

/// Where a message that is validated comes from. A message from a client may be validated more strictly than by
/// Fabric, where docs/differences.md says so. A message that is ordered already is validated exactly as every other
/// orderer validates it, or the chains diverge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// A client sends it.
    AtTheDoor,
    /// It is ordered in a topic already, or was accepted under an older configuration.
    Ordered,
}

impl Judging {
    /// How much work a configuration may be to judge.
    pub(super) fn effort(self) -> Effort {
        match self {
            Self::AtTheDoor => Effort::Bounded,
            Self::Ordered => Effort::AsNeeded,
        }
    }
}

/// Inputs of the filters from outside the channel's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Current time.
    pub now: UnixSeconds,
    /// Whether messages of expired identities are rejected; an operator can turn that off.
    pub expiration_checks: bool,
    /// Where the message comes from.
    pub judging: Judging,
}
