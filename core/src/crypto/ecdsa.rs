//! The one rule Fabric adds to ECDSA: of the two signatures (r, s) and (r, n - s) that verify alike, only the one with
//! the lower s counts. The libraries accept both, so the rule is kept here, on the bytes.

/// An ECDSA curve, as far as signatures are concerned.
#[derive(Debug)]
pub(super) struct Curve {
    /// Order of the group, big-endian.
    order: &'static [u8],
}

pub(super) const P256: Curve = Curve {
    order: &[
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
        0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ],
};

pub(super) const P384: Curve = Curve {
    order: &[
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2,
        0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
    ],
};

/// The longest order in bytes.
const ORDER_MAX_BYTES: usize = 48;

/// r and s of a DER signature, as big-endian magnitudes without leading zeros. `None` unless the encoding is exactly
/// DER, with nothing behind it.
pub(super) fn parse(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    // a signature of these curves is shorter than 128 bytes, so every length is one byte
    let [0x30, length, body @ ..] = signature else { return None };
    if usize::from(*length) != body.len() || *length >= 0x80 {
        return None;
    }
    let (r, rest) = parse_integer(body)?;
    let (s, rest) = parse_integer(rest)?;
    rest.is_empty().then_some((r, s))
}

fn parse_integer(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x02, length, rest @ ..] = input else { return None };
    let (content, rest) = rest.split_at_checked(usize::from(*length))?;
    match content {
        // negative, or longer than it has to be
        [] => None,
        [first, ..] if *first >= 0x80 => None,
        [0, second, ..] if *second < 0x80 => None,
        [0, magnitude @ ..] | magnitude => Some((magnitude, rest)),
    }
}

impl Curve {
    /// Whether s is at most half the order.
    pub(super) fn is_low(&self, s: &[u8]) -> bool {
        // s <= order / 2 exactly when s <= order - s
        self.negated(s).is_some_and(|negated| pad(s).is_some_and(|s| s <= negated))
    }

    /// The same signature with the lower s, in DER; `None` for what is no signature.
    pub(super) fn with_low_s(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let (r, s) = parse(signature)?;
        if self.is_low(s) {
            return Some(signature.to_vec());
        }
        let negated = self.negated(s)?;
        let mut body = Vec::with_capacity(2 * ORDER_MAX_BYTES + 6);
        put_integer(&mut body, r);
        put_integer(&mut body, &negated);
        let mut out = vec![0x30, u8::try_from(body.len()).ok()?];
        out.append(&mut body);
        Some(out)
    }

    /// order - s, padded; `None` when s is larger than the order.
    fn negated(&self, s: &[u8]) -> Option<[u8; ORDER_MAX_BYTES]> {
        let (order, s) = (pad(self.order)?, pad(s)?);
        let mut out = [0; ORDER_MAX_BYTES];
        let mut borrow = false;
        for i in (0..ORDER_MAX_BYTES).rev() {
            let (difference, under) = order[i].overflowing_sub(s[i]);
            let (difference, under_again) = difference.overflowing_sub(u8::from(borrow));
            out[i] = difference;
            borrow = under || under_again;
        }
        (!borrow).then_some(out)
    }
}

fn pad(number: &[u8]) -> Option<[u8; ORDER_MAX_BYTES]> {
    let mut out = [0; ORDER_MAX_BYTES];
    let at = ORDER_MAX_BYTES.checked_sub(number.len())?;
    out[at..].copy_from_slice(number);
    Some(out)
}

fn put_integer(out: &mut Vec<u8>, magnitude: &[u8]) {
    let first = magnitude.iter().position(|&b| b != 0).unwrap_or(magnitude.len().saturating_sub(1));
    let significant = &magnitude[first..];
    let needs_zero = significant.first().is_some_and(|&b| b >= 0x80);
    out.push(0x02);
    // at most 49 bytes
    #[expect(clippy::cast_possible_truncation)]
    out.push(significant.len() as u8 + u8::from(needs_zero));
    if needs_zero {
        out.push(0);
    }
    out.extend_from_slice(significant);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        put_integer(&mut body, r);
        put_integer(&mut body, s);
        [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
    }

    #[test]
    fn half_the_order_is_the_border() {
        // (n - 1) / 2 of P-256
        let mut half = [0; 32];
        let mut carry = 0;
        for (i, byte) in P256.order.iter().enumerate() {
            half[i] = (byte >> 1) | carry;
            carry = byte << 7;
        }
        assert!(P256.is_low(&half));
        let mut above = half;
        above[31] += 1;
        assert!(!P256.is_low(&above));
        assert!(!P256.is_low(&[0xff; 32]), "above the order is not low");
    }

    #[test]
    fn what_is_not_exactly_der_is_no_signature() {
        let good = der(&[5; 32], &[6; 32]);
        assert!(parse(&good).is_some());
        assert!(parse(&[&good[..], &[0]].concat()).is_none(), "a byte behind it");
        assert!(parse(&good[..good.len() - 1]).is_none(), "cut short");
        assert!(parse(&[0x30, 6, 2, 1, 0x80, 2, 1, 1]).is_none(), "negative");
        assert!(parse(&[0x30, 7, 2, 2, 0, 1, 2, 1, 1]).is_none(), "not minimal");
        assert!(parse(b"garbage").is_none());
    }

    proptest! {
        #[test]
        fn normalizing_gives_a_low_s_and_keeps_r(r in prop::collection::vec(any::<u8>(), 32), mut s in prop::collection::vec(any::<u8>(), 32)) {
            s[0] &= 0xfe; // below the order
            let normalized = P256.with_low_s(&der(&r, &s)).expect("is a signature");
            let (r_after, s_after) = parse(&normalized).expect("is a signature");
            prop_assert!(P256.is_low(s_after));
            prop_assert_eq!(pad(r_after), pad(&r));
            prop_assert_eq!(P256.with_low_s(&normalized), Some(normalized.clone()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
            if let Some((_, s)) = parse(&bytes) {
                let _ = P256.is_low(s);
            }
            let _ = P384.with_low_s(&bytes);
        }
    }
}
