//! Messages of Hyperledger Fabric as JSON that people can read, and back.
//!
//! Fabric nests serialized messages in `bytes` fields, down to seven deep in a config block. Here each is unfolded into the
//! message it holds, found by its type, its header, or its place in a configuration. The JSON is that of Fabric's own
//! `configtxlator`: names of fields as in the .proto files, 64-bit numbers as strings, enums by name, bytes in base64.
//!
//! Unlike there, nothing is lost: bytes are unfolded only if folding the JSON gives the same bytes again, and otherwise
//! stay base64. For that, entries of maps keep the order they came in. So [`from_json`] of [`to_json`] is the identity for
//! all that Fabric's programs write, and reading never fails because of what a client put into an envelope.
//!
//! Any bytes may come: how deep and how wide they unfold is bounded ([`Unfold`]).

mod error;
mod fold;
mod json;
mod known;
mod metadata;
mod opaque;
mod scalar;
mod unfold;
mod wire;

pub use error::{FoldError, UnfoldError};
pub use fold::from_json;
pub use json::Json;
pub use known::{is_known, message_types};
pub use metadata::metadata_to_json;
pub use unfold::{Unfold, to_json};
