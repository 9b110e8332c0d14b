//! Compares the parser with a table of the results of Fabric 2.5's own loader on the same texts, in a file and in
//! variables.

use super::Value;

use super::{boolean, duration, integer, parse, size, text, texts};

/// Converts a text and formats the result as the table does; `None` if it is rejected.
fn read(kind: &str, value: &Value) -> Option<String> {
    let within = |max: i128| integer(value).filter(|number| (0..=max).contains(number)).map(|n| n.to_string());
    match kind {
        "bool" => boolean(value).map(|flag| flag.to_string()),
        "uint16" => within(i128::from(u16::MAX)),
        "int16" => within(i128::from(i16::MAX)),
        "uint32" => size(value).and_then(|size| u32::try_from(size).ok()).map(|size| size.to_string()),
        "duration" => duration(value).map(|duration| duration.as_nanos().to_string()),
        "text" => text(value).and_then(|text| serde_json::to_string(&text).ok()),
        "list" => texts(value).and_then(|texts| serde_json::to_string(&texts).ok()),
        _ => None,
    }
}

/// Returns the reason for an intended deviation from Fabric; `None` if there is none.
fn deviates(kind: &str, by: &str, written: &str, theirs: &str, ours: Option<&str>) -> Option<&'static str> {
    let bare = written.trim_matches('"');
    let refused = ours.is_none();
    let words = ["yes", "no", "on", "off", "y", "n"];
    Some(match (kind, by) {
        ("bool", _) if words.contains(&bare.to_ascii_lowercase().as_str()) && !refused => "YAML's words in quotes, too",
        ("uint16" | "int16" | "uint32" | "duration", _) if refused && bare.starts_with('-') => "nothing is negative",
        ("uint16" | "int16" | "uint32", "yaml") if refused && bare.parse::<u64>().is_ok_and(|n| n > 0x7fff) => {
            "Fabric lets it wrap around"
        }
        ("uint16" | "int16" | "uint32", "yaml") if refused && ["1__0", "08"].contains(&written) => {
            "only Go's YAML knows such numbers"
        }
        ("bool", "yaml") if written == "00" => "only Go's YAML knows such numbers",
        ("uint16" | "uint32", _) if bare == "+7" && !refused => "a sign does no harm",
        ("uint32", _) if bare == "1b" && !refused => "a number of bytes",
        ("duration", "yaml") if written == "\"\"" => "an empty text says nothing, as in a variable",
        ("duration", "yaml") if written == "true" && refused => "no duration",
        ("text", "yaml") if written == "yes" => "a word",
        ("text", _) if bare.starts_with('[') && theirs == "ERROR" && !refused => "brackets may be part of a text",
        ("list", "variable") if written == "[[a]]" && !refused => "brackets may be part of a text",
        ("list", _) if theirs.contains("\"\"") || theirs == "null" => "empty texts are left out",
        _ => return None,
    })
}

#[test]
fn values_are_read_as_fabrics_loader_reads_them() {
    let table = include_str!("../../../tests/fixtures/weak-values.tsv");
    let mut compared = 0;
    let mut wrong = Vec::new();
    for row in table.lines().skip(1) {
        let [kind, by, written, theirs] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
        if kind == "file" {
            continue;
        }
        let value = match by {
            "yaml" => parse(&format!("K: {written}\n")).expect("YAML").get("K").cloned().expect("there"),
            _ => Value::String(written.to_owned()),
        };
        // an empty variable is unset, which the reader of variables ensures
        let ours = read(kind, &value);
        let same = match theirs {
            "ERROR" => ours.is_none(),
            theirs => ours.as_deref().is_some_and(|ours| same_json(ours, theirs)),
        };
        compared += 1;
        if !same && deviates(kind, by, written, theirs, ours.as_deref()).is_none() {
            wrong.push(format!("{kind} {by} {written}: {theirs}, here {ours:?}"));
        }
    }
    assert_eq!(wrong, [""; 0], "of {compared}");
    assert!(compared > 450);
}

fn same_json(ours: &str, theirs: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    read(ours) == read(theirs)
}

#[test]
fn only_the_first_document_counts_and_merge_keys_are_applied() {
    let root = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n---\nc: [\n").expect("YAML");
    assert_eq!(root["b"]["x"], Value::from(1));
    assert_eq!(root["b"]["y"], Value::from(3));
    assert_eq!(parse("# nothing\n").expect("YAML"), Value::Null);
    assert!(parse("a: [").is_err());
}
