//! Converts between trees and messages. A message has no unknown fields.

use fabric_proto::common::{ConfigGroup, ConfigPolicy, ConfigValue, Policy};

use super::{Group, GroupId, PolicyBody, PolicyElement, Tree, Value};

impl Tree {
    pub(crate) fn of_message(root: ConfigGroup) -> Self {
        let mut tree = Self::new(Group::default());
        let mut work = vec![(GroupId::ROOT, root)];
        while let Some((id, message)) = work.pop() {
            let group = tree.get_mut(id);
            group.version = message.version;
            group.mod_policy = message.mod_policy;
            group.values = message.values.into_iter().map(|(name, value)| (name, Value::of_message(value))).collect();
            group.policies =
                message.policies.into_iter().map(|(name, policy)| (name, PolicyElement::of_message(policy))).collect();
            for (name, below) in message.groups {
                let id = tree.insert(id, name, Group::default());
                work.push((id, below));
            }
        }
        tree
    }

    /// Returns the tree as a message, without unknown fields.
    pub(crate) fn to_message(&self) -> ConfigGroup {
        // children are converted before their parents
        let mut done: Vec<Option<ConfigGroup>> = vec![None; self.groups.len()];
        for (index, group) in self.groups.iter().enumerate().rev() {
            let below = |(name, id): (&String, &GroupId)| {
                let below = done.get_mut(id.0 as usize).and_then(Option::take);
                (name.clone(), below.unwrap_or_default())
            };
            let groups = group.below.iter().map(below).collect();
            let values = group.values.iter().map(|(name, value)| (name.clone(), value.to_message())).collect();
            let policies = group.policies.iter().map(|(name, policy)| (name.clone(), policy.to_message())).collect();
            let (version, mod_policy) = (group.version, group.mod_policy.clone());
            done[index] = Some(ConfigGroup { version, groups, values, policies, mod_policy });
        }
        done.into_iter().next().flatten().unwrap_or_default()
    }
}

impl Value {
    fn of_message(value: ConfigValue) -> Self {
        let ConfigValue { version, value, mod_policy } = value;
        Self { version, value, mod_policy, ..Self::default() }
    }

    fn to_message(&self) -> ConfigValue {
        ConfigValue { version: self.version, value: self.value.clone(), mod_policy: self.mod_policy.clone() }
    }
}

impl PolicyElement {
    fn of_message(element: ConfigPolicy) -> Self {
        let ConfigPolicy { version, policy, mod_policy } = element;
        Self { version, policy: policy.map(PolicyBody::of_message), mod_policy, ..Self::default() }
    }

    fn to_message(&self) -> ConfigPolicy {
        let policy = self.policy.as_ref().map(|body| Policy { r#type: body.kind, value: body.value.clone() });
        ConfigPolicy { version: self.version, policy, mod_policy: self.mod_policy.clone() }
    }
}

impl PolicyBody {
    pub(in crate::config) fn of_message(policy: Policy) -> Self {
        Self { kind: policy.r#type, value: policy.value, ..Self::default() }
    }
}
