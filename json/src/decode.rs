//! Converts bytes to JSON.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::error::{DecodeError, prepend};
use crate::json::Json;
use crate::message_types;
use crate::nested::FieldContext;
use crate::scalar;
use crate::wire::{Field, Fields, MalformedWire, RawValue, varint};

/// Maximum nesting of objects and lists. JSON parsers accept 128.
const DEPTH_MAX: usize = 110;
pub(crate) const TIMESTAMP: &str = "google.protobuf.Timestamp";
const EMPTY: &str = "google.protobuf.Empty";

/// Options of the conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Whether to decode only bytes that encoding gives again. Otherwise everything that can be parsed is decoded, as by
    /// `configtxlator`, and unknown fields are omitted.
    pub exact: bool,
    /// Approximate maximum number of values in the JSON; beyond it, bytes stay base64. A value takes about 60 bytes of
    /// memory, and three bytes of a message can become two values.
    pub values_max: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { exact: true, values_max: 10_000_000 }
    }
}

/// Converts a message to JSON. `kind` is its full name, such as `common.Block`.
///
/// # Errors
/// `UnknownType`; `Malformed` if the bytes are not such a message. An error inside nested bytes is not an error here:
/// they stay base64.
pub fn to_json(kind: &str, bytes: &[u8], how: &DecodeOptions) -> Result<Json, DecodeError> {
    let described = message_types::message(kind).ok_or_else(|| DecodeError::UnknownType(kind.to_owned()))?;
    unfold(&described, bytes, FieldContext::Elsewhere, how).map_err(|stop| DecodeError::Malformed {
        kind: kind.to_owned(),
        path: stop.path,
        why: stop.why,
    })
}

/// Converts the outermost message. There is no message above it that could display its bytes, so it is decoded even if
/// encoding would not give the same bytes.
pub(crate) fn unfold(
    kind: &MessageDescriptor,
    bytes: &[u8],
    place: FieldContext,
    how: &DecodeOptions,
) -> Result<Json, DecodeStop> {
    let mut reader = Reader { exact: how.exact, values_left: how.values_max, full: false };
    let exact = reader.message(kind, bytes, place, how.exact, 0);
    if exact.is_ok() || !how.exact {
        return exact;
    }
    let mut reader = Reader { exact: true, values_left: how.values_max, full: false };
    reader.message(kind, bytes, place, false, 0)
}

/// Error of a message with more values than the limit.
const TOO_MANY: &str = "it has too many values";

/// Reason why bytes are not decoded.
#[derive(Debug)]
pub(crate) struct DecodeStop {
    pub(crate) path: String,
    pub(crate) why: &'static str,
}

impl From<MalformedWire> for DecodeStop {
    fn from(MalformedWire(why): MalformedWire) -> Self {
        stop(why)
    }
}

fn stop(why: &'static str) -> DecodeStop {
    DecodeStop { path: String::new(), why }
}

struct Reader {
    exact: bool,
    values_left: usize,
    /// Whether the maximum number of values was exceeded once; nothing more is decoded then.
    full: bool,
}

/// A message that is being decoded.
struct At<'a> {
    kind: &'a MessageDescriptor,
    bytes: &'a [u8],
    place: FieldContext,
    /// Whether to reject an encoding that would not be written again in the same way.
    strict: bool,
    depth: usize,
}

impl Reader {
    fn message(
        &mut self,
        kind: &MessageDescriptor,
        bytes: &[u8],
        place: FieldContext,
        strict: bool,
        depth: usize,
    ) -> Result<Json, DecodeStop> {
        if depth > DEPTH_MAX {
            return Err(stop("it is nested too deep"));
        }
        let at = At { kind, bytes, place, strict, depth };
        let fields = self.fields(&at)?;
        if kind.full_name() == TIMESTAMP {
            return timestamp(&at, &fields);
        }
        self.spend(kind.fields().len())?;
        let (mut members, mut rest) = (Vec::with_capacity(kind.fields().len()), fields.as_slice());
        let mut of_oneof = None;
        for field in kind.fields() {
            let these;
            (these, rest) = rest.split_at(rest.partition_point(|it| it.number <= field.number()));
            if let Some(oneof) = field.containing_oneof() {
                if these.is_empty() {
                    continue;
                }
                if of_oneof.replace(oneof.full_name().to_owned()).is_some_and(|before| before == oneof.full_name()) {
                    return Err(stop("there are two members of a oneof"));
                }
            }
            let value = self.field(&at, &field, these).map_err(|mut stop| {
                prepend(&mut stop.path, field.name());
                stop
            })?;
            members.push((field.name().to_owned(), value));
        }
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Json::Object(members))
    }

    fn field(&mut self, at: &At<'_>, field: &FieldDescriptor, these: &[Field<'_>]) -> Result<Json, DecodeStop> {
        if field.is_map() {
            return self.map(at, field, these);
        }
        if field.is_list() {
            return self.list(at, field, these);
        }
        match (these, field.kind()) {
            ([], Kind::Message(_) | Kind::Bytes) => Ok(Json::Null),
            ([], Kind::String) => Ok(Json::String(String::new())),
            ([], kind) => Ok(scalar::number(&kind, 0).0),
            ([one], kind) => {
                let is_default = matches!(one.raw, RawValue::Varint(0) | RawValue::Bytes(&[]));
                if at.strict && is_default && !field.supports_presence() {
                    return Err(stop("a field has its default value"));
                }
                self.value(at, field, &kind, one.raw, None, at.depth)
            }
            _ => Err(stop("a field is there twice")),
        }
    }

    fn list(&mut self, at: &At<'_>, field: &FieldDescriptor, these: &[Field<'_>]) -> Result<Json, DecodeStop> {
        let kind = field.kind();
        self.spend(these.len())?;
        let mut values = Vec::with_capacity(these.len());
        let is_text_or_message = matches!(kind, Kind::Message(_) | Kind::String | Kind::Bytes);
        for (index, one) in these.iter().enumerate() {
            match one.raw {
                RawValue::Bytes(mut packed) if !is_text_or_message => {
                    if at.strict && (these.len() > 1 || packed.is_empty()) {
                        return Err(stop("numbers are packed in an unusual way"));
                    }
                    self.spend(packed.len())?;
                    while !packed.is_empty() {
                        let (number, shortest) = varint(&mut packed)?;
                        let (value, exact) = scalar::number(&kind, number);
                        check(at, shortest && exact)?;
                        values.push(value);
                    }
                }
                raw => {
                    if at.strict && !is_text_or_message {
                        return Err(stop("numbers are not packed"));
                    }
                    values.push(self.value(at, field, &kind, raw, None, at.depth + 1).map_err(|mut stop| {
                        prepend(&mut stop.path, &format!("[{index}]"));
                        stop
                    })?);
                }
            }
        }
        Ok(Json::List(values))
    }

    fn map(&mut self, at: &At<'_>, field: &FieldDescriptor, these: &[Field<'_>]) -> Result<Json, DecodeStop> {
        let Kind::Message(entry) = field.kind() else { return Err(stop("a map of this kind is not known")) };
        let (key_field, value_field) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        if key_field.kind() != Kind::String {
            return Err(stop("a map of this kind is not known"));
        }
        self.spend(these.len())?;
        let mut members: Vec<(String, Json)> = Vec::with_capacity(these.len());
        for one in these {
            let RawValue::Bytes(bytes) = one.raw else { return Err(stop("an entry of a map is a number")) };
            let within = At { kind: &entry, bytes, ..*at };
            let (key, value) = match self.fields(&within)?.as_slice() {
                [key, value] if key.number == 1 && value.number == 2 => (Some(key.raw), Some(value.raw)),
                [key] if key.number == 1 && !at.strict => (Some(key.raw), None),
                [value] if value.number == 2 && !at.strict => (None, Some(value.raw)),
                [] if !at.strict => (None, None),
                _ => return Err(stop("an entry of a map is not a key and a value")),
            };
            let key = text(key.unwrap_or(RawValue::Bytes(&[])))?;
            let kind = value_field.kind();
            let empty = if matches!(kind, Kind::Message(_) | Kind::String | Kind::Bytes) {
                RawValue::Bytes(&[])
            } else {
                RawValue::Varint(0)
            };
            let value = self.value(at, field, &kind, value.unwrap_or(empty), Some(&key), at.depth + 1);
            let value = value.map_err(|mut stop| {
                prepend(&mut stop.path, &key);
                stop
            })?;
            members.push((key, value));
        }
        let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(stop("an entry of a map is there twice"));
        }
        Ok(Json::Object(members))
    }

    /// Converts one value of a field: the field's own, an element's, or an entry's.
    fn value(
        &mut self,
        at: &At<'_>,
        field: &FieldDescriptor,
        kind: &Kind,
        raw: RawValue<'_>,
        key: Option<&str>,
        depth: usize,
    ) -> Result<Json, DecodeStop> {
        match (kind, raw) {
            (Kind::String, raw) => text(raw).map(Json::String),
            (Kind::Bytes, RawValue::Bytes(bytes)) => Ok(match at.place.held(at.kind, field, at.bytes) {
                Some(held) if key.is_none() => self.held(held, bytes, at.place, depth),
                _ => scalar::base64(bytes),
            }),
            (Kind::Message(of), RawValue::Bytes(bytes)) => {
                let place = at.place.inside(at.kind, field, key);
                self.message(of, bytes, place, at.strict, depth + 1)
            }
            (Kind::Bytes | Kind::Message(_), _) => Err(stop("a field has another kind")),
            (kind, RawValue::Varint(number)) => {
                let (value, exact) = scalar::number(kind, number);
                check(at, exact)?;
                Ok(value)
            }
            _ => Err(stop("a field has another kind")),
        }
    }

    /// Converts bytes to the message that they hold, or to base64.
    fn held(&mut self, held: &str, bytes: &[u8], place: FieldContext, depth: usize) -> Json {
        if self.full {
            return scalar::base64(bytes);
        }
        let values_left = self.values_left;
        let unfolded = message_types::message(held).map(|kind| {
            let strict = self.exact || held == EMPTY;
            self.message(&kind, bytes, place.of_held(held), strict, depth + 1)
        });
        if let Some(Ok(json)) = unfolded {
            return json;
        }
        self.values_left = values_left;
        scalar::base64(bytes)
    }

    fn spend(&mut self, values: usize) -> Result<(), DecodeStop> {
        if let Some(left) = self.values_left.checked_sub(values) {
            self.values_left = left;
            return Ok(());
        }
        self.full = true;
        Err(stop(TOO_MANY))
    }

    /// Returns the known fields of a message by number; those with the same number keep their order.
    fn fields<'a>(&mut self, at: &At<'a>) -> Result<Vec<Field<'a>>, DecodeStop> {
        let mut found: Vec<Field<'a>> = Vec::new();
        for field in Fields(at.bytes) {
            let field = field?;
            let known = at.kind.get_field(field.number).is_some_and(|known| {
                let number = matches!(field.raw, RawValue::Varint(_));
                match known.kind() {
                    Kind::Message(_) | Kind::String | Kind::Bytes => matches!(field.raw, RawValue::Bytes(_)),
                    _ => number || known.is_list() && matches!(field.raw, RawValue::Bytes(_)),
                }
            });
            if at.strict {
                let in_order = found.last().is_none_or(|before| before.number <= field.number);
                if !(known && in_order && field.shortest) {
                    return Err(stop("it is not written as Fabric writes it, or has fields that are not known"));
                }
            } else if !known {
                continue;
            }
            if found.len() >= self.values_left {
                self.full = true;
                return Err(stop(TOO_MANY));
            }
            found.push(field);
        }
        if !at.strict {
            found.sort_by_key(|field| field.number);
        }
        Ok(found)
    }
}

fn timestamp(at: &At<'_>, fields: &[Field<'_>]) -> Result<Json, DecodeStop> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in fields {
        let RawValue::Varint(value) = field.raw else { return Err(stop("a field has another kind")) };
        check(at, value != 0)?;
        match field.number {
            1 => seconds = value.cast_signed(),
            _ => nanos = i32::try_from(value).unwrap_or(-1),
        }
    }
    if fields.windows(2).any(|pair| pair[0].number == pair[1].number) {
        return Err(stop("a field is there twice"));
    }
    scalar::time(seconds, nanos).ok_or(stop("a time is out of range"))
}

fn text(raw: RawValue<'_>) -> Result<String, DecodeStop> {
    let RawValue::Bytes(bytes) = raw else { return Err(stop("a field has another kind")) };
    String::from_utf8(bytes.to_vec()).map_err(|_| stop("a text is not UTF-8"))
}

fn check(at: &At<'_>, exact: bool) -> Result<(), DecodeStop> {
    if at.strict && !exact { Err(stop("a number is written in an unusual way")) } else { Ok(()) }
}
