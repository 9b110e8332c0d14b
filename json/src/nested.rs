//! Determines the message in a `bytes` field. It follows from the field, from other fields of its message, or from the
//! place in a configuration; the tables are those of Fabric's protocol.

use prost_reflect::{FieldDescriptor, MessageDescriptor};

use crate::wire::{RawValue, last};

/// Place of a message, as far as it determines the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldContext {
    /// No particular place.
    Elsewhere,
    /// Below a oneof, where Fabric's tools display bytes unchanged.
    Plain,
    /// A group of a configuration.
    Channel,
    Consortiums,
    Consortium,
    ConsortiumOrganization,
    Orderer,
    OrdererOrganization,
    Application,
    ApplicationOrganization,
    /// A configuration's value, which holds this message.
    Value(&'static str),
    /// An entry of a block's metadata: signatures and last config, last config, or the consenter's state.
    Signatures,
    LastConfig,
    Consenter,
}

impl FieldContext {
    /// Returns the place of the message in a message field. `key` is the entry's key, if the field is a map.
    pub(crate) fn inside(self, kind: &MessageDescriptor, field: &FieldDescriptor, key: Option<&str>) -> Self {
        if self == Self::Plain || field.containing_oneof().is_some() {
            return Self::Plain;
        }
        match (kind.full_name(), field.name(), key) {
            ("common.Config", "channel_group", _) | ("common.ConfigUpdate", "read_set" | "write_set", _) => {
                Self::Channel
            }
            ("common.ConfigGroup", "groups", Some(key)) => self.group(key),
            ("common.ConfigGroup", "values", Some(key)) => self.value(key).map_or(Self::Elsewhere, Self::Value),
            ("common.Metadata", "signatures", _) => self,
            _ => Self::Elsewhere,
        }
    }

    fn group(self, key: &str) -> Self {
        match (self, key) {
            (Self::Channel, "Consortiums") => Self::Consortiums,
            (Self::Channel, "Orderer") => Self::Orderer,
            (Self::Channel, "Application") => Self::Application,
            (Self::Consortiums, _) => Self::Consortium,
            (Self::Consortium, _) => Self::ConsortiumOrganization,
            (Self::Orderer, _) => Self::OrdererOrganization,
            (Self::Application, _) => Self::ApplicationOrganization,
            _ => Self::Elsewhere,
        }
    }

    /// Returns the message type of the value with this name in this group.
    fn value(self, key: &str) -> Option<&'static str> {
        Some(match (self, key) {
            (Self::Channel, "HashingAlgorithm") => "common.HashingAlgorithm",
            (Self::Channel, "BlockDataHashingStructure") => "common.BlockDataHashingStructure",
            (Self::Channel, "Consortium") => "common.Consortium",
            (Self::Channel, "OrdererAddresses") | (Self::OrdererOrganization, "Endpoints") => "common.OrdererAddresses",
            (Self::Channel | Self::Orderer | Self::Application, "Capabilities") => "common.Capabilities",
            (Self::Consortium, "ChannelCreationPolicy") => "common.Policy",
            (Self::Orderer, "ConsensusType") => "orderer.ConsensusType",
            (Self::Orderer, "BatchSize") => "orderer.BatchSize",
            (Self::Orderer, "BatchTimeout") => "orderer.BatchTimeout",
            (Self::Orderer, "KafkaBrokers") => "orderer.KafkaBrokers",
            (Self::Orderer, "ChannelRestrictions") => "orderer.ChannelRestrictions",
            (Self::Orderer, "Orderers") => "common.Orderers",
            (Self::Application, "ACLs") => "protos.ACLs",
            (Self::ApplicationOrganization, "AnchorPeers") => "protos.AnchorPeers",
            (Self::ConsortiumOrganization | Self::OrdererOrganization | Self::ApplicationOrganization, "MSP") => {
                "msp.MSPConfig"
            }
            _ => return None,
        })
    }

    /// Returns the type of the message in a `bytes` field, or in each of its elements. `message` is the serialized
    /// message that has the field; the field itself may be missing from it.
    pub(crate) fn held(
        self,
        kind: &MessageDescriptor,
        field: &FieldDescriptor,
        message: &[u8],
    ) -> Option<&'static str> {
        if self == Self::Plain {
            return None;
        }
        Some(match (kind.full_name(), field.name()) {
            ("common.Envelope", "payload") => "common.Payload",
            ("common.Payload", "data") => return payload_data(message),
            ("common.Header", "channel_header") => "common.ChannelHeader",
            ("common.Header" | "common.ConfigSignature", "signature_header")
            | ("protos.TransactionAction", "header") => "common.SignatureHeader",
            ("common.ChannelHeader", "extension") if number(message, 1) == 3 => "protos.ChaincodeHeaderExtension",
            ("common.SignatureHeader", "creator") => "msp.SerializedIdentity",
            ("common.BlockData", "data") => "common.Envelope",
            ("common.ConfigUpdateEnvelope", "config_update") => "common.ConfigUpdate",
            ("common.ConfigValue", "value") => match self {
                Self::Value(kind) => kind,
                _ => return None,
            },
            ("common.Policy", "value") => match number(message, 1) {
                1 => "common.SignaturePolicyEnvelope",
                3 => "common.ImplicitMetaPolicy",
                _ => return None,
            },
            ("common.MSPPrincipal", "principal") => match number(message, 1) {
                0 => "common.MSPRole",
                1 => "common.OrganizationUnit",
                2 => "msp.SerializedIdentity",
                _ => return None,
            },
            ("msp.MSPConfig", "config") => match number(message, 1) {
                0 => "msp.FabricMSPConfig",
                1 => "msp.IdemixMSPConfig",
                _ => return None,
            },
            ("orderer.ConsensusType", "metadata") => match last(message, 1) {
                Some(RawValue::Bytes(b"etcdraft")) => "etcdraft.ConfigMetadata",
                Some(RawValue::Bytes(b"BFT")) => "orderer.smartbft.Options",
                _ => "google.protobuf.Empty",
            },
            ("protos.TransactionAction", "payload") => "protos.ChaincodeActionPayload",
            ("protos.ChaincodeActionPayload", "chaincode_proposal_payload") => "protos.ChaincodeProposalPayload",
            ("protos.ChaincodeEndorsedAction", "proposal_response_payload") => "protos.ProposalResponsePayload",
            ("protos.ChaincodeProposalPayload", "input") => "protos.ChaincodeInvocationSpec",
            ("protos.ProposalResponsePayload", "extension") => "protos.ChaincodeAction",
            ("protos.ChaincodeAction", "results") => "rwset.TxReadWriteSet",
            ("protos.ChaincodeAction", "events") => "protos.ChaincodeEvent",
            ("rwset.NsReadWriteSet", "rwset") => "kvrwset.KVRWSet",
            (of, name) => return self.held_by_metadata(of, name, message),
        })
    }

    fn held_by_metadata(self, kind: &str, field: &str, message: &[u8]) -> Option<&'static str> {
        Some(match (self, kind, field) {
            (Self::Signatures, "common.Metadata", "value") => "common.OrdererBlockMetadata",
            (Self::Signatures, "common.OrdererBlockMetadata", "consenter_metadata") => "common.Metadata",
            (Self::Signatures, "common.MetadataSignature", "signature_header") => "common.SignatureHeader",
            (Self::Signatures, "common.MetadataSignature", "identifier_header") => "common.IdentifierHeader",
            (Self::LastConfig, "common.Metadata", "value") => "common.LastConfig",
            (Self::Consenter, "common.Metadata", "value") => match last(message, 1) {
                // Kafka's state starts with a number, that of etcdraft with a packed list
                Some(RawValue::Bytes(state)) if matches!(last(state, 1), Some(RawValue::Bytes(_))) => {
                    "etcdraft.BlockMetadata"
                }
                _ => "orderer.KafkaMetadata",
            },
            _ => return None,
        })
    }

    /// Returns the place of the message in a `bytes` field.
    pub(crate) fn of_held(self, held: &str) -> Self {
        match (self, held) {
            (Self::Signatures, "common.OrdererBlockMetadata") => Self::Signatures,
            (Self::Signatures, "common.Metadata") => Self::Consenter,
            _ => Self::Elsewhere,
        }
    }
}

/// Returns the message type of a payload's data, by the type in its channel header.
fn payload_data(payload: &[u8]) -> Option<&'static str> {
    let Some(RawValue::Bytes(header)) = last(payload, 1) else { return None };
    let channel_header = match last(header, 1) {
        Some(RawValue::Bytes(channel_header)) => channel_header,
        _ => &[],
    };
    Some(match number(channel_header, 1) {
        // sent for instance by Fabric's sample clients
        0 => "common.ConfigValue",
        1 => "common.ConfigEnvelope",
        2 => "common.ConfigUpdateEnvelope",
        3 => "protos.Transaction",
        4 => "common.Envelope",
        5 => "orderer.SeekInfo",
        _ => return None,
    })
}

/// Returns the number in this field, 0 if the field is absent.
fn number(message: &[u8], field: u32) -> u64 {
    match last(message, field) {
        Some(RawValue::Varint(value)) => value,
        _ => 0,
    }
}
