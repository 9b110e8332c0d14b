//! Computes the update that leads from one configuration to another, for a client that has edited a configuration.

use std::collections::BTreeMap;

use fabric_proto::common::{Config, ConfigGroup, ConfigPolicy, ConfigUpdate, ConfigValue};

use crate::types::ChannelId;

/// There is no such update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// One of the two configurations has no tree.
    #[error("the {0} configuration has no channel group")]
    Empty(&'static str),
    /// The configurations are equal; versions do not count.
    #[error("no differences detected between the two configurations")]
    NoDifference,
}

/// Returns the smallest update that turns `old` into `new`. Ignores the versions in `new`: a changed element gets
/// the version after its old one, a new one gets 0.
pub fn compute_update(channel: &ChannelId, old: &Config, new: &Config) -> Result<ConfigUpdate, ComputeError> {
    Ok(ConfigUpdate { channel_id: channel.to_string(), ..compute_difference(old, new)? })
}

/// Returns the update of [`compute_update`] without the name of a channel.
pub fn compute_difference(old: &Config, new: &Config) -> Result<ConfigUpdate, ComputeError> {
    let root = |config: &Config, which| config.channel_group.clone().ok_or(ComputeError::Empty(which));
    let (old, new) = (root(old, "old")?, root(new, "new")?);
    let Some(Step { read, write }) = step(&old, &new) else { return Err(ComputeError::NoDifference) };
    Ok(ConfigUpdate {
        channel_id: String::new(),
        read_set: Some(read),
        write_set: Some(write),
        isolated_data: BTreeMap::new(),
    })
}

/// Change of one group.
struct Step {
    read: ConfigGroup,
    write: ConfigGroup,
}

/// Returns the change from `old` to `new`; `None` if they are equal.
fn step(old: &ConfigGroup, new: &ConfigGroup) -> Option<Step> {
    // a group is a list of its members: it changes itself when one is added or removed, and then lists all of them
    let changed = old.mod_policy != new.mod_policy
        || !old.values.keys().eq(new.values.keys())
        || !old.policies.keys().eq(new.policies.keys())
        || !old.groups.keys().eq(new.groups.keys());
    let mut read = same(old);
    let mut write = ConfigGroup {
        version: if changed { old.version.saturating_add(1) } else { old.version },
        mod_policy: if changed { new.mod_policy.clone() } else { String::new() },
        ..ConfigGroup::default()
    };
    for (key, value) in &new.values {
        match old.values.get(key) {
            Some(before) if before.value == value.value && before.mod_policy == value.mod_policy => {
                if changed {
                    let value = ConfigValue { version: before.version, ..ConfigValue::default() };
                    read.values.insert(key.clone(), value.clone());
                    write.values.insert(key.clone(), value);
                }
            }
            before => {
                let version = before.map_or(0, |before| before.version.saturating_add(1));
                write.values.insert(key.clone(), ConfigValue { version, ..value.clone() });
            }
        }
    }
    for (key, policy) in &new.policies {
        match old.policies.get(key) {
            Some(before) if before.policy == policy.policy && before.mod_policy == policy.mod_policy => {
                if changed {
                    let policy = ConfigPolicy { version: before.version, ..ConfigPolicy::default() };
                    read.policies.insert(key.clone(), policy.clone());
                    write.policies.insert(key.clone(), policy);
                }
            }
            before => {
                let version = before.map_or(0, |before| before.version.saturating_add(1));
                write.policies.insert(key.clone(), ConfigPolicy { version, ..policy.clone() });
            }
        }
    }
    for (key, group) in &new.groups {
        let Some(before) = old.groups.get(key) else {
            write.groups.insert(key.clone(), fresh(group));
            continue;
        };
        match step(before, group) {
            Some(below) => {
                read.groups.insert(key.clone(), below.read);
                write.groups.insert(key.clone(), below.write);
            }
            None if changed => {
                read.groups.insert(key.clone(), same(before));
                write.groups.insert(key.clone(), same(before));
            }
            None => {}
        }
    }
    let below = !(write.values.is_empty() && write.policies.is_empty() && write.groups.is_empty());
    (changed || below).then_some(Step { read, write })
}

/// Returns a group that only states its presence at this version.
fn same(group: &ConfigGroup) -> ConfigGroup {
    ConfigGroup { version: group.version, ..ConfigGroup::default() }
}

/// Returns a new group, with all versions 0.
fn fresh(group: &ConfigGroup) -> ConfigGroup {
    ConfigGroup {
        version: 0,
        mod_policy: group.mod_policy.clone(),
        groups: group.groups.iter().map(|(key, group)| (key.clone(), fresh(group))).collect(),
        values: group.values.iter().map(|(key, v)| (key.clone(), ConfigValue { version: 0, ..v.clone() })).collect(),
        policies: group
            .policies
            .iter()
            .map(|(key, p)| (key.clone(), ConfigPolicy { version: 0, ..p.clone() }))
            .collect(),
    }
}
