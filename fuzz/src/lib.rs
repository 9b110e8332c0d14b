//! Shared code of the fuzz targets: the fixtures' channel, with policies that always hold, so that random updates get
//! far.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    ChannelHeader, Config, ConfigGroup, ConfigPolicy, ConfigUpdate, ConfigUpdateEnvelope, Header, HeaderType, Payload,
    Policy, SignaturePolicy, SignaturePolicyEnvelope,
};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::envelope::SignedEnvelope;
use orderer_core::types::ChannelId;

/// The genesis block of the fixtures' channel `app`.
pub const GENESIS: &[u8] = include_bytes!("../../tests/fixtures/net/AppSolo.block");

/// The configuration of the fixtures' channel.
pub static SNAPSHOT: LazyLock<ChannelSnapshot> = LazyLock::new(|| {
    let block = EncodedBlock::parse(GENESIS).expect("is a block");
    ChannelSnapshot::from_config_block(&block.decode(), &Arc::<ConfigCache>::default()).expect("is a configuration")
});

/// The configuration of the fixtures' channel with policies that always hold.
pub static OPEN: LazyLock<ChannelSnapshot> = LazyLock::new(|| {
    let mut config = SNAPSHOT.config();
    open_up(config.channel_group.as_mut().expect("has one"));
    snapshot(config).expect("is a configuration")
});

/// Returns the snapshot of a configuration of the channel `app`, or `None` if it is invalid.
pub fn snapshot(config: Config) -> Option<ChannelSnapshot> {
    ChannelSnapshot::from_config(app(), config, &Arc::<ConfigCache>::default()).ok()
}

/// Returns the name of the fixtures' channel.
pub fn app() -> ChannelId {
    ChannelId::parse("app").expect("is a name")
}

fn open_up(group: &mut ConfigGroup) {
    let rule = SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n: 0, rules: Vec::new() })) };
    let anybody = SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities: Vec::new() };
    let anybody = Policy { r#type: PolicyType::Signature as i32, value: anybody.encode_to_vec().into() };
    let open = |policy: &mut ConfigPolicy| policy.policy = Some(anybody.clone());
    group.policies.values_mut().for_each(open);
    group.groups.values_mut().for_each(open_up);
}

/// Returns an unsigned envelope with an update.
pub fn unsigned(update: &ConfigUpdate) -> SignedEnvelope {
    let channel_header = ChannelHeader {
        r#type: HeaderType::ConfigUpdate as i32,
        channel_id: "app".to_owned(),
        ..ChannelHeader::default()
    };
    let data = ConfigUpdateEnvelope { config_update: update.encode_to_vec().into(), signatures: Vec::new() };
    let payload = Payload {
        header: Some(Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() }),
        data: data.encode_to_vec().into(),
    };
    SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::new())
}

/// Returns the tree without versions.
pub fn meaning(group: &ConfigGroup) -> ConfigGroup {
    let mut group = group.clone();
    group.version = 0;
    group.values.values_mut().for_each(|value| value.version = 0);
    group.policies.values_mut().for_each(|policy| policy.version = 0);
    group.groups = group.groups.iter().map(|(key, below)| (key.clone(), meaning(below))).collect::<BTreeMap<_, _>>();
    group
}
