//! Converts JSON to bytes.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::decode::TIMESTAMP;
use crate::error::{EncodeError, prepend};
use crate::json::Json;
use crate::message_types;
use crate::nested::FieldContext;
use crate::scalar;
use crate::wire::{put_bytes, put_number, put_varint};

/// Encodes a message. `kind` is its full name, such as `common.Block`. Entries of maps keep their order; messages in
/// `bytes` fields may be objects or base64; members may be missing or null.
pub fn from_json(kind: &str, json: &Json) -> Result<Vec<u8>, EncodeError> {
    let described = message_types::message(kind).ok_or_else(|| EncodeError::UnknownType(kind.to_owned()))?;
    message(&described, json, FieldContext::Elsewhere).map_err(|misfit| EncodeError::Misfit {
        kind: kind.to_owned(),
        path: misfit.path,
        why: misfit.why,
    })
}

struct Mismatch {
    path: String,
    why: String,
}

impl From<String> for Mismatch {
    fn from(why: String) -> Self {
        Self { path: String::new(), why }
    }
}

impl Mismatch {
    fn at(mut self, step: &str) -> Self {
        prepend(&mut self.path, step);
        self
    }
}

/// Encodes a message. The recursion is bounded by the depth of `Json`, which its parser limits.
fn message(kind: &MessageDescriptor, json: &Json, place: FieldContext) -> Result<Vec<u8>, Mismatch> {
    if kind.full_name() == TIMESTAMP {
        return timestamp(json).map_err(Mismatch::from);
    }
    let given = members(kind, json)?;
    let mut parts: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    // the type of the message in a `bytes` field may depend on the other fields, so those are encoded first
    let (bytes, others): (Vec<_>, Vec<_>) = given.into_iter().partition(|(field, _)| field.kind() == Kind::Bytes);
    for (field, value) in others {
        parts.insert(field.number(), part(kind, &field, value, place, None).map_err(|e| e.at(field.name()))?);
    }
    let before: Vec<u8> = parts.values().flatten().copied().collect();
    for (field, value) in bytes {
        let held = place.held(kind, &field, &before);
        parts.insert(field.number(), part(kind, &field, value, place, held).map_err(|e| e.at(field.name()))?);
    }
    Ok(parts.into_values().flatten().collect())
}

/// Returns the fields that are set, each of them once.
fn members<'j>(kind: &MessageDescriptor, json: &'j Json) -> Result<Vec<(FieldDescriptor, &'j Json)>, Mismatch> {
    let Json::Object(members) = json else {
        return Err(format!("an object expected for {}, not {}", kind.full_name(), json.what()).into());
    };
    let mut given: Vec<(FieldDescriptor, &Json)> = Vec::new();
    for (name, value) in members {
        let field = kind.get_field_by_name(name).or_else(|| kind.get_field_by_json_name(name));
        let field = field.ok_or_else(|| format!("{} has no field {name}", kind.full_name()))?;
        if *value == Json::Null {
            continue;
        }
        let oneof = field.containing_oneof();
        if given.iter().any(|(other, _)| *other == field || oneof.is_some() && other.containing_oneof() == oneof) {
            return Err(Mismatch::from("this is given already".to_owned()).at(name));
        }
        given.push((field, value));
    }
    Ok(given)
}

/// Encodes a field with its tags.
fn part(
    kind: &MessageDescriptor,
    field: &FieldDescriptor,
    value: &Json,
    place: FieldContext,
    held: Option<&str>,
) -> Result<Vec<u8>, Mismatch> {
    let (mut to, number, of) = (Vec::new(), field.number(), field.kind());
    if field.is_map() {
        map(&mut to, kind, field, value, place)?;
    } else if field.is_list() {
        let Json::List(values) = value else {
            return Err(format!("a list expected, not {}", value.what()).into());
        };
        let mut packed = Vec::new();
        for (index, value) in values.iter().enumerate() {
            match one(&of, value, place.inside(kind, field, None), held).map_err(|e| e.at(&format!("[{index}]")))? {
                One::Bytes(bytes) => put_bytes(&mut to, number, &bytes),
                One::Number(value) => put_varint(&mut packed, value),
            }
        }
        if !packed.is_empty() {
            put_bytes(&mut to, number, &packed);
        }
    } else {
        // a default value is not written, except for a field whose presence has a meaning
        let always = field.supports_presence();
        match one(&of, value, place.inside(kind, field, None), held)? {
            One::Bytes(bytes) if always || !bytes.is_empty() => put_bytes(&mut to, number, &bytes),
            One::Number(value) if always || value != 0 => put_number(&mut to, number, value),
            _ => {}
        }
    }
    Ok(to)
}

fn map(
    to: &mut Vec<u8>,
    kind: &MessageDescriptor,
    field: &FieldDescriptor,
    value: &Json,
    place: FieldContext,
) -> Result<(), Mismatch> {
    let (Json::Object(entries), Kind::Message(entry)) = (value, field.kind()) else {
        return Err(format!("an object expected, not {}", value.what()).into());
    };
    let of = entry.map_entry_value_field().kind();
    for (key, value) in entries {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 1, key.as_bytes());
        match one(&of, value, place.inside(kind, field, Some(key)), None).map_err(|e| e.at(key))? {
            One::Bytes(value) => put_bytes(&mut bytes, 2, &value),
            One::Number(value) => put_number(&mut bytes, 2, value),
        }
        put_bytes(to, field.number(), &bytes);
    }
    let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!("'{}' is there twice", twice[0]).into()),
        None => Ok(()),
    }
}

enum One {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Encodes a value without its tag.
fn one(of: &Kind, value: &Json, place: FieldContext, held: Option<&str>) -> Result<One, Mismatch> {
    Ok(match (of, value) {
        (Kind::Message(of), value) => One::Bytes(message(of, value, place)?),
        (Kind::String, Json::String(text)) => One::Bytes(text.clone().into_bytes()),
        (Kind::Bytes, Json::String(text)) => One::Bytes(scalar::from_base64(text)?),
        (Kind::Bytes, Json::Object(_)) => {
            let held = held.and_then(message_types::message);
            let held = held.ok_or_else(|| "base64 expected: nothing says which message this is".to_owned())?;
            One::Bytes(message(&held, value, FieldContext::Elsewhere)?)
        }
        (Kind::String | Kind::Bytes, value) => {
            return Err(format!("a string expected, not {}", value.what()).into());
        }
        (of, value) => One::Number(scalar::from_number(of, value)?),
    })
}

fn timestamp(json: &Json) -> Result<Vec<u8>, String> {
    let (seconds, nanos) = scalar::from_time(json)?;
    let mut to = Vec::new();
    if seconds != 0 {
        put_number(&mut to, 1, seconds.cast_unsigned());
    }
    if nanos != 0 {
        put_number(&mut to, 2, u64::from(nanos));
    }
    Ok(to)
}
