//! ECDSA signatures: their encodings, the low-S rule, and verification over a digest.

use std::cmp::Ordering;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, EcdsaVerificationAlgorithm,
    VerificationAlgorithm,
};
use p224::ecdsa::signature::hazmat::PrehashVerifier;

use crate::key::Curve;

/// Orders of the curves' groups, big-endian.
const ORDER_P224: [u8; 28] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x16, 0xa2, 0xe0, 0xb8, 0xf0,
    0x3e, 0x13, 0xdd, 0x29, 0x45, 0x5c, 0x5c, 0x2a, 0x3d,
];
const ORDER_P256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const ORDER_P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0,
    0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
const ORDER_P521: [u8; 66] = [
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa, 0x51, 0x86, 0x87, 0x83,
    0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47,
    0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
];

const TAG_INTEGER: u8 = 0x02;
const TAG_SEQUENCE: u8 = 0x30;

/// An ECDSA signature: r and s as big-endian magnitudes without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// r.
    pub r: Vec<u8>,
    /// s.
    pub s: Vec<u8>,
}

impl Signature {
    /// Parses the form that Go requires of signatures in certificates and lists: exactly DER, without bytes after or inside it
    /// (`parseSignature` of Go's `crypto/ecdsa`). r and s may be zero; such a signature never verifies.
    pub fn parse_strict(der: &[u8]) -> Option<Self> {
        strict(der).map(|(r, s)| Self { r: r.to_vec(), s: s.to_vec() })
    }

    /// Whether [`parse_strict`](Self::parse_strict) accepts these bytes. Allocates nothing.
    pub fn is_strict(der: &[u8]) -> bool {
        strict(der).is_some()
    }

    /// Parses the form that Fabric requires of signatures over messages (`UnmarshalECDSASignature`, by Go's `encoding/asn1`):
    /// bytes after the sequence, and further elements in it, are ignored. r and s are above zero.
    pub fn parse_lenient(der: &[u8]) -> Option<Self> {
        let (sequence, _) = element(der, TAG_SEQUENCE)?;
        let (r, rest) = magnitude(sequence)?;
        let (s, _) = magnitude(rest)?;
        (!r.is_empty() && !s.is_empty()).then(|| Self { r: r.to_vec(), s: s.to_vec() })
    }

    /// Whether s is at most half the order of the curve's group. Allocates nothing.
    pub fn is_low(&self, curve: Curve) -> bool {
        let order = order(curve);
        let Some(leading) = order.len().checked_sub(self.s.len()) else { return false };
        let mut carry = 0;
        for (position, digit) in order.iter().enumerate() {
            let half = carry | digit >> 1;
            carry = digit << 7;
            let own = position.checked_sub(leading).map_or(0, |index| self.s[index]);
            match own.cmp(&half) {
                Ordering::Less => return true,
                Ordering::Greater => return false,
                Ordering::Equal => {}
            }
        }
        // the order is odd, so this is the largest s that is below order - s
        true
    }

    /// Returns the signature with s replaced by order - s if that is lower; otherwise unchanged, also if s is above the order.
    #[must_use]
    pub fn to_low(&self, curve: Curve) -> Self {
        match complement(&self.s, order(curve)) {
            Some(other) if compare(&other, &self.s) == Ordering::Less => Self { r: self.r.clone(), s: other },
            _ => self.clone(),
        }
    }

    /// Encodes the signature in DER.
    pub fn to_der(&self) -> Vec<u8> {
        let mut numbers = Vec::with_capacity(self.r.len() + self.s.len() + 8);
        for number in [&self.r, &self.s] {
            let sign = number.first().is_none_or(|first| first & 0x80 != 0);
            numbers.push(TAG_INTEGER);
            push_length(&mut numbers, number.len() + usize::from(sign));
            if sign {
                numbers.push(0);
            }
            numbers.extend_from_slice(number);
        }
        let mut der = Vec::with_capacity(numbers.len() + 4);
        der.push(TAG_SEQUENCE);
        push_length(&mut der, numbers.len());
        der.extend_from_slice(&numbers);
        der
    }

    /// Verifies the signature over this digest by the key with this uncompressed point. Of a digest longer than the order, only
    /// the leftmost bits count. Digests of more than 64 bytes never verify.
    pub fn verifies(&self, curve: Curve, point: &[u8], digest: &[u8]) -> bool {
        // aws-lc-rs ties a curve to digests by name, but uses only the number that the digest stands for: one algorithm for each
        // curve serves all digests, with that number in as many bytes as the algorithm expects
        let (algorithm, as_digest): (&'static EcdsaVerificationAlgorithm, _) = match curve {
            Curve::P224 => return self.verifies_p224(point, digest),
            Curve::P256 => (&ECDSA_P256_SHA256_FIXED, &digest::SHA256),
            Curve::P384 => (&ECDSA_P384_SHA384_FIXED, &digest::SHA384),
            Curve::P521 => (&ECDSA_P521_SHA512_FIXED, &digest::SHA512),
        };
        let Some((r, s)) = self.padded(curve) else { return false };
        let Some(number) = leftmost(digest, as_digest.output_len()) else { return false };
        let Ok(digest) = Digest::import_less_safe(&number, as_digest) else { return false };
        algorithm.verify_digest_sig(point, &digest, &[r, s].concat()).is_ok()
    }

    /// Verifies a signature on P-224, the one curve that aws-lc-rs does not offer.
    fn verifies_p224(&self, point: &[u8], digest: &[u8]) -> bool {
        let Some((r, s)) = self.padded(Curve::P224) else { return false };
        let Ok(signature) = p224::ecdsa::Signature::from_slice(&[r, s].concat()) else { return false };
        let Ok(key) = p224::ecdsa::VerifyingKey::from_sec1_bytes(point) else { return false };
        let Some(number) = leftmost(digest, ORDER_P224.len()) else { return false };
        key.verify_prehash(&number, &signature).is_ok()
    }

    /// Returns both numbers in as many bytes as the order of the curve's group has.
    pub(crate) fn padded(&self, curve: Curve) -> Option<(Vec<u8>, Vec<u8>)> {
        let len = order(curve).len();
        Some((padded(&self.r, len)?, padded(&self.s, len)?))
    }
}

/// Returns r and s of a signature that [`Signature::parse_strict`] accepts.
fn strict(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, behind) = element(der, TAG_SEQUENCE)?;
    let (r, rest) = magnitude(sequence)?;
    let (s, inside) = magnitude(rest)?;
    (behind.is_empty() && inside.is_empty()).then_some((r, s))
}

fn order(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P224 => &ORDER_P224,
        Curve::P256 => &ORDER_P256,
        Curve::P384 => &ORDER_P384,
        Curve::P521 => &ORDER_P521,
    }
}

/// Returns the number that a digest stands for, in this many bytes: its leftmost bytes, or all of them after zeros. P-521, whose
/// order is not a whole number of bytes, uses 64 of them, and no digest is longer.
pub(crate) fn leftmost(digest: &[u8], len: usize) -> Option<Vec<u8>> {
    if digest.len() > 64 {
        return None;
    }
    padded(&digest[..digest.len().min(len)], len)
}

fn padded(number: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len.checked_sub(number.len())?];
    bytes.extend_from_slice(number);
    Some(bytes)
}

/// Compares magnitudes without leading zeros.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Returns order - number without leading zeros; `None` if the number is not below the order.
fn complement(number: &[u8], order: &[u8]) -> Option<Vec<u8>> {
    if compare(number, order) != Ordering::Less {
        return None;
    }
    let mut difference = vec![0; order.len()];
    let mut borrow = false;
    for (position, place) in difference.iter_mut().enumerate().rev() {
        let from_end = order.len() - position;
        let subtrahend = number.len().checked_sub(from_end).map_or(0, |index| number[index]);
        let (first, under) = order[position].overflowing_sub(subtrahend);
        let (second, under_again) = first.overflowing_sub(u8::from(borrow));
        *place = second;
        borrow = under || under_again;
    }
    let leading = difference.iter().take_while(|byte| **byte == 0).count();
    Some(difference.split_off(leading))
}

/// Returns the contents of the first element, which must have this tag, and the bytes after it. Lengths must be minimal and
/// definite.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (len, rest) = if short & 0x80 == 0 {
        (usize::from(short), rest)
    } else {
        let count = usize::from(short & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        let len = digits.iter().fold(0_u64, |len, digit| len << 8 | u64::from(*digit));
        if digits[0] == 0 || len < 0x80 {
            return None;
        }
        (usize::try_from(len).ok()?, rest)
    };
    rest.split_at_checked(len)
}

/// Returns the magnitude of the first element, which must be a minimal and non-negative INTEGER, and the bytes after it.
fn magnitude(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (number, behind) = element(bytes, TAG_INTEGER)?;
    match number {
        [] => None,
        [0] => Some((&[], behind)),
        [0, second, ..] if second & 0x80 == 0 => None,
        [0, rest @ ..] => Some((rest, behind)),
        [first, ..] if first & 0x80 != 0 => None,
        _ => Some((number, behind)),
    }
}

fn push_length(der: &mut Vec<u8>, len: usize) {
    let digits = len.to_be_bytes();
    let leading = digits.iter().take_while(|byte| **byte == 0).count();
    match digits.get(leading..) {
        Some([only]) if only & 0x80 == 0 => der.push(*only),
        None | Some([]) => der.push(0),
        Some(long) => {
            // at most the eight bytes of a usize
            #[expect(clippy::cast_possible_truncation)]
            der.push(0x80 | long.len() as u8);
            der.extend_from_slice(long);
        }
    }
}

#[cfg(test)]
mod tests;
