//! Parses and changes protobuf messages.

use prost::encoding::{decode_varint, encode_varint};

use crate::rng::Rng;

/// A field in the wire format.
#[derive(Clone, Debug)]
pub struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Varint(u64),
    /// A varint that is longer than necessary.
    Stretched(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Octets(Vec<u8>),
    Message(Vec<Field>),
    Group(Vec<Field>),
}

/// Parses a message, and recursively the fields that look like messages.
pub fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = decode_varint(&mut bytes).ok()?;
        let number = tag >> 3;
        if number == 0 || number > 1000 {
            return None;
        }
        let value = match tag & 7 {
            0 => Value::Varint(decode_varint(&mut bytes).ok()?),
            1 => {
                let (value, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Value::Fixed64(*value)
            }
            2 => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (content, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                match parse(content) {
                    Some(fields) if !fields.is_empty() => Value::Message(fields),
                    _ => Value::Octets(content.to_vec()),
                }
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                Value::Fixed32(*value)
            }
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

/// Encodes a message.
pub fn write(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let mut tag = |kind: u64| encode_varint(field.number << 3 | kind, &mut out);
        match &field.value {
            Value::Varint(value) => {
                tag(0);
                encode_varint(*value, &mut out);
            }
            Value::Stretched(value) => {
                tag(0);
                encode_varint(*value, &mut out);
                if let Some(last) = out.last_mut() {
                    *last |= 0x80;
                }
                out.push(0);
            }
            Value::Fixed64(value) => {
                tag(1);
                out.extend(value);
            }
            Value::Fixed32(value) => {
                tag(5);
                out.extend(value);
            }
            Value::Octets(octets) => {
                tag(2);
                encode_varint(octets.len() as u64, &mut out);
                out.extend(octets);
            }
            Value::Message(below) => {
                tag(2);
                let below = write(below);
                encode_varint(below.len() as u64, &mut out);
                out.extend(below);
            }
            Value::Group(below) => {
                tag(3);
                out.extend(write(below));
                encode_varint(field.number << 3 | 4, &mut out);
            }
        }
    }
    out
}

fn count(fields: &[Field]) -> usize {
    fields
        .iter()
        .map(|field| match &field.value {
            Value::Message(below) | Value::Group(below) => 1 + count(below),
            _ => 1,
        })
        .sum()
}

/// Changes one random field of a message. Returns a description of the change. `pool` has octets that may replace those
/// of a field.
pub fn mutate(rng: &mut Rng, fields: &mut Vec<Field>, pool: &[Vec<u8>]) -> String {
    let mut at = rng.below(count(fields));
    let number = at;
    let what = mutate_at(rng, fields, &mut at, pool).unwrap_or("nothing");
    format!("field {number}: {what}")
}

fn mutate_at(rng: &mut Rng, fields: &mut Vec<Field>, left: &mut usize, pool: &[Vec<u8>]) -> Option<&'static str> {
    for index in 0..fields.len() {
        if *left == 0 {
            return Some(mutate_here(rng, fields, index, pool));
        }
        *left -= 1;
        if let Value::Message(below) | Value::Group(below) = &mut fields[index].value
            && let Some(what) = mutate_at(rng, below, left, pool)
        {
            return Some(what);
        }
    }
    None
}

fn unknown(rng: &mut Rng) -> Field {
    let number = *rng.pick(&[7, 15, 16, 99, 536_870_911]);
    let value = match rng.below(6) {
        0 => Value::Varint(rng.draw()),
        1 => Value::Fixed64([1; 8]),
        2 => Value::Fixed32([1; 4]),
        3 => Value::Group(vec![Field { number: 1, value: Value::Varint(1) }]),
        4 => Value::Octets(Vec::new()),
        _ => Value::Octets(b"unknown".to_vec()),
    };
    Field { number, value }
}

fn mutate_here(rng: &mut Rng, fields: &mut Vec<Field>, index: usize, pool: &[Vec<u8>]) -> &'static str {
    const NUMBERS: [u64; 9] = [0, 1, 2, 3, 127, 128, 1 << 31, 1 << 32, u64::MAX];
    let other = rng.below(fields.len());
    let donor = fields[other].clone();
    match rng.below(16) {
        0 => {
            fields.remove(index);
            return "left out";
        }
        1 => {
            let again = fields[index].clone();
            fields.insert(rng.below(fields.len() + 1), again);
            return "there twice";
        }
        2 => {
            fields.swap(index, other);
            return "swapped with a neighbour";
        }
        3 => {
            let unknown = unknown(rng);
            fields.insert(index, unknown);
            return "an unknown field before it";
        }
        4 => {
            if let Value::Message(below) = &mut fields[index].value {
                let unknown = unknown(rng);
                below.push(unknown);
            }
            return "an unknown field in it";
        }
        5 => {
            fields[index].number = 1 + rng.below(9) as u64;
            return "another number";
        }
        6 => {
            fields[index].value = donor.value;
            return "a neighbour's value";
        }
        _ => {}
    }
    let field = &mut fields[index];
    match &mut field.value {
        Value::Varint(value) => match rng.below(4) {
            0 => field.value = Value::Stretched(*value),
            1 => field.value = Value::Fixed64(value.to_le_bytes()),
            2 => field.value = Value::Octets(vec![*value as u8]),
            _ => *value = *rng.pick(&NUMBERS),
        },
        Value::Octets(octets) => match rng.below(6) {
            0 => field.value = Value::Varint(1),
            1 => field.value = Value::Fixed32([b'a'; 4]),
            2 => octets.clear(),
            3 if !pool.is_empty() => octets.clone_from(rng.pick(pool)),
            4 => {
                *octets =
                    rng.pick(&[&b"\xff\xfe"[..], b"\xed\xa0\x80", b"\0", b"Admins", b"/Channel", b"Org1MSP"]).to_vec();
            }
            _ => {
                let junk = rng.bytes(2);
                return crate::der::mutate_octets(rng, octets, &junk);
            }
        },
        Value::Message(below) => match rng.below(5) {
            0 => field.value = Value::Varint(1),
            1 => field.value = Value::Group(below.clone()),
            2 => below.clear(),
            3 if !pool.is_empty() => field.value = Value::Octets(rng.pick(pool).clone()),
            _ => {
                let mut octets = write(below);
                let junk = rng.bytes(2);
                let what = crate::der::mutate_octets(rng, &mut octets, &junk);
                field.value = Value::Octets(octets);
                return what;
            }
        },
        _ => field.value = Value::Varint(1),
    }
    "another value"
}
