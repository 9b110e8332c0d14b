//! Iterates over the fields of a message of any type.

/// Maximum nesting of messages and groups, as in protobuf-go.
pub const RECURSION_MAX: usize = 10_000;
/// The highest number of a field.
const NUMBER_MAX: u64 = (1 << 29) - 1;
/// Highest number of a field inside unknown groups, where protobuf-go checks less strictly.
const NUMBER_MAX_IN_GROUP: u64 = 0x7fff_ffff;

/// The bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot parse invalid wire-format data")
    }
}

impl std::error::Error for Malformed {}

/// Value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64([u8; 8]),
    /// Wire type 2: a text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 3, which no message of Fabric uses.
    Group,
    /// Wire type 5.
    Fixed32([u8; 4]),
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Number of the field.
    pub number: u32,
    /// Value of the field.
    pub value: Value<'a>,
    wire_type: u8,
    /// The encoded value, without the key before it.
    raw: &'a [u8],
}

impl Field<'_> {
    /// Appends the field in the form in which protobuf-go keeps an unknown field: the key in its shortest form, the value
    /// unchanged.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        append_key(out, self.number, self.wire_type);
        out.extend_from_slice(self.raw);
    }
}

/// Iterator over the fields of a message. It ends after an error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the first field.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, Malformed> {
        let (number, wire_type) = read_key(&mut self.rest, NUMBER_MAX)?;
        let before = self.rest;
        let value = match wire_type {
            0 => Value::Varint(read_varint(&mut self.rest)?),
            1 => Value::Fixed64(read_fixed(&mut self.rest)?),
            2 => Value::Bytes(read_bytes(&mut self.rest)?),
            3 => {
                skip_group(&mut self.rest, number)?;
                Value::Group
            }
            5 => Value::Fixed32(read_fixed(&mut self.rest)?),
            _ => return Err(Malformed),
        };
        let raw = &before[..before.len() - self.rest.len()];
        Ok(Field { number, value, wire_type, raw })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn read_key(rest: &mut &[u8], number_max: u64) -> Result<(u32, u8), Malformed> {
    let key = read_varint(rest)?;
    let number = key >> 3;
    if number == 0 || number > number_max {
        return Err(Malformed);
    }
    Ok((u32::try_from(number).map_err(|_| Malformed)?, (key & 7) as u8))
}

fn read_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for index in 0..10 {
        let byte = *rest.get(index).ok_or(Malformed)?;
        // the tenth byte holds the last bit
        if index == 9 && byte > 1 {
            return Err(Malformed);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn read_fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (fixed, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(*fixed)
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(read_varint(rest)?).map_err(|_| Malformed)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(bytes)
}

/// Skips the contents of a group after its start, up to and including its end.
fn skip_group(rest: &mut &[u8], number: u32) -> Result<(), Malformed> {
    let mut open = vec![number];
    while let Some(&innermost) = open.last() {
        let (number, wire_type) = read_key(rest, NUMBER_MAX_IN_GROUP)?;
        match wire_type {
            0 => drop(read_varint(rest)?),
            1 => drop(read_fixed::<8>(rest)?),
            2 => drop(read_bytes(rest)?),
            3 if open.len() <= RECURSION_MAX => open.push(number),
            4 if number == innermost => drop(open.pop()),
            5 => drop(read_fixed::<4>(rest)?),
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

/// Converts the varint of an int32 field: a number that is too long loses its upper half, as in protobuf-go.
pub fn int32(varint: u64) -> i32 {
    varint as i32
}

/// Appends the key of a field.
pub fn append_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    append_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a varint.
pub fn append_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
