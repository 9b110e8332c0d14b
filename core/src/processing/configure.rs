//! Turns config updates into config messages, and applies config messages.

use bytes::Bytes;
use fabric_proto::Timestamp;
use fabric_proto::common::{ChannelHeader, Header, HeaderType, Payload, SignatureHeader};
use prost::Message as _;

use super::filters::{self, apply};
use super::refusal::Refusal;
use super::{Circumstances, Judging};
use crate::channel::{ChannelId, ConfigSequence};
use crate::config::tree::ConfigMessage;
use crate::config::{
    ChannelSnapshot, ConsensusState, ProposedConfig, UpdateError, check_consenters_step, check_created, inspect_change,
    new_channel,
};
use crate::crypto::Signer;
use crate::envelope::{Message, SignedEnvelope};

/// Values that a message signed by the orderer needs and that this crate cannot create: a nonce and the time.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Nonce, fresh and random.
    pub nonce: [u8; 24],
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: i32,
}

/// A config message, ready to be ordered.
#[derive(Debug)]
pub struct Proposed {
    /// CONFIG or ORDERER_TRANSACTION, signed by the orderer.
    pub envelope: SignedEnvelope,
    /// Sequence of the configuration under which it was made.
    pub sequence: ConfigSequence,
}

/// Validates a CONFIG_UPDATE for an existing channel and makes the CONFIG message of it.
pub fn propose_update(
    snapshot: &ChannelSnapshot,
    message: &Message,
    signer: &dyn Signer,
    stamp: Stamp,
    at: Circumstances,
) -> Result<Proposed, Refusal> {
    apply(snapshot, message, at)?;
    let channel = snapshot.channel();
    let ProposedConfig { envelope, next } = snapshot
        .propose_within(&message.envelope, at.judging.effort())
        .map_err(|cause| Refusal::Update { channel: channel.clone(), cause: Box::new(cause) })?;
    check_keys_stay_private(snapshot, &next, at)
        .map_err(|cause| Refusal::Update { channel: channel.clone(), cause: Box::new(cause) })?;
    check_consenters_step(snapshot, &next, at.judging.effort())
        .map_err(|cause| Refusal::Consenters { channel: channel.clone(), cause: Box::new(cause) })?;
    let envelope = wrap(HeaderType::Config, channel, envelope, signer, stamp)?;
    let wrapped = Message::parse(envelope.clone()).map_err(|e| Refusal::ConfigMessage(e.to_string()))?;
    // the message that goes into the block must fit and satisfy the Writers policy, too
    filters::apply(snapshot, &wrapped, at).map_err(|refusal| Refusal::FinalChecks(Box::new(refusal)))?;
    inspect_change(snapshot, &next).map_err(|cause| Refusal::MaintenanceChecks(Box::new(cause)))?;
    Ok(Proposed { envelope, sequence: snapshot.sequence() })
}

/// Validates a CONFIG_UPDATE for a channel that does not exist, as a request to create it through the system channel, and makes
/// the ORDERER_TRANSACTION message of it. `channels` is the number of channels beside the system channel.
pub fn propose_creation(
    system: &ChannelSnapshot,
    channels: u64,
    message: &Message,
    signer: &dyn Signer,
    stamp: Stamp,
    at: Circumstances,
) -> Result<Proposed, Refusal> {
    let orderer = system.orderer();
    if orderer.state == ConsensusState::Maintenance && orderer.capabilities.consensus_type_migration() {
        return Err(Refusal::Maintenance);
    }
    let template = new_channel(system, message).map_err(|cause| Refusal::Template(Box::new(cause)))?;
    let channel = message.channel_header.channel_id.clone();
    let ProposedConfig { envelope: config, next } = template
        .propose_within(&message.envelope, at.judging.effort())
        .map_err(|cause| Refusal::Creation { channel: channel.clone(), cause: Box::new(cause) })?;
    check_keys_stay_private(&template, &next, at)
        .map_err(|cause| Refusal::Creation { channel: channel.clone(), cause: Box::new(cause) })?;
    check_created(&next, at.judging.effort())
        .map_err(|cause| Refusal::CreationMetadata { channel, cause: Box::new(cause) })?;
    let limit = system.orderer().max_channels;
    if limit > 0 && channels >= limit {
        return Err(Refusal::TooManyChannels(limit));
    }
    let inner = wrap(HeaderType::Config, template.channel(), config, signer, stamp)?;
    let envelope = wrap(HeaderType::OrdererTransaction, system.channel(), inner.raw().clone(), signer, stamp)?;
    let wrapped = Message::parse(envelope.clone()).map_err(|e| Refusal::ConfigMessage(e.to_string()))?;
    filters::apply(system, &wrapped, at)?;
    Ok(Proposed { envelope, sequence: system.sequence() })
}

/// Revalidates a config message that was made under an older configuration: proposes its update again.
pub fn recheck_config(
    snapshot: &ChannelSnapshot,
    channels: u64,
    message: &Message,
    signer: &dyn Signer,
    stamp: Stamp,
    at: Circumstances,
) -> Result<Proposed, Refusal> {
    if message.channel_header.r#type == HeaderType::OrdererTransaction as i32 {
        let update = last_update(&created(message)?.1)?;
        return propose_creation(snapshot, channels, &update, signer, stamp, at);
    }
    propose_update(snapshot, &last_update(message)?, signer, stamp, at)
}

/// Returns the configuration that the CONFIG `message` puts in force after `snapshot`.
pub fn apply_config(snapshot: &ChannelSnapshot, message: &Message) -> Result<ChannelSnapshot, Refusal> {
    snapshot
        .apply(&message.data)
        .map_err(|cause| Refusal::Update { channel: snapshot.channel().clone(), cause: Box::new(cause) })
}

/// Returns the first configuration of the channel that the ORDERER_TRANSACTION `message` creates through `system`, and the
/// envelope of its genesis block.
pub fn created_channel(
    system: &ChannelSnapshot,
    message: &Message,
) -> Result<(ChannelSnapshot, SignedEnvelope), Refusal> {
    let (_, genesis) = created(message)?;
    // a genesis block that no chain could be started from is rejected before anything is written
    let snapshot = ChannelSnapshot::from_config_message(&genesis, system.catalog())
        .map_err(|cause| Refusal::Config(Box::new(cause)))?;
    Ok((snapshot, genesis.envelope))
}

fn created(message: &Message) -> Result<(ChannelId, Message), Refusal> {
    let unreadable = |e: &dyn std::fmt::Display| Refusal::ConfigMessage(e.to_string());
    let envelope = SignedEnvelope::parse(message.data.clone()).map_err(|e| unreadable(&e))?;
    let genesis = Message::parse(envelope).map_err(|e| unreadable(&e))?;
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
    at: Circumstances,
) -> Result<(), UpdateError> {
    let is_new = |id: &str| current.msps().get(id).is_none_or(|msp| !msp.has_signing_identity());
    let published = next.msps().iter().find(|msp| msp.has_signing_identity() && is_new(msp.id()));
    match published {
        Some(msp) if at.judging == Judging::AtTheDoor => Err(UpdateError::PrivateKey(msp.id().to_owned())),
        _ => Ok(()),
    }
}

/// Returns the CONFIG_UPDATE inside a CONFIG message.
fn last_update(message: &Message) -> Result<Message, Refusal> {
    let envelope = ConfigMessage::read(&message.data).map_err(|e| Refusal::ConfigMessage(e.to_string()))?;
    let update = envelope.last_update.ok_or_else(|| Refusal::ConfigMessage("it has no last_update".to_owned()))?;
    Message::parse(update).map_err(|e| Refusal::ConfigMessage(e.to_string()))
}

/// Builds and signs a message of the orderer.
fn wrap(
    header_type: HeaderType,
    channel: &ChannelId,
    data: Bytes,
    signer: &dyn Signer,
    stamp: Stamp,
) -> Result<SignedEnvelope, Refusal> {
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
    SignedEnvelope::sign(payload.encode_to_vec().into(), signer).map_err(Refusal::Sign)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fabric_proto::msp::{FabricMspConfig, KeyInfo, MspConfig, SigningIdentityInfo};

    use super::*;
    use crate::block::EncodedBlock;
    use crate::channel::UnixSeconds;

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
            let at = Circumstances { now: UnixSeconds(0), expiration_checks: true, judging };
            check_keys_stay_private(current, next, at)
        };
        assert_eq!(check(&without, &with, Judging::AtTheDoor), Err(UpdateError::PrivateKey("Org1MSP".to_owned())));
        assert_eq!(check(&without, &with, Judging::Ordered), Ok(()));
        assert_eq!(check(&with, &with, Judging::AtTheDoor), Ok(()), "it is there already");
        assert_eq!(check(&with, &without, Judging::AtTheDoor), Ok(()));
    }
}
