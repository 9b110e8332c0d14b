//! Scalar values: numbers, enums, bytes, times.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{EnumDescriptor, Kind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::json::Json;

/// Base64 as Fabric's tools write it; decoding also accepts it without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// First and last second that a time may have: the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub(crate) fn base64(bytes: &[u8]) -> Json {
    Json::String(BASE64.encode(bytes))
}

pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|e| format!("no base64: {e}"))
}

/// Converts a number from the wire; 0 stands for an absent field. Also returns whether encoding it again gives the
/// same number.
pub(crate) fn number(kind: &Kind, value: u64) -> (Json, bool) {
    match kind {
        Kind::Bool => (Json::Bool(value != 0), value <= 1),
        Kind::Uint32 => {
            let short = low_half(value);
            (Json::Number(i64::from(short)), u64::from(short) == value)
        }
        Kind::Int64 => (Json::String(value.cast_signed().to_string()), true),
        Kind::Uint64 => (Json::String(value.to_string()), true),
        kind => {
            let short = low_half(value).cast_signed();
            let shown = match kind {
                Kind::Enum(of) => enumerated(of, short),
                _ => Json::Number(i64::from(short)),
            };
            (shown, i64::from(short).cast_unsigned() == value)
        }
    }
}

/// Returns the lower 32 bits, which is what protobuf reads of a number that should have 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is what is meant")]
fn low_half(value: u64) -> u32 {
    value as u32
}

fn enumerated(of: &EnumDescriptor, number: i32) -> Json {
    of.get_value(number).map_or(Json::Number(i64::from(number)), |value| Json::String(value.name().to_owned()))
}

/// Converts a JSON value to the number on the wire.
pub(crate) fn from_number(kind: &Kind, value: &Json) -> Result<u64, String> {
    let misfit = |wanted: &str| format!("{wanted} expected, not {}", value.what());
    if let Kind::Bool = kind {
        return if let Json::Bool(it) = value { Ok(u64::from(*it)) } else { Err(misfit("true or false")) };
    }
    if let (Kind::Enum(of), Json::String(name)) = (kind, value) {
        let named = of.get_value_by_name(name).map(|value| value.number());
        let number = named.or_else(|| name.parse().ok());
        let number = number.ok_or_else(|| format!("{} has no value {name}", of.full_name()))?;
        return Ok(i64::from(number).cast_unsigned());
    }
    let number: i128 = match value {
        Json::Number(number) => i128::from(*number),
        Json::String(text) => text.parse().map_err(|_| format!("'{text}' is no whole number"))?,
        _ => return Err(misfit("a number")),
    };
    let fits = match kind {
        Kind::Uint64 => u64::try_from(number).ok(),
        Kind::Int64 => i64::try_from(number).ok().map(i64::cast_unsigned),
        Kind::Uint32 => u32::try_from(number).ok().map(u64::from),
        _ => i32::try_from(number).ok().map(|number| i64::from(number).cast_unsigned()),
    };
    fits.ok_or_else(|| format!("{number} is out of range"))
}

/// Converts a `google.protobuf.Timestamp`; returns `None` if it is out of range.
pub(crate) fn time(seconds: i64, nanos: i32) -> Option<Json> {
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let at = Some(seconds).filter(|seconds| SECONDS.contains(seconds));
    let at = at.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())?;
    let fraction = match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    };
    let (date, clock) = (at.date(), at.time());
    Some(Json::String(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
    )))
}

/// Returns the seconds and nanoseconds of a time.
pub(crate) fn from_time(value: &Json) -> Result<(i64, u32), String> {
    let Json::String(text) = value else { return Err(format!("a time expected, not {}", value.what())) };
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| format!("'{text}' is no time (RFC 3339)"))?;
    let seconds = Some(at.unix_timestamp()).filter(|seconds| SECONDS.contains(seconds));
    Ok((seconds.ok_or_else(|| format!("{text} is out of range"))?, at.nanosecond()))
}
