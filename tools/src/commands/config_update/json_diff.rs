//! Compares two values, leaf by leaf.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fabric_json::Json;

/// Maximum number of characters shown of a text.
const SHOWN_MAX: usize = 100;

/// Returns a line for each difference.
pub(super) fn differences(old: &Json, new: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", old, new, &mut lines);
    lines
}

fn compare(path: &str, old: &Json, new: &Json, lines: &mut Vec<String>) {
    let name = if path.is_empty() { String::new() } else { format!("{path}: ") };
    match (old, new) {
        (old, new) if old == new => {}
        (Json::Object(before), Json::Object(after)) => {
            let of = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            for (key, value) in before {
                compare(&of(key), value, new.get(key).unwrap_or(&Json::Null), lines);
            }
            for (key, value) in after.iter().filter(|(key, _)| old.get(key).is_none()) {
                compare(&of(key), &Json::Null, value, lines);
            }
        }
        (Json::List(before), Json::List(after)) => {
            let gone: Vec<_> = before.iter().filter(|value| !after.contains(value)).collect();
            let come: Vec<_> = after.iter().filter(|value| !before.contains(value)).collect();
            if let ([Json::Object(_)], [Json::Object(_)]) = (&gone[..], &come[..]) {
                return compare(&format!("{path}[{}]", index(before, gone[0])), gone[0], come[0], lines);
            }
            if gone.is_empty() && come.is_empty() {
                lines.push(format!("{name}the same entries, in another order or number"));
            }
            lines.extend(gone.iter().map(|value| format!("{name}without {}", shown(value))));
            lines.extend(come.iter().map(|value| format!("{name}with {}", shown(value))));
        }
        (old, new) => lines.push(format!("{name}{} → {}", shown(old), shown(new))),
    }
}

fn index(list: &[Json], value: &Json) -> usize {
    list.iter().position(|other| other == value).unwrap_or_default()
}

/// Formats a value for display.
pub(super) fn shown(value: &Json) -> String {
    match value {
        Json::Null => "nothing".to_owned(),
        Json::String(text) if text.is_empty() => "\"\"".to_owned(),
        Json::String(text) => certificate(text).unwrap_or_else(|| cut(text)),
        other => serde_json::to_string(other).map_or_else(|_| "?".to_owned(), |text| cut(&text)),
    }
}

/// Describes a certificate in base64 and PEM by its subject and expiry.
fn certificate(text: &str) -> Option<String> {
    let bytes = STANDARD.decode(text).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(format!("certificate of {} until {}", certificate.subject(), certificate.validity().not_after))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, expected: &[&str]) {
        let json = |text: &str| Json::parse(text.as_bytes()).expect("JSON");
        assert_eq!(differences(&json(old), &json(new)), expected);
    }

    #[test]
    fn leaves_that_differ_are_named() {
        check(r#"{"a": 1, "b": {"c": "x"}}"#, r#"{"a": 2, "b": {"c": "x"}}"#, &["a: 1 → 2"]);
        check(r#"{"b": {"c": "x"}}"#, r#"{"b": {"c": "", "d": 5}}"#, &["b.c: x → \"\"", "b.d: nothing → 5"]);
        check(r#""x""#, "null", &["x → nothing"]);
    }

    #[test]
    fn lists_lose_and_gain() {
        check(r#"{"a": ["x", "y"]}"#, r#"{"a": ["y", "z"]}"#, &["a: without x", "a: with z"]);
        check(r#"{"a": ["x", "y"]}"#, r#"{"a": ["y", "x"]}"#, &["a: the same entries, in another order or number"]);
        check(r#"{"a": [{"h": "x", "p": 1}, {}]}"#, r#"{"a": [{"h": "x", "p": 2}, {}]}"#, &["a[0].p: 1 → 2"]);
    }
}
