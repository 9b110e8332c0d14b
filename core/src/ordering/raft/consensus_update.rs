//! Detects whether a config message writes the channel's consensus type.

use fabric_proto::common::{ConfigEnvelope, ConfigUpdate, ConfigUpdateEnvelope, Envelope, Payload};
use prost::Message as _;

use crate::config::key;
use crate::envelope::SignedEnvelope;

/// Returns whether the update that led to this CONFIG message writes the consensus type, even if the value stays the
/// same. In that case Fabric's orderers recompute the consenters.
pub(super) fn names_consensus(envelope: &SignedEnvelope) -> bool {
    update(envelope).and_then(|update| update.write_set).is_some_and(|written| {
        written.groups.get(key::ORDERER).is_some_and(|orderer| orderer.values.contains_key(key::CONSENSUS_TYPE))
    })
}

fn update(envelope: &SignedEnvelope) -> Option<ConfigUpdate> {
    let payload = Payload::decode(envelope.payload().clone()).ok()?;
    let last_update: Envelope = ConfigEnvelope::decode(payload.data).ok()?.last_update?;
    let payload = Payload::decode(last_update.payload).ok()?;
    ConfigUpdate::decode(ConfigUpdateEnvelope::decode(payload.data).ok()?.config_update).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fabric_proto::common::{ConfigGroup, ConfigValue};

    fn message(written: &str) -> SignedEnvelope {
        let mut orderer = ConfigGroup::default();
        orderer.values.insert(written.to_owned(), ConfigValue::default());
        let mut write_set = ConfigGroup::default();
        write_set.groups.insert("Orderer".to_owned(), orderer);
        let update = ConfigUpdate { write_set: Some(write_set), ..ConfigUpdate::default() };
        let update =
            ConfigUpdateEnvelope { config_update: update.encode_to_vec().into(), ..ConfigUpdateEnvelope::default() };
        let payload = |data: Vec<u8>| Payload { header: None, data: data.into() }.encode_to_vec();
        let last_update = Envelope { payload: payload(update.encode_to_vec()).into(), ..Envelope::default() };
        let config = ConfigEnvelope { config: None, last_update: Some(last_update) };
        SignedEnvelope::from_parts(payload(config.encode_to_vec()).into(), Bytes::new())
    }

    #[test]
    fn an_update_names_the_consensus_if_it_writes_it() {
        assert!(names_consensus(&message("ConsensusType")));
        assert!(!names_consensus(&message("BatchSize")));
        assert!(!names_consensus(&SignedEnvelope::from_parts(Bytes::from_static(b"no payload"), Bytes::new())));
    }
}
