//! What maintenance mode allows: it is entered and left by an update that changes nothing else, and only inside it may
//! the consensus type change.

use fabric_proto::etcdraft::ConfigMetadata;
use fabric_proto::lenient;

use super::key;
use super::snapshot::ChannelSnapshot;
use super::tree::{GroupRef, Tree};
use super::values::ConsensusState;

/// Consensus types that a channel may be moved to.
const MIGRATION_TARGETS: [&str; 3] = ["etcdraft", "solo", "kafka"];

/// Why a configuration change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// Consensus type changed outside maintenance mode.
    #[error(
        "attempted to change consensus type from {from} to {to}, but current config ConsensusType.State is not in maintenance mode"
    )]
    TypeOutside {
        /// Type now.
        from: String,
        /// Type wanted.
        to: String,
    },
    /// Consensus type changed by the update that leaves maintenance mode.
    #[error(
        "attempted to change consensus type from {from} to {to}, but new config ConsensusType.State is not in maintenance mode"
    )]
    TypeOnLeaving {
        /// Type now.
        from: String,
        /// Type wanted.
        to: String,
    },
    /// To a type that nobody migrates to.
    #[error("attempted to change consensus type from {from} to {to}, transition not supported")]
    TypeUnknown {
        /// Type now.
        from: String,
        /// Type wanted.
        to: String,
    },
    /// The metadata changed together with the state.
    #[error("attempted to change ConsensusType.Metadata while entering or leaving maintenance mode")]
    MetadataOnTransition,
    /// Something else changed together with the state.
    #[error("config update contains more changes than ConsensusType.State: {0}")]
    MoreThanState(String),
    /// Metadata of an etcdraft channel does not parse.
    #[error("failed to unmarshal etcdraft metadata configuration")]
    EtcdraftMetadata,
    /// The capability is missing.
    #[error("config update attempted to change ConsensusType, but the orderer capability for migration is off")]
    NoCapability,
}

/// Judges the step from one configuration to the next.
pub fn inspect_change(current: &ChannelSnapshot, next: &ChannelSnapshot) -> Result<(), MaintenanceError> {
    let (old, new) = (current.orderer(), next.orderer());
    let (from, to) = (old.consensus_type.clone(), new.consensus_type.clone());
    if !old.capabilities.consensus_type_migration() {
        let unchanged = from == to && old.state == new.state;
        return if unchanged { Ok(()) } else { Err(MaintenanceError::NoCapability) };
    }
    if old.state != new.state {
        if from != to {
            return Err(match old.state {
                ConsensusState::Normal => MaintenanceError::TypeOutside { from, to },
                ConsensusState::Maintenance => MaintenanceError::TypeOnLeaving { from, to },
            });
        }
        if old.consensus_metadata != new.consensus_metadata {
            return Err(MaintenanceError::MetadataOnTransition);
        }
        only_consensus_type_changed(current.tree(), next.tree())?;
    } else if from != to {
        if old.state == ConsensusState::Normal {
            return Err(MaintenanceError::TypeOutside { from, to });
        }
        if !MIGRATION_TARGETS.contains(&to.as_str()) {
            return Err(MaintenanceError::TypeUnknown { from, to });
        }
        if to == "etcdraft" && lenient::decode::<ConfigMetadata>(new.consensus_metadata.clone()).is_err() {
            return Err(MaintenanceError::EtcdraftMetadata);
        }
    }
    Ok(())
}

/// Between the two trees only `/Channel/Orderer/ConsensusType` may differ.
fn only_consensus_type_changed(current: &Tree, next: &Tree) -> Result<(), MaintenanceError> {
    let without = |tree: &Tree| {
        let mut tree = tree.clone();
        if let Some(orderer) = tree.root().below(key::ORDERER).map(GroupRef::id) {
            tree.get_mut(orderer).values.remove(key::CONSENSUS_TYPE);
        }
        tree
    };
    let (current, next) = (without(current), without(next));
    if current == next {
        return Ok(());
    }
    let differs = |(name, group): &(&str, GroupRef<'_>)| next.root().below(name) != Some(*group);
    let changed = current.root().groups().find(differs);
    let place = changed.map_or("the Channel group".to_owned(), |(name, _)| format!("group {name}"));
    Err(MaintenanceError::MoreThanState(place))
}
