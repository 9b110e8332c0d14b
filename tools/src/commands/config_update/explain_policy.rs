//! Describes a policy by the signatures that it requires.

use fabric_json::Json;

use super::json_diff::shown;

/// Maximum depth of nested policies; real configurations have four.
const DEPTH_MAX: usize = 8;

/// Describes the policy at a path, such as `/Channel/Orderer/Admins`, of the configuration whose Channel group this
/// is. The first line is the policy's own; those after it, indented, are of policies that it refers to.
pub(super) fn required_signers(channel_group: &Json, path: &str) -> Vec<String> {
    let mut steps = path.strip_prefix("/Channel/").unwrap_or(path).split('/');
    let name = steps.next_back().unwrap_or_default();
    let group = steps.try_fold(channel_group, |group, step| group.get("groups")?.get(step));
    let mut lines = Vec::new();
    match group {
        Some(group) => describe(group, name, 0, &mut lines),
        None => lines.push("there is no such policy: the change will be refused".to_owned()),
    }
    lines
}

fn describe(group: &Json, name: &str, depth: usize, lines: &mut Vec<String>) {
    let policy = group.get("policies").and_then(|policies| policies.get(name)?.get("policy"));
    let value = policy.and_then(|policy| policy.get("value"));
    if let Some((rule, sub_policy)) = value.and_then(|value| Some((text(value, "rule")?, text(value, "sub_policy")?))) {
        let groups = match group.get("groups") {
            Some(Json::Object(groups)) => groups.as_slice(),
            _ => &[],
        };
        let needed = match rule {
            "ANY" => 1,
            "ALL" => groups.len(),
            _ => groups.len() / 2 + 1,
        };
        lines.push(match groups.len() {
            0 => format!("{rule} of the {sub_policy} of no group: nobody's"),
            all => format!("{rule} ({needed} of {all}) of the {sub_policy} of"),
        });
        let own = lines.len();
        for (key, below) in groups {
            let from = lines.len();
            if depth < DEPTH_MAX {
                describe(below, sub_policy, depth + 1, lines);
            }
            match lines.get_mut(from) {
                Some(first) => *first = format!("{key}: {first}"),
                None => lines.push(format!("{key}: …")),
            }
        }
        for line in &mut lines[own..] {
            line.insert_str(0, "    ");
        }
        return;
    }
    lines.push(match value.and_then(|value| Some((value, value.get("rule")?))) {
        Some((value, rule)) => signature_rule(rule, value.get("identities")),
        None if policy.is_some() => "a policy that is not understood".to_owned(),
        None => format!("no policy {name} there: never given"),
    });
}

/// Describes a rule of a signature policy.
pub(super) fn signature_rule(rule: &Json, identities: Option<&Json>) -> String {
    if let Some(Json::Number(index)) = rule.get("signed_by") {
        let index = usize::try_from(*index).unwrap_or(usize::MAX);
        return match identities {
            Some(Json::List(identities)) => identities.get(index).map_or_else(|| "nobody".to_owned(), principal),
            _ => "nobody".to_owned(),
        };
    }
    let out_of = rule.get("n_out_of").and_then(|it| Some((it.get("n")?, it.get("rules")?)));
    let Some((Json::Number(n), Json::List(rules))) = out_of else { return "a rule that is not understood".to_owned() };
    let all = rules.len();
    let parts: Vec<String> = rules.iter().map(|rule| signature_rule(rule, identities)).collect();
    match (usize::try_from(*n).unwrap_or(0), all) {
        (0, _) => "nobody's signature".to_owned(),
        (1, 1) => parts.concat(),
        (1, _) => format!("one of ({})", parts.join(", ")),
        (n, _) if n == all => format!("all of ({})", parts.join(", ")),
        (n, _) => format!("{n} of ({})", parts.join(", ")),
    }
}

fn principal(principal: &Json) -> String {
    let Some(who) = principal.get("principal") else { return "an unknown principal".to_owned() };
    let unit = text(who, "organizational_unit_identifier");
    match (text(who, "msp_identifier"), text(who, "role"), unit) {
        (Some(msp), Some(role), _) => {
            let article = if matches!(role, "ADMIN" | "ORDERER") { "an" } else { "a" };
            format!("{article} {role} of {msp}")
        }
        (Some(msp), None, Some(unit)) => format!("somebody of unit {unit} of {msp}"),
        _ => match (text(who, "mspid"), who.get("id_bytes")) {
            (Some(msp), Some(certificate)) => format!("{msp}'s {}", shown(certificate)),
            _ => "an unknown principal".to_owned(),
        },
    }
}

fn text<'a>(json: &'a Json, name: &str) -> Option<&'a str> {
    match json.get(name) {
        Some(Json::String(text)) => Some(text),
        _ => None,
    }
}
