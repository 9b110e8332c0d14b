//! Schema of the known messages: their fields with the wire types.

use super::fields::{Fields, Malformed, Value, append_key, append_varint};

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

/// Schema of a message.
pub(super) struct Schema {
    /// Full name, with the package.
    pub(super) name: &'static str,
    fields: &'static [FieldSchema],
}

struct FieldSchema {
    number: u32,
    form: Form,
    repeated: bool,
}

#[allow(dead_code, reason = "no message of today has a number of fixed width")]
enum Form {
    Varint,
    Fixed64,
    Fixed32,
    Bytes,
    /// A message; its index in the table.
    Message(usize),
}

/// Treatment of a field of message type that has another wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The field is ignored.
    Absent,
    /// The field counts as an empty message, which is merged with its other occurrences.
    Empty,
}

impl Schema {
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        let index = MESSAGES.binary_search_by_key(&name, |schema| schema.name).ok()?;
        MESSAGES.get(index)
    }

    /// Appends the fields of a message whose number and wire type are known. Fails if the bytes are not a message, or if
    /// messages are nested deeper than `depth`.
    pub(super) fn keep_known(
        &self,
        message: &[u8],
        misfit: Misfit,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        for field in Fields::new(message) {
            let field = field?;
            let Some(known) = self.fields.iter().find(|known| known.number == field.number) else { continue };
            match (&known.form, &field.value) {
                (Form::Message(index), Value::Bytes(bytes)) => {
                    let mut inner = Vec::with_capacity(bytes.len());
                    MESSAGES.get(*index).ok_or(Malformed)?.keep_known(bytes, misfit, depth, &mut inner)?;
                    append_key(out, field.number, 2);
                    append_varint(out, inner.len() as u64);
                    out.append(&mut inner);
                }
                (Form::Varint, Value::Varint(_))
                | (Form::Fixed64, Value::Fixed64(_))
                | (Form::Fixed32, Value::Fixed32(_))
                | (Form::Bytes, Value::Bytes(_)) => field.append_to(out),
                // packed
                (Form::Varint | Form::Fixed64 | Form::Fixed32, Value::Bytes(_)) if known.repeated => {
                    field.append_to(out)
                }
                (Form::Message(_), _) if misfit == Misfit::Empty && !known.repeated => {
                    append_key(out, field.number, 2);
                    append_varint(out, 0);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
