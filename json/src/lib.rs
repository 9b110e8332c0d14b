//! Converts messages of Hyperledger Fabric to readable JSON, and back.
//!
//! Fabric nests serialized messages in `bytes` fields, up to seven levels deep in a config block. This crate decodes each
//! into its message, whose type follows from the field, a header, or the place in a configuration. The JSON has the format
//! of Fabric's own `configtxlator`: field names as in the .proto files, 64-bit numbers as strings, enums by name, bytes in
//! base64.
//!
//! Unlike with `configtxlator`, no information is lost: bytes are decoded only if encoding the JSON gives the same bytes
//! again, and otherwise stay base64. For that, entries of maps keep their order. So [`from_json`] of [`to_json`] is the
//! identity for everything that Fabric's programs write, and decoding never fails because of nested bytes that a client
//! chose.
//!
//! The input may be any bytes: depth and size of the JSON are bounded ([`DecodeOptions`]).

mod decode;
mod encode;
mod error;
mod json;
mod message_types;
mod metadata;
mod nested;
mod scalar;
mod wire;

pub use decode::{DecodeOptions, to_json};
pub use encode::from_json;
pub use error::{DecodeError, EncodeError};
pub use json::Json;
pub use message_types::{is_known, message_types};
pub use metadata::metadata_to_json;
