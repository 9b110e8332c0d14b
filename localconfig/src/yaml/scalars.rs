//! Converts values to types, whatever YAML type they are written as.

use std::time::Duration;

use orderer_core::config::parse_go_duration;

use super::{Number, Value};

/// Converts to a text: also a number, and a boolean as `1` or `0`. `None` for a list or a mapping; null is the empty
/// text.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number_text(number)),
        Value::Bool(flag) => Some(if *flag { "1" } else { "0" }.to_owned()),
        _ => None,
    }
}

/// Formats a value in one line, as it would be written.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Sequence(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Mapping(_) | Value::Tagged(_) => super::write(value).unwrap_or_default().trim().replace('\n', " "),
        other => text(other).unwrap_or_default().trim().to_owned(),
    }
}

/// Converts to a boolean: `true`, `yes`, `on`, `1` and their variants, and any number; null and the empty text are
/// false.
pub fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Null => Some(false),
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64() != Some(0.0)),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
                Some(true)
            }
            "" | "0" | "f" | "F" | "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off"
            | "OFF" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Converts to a whole number: decimal, or with Go's prefixes `0x`, `0o`, `0`, `0b` and underscores; a fraction is
/// cut off. Null and the empty text are 0.
pub fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Null => Some(0),
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Number(number) => whole(number),
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => go_integer(text),
        _ => None,
    }
}

/// Converts to a duration of at least 0: Go's notation (`1m30s`), or a number of nanoseconds. Null and the empty text
/// are 0.
pub fn duration(value: &Value) -> Option<Duration> {
    match value {
        Value::Null => Some(Duration::ZERO),
        Value::Number(number) => Some(Duration::from_nanos(u64::try_from(whole(number)?).ok()?)),
        Value::String(text) if text.is_empty() => Some(Duration::ZERO),
        Value::String(text) => parse_go_duration(text).filter(|(_, negative)| !negative).map(|(duration, _)| duration),
        _ => None,
    }
}

/// Converts to a number of bytes: a whole number, or one with K, M or G (powers of 1024), optionally followed by B.
/// Null and the empty text are 0.
pub fn size(value: &Value) -> Option<u64> {
    if let Some(plain) = integer(value) {
        return u64::try_from(plain).ok();
    }
    let Value::String(text) = value else { return None };
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Converts to texts: a list, a text that is a list in brackets, or one text alone. Empty ones are left out. `None`
/// if one of them is no text.
pub fn texts(value: &Value) -> Option<Vec<String>> {
    let all = match value {
        Value::Sequence(items) => items.iter().map(text).collect::<Option<Vec<_>>>()?,
        Value::String(one) => bracketed(one).unwrap_or_else(|| vec![one.clone()]),
        other => vec![text(other)?],
    };
    Some(all.into_iter().filter(|text| !text.is_empty()).collect())
}

/// Returns the parts of `[one, two]`, split at commas and trimmed; `None` without brackets.
pub fn bracketed(text: &str) -> Option<Vec<String>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(inside.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

fn number_text(number: &Number) -> String {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(whole), ..) => whole.to_string(),
        (_, Some(whole), _) => whole.to_string(),
        (.., Some(real)) => real.to_string(),
        _ => number.to_string(),
    }
}

/// Truncates towards zero.
fn whole(number: &Number) -> Option<i128> {
    if let Some(whole) = number.as_i64() {
        return Some(whole.into());
    }
    if let Some(whole) = number.as_u64() {
        return Some(whole.into());
    }
    // a number beyond 64 bits fits no type that is read
    let real = number.as_f64().filter(|real| real.is_finite() && real.abs() < 1e19)?.trunc();
    format!("{real:.0}").parse().ok()
}

fn go_integer(text: &str) -> Option<i128> {
    let (digits, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = prefixes.iter().find_map(|&(prefix, radix)| Some((lower.strip_prefix(prefix)?, radix)));
    let octal = lower.strip_prefix('0').filter(|rest| !rest.is_empty()).map(|rest| (rest, 8));
    let (body, radix) = match prefixed.or(octal) {
        // an underscore may follow a prefix
        Some((body, radix)) => (body.strip_prefix('_').unwrap_or(body), radix),
        None => (lower.as_str(), 10),
    };
    if body.split('_').any(|part| part.is_empty() || !part.chars().all(|c| c.is_ascii_alphanumeric())) {
        return None;
    }
    let value = i128::from_str_radix(&body.replace('_', ""), radix).ok()?;
    Some(if negative { -value } else { value })
}
