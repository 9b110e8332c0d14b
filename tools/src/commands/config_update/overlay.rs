//! Applies an update to a configuration, whether it is allowed or not, in order to show the result.

use fabric_proto::common::ConfigGroup;

/// Returns the group with the written one applied. A group of another version has exactly the listed members, one of
/// the same version also its own; a member of the same version stays as it was.
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
