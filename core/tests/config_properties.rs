//! Property tests of config updates on random trees: a computed update is accepted and leads to the intended
//! configuration, and exactly the updates are accepted that a simple model of the rules accepts.

#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::policy::PolicyType;
use fabric_proto::common::signature_policy::{NOutOf, Type};
use fabric_proto::common::{
    ChannelHeader, Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue,
    Header, HeaderType, Payload, Policy, SignaturePolicy, SignaturePolicyEnvelope,
};
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, ComputeError, ConfigCache, ProposedConfig, compute_update};
use orderer_core::envelope::SignedEnvelope;
use orderer_core::types::ChannelId;
use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

/// Policy that always holds, signed or not.
const ANYBODY: &str = "/Channel/Anybody";
/// Policy that never holds.
const NOBODY: &str = "/Channel/Nobody";

fn out_of(n: i32) -> Policy {
    let rule = SignaturePolicy { r#type: Some(Type::NOutOf(NOutOf { n, rules: Vec::new() })) };
    let envelope = SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities: Vec::new() };
    Policy { r#type: PolicyType::Signature as i32, value: envelope.encode_to_vec().into() }
}

/// Returns a real configuration in which the group of Org1 has these members in addition to its own.
fn config_with(members: &ConfigGroup) -> Config {
    static BASE: OnceLock<Config> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/net/AppSolo.block");
        let block = EncodedBlock::parse(&fs::read(file).unwrap()).unwrap();
        ChannelSnapshot::from_config_block(&block.decode(), &Arc::default()).unwrap().config()
    });
    let mut config = base.clone();
    let root = config.channel_group.as_mut().unwrap();
    for (name, n) in [("Anybody", 0), ("Nobody", 1)] {
        root.policies.insert(name.into(), policy(out_of(n), "Admins", 0));
    }
    let org = org1_mut(&mut config);
    org.mod_policy.clone_from(&members.mod_policy);
    org.groups.extend(members.groups.clone());
    org.values.extend(members.values.clone());
    org.policies.extend(members.policies.clone());
    config
}

fn org1_mut(config: &mut Config) -> &mut ConfigGroup {
    let application = config.channel_group.as_mut().unwrap().groups.get_mut("Application").unwrap();
    application.groups.get_mut("Org1MSP").unwrap()
}

fn policy(policy: Policy, mod_policy: &str, version: u64) -> ConfigPolicy {
    ConfigPolicy { version, policy: Some(policy), mod_policy: mod_policy.into() }
}

fn snapshot(config: Config) -> ChannelSnapshot {
    ChannelSnapshot::from_config(
        ChannelId::parse("app").unwrap(),
        config,
        &Arc::new(ConfigCache::without_schema_check()),
    )
    .unwrap()
}

fn envelope(update: &ConfigUpdate) -> SignedEnvelope {
    enveloped(&ConfigUpdateEnvelope { config_update: update.encode_to_vec().into(), signatures: Vec::new() })
}

fn enveloped(data: &ConfigUpdateEnvelope) -> SignedEnvelope {
    let channel_header =
        ChannelHeader { r#type: HeaderType::ConfigUpdate as i32, channel_id: "app".into(), ..ChannelHeader::default() };
    let payload = Payload {
        header: Some(Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() }),
        data: data.encode_to_vec().into(),
    };
    SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::new())
}

/// Generates members; there are few names, so that two trees have some in common.
fn members(mod_policies: &'static [&'static str], versions: u64) -> impl Strategy<Value = ConfigGroup> {
    let name = || select(vec!["A", "B", "C", "D"]).prop_map(str::to_owned);
    let mod_policy = move || select(mod_policies).prop_map(str::to_owned);
    let value = (0..versions, 0..3u8, mod_policy()).prop_map(|(version, byte, mod_policy)| ConfigValue {
        version,
        value: vec![byte].into(),
        mod_policy,
    });
    let policy =
        (0..versions, 0..3, mod_policy()).prop_map(|(version, n, mod_policy)| policy(out_of(n), &mod_policy, version));
    let leaf = (0..versions, mod_policy(), btree_map(name(), value, 0..4), btree_map(name(), policy, 0..4)).prop_map(
        |(version, mod_policy, values, policies)| ConfigGroup {
            version,
            mod_policy,
            values,
            policies,
            groups: BTreeMap::new(),
        },
    );
    leaf.clone().prop_recursive(3, 24, 3, move |below| {
        (leaf.clone(), btree_map(name(), below, 0..3)).prop_map(|(group, groups)| ConfigGroup { groups, ..group })
    })
}

/// Returns the tree without versions.
fn meaning(group: &ConfigGroup) -> ConfigGroup {
    let mut group = group.clone();
    group.version = 0;
    group.values.values_mut().for_each(|value| value.version = 0);
    group.policies.values_mut().for_each(|policy| policy.version = 0);
    group.groups = group.groups.iter().map(|(key, below)| (key.clone(), meaning(below))).collect();
    group
}

/// Elements of a tree in the simple model: version, mod policy and own contents.
type Naive = BTreeMap<String, (u64, String, Vec<u8>)>;

fn list(path: &str, group: &ConfigGroup, all: &mut Naive) {
    let keys: Vec<_> =
        [group.groups.keys().collect::<Vec<_>>(), group.values.keys().collect(), group.policies.keys().collect()]
            .into_iter()
            .map(|keys| format!("{keys:?}"))
            .collect();
    all.insert(format!("G {path}"), (group.version, group.mod_policy.clone(), keys.concat().into_bytes()));
    for (key, value) in &group.values {
        all.insert(format!("V {path}/{key}"), (value.version, value.mod_policy.clone(), value.value.to_vec()));
    }
    for (key, policy) in &group.policies {
        let said = policy.policy.as_ref().map(fabric_proto::Message::encode_to_vec).unwrap_or_default();
        all.insert(format!("P {path}/{key}"), (policy.version, policy.mod_policy.clone(), said));
    }
    for (key, below) in &group.groups {
        list(&format!("{path}/{key}"), below, all);
    }
}

fn listed(group: &ConfigGroup) -> Naive {
    let mut all = Naive::new();
    list("/Channel", group, &mut all);
    all
}

/// Returns whether the rules permit the update, which has no signatures.
fn naive_verdict(current: &ConfigGroup, update: &ConfigUpdate) -> bool {
    let (current, read, write) =
        (listed(current), listed(update.read_set.as_ref().unwrap()), listed(update.write_set.as_ref().unwrap()));
    if !read.iter().all(|(name, (version, ..))| current.get(name).is_some_and(|(existing, ..)| existing == version)) {
        return false;
    }
    let delta: Vec<_> =
        write.iter().filter(|(name, (version, ..))| read.get(*name).is_none_or(|(read, ..)| read != version)).collect();
    let allowed = |name: &String, version: u64, mod_policy: &str| match current.get(name) {
        _ if mod_policy.is_empty() => false,
        None => version == 0,
        // the policy in force counts
        Some((existing, policy, _)) => version == existing + 1 && policy == ANYBODY,
    };
    if delta.is_empty() || !delta.iter().all(|(name, (version, mod_policy, _))| allowed(name, *version, mod_policy)) {
        return false;
    }
    // a member of a changed group must be in the update or have existed before, all the way up from the root
    let exists = |name: &str| current.contains_key(name) || delta.iter().any(|(changed, _)| *changed == name);
    delta.iter().all(|(name, _)| {
        let path = name[2..].split('/').collect::<Vec<_>>();
        let inner = path.len() - usize::from(!name.starts_with('G'));
        (2..=inner).all(|depth| exists(&format!("G {}", path[..depth].join("/"))))
    }) && write.keys().all(|name| exists(name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_computed_update_is_taken_and_makes_the_one_of_the_other(
        old in members(&[ANYBODY], 5),
        new in members(&[ANYBODY], 1),
    ) {
        let old = config_with(&old);
        let new = config_with(&new);
        let (before, wanted) = (old.channel_group.clone().unwrap(), new.channel_group.clone().unwrap());
        let channel = ChannelId::parse("app").unwrap();
        let snapshot = snapshot(old.clone());
        let update = match compute_update(&channel, &old, &new) {
            Ok(update) => update,
            Err(ComputeError::NoDifference) => {
                prop_assert_eq!(meaning(&before), meaning(&wanted));
                return Ok(());
            }
            Err(other) => panic!("{other}"),
        };
        let ProposedConfig { envelope: config, next } = snapshot.propose(&envelope(&update)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(meaning(&next.channel_group()), meaning(&wanted));
        prop_assert_eq!(next.sequence().0, old.sequence + 1);
        prop_assert_eq!(snapshot.config(), old, "the old configuration stays as it is");
        // versions: one more for a changed element, zero for a new one, otherwise unchanged
        let (before, after) = (listed(&before), listed(&next.channel_group()));
        for (name, (version, mod_policy, said)) in &after {
            match before.get(name) {
                None => prop_assert_eq!(*version, 0, "{}", name),
                Some((old, policy, words)) if policy == mod_policy && words == said => prop_assert_eq!(version, old, "{}", name),
                Some((old, ..)) => prop_assert_eq!(*version, old + 1, "{}", name),
            }
        }
        // when ordered, the update leads to the same configuration
        let applied = snapshot.apply(&config).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(applied.config(), next.config());
        prop_assert_eq!(compute_update(&channel, &next.config(), &new), Err(ComputeError::NoDifference));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let snapshot = snapshot(config_with(&ConfigGroup { mod_policy: ANYBODY.into(), ..ConfigGroup::default() }));
        prop_assert!(snapshot.propose(&SignedEnvelope::from_parts(bytes.into(), Bytes::new())).is_err());
    }
}

/// Visits every element's version and mod policy, in a fixed order.
fn visit(group: &mut ConfigGroup, look: &mut dyn FnMut(&mut u64, &mut String)) {
    look(&mut group.version, &mut group.mod_policy);
    group.values.values_mut().for_each(|value| look(&mut value.version, &mut value.mod_policy));
    group.policies.values_mut().for_each(|policy| look(&mut policy.version, &mut policy.mod_policy));
    group.groups.values_mut().for_each(|below| visit(below, look));
}

/// Spoils one element of an update, or none.
fn spoil(update: &mut ConfigUpdate, how: usize, which: usize) {
    let set = if how.is_multiple_of(2) { &mut update.write_set } else { &mut update.read_set };
    let Some(group) = set else { return };
    let mut count = 0;
    visit(group, &mut |_, _| count += 1);
    let mut at = 0;
    visit(group, &mut |version, mod_policy| {
        if at == which % count {
            match how {
                0 | 1 => *version += 1,
                2 | 3 => *version = version.saturating_sub(1),
                4 => mod_policy.clear(),
                _ => {}
            }
        }
        at += 1;
    });
}

#[test]
fn what_is_taken_is_what_the_rules_allow() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(600));
    let policies = &[ANYBODY, ANYBODY, ANYBODY, ANYBODY, ANYBODY, NOBODY];
    let cases = (members(policies, 3), members(&[ANYBODY], 1), 0..8usize, any::<usize>());
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&cases, |(old, new, how, which)| {
        let config = config_with(&old);
        let channel = ChannelId::parse("app").unwrap();
        let Ok(mut update) = compute_update(&channel, &config, &config_with(&new)) else { return Ok(()) };
        spoil(&mut update, how, which);
        let snapshot = snapshot(config.clone());
        let allowed = naive_verdict(config.channel_group.as_ref().unwrap(), &update);
        match snapshot.propose(&envelope(&update)) {
            Ok(_) => {
                taken.set(taken.get() + 1);
                prop_assert!(allowed, "taken, against the rules");
            }
            Err(error) => {
                refused.set(refused.get() + 1);
                // later checks may still reject: an organization without its MSP, for instance
                let by_the_result = error.to_string().contains("initializing channelconfig");
                prop_assert!(!allowed || by_the_result, "{}", error);
            }
        }
        prop_assert_eq!(snapshot.config(), config, "nothing is applied by a proposal");
        Ok(())
    });
    outcome.unwrap();
    assert!(taken.get() > 50 && refused.get() > 50, "{} taken, {} refused", taken.get(), refused.get());
}

#[test]
fn trees_are_taken_as_deep_and_as_wide_as_fabric_takes_them() {
    let config = config_with(&ConfigGroup { mod_policy: ANYBODY.into(), ..ConfigGroup::default() });
    let snapshot = snapshot(config);
    let refusal = |update: Bytes| {
        let data = ConfigUpdateEnvelope { config_update: update, signatures: Vec::new() };
        snapshot.propose(&enveloped(&data)).unwrap_err().to_string()
    };
    let write_set = |write_set: ConfigGroup| {
        let update = ConfigUpdate {
            channel_id: "app".into(),
            read_set: Some(ConfigGroup::default()),
            write_set: Some(write_set),
            isolated_data: BTreeMap::new(),
        };
        refusal(update.encode_to_vec().into())
    };
    // groups nested in groups: for each level the entry of a map, with the name and the group
    let nested = |levels: usize| {
        let field = |number: u8, content: &[u8]| {
            let mut out = vec![number << 3 | 2];
            prost::encoding::encode_varint(content.len() as u64, &mut out);
            out.extend_from_slice(content);
            out
        };
        let outer = |inner: Vec<u8>, _| field(2, &[field(1, b"G"), field(2, &inner)].concat());
        let root = (0..levels).fold(Vec::new(), outer);
        refusal([field(1, b"app"), field(2, b""), field(3, &root)].concat().into())
    };
    // Fabric 2.5 has no limit
    for levels in [20, 20_000] {
        assert!(nested(levels).contains("invalid mod_policy for element [Group]  /Channel/G: mod_policy not set"));
    }
    let values = (0..200_000).map(|number| (format!("v{number}"), ConfigValue::default())).collect();
    let wide = write_set(ConfigGroup { values, ..ConfigGroup::default() });
    assert!(wide.contains("/Channel/v0: mod_policy not set"), "{wide}");
    let values = [("no/key".to_owned(), ConfigValue::default())].into();
    let key = write_set(ConfigGroup { values, ..ConfigGroup::default() });
    assert!(key.contains("illegal characters in key: 'no/key' in /Channel"), "{key}");
}

#[test]
fn fields_that_are_not_known_are_kept_and_compared() {
    let config = config_with(&ConfigGroup { mod_policy: ANYBODY.into(), ..ConfigGroup::default() });
    let mut bytes = config.encode_to_vec();
    // the group once more, merged with the first: its field 9 is unknown, and so is its version in wire type 2
    bytes.extend([0x12, 8, 0x4a, 1, b'x', 0x0a, 3, b'o', b'n', b'e']);
    let update = ConfigUpdate {
        channel_id: "app".into(),
        read_set: Some(ConfigGroup::default()),
        write_set: Some(ConfigGroup {
            values: [("Added".to_owned(), ConfigValue { mod_policy: ANYBODY.into(), ..ConfigValue::default() })].into(),
            ..ConfigGroup::default()
        }),
        isolated_data: BTreeMap::new(),
    };
    let current = genesis(&bytes);
    let ProposedConfig { envelope: proposed, next } = current.propose(&envelope(&update)).unwrap();
    let kept = [0x4a, 1, b'x', 0x0a, 3, b'o', b'n', b'e'];
    assert!(next.config_bytes().windows(kept.len()).any(|part| part == kept), "kept in the next configuration");
    assert!(current.apply(&proposed).is_ok());
    // the configuration without these fields is not the result of the update
    let without = ConfigEnvelope {
        config: Some(next.config()),
        last_update: Some(fabric_proto::common::Envelope {
            payload: envelope(&update).payload().clone(),
            signature: Bytes::new(),
        }),
    };
    let refused = current.apply(&without.encode_to_vec().into()).unwrap_err();
    assert!(refused.to_string().contains("did not produce the supplied config result"), "{refused}");
}

/// Returns the configuration in these bytes as a channel's first one.
fn genesis(config: &[u8]) -> ChannelSnapshot {
    let mut envelope = vec![0x0a];
    prost::encoding::encode_varint(config.len() as u64, &mut envelope);
    envelope.extend_from_slice(config);
    let channel_header =
        ChannelHeader { r#type: HeaderType::Config as i32, channel_id: "app".into(), ..ChannelHeader::default() };
    let payload = Payload {
        header: Some(Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() }),
        data: envelope.into(),
    };
    let message = SignedEnvelope::from_parts(payload.encode_to_vec().into(), Bytes::new());
    let message = orderer_core::envelope::ParsedEnvelope::parse(message).unwrap();
    ChannelSnapshot::from_config_message(&message, &Arc::new(ConfigCache::without_schema_check())).unwrap()
}
