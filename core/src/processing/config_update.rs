//! Turns config updates into config messages, and applies config messages.

use bytes::Bytes;
use fabric_proto::Timestamp;
use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload, SignatureHeader};
use prost::Message as _;

use super::filters::{self, apply};
use super::rejection::Rejection;
use super::{MessageOrigin, ValidationContext};
use crate::config::tree::ConfigMessage;
use crate::config::{
    ChannelSnapshot, ConsensusState, ProposedConfig, UpdateError, channel_from_template, check_created,
    validate_consenters_change, validate_migration,
};
use crate::crypto::Signer;
use crate::envelope::{ParsedEnvelope, SignedEnvelope};
use crate::types::{ChannelId, ConfigSequence};

/// Values that a message signed by the orderer needs and that this crate cannot create: a nonce and the time.
#[derive(Clone, Copy, Debug)]
pub struct HeaderFields {
    /// Nonce, fresh and random.
    pub nonce: [u8; 24],
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: i32,
}

/// A config message, ready to be ordered.
#[derive(Debug)]
pub struct PreparedConfigMessage {
    /// CONFIG or ORDERER_TRANSACTION, signed by the orderer.
    pub envelope: SignedEnvelope,
    /// Sequence of the configuration under which it was made.
    pub sequence: ConfigSequence,
}

/// Validates a CONFIG_UPDATE for an existing channel and makes the CONFIG message of it.
pub fn process_config_update(
    snapshot: &ChannelSnapshot,
    message: &ParsedEnvelope,
    signer: &dyn Signer,
    stamp: HeaderFields,
    at: ValidationContext,
) -> Result<PreparedConfigMessage, Rejection> {
    apply(snapshot, message, at)?;
    let channel = snapshot.channel();
    let ProposedConfig { envelope, next } = snapshot
        .propose_within(&message.envelope, at.judging.effort())
        .map_err(|cause| Rejection::Update { channel: channel.clone(), cause: Box::new(cause) })?;
    check_keys_stay_private(snapshot, &next, at)
        .map_err(|cause| Rejection::Update { channel: channel.clone(), cause: Box::new(cause) })?;
    validate_consenters_change(snapshot, &next, at.judging.effort())
        .map_err(|cause| Rejection::Consenters { channel: channel.clone(), cause: Box::new(cause) })?;
    let envelope = wrap(HeaderType::Config, channel, envelope, signer, stamp)?;
    let wrapped = ParsedEnvelope::parse(envelope.clone()).map_err(|e| Rejection::ConfigMessage(e.to_string()))?;
    // the message that goes into the block must fit and satisfy the Writers policy, too
    filters::apply(snapshot, &wrapped, at).map_err(|refusal| Rejection::FinalChecks(Box::new(refusal)))?;
    validate_migration(snapshot, &next).map_err(|cause| Rejection::MaintenanceChecks(Box::new(cause)))?;
    Ok(PreparedConfigMessage { envelope, sequence: snapshot.sequence() })
}

/// Validates a CONFIG_UPDATE for a channel that does not exist, as a request to create it through the system channel, and makes
/// the ORDERER_TRANSACTION message of it. `channels` is the number of channels beside the system channel.
pub fn process_channel_creation(
    system: &ChannelSnapshot,
    channels: u64,
    message: &ParsedEnvelope,
    signer: &dyn Signer,
    stamp: HeaderFields,
    at: ValidationContext,
) -> Result<PreparedConfigMessage, Rejection> {
    let orderer = system.orderer();
    if orderer.state == ConsensusState::Maintenance && orderer.capabilities.consensus_type_migration() {
        return Err(Rejection::Maintenance);
    }
    let template = channel_from_template(system, message).map_err(|cause| Rejection::Template(Box::new(cause)))?;
    let channel = message.channel_header.channel_id.clone();
    let ProposedConfig { envelope: config, next } = template
        .propose_within(&message.envelope, at.judging.effort())
        .map_err(|cause| Rejection::Creation { channel: channel.clone(), cause: Box::new(cause) })?;
    check_keys_stay_private(&template, &next, at)
        .map_err(|cause| Rejection::Creation { channel: channel.clone(), cause: Box::new(cause) })?;
    check_created(&next, at.judging.effort())
        .map_err(|cause| Rejection::CreationMetadata { channel, cause: Box::new(cause) })?;
    let limit = system.orderer().max_channels;
    if limit > 0 && channels >= limit {
        return Err(Rejection::TooManyChannels(limit));
    }
    let inner = wrap(HeaderType::Config, template.channel(), config, signer, stamp)?;
    let envelope = wrap(HeaderType::OrdererTransaction, system.channel(), inner.raw().clone(), signer, stamp)?;
    let wrapped = ParsedEnvelope::parse(envelope.clone()).map_err(|e| Rejection::ConfigMessage(e.to_string()))?;
    filters::apply(system, &wrapped, at)?;
    Ok(PreparedConfigMessage { envelope, sequence: system.sequence() })
}

/// Revalidates a config message that was made under an older configuration: proposes its update again.
pub fn revalidate_config(
    snapshot: &ChannelSnapshot,
    channels: u64,
    message: &ParsedEnvelope,
    signer: &dyn Signer,
    stamp: HeaderFields,
    at: ValidationContext,
) -> Result<PreparedConfigMessage, Rejection> {
    if message.channel_header.r#type == HeaderType::OrdererTransaction as i32 {
        let update = last_update(&created(message)?.1)?;
        return process_channel_creation(snapshot, channels, &update, signer, stamp, at);
    }
    process_config_update(snapshot, &last_update(message)?, signer, stamp, at)
}

/// Returns the configuration that the CONFIG `message` puts in force after `snapshot`.
pub fn apply_config(snapshot: &ChannelSnapshot, message: &ParsedEnvelope) -> Result<ChannelSnapshot, Rejection> {
    snapshot
        .apply(&message.data)
        .map_err(|cause| Rejection::Update { channel: snapshot.channel().clone(), cause: Box::new(cause) })
}

/// Returns the first configuration of the channel that the ORDERER_TRANSACTION `message` creates through `system`, and the
/// envelope of its genesis block.
pub fn created_channel_config(
    system: &ChannelSnapshot,
    message: &ParsedEnvelope,
) -> Result<(ChannelSnapshot, SignedEnvelope), Rejection> {
    let (_, genesis) = created(message)?;
    // a genesis block that no chain could be started from is rejected before anything is written
    let snapshot = ChannelSnapshot::from_config_message(&genesis, system.catalog())
        .map_err(|cause| Rejection::Config(Box::new(cause)))?;
    Ok((snapshot, genesis.envelope))
}

fn created(message: &ParsedEnvelope) -> Result<(ChannelId, ParsedEnvelope), Rejection> {
    let unreadable = |e: &dyn std::fmt::Display| Rejection::ConfigMessage(e.to_string());
    let envelope = SignedEnvelope::parse(message.data.clone()).map_err(|e| unreadable(&e))?;
    let genesis = ParsedEnvelope::parse(envelope).map_err(|e| unreadable(&e))?;
    if genesis.channel_header.r#type != HeaderType::Config as i32 {
        return Err(unreadable(&"the message inside is not of type CONFIG"));
    }
    let channel = ChannelId::parse(&genesis.channel_header.channel_id).map_err(|e| unreadable(&e))?;
    Ok((channel, genesis))
}

/// Rejects an update from a client that publishes a signing identity in an organization's definition. Fabric accepts one until
/// its certificate has expired by the clock, and its nodes do not start on such a channel from then on.
fn check_keys_stay_private(
    current: &ChannelSnapshot,
    next: &ChannelSnapshot,
    at: ValidationContext,
) -> Result<(), UpdateError> {
    let is_new = |id: &str| current.msps().get(id).is_none_or(|msp| !msp.has_signing_identity());
    let published = next.msps().iter().find(|msp| msp.has_signing_identity() && is_new(msp.id()));
    match published {
        Some(msp) if at.judging == MessageOrigin::Client => Err(UpdateError::PrivateKey(msp.id().to_owned())),
        _ => Ok(()),
    }
}

/// Returns the CONFIG_UPDATE inside a CONFIG message.
fn last_update(message: &ParsedEnvelope) -> Result<ParsedEnvelope, Rejection> {
    let envelope = ConfigMessage::read(&message.data).map_err(|e| Rejection::ConfigMessage(e.to_string()))?;
    let update = envelope.last_update.ok_or_else(|| Rejection::ConfigMessage("it has no last_update".to_owned()))?;
    ParsedEnvelope::parse(update).map_err(|e| Rejection::ConfigMessage(e.to_string()))
}

/// Builds and signs a message of the orderer.
fn wrap(
    header_type: HeaderType,
    channel: &ChannelId,
    data: Bytes,
    signer: &dyn Signer,
    stamp: HeaderFields,
) -> Result<SignedEnvelope, Rejection> {
    let channel_header = ChannelHeader {
        r#type: header_type as i32,
        timestamp: Some(Timestamp { seconds: stamp.seconds, nanos: stamp.nanos }),
        channel_id: channel.to_string(),
        ..ChannelHeader::default()
    };
    let signature_header =
        SignatureHeader { creator: signer.creator().clone(), nonce: Bytes::copy_from_slice(&stamp.nonce) };
    let payload = Payload {
        header: Some(Header {
            channel_header: channel_header.encode_to_vec().into(),
            signature_header: signature_header.encode_to_vec().into(),
        }),
        data,
    };
    SignedEnvelope::sign(payload.encode_to_vec().into(), signer).map_err(Rejection::Sign)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fabric_proto::msp::{FabricMspConfig, KeyInfo, MspConfig, SigningIdentityInfo};

    use super::*;
    use crate::block::EncodedBlock;
    use crate::types::UnixSeconds;

    fn fixture(path: &str) -> Bytes {
        let folder = format!("{}/../tests/fixtures/net", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(format!("{folder}/{path}")).unwrap().into()
    }

    /// Returns the configuration of the channel `app`, with another definition of Org1MSP.
    fn snapshot(change: impl FnOnce(&mut FabricMspConfig)) -> ChannelSnapshot {
        let block = EncodedBlock::parse(&fixture("AppSolo.block")).unwrap();
        let read = ChannelSnapshot::from_config_block(&block.decode(), &Arc::default()).unwrap();
        let mut config = read.config();
        let application = config.channel_group.as_mut().unwrap().groups.get_mut("Application").unwrap();
        let value = application.groups.get_mut("Org1MSP").unwrap().values.get_mut("MSP").unwrap();
        let mut msp = MspConfig::decode(value.value.clone()).unwrap();
        let mut definition = FabricMspConfig::decode(msp.config).unwrap();
        change(&mut definition);
        msp.config = definition.encode_to_vec().into();
        value.value = msp.encode_to_vec().into();
        ChannelSnapshot::from_config(read.channel().clone(), config, &Arc::default()).unwrap()
    }

    #[test]
    fn a_client_cannot_publish_a_private_key_and_a_topic_can() {
        let member = "crypto/peerOrganizations/org1.example.com/users/User1@org1.example.com/msp";
        let without = snapshot(|_| {});
        let with = snapshot(|definition| {
            definition.signing_identity = Some(SigningIdentityInfo {
                public_signer: fixture(&format!("{member}/signcerts/User1@org1.example.com-cert.pem")),
                private_signer: Some(KeyInfo {
                    key_identifier: "SERVER".to_owned(),
                    key_material: fixture(&format!("{member}/keystore/priv_sk")),
                }),
            });
        });
        let check = |current, next, judging| {
            let at = ValidationContext { now: UnixSeconds(0), expiration_checks: true, judging };
            check_keys_stay_private(current, next, at)
        };
        assert_eq!(check(&without, &with, MessageOrigin::Client), Err(UpdateError::PrivateKey("Org1MSP".to_owned())));
        assert_eq!(check(&without, &with, MessageOrigin::Ordered), Ok(()));
        assert_eq!(check(&with, &with, MessageOrigin::Client), Ok(()), "it is there already");
        assert_eq!(check(&with, &without, MessageOrigin::Client), Ok(()));
    }
}
