//! A channel's configuration, updates of it, and the blocks that hold them.

use std::collections::BTreeMap;

use bytes::Bytes;
use fabric_proto::Message;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, BlockchainInfo as _, Capabilities, ChannelHeader, Config,
    ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue, Envelope, Header,
    HeaderType, Payload, Policy, SignaturePolicy, SignaturePolicyEnvelope,
};
