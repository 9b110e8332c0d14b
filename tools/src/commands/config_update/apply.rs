//! What a configuration becomes by an update, whether it is allowed or not: for showing.

use fabric_proto::common::ConfigGroup;

/// The group with what is written over it. A group of another version has the members that are listed, one of the same
/// version has those beside its own; a member of the same version stays as it was.
pub(super) fn overlay(old: &ConfigGroup, write: &ConfigGroup) -> ConfigGroup {
    let changed = old.version != write.version;
    let mut new = if changed {
        ConfigGroup { version: write.version, mod_policy: write.mod_policy.clone(), ..ConfigGroup::default() }
    } else {
        old.clone()
    };
    for (key, value) in &write.values {
        let before = old.values.get(key).filter(|before| before.version == value.version);
        new.values.insert(key.clone(), before.unwrap_or(value).clone());
    }
    for (key, policy) in &write.policies {
        let before = old.policies.get(key).filter(|before| before.version == policy.version);
        new.policies.insert(key.clone(), before.unwrap_or(policy).clone());
    }
    for (key, group) in &write.groups {
        let group = old.groups.get(key).map_or_else(|| group.clone(), |before| overlay(before, group));
        new.groups.insert(key.clone(), group);
    }
    new
}
