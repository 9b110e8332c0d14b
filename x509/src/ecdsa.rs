//! ECDSA signatures: their encodings, the rule of the lower s, and verification over a digest.

use crate::key::Curve;

/// r and s, big-endian magnitudes without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// r.
    pub r: Vec<u8>,
    /// s.
    pub s: Vec<u8>,
}

impl Signature {
    /// Reads the form that Go asks of signatures in certificates and lists: exactly DER, with nothing behind or inside it.
    pub fn parse_strict(_der: &[u8]) -> Option<Self> {
        todo!()
    }

    /// Reads the form that Fabric asks of signatures over messages: bytes behind the sequence, and further elements in it,
    /// are ignored. r and s are above zero.
    pub fn parse_lenient(_der: &[u8]) -> Option<Self> {
        todo!()
    }

    /// Whether s is at most half the order of the curve's group.
    pub fn is_low(&self, _curve: Curve) -> bool {
        todo!()
    }

    /// The signature with s replaced by order - s where that is lower; unchanged otherwise.
    #[must_use]
    pub fn to_low(&self, _curve: Curve) -> Self {
        todo!()
    }

    /// DER.
    pub fn to_der(&self) -> Vec<u8> {
        todo!()
    }

    /// Whether it is the signature over this digest by the key with this uncompressed point. The leftmost bits of a digest count
    /// that is longer than the order.
    pub fn verifies(&self, _curve: Curve, _point: &[u8], _digest: &[u8]) -> bool {
        todo!()
    }
}
