//! Message processing before ordering: filters, config updates, channel creation. The checks run in Fabric's order, so
//! that a client whose message has two errors is told the same one.

mod config_update;
mod creator;
mod filters;
mod rejection;
mod seek;

pub use config_update::{
    HeaderFields, PreparedConfigMessage, apply_config, created_channel_config, process_channel_creation,
    process_config_update, revalidate_config,
};
pub use creator::Creator;
pub use filters::{ValidationResult, validate_normal, validate_normal_with};
pub use rejection::{Rejection, RejectionKind};
pub use seek::{SeekError, SeekRange};

use fabric_proto::common::HeaderType;

use crate::identity::WorkLimit;
use crate::types::UnixSeconds;

/// How a message is processed, by its header type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageClass {
    /// The message is ordered as it is.
    Normal,
    /// A config update: it is made into a config message, which is ordered.
    ConfigUpdate,
    /// A config message: only orderers make these, and one from a client is rejected.
    Config,
}

/// Returns the class of a header type. Numbers that an orderer does not know are normal.
pub fn classify(header_type: i32) -> MessageClass {
    match HeaderType::try_from(header_type) {
        Ok(HeaderType::ConfigUpdate) => MessageClass::ConfigUpdate,
        Ok(HeaderType::Config | HeaderType::OrdererTransaction) => MessageClass::Config,
        _ => MessageClass::Normal,
    }
}

/// Where a message that is validated comes from. A message from a client may be validated more strictly than by
/// Fabric, where docs/differences.md says so. A message that is ordered already is validated exactly as every other
/// orderer validates it, or the chains diverge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageOrigin {
    /// A client sends it.
    Client,
    /// It is ordered in a topic already, or was accepted under an older configuration.
    Ordered,
}

impl MessageOrigin {
    /// How much work a configuration may be to judge.
    pub(super) fn effort(self) -> WorkLimit {
        match self {
            Self::Client => WorkLimit::Bounded,
            Self::Ordered => WorkLimit::AsNeeded,
        }
    }
}

/// Inputs of the filters from outside the channel's configuration.
#[derive(Clone, Copy, Debug)]
pub struct ValidationContext {
    /// Current time.
    pub now: UnixSeconds,
    /// Whether messages of expired identities are rejected; an operator can turn that off.
    pub expiration_checks: bool,
    /// Where the message comes from.
    pub judging: MessageOrigin,
}
