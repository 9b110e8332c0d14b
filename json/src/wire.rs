//! Splits messages into fields, and encodes fields.

/// Value of a field on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawValue<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes: no field of Fabric's messages has this type.
    Fixed,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) raw: RawValue<'a>,
    /// Whether tag, length and value have their shortest form.
    pub(crate) shortest: bool,
}

/// The bytes are not a sequence of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedWire(pub(crate) &'static str);

/// Iterator over the fields of a message; ends at the first invalid one.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, MalformedWire>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, MalformedWire> {
    let (tag, mut shortest) = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
    let number = number.ok_or(MalformedWire("a field has an impossible number"))?;
    let raw = match tag & 7 {
        0 => {
            let (value, is_shortest) = varint(rest)?;
            shortest &= is_shortest;
            RawValue::Varint(value)
        }
        2 => {
            let (len, is_shortest) = varint(rest)?;
            shortest &= is_shortest;
            RawValue::Bytes(take(rest, usize::try_from(len).unwrap_or(usize::MAX))?)
        }
        1 => take(rest, 8).map(|_| RawValue::Fixed)?,
        5 => take(rest, 4).map(|_| RawValue::Fixed)?,
        _ => return Err(MalformedWire("a field has an unknown wire type")),
    };
    Ok(Field { number, raw, shortest })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], MalformedWire> {
    let (taken, left) = rest.split_at_checked(len).ok_or(MalformedWire("it ends inside a field"))?;
    *rest = left;
    Ok(taken)
}

/// Reads a varint. Also returns whether it has its shortest form.
pub(crate) fn varint(rest: &mut &[u8]) -> Result<(u64, bool), MalformedWire> {
    let mut value = 0;
    for at in 0..10 {
        let [byte] = *take(rest, 1)? else { return Err(MalformedWire("it ends inside a field")) };
        if at == 9 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok((value, at == 0 || byte != 0));
        }
    }
    Err(MalformedWire("a number has more than 64 bits"))
}

pub(crate) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

pub(crate) fn put_number(to: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(to, u64::from(number) << 3);
    put_varint(to, value);
}

pub(crate) fn put_bytes(to: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_varint(to, u64::from(number) << 3 | 2);
    put_varint(to, value.len() as u64);
    to.extend_from_slice(value);
}

/// Returns the last field with this number; `None` if there is none or the bytes are not a message.
pub(crate) fn last(bytes: &[u8], number: u32) -> Option<RawValue<'_>> {
    let mut found = None;
    for field in Fields(bytes) {
        let field = field.ok()?;
        if field.number == number {
            found = Some(field.raw);
        }
    }
    found
}
