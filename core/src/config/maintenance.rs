//! Rules of maintenance mode: an update that enters or leaves it changes nothing else, and the consensus type may
//! change only inside it.

use fabric_proto::etcdraft::ConfigMetadata;
use fabric_proto::lenient;

use super::key;
use super::snapshot::ChannelSnapshot;
use super::tree::{GroupRef, Tree};
use super::values::ConsensusState;

/// Consensus types to which a channel may migrate.
const MIGRATION_TARGETS: [&str; 3] = ["etcdraft", "solo", "kafka"];

/// A configuration change violates the rules of maintenance mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// The consensus type changes outside maintenance mode.
    #[error(
        "attempted to change consensus type from {from} to {to}, but current config ConsensusType.State is not in maintenance mode"
    )]
    TypeOutside {
        /// Current type.
        from: String,
        /// Requested type.
        to: String,
    },
    /// The update that leaves maintenance mode changes the consensus type.
    #[error(
        "attempted to change consensus type from {from} to {to}, but new config ConsensusType.State is not in maintenance mode"
    )]
    TypeOnLeaving {
        /// Current type.
        from: String,
        /// Requested type.
        to: String,
    },
    /// The consensus type changes to one to which no channel may migrate.
    #[error("attempted to change consensus type from {from} to {to}, transition not supported")]
    TypeUnknown {
        /// Current type.
        from: String,
        /// Requested type.
        to: String,
    },
    /// The metadata changes together with the state.
    #[error("attempted to change ConsensusType.Metadata while entering or leaving maintenance mode")]
    MetadataOnTransition,
    /// Another element changes together with the state.
    #[error("config update contains more changes than ConsensusType.State: {0}")]
    MoreThanState(String),
    /// The metadata of the new type etcdraft does not parse.
    #[error("failed to unmarshal etcdraft metadata configuration")]
    EtcdraftMetadata,
    /// The orderer capability for migration is missing.
    #[error("config update attempted to change ConsensusType, but the orderer capability for migration is off")]
    NoCapability,
}

/// Validates the step from one configuration to the next.
pub fn validate_migration(current: &ChannelSnapshot, next: &ChannelSnapshot) -> Result<(), MaintenanceError> {
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

/// Checks that the two trees differ at most in `/Channel/Orderer/ConsensusType`.
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
