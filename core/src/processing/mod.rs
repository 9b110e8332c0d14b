//! What becomes of a message before it is ordered: filters, config updates, channel creation. In Fabric's order,
//! because a client that makes two mistakes is told of the same one.

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

/// How a message is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Ordered as it is.
    Normal,
    /// Made into a config message, which is ordered.
    ConfigUpdate,
    /// Made by orderers only; nobody may send one.
    Config,
}

/// Class of a message by its header type. Numbers that mean nothing to an orderer are normal.
pub fn classify(header_type: i32) -> Class {
    match HeaderType::try_from(header_type) {
        Ok(HeaderType::ConfigUpdate) => Class::ConfigUpdate,
        Ok(HeaderType::Config | HeaderType::OrdererTransaction) => Class::Config,
        _ => Class::Normal,
    }
}

/// Where a message is that is judged. What a client brings may be judged more strictly than by Fabric, where
/// docs/differences.md says so; what is ordered already is judged as every other orderer judges it, or they part ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judging {
    /// A client brings it.
    AtTheDoor,
    /// It is in a topic, or was taken under an older configuration.
    Ordered,
}

/// What the filters take from outside the channel's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The time.
    pub now: UnixSeconds,
    /// Whether messages of expired identities are refused; an operator can turn that off.
    pub expiration_checks: bool,
    /// Where the message is.
    pub judging: Judging,
}
