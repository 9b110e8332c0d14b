//! PEM, as Go's `encoding/pem` finds it in a text.

use bytes::Bytes;

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands between BEGIN and the dashes; may be empty.
    pub label: String,
    /// The decoded body.
    pub contents: Bytes,
}

/// The first block that Go decodes, and the text behind it.
pub fn decode(_text: &[u8]) -> Option<(Block, &[u8])> {
    todo!()
}
