//! Explains an update: what changes, from what to what, and the signatures that this requires.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fabric_json::{DecodeOptions, Json, to_json};
use fabric_proto::common::{Config, ConfigGroup, ConfigUpdate};
use prost::Message as _;

use super::explain_policy::{required_signers, signature_rule};
use super::json_diff::{differences, shown};
use super::overlay::overlay;
use crate::commands::terminal::printable;

/// Explains what `update` changes in `config`.
pub(super) fn explain(config: &Config, update: &ConfigUpdate) -> anyhow::Result<String> {
    let nothing = ConfigGroup::default();
    let old = config.channel_group.as_ref().unwrap_or(&nothing);
    let new = overlay(old, update.write_set.as_ref().unwrap_or(&nothing));
    let (old_json, new_json) = (readable(old)?, readable(&new)?);
    let mut words = Explanation::default();
    words.group("/Channel", ConfigPair { old, new: &new, old_json: &old_json, new_json: &new_json });

    let mut text =
        format!("config update of channel {}, at configuration {}\n", printable(&update.channel_id), config.sequence);
    if let Some(read) = &update.read_set {
        stale("/Channel", old, read, &mut text);
    }
    text.push_str(if words.text.is_empty() { "  changes nothing\n" } else { &words.text });
    if !words.needed.is_empty() {
        text.push_str("to be signed by\n");
    }
    for (policy, elements) in &words.needed {
        let lines = required_signers(&old_json, policy);
        let _ = writeln!(text, "  {policy}: {}", printable(lines.first().map_or("", String::as_str)));
        for line in lines.iter().skip(1) {
            let _ = writeln!(text, "  {}", printable(line));
        }
        for element in elements {
            let _ = writeln!(text, "      for {element}");
        }
    }
    Ok(text)
}

/// Appends a line for each element whose version differs from the read set: such an update is rejected.
fn stale(path: &str, old: &ConfigGroup, read: &ConfigGroup, text: &mut String) {
    let mut line = |element: String, now: Option<u64>, read: u64| {
        let element = printable(&element);
        if now != Some(read) {
            let now = now.map_or("not there".to_owned(), |version| format!("at version {version}"));
            let _ = writeln!(text, "  out of date: {element} is {now}, the update was made for version {read}");
        }
    };
    line(format!("group {path}"), Some(old.version), read.version);
    for (key, value) in &read.values {
        line(format!("value {path}/{key}"), old.values.get(key).map(|now| now.version), value.version);
    }
    for (key, policy) in &read.policies {
        line(format!("policy {path}/{key}"), old.policies.get(key).map(|now| now.version), policy.version);
    }
    for (key, group) in &read.groups {
        match old.groups.get(key) {
            Some(now) => stale(&format!("{path}/{key}"), now, group, text),
            None => {
                let _ = writeln!(text, "  out of date: group {} is not there", printable(&format!("{path}/{key}")));
            }
        }
    }
}

/// Converts a Channel group to JSON.
fn readable(group: &ConfigGroup) -> anyhow::Result<Json> {
    let config = Config { sequence: 0, channel_group: Some(group.clone()) };
    let json =
        to_json("common.Config", &config.encode_to_vec(), &DecodeOptions { exact: false, values_max: usize::MAX })?;
    Ok(member(&json, "channel_group").clone())
}

/// The same group before and after.
#[derive(Clone, Copy)]
struct ConfigPair<'a> {
    old: &'a ConfigGroup,
    new: &'a ConfigGroup,
    old_json: &'a Json,
    new_json: &'a Json,
}

#[derive(Default)]
struct Explanation {
    text: String,
    /// Changes by the path of the policy whose signatures they require.
    needed: BTreeMap<String, Vec<String>>,
}

impl Explanation {
    fn group(&mut self, path: &str, both: ConfigPair<'_>) {
        let ConfigPair { old, new, old_json, new_json } = both;
        self.members(path, both);
        for (key, after) in &new.values {
            let Some(before) = old.values.get(key) else { continue };
            if before == after {
                continue;
            }
            self.changed("value", &format!("{path}/{key}"), (before.version, after.version), &before.mod_policy, path);
            let of = |group| member(element(group, "values", key), "value");
            self.details(differences(of(old_json), of(new_json)));
            self.mod_policy(&before.mod_policy, &after.mod_policy);
        }
        for (key, after) in &new.policies {
            let Some(before) = old.policies.get(key) else { continue };
            if before == after {
                continue;
            }
            self.changed("policy", &format!("{path}/{key}"), (before.version, after.version), &before.mod_policy, path);
            let of = |group| member(element(group, "policies", key), "policy");
            if of(old_json) != of(new_json) {
                self.details([format!("{} → {}", policy(of(old_json)), policy(of(new_json)))]);
            }
            self.mod_policy(&before.mod_policy, &after.mod_policy);
        }
        for (key, after) in &new.groups {
            let Some(before) = old.groups.get(key) else { continue };
            let below = ConfigPair {
                old: before,
                new: after,
                old_json: element(old_json, "groups", key),
                new_json: element(new_json, "groups", key),
            };
            self.group(&format!("{path}/{key}"), below);
        }
    }

    /// Explains added and removed members, which change the group itself.
    fn members(&mut self, path: &str, ConfigPair { old, new, new_json, .. }: ConfigPair<'_>) {
        if old.version == new.version && old.mod_policy == new.mod_policy {
            return;
        }
        self.changed("group", path, (old.version, new.version), &old.mod_policy, path);
        let gone = |kind: &str, key: &String| format!("without {kind} {key}");
        self.details(old.groups.keys().filter(|&key| !new.groups.contains_key(key)).map(|key| gone("group", key)));
        self.details(old.values.keys().filter(|&key| !new.values.contains_key(key)).map(|key| gone("value", key)));
        self.details(old.policies.keys().filter(|&key| !new.policies.contains_key(key)).map(|key| gone("policy", key)));
        for (key, group) in new.groups.iter().filter(|(key, _)| !old.groups.contains_key(*key)) {
            self.details([format!("with group {key}: {}", contents(group, element(new_json, "groups", key)))]);
        }
        for key in new.values.keys().filter(|key| !old.values.contains_key(*key)) {
            let value = shown(member(element(new_json, "values", key), "value"));
            self.details([format!("with value {key}: {value}")]);
        }
        for key in new.policies.keys().filter(|key| !old.policies.contains_key(*key)) {
            let policy = policy(member(element(new_json, "policies", key), "policy"));
            self.details([format!("with policy {key}: {policy}")]);
        }
        self.mod_policy(&old.mod_policy, &new.mod_policy);
    }

    fn changed(&mut self, kind: &str, path: &str, versions: (u64, u64), mod_policy: &str, policies_of: &str) {
        let (path, mod_policy, policies_of) = (&printable(path), &printable(mod_policy), &printable(policies_of));
        let (before, after) = versions;
        let refused = if before.checked_add(1) == Some(after) { "" } else { ": will be refused, it must be one more" };
        let _ = writeln!(self.text, "{kind} {path}, version {before} → {after}{refused}");
        let policy =
            if mod_policy.starts_with('/') { mod_policy.to_string() } else { format!("{policies_of}/{mod_policy}") };
        self.needed.entry(policy).or_default().push(format!("{kind} {path}"));
    }

    fn details(&mut self, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            let _ = writeln!(self.text, "    {}", printable(&line));
        }
    }

    fn mod_policy(&mut self, before: &str, after: &str) {
        if before != after {
            self.details([format!("mod_policy: {before} → {after}")]);
        }
    }
}

/// Describes the contents of a new group in a line.
fn contents(group: &ConfigGroup, json: &Json) -> String {
    let mut parts = Vec::new();
    for (kind, keys) in [
        ("values", group.values.keys().cloned().collect::<Vec<_>>()),
        ("policies", group.policies.keys().cloned().collect()),
        ("groups", group.groups.keys().cloned().collect()),
    ] {
        if !keys.is_empty() {
            parts.push(format!("{kind} {}", keys.join(", ")));
        }
    }
    let msp = member(member(member(element(json, "values", "MSP"), "value"), "config"), "name");
    if let Json::String(name) = msp {
        parts.insert(0, format!("MSP {name}"));
    }
    if parts.is_empty() { "empty".to_owned() } else { parts.join("; ") }
}

fn policy(policy: &Json) -> String {
    let value = member(policy, "value");
    match (member(value, "sub_policy"), member(value, "rule")) {
        (Json::String(sub_policy), Json::String(rule)) => format!("{rule} {sub_policy}"),
        (_, rule @ Json::Object(_)) => signature_rule(rule, value.get("identities")),
        _ => shown(policy),
    }
}

fn element<'a>(group: &'a Json, members: &str, key: &str) -> &'a Json {
    member(member(group, members), key)
}

fn member<'a>(json: &'a Json, name: &str) -> &'a Json {
    json.get(name).unwrap_or(&Json::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_since_is_said() {
        let group = |version, member: Option<&str>| ConfigGroup {
            version,
            groups: member.map(|name| (name.to_owned(), ConfigGroup::default())).into_iter().collect(),
            ..ConfigGroup::default()
        };
        let config = Config { sequence: 9, channel_group: Some(group(2, None)) };
        let update = ConfigUpdate {
            channel_id: "app".to_owned(),
            read_set: Some(group(1, Some("Orderer"))),
            write_set: Some(group(2, None)),
            ..ConfigUpdate::default()
        };
        let expected = "config update of channel app, at configuration 9\n  \
                        out of date: group /Channel is at version 2, the update was made for version 1\n  \
                        out of date: group /Channel/Orderer is not there\n  changes nothing\n";
        assert_eq!(explain(&config, &update).expect("words"), expected);
    }
}
