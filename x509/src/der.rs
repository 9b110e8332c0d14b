//! DER parsing as strict as Go's cryptobyte, with which Go parses certificates.
//!
//! | Rule | In Go |
//! |---|---|
//! | One identifier octet: numbers above 30 are rejected. | cryptobyte `readASN1` |
//! | Lengths are definite, minimal, and of at most four octets. | cryptobyte `readASN1` |
//! | Identifiers are compared whole: class, constructed bit, number. | cryptobyte `ReadASN1` |
//! | INTEGER: at least one octet, minimal two's complement. | cryptobyte `checkASN1Integer` |
//! | BOOLEAN: one octet, 00 or FF. | cryptobyte `ReadASN1Boolean` |
//! | OBJECT IDENTIFIER: not empty, arcs minimal and below 2^31. | cryptobyte `readBase128Int` |
//! | BIT STRING: 0 to 7 unused bits, all zero. | cryptobyte `ReadASN1BitString` |
//! | A SEQUENCE may have unread octets, unless its rule says otherwise. | cryptobyte `ReadASN1` |

/// BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTCTime.
pub(crate) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE, constructed.
pub(crate) const SEQUENCE: u8 = 0x30;
/// SET, constructed.
pub(crate) const SET: u8 = 0x31;

/// Returns a primitive context-specific identifier.
pub(crate) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// Returns a constructed context-specific identifier.
pub(crate) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// An element of DER.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// Identifier octet.
    pub(crate) tag: u8,
    /// Identifier, length and contents.
    pub(crate) whole: &'a [u8],
    /// Contents octets.
    pub(crate) contents: &'a [u8],
}

/// Reader of DER elements. After a read that returns `None`, its position is unspecified: the caller gives up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts to read these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all bytes were read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether the next element has this identifier.
    pub(crate) fn next_is(&self, tag: u8) -> bool {
        self.rest.first() == Some(&tag)
    }

    /// Reads the next element, whatever its identifier.
    pub(crate) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, after) = self.rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, after) = after.split_first()?;
        let (length, header) = if first & 0x80 == 0 {
            (usize::from(first), 2)
        } else {
            let octets = usize::from(first & 0x7f);
            if octets == 0 || octets > 4 {
                return None;
            }
            let octets_of_length = after.get(..octets)?;
            if octets_of_length[0] == 0 {
                return None;
            }
            let length = octets_of_length.iter().fold(0_u64, |length, &octet| length << 8 | u64::from(octet));
            if length < 0x80 {
                return None;
            }
            (usize::try_from(length).ok()?, 2 + octets)
        };
        let end = header.checked_add(length)?;
        let whole = self.rest.get(..end)?;
        self.rest = &self.rest[end..];
        Some(Element { tag, whole, contents: &whole[header..] })
    }

    /// Reads the next element, which must have this identifier.
    pub(crate) fn element(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// Reads the contents of the next element, which must have this identifier.
    pub(crate) fn contents(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|element| element.contents)
    }

    /// Returns a reader of the contents of the next element, which must have this identifier.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.contents(tag).map(Reader::new)
    }

    /// Reads the contents of the next element if it has this identifier; `Some(None)` if it has another one or there is
    /// none.
    #[expect(clippy::option_option, reason = "malformed is None, as in every other read")]
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.next_is(tag) { self.contents(tag).map(Some) } else { Some(None) }
    }

    /// Reads a BOOLEAN.
    pub(crate) fn boolean(&mut self) -> Option<bool> {
        match self.contents(BOOLEAN)? {
            [0x00] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// Reads the contents of an INTEGER of any length.
    pub(crate) fn integer(&mut self) -> Option<&'a [u8]> {
        self.contents(INTEGER).filter(|octets| is_minimal_integer(octets))
    }

    /// Reads an INTEGER of 64 bits.
    pub(crate) fn int64(&mut self) -> Option<i64> {
        self.int64_tagged(INTEGER)
    }

    /// Reads an INTEGER of 64 bits with another identifier.
    pub(crate) fn int64_tagged(&mut self, tag: u8) -> Option<i64> {
        self.contents(tag).and_then(int64)
    }

    /// Reads the contents of an OBJECT IDENTIFIER.
    pub(crate) fn oid(&mut self) -> Option<&'a [u8]> {
        self.contents(OBJECT_IDENTIFIER).filter(|octets| is_oid(octets))
    }

    /// Reads a BIT STRING.
    pub(crate) fn bit_string(&mut self) -> Option<BitString<'a>> {
        self.contents(BIT_STRING).and_then(BitString::from_contents)
    }
}

/// Whether these are the contents of a DER INTEGER, which is minimal.
pub(crate) fn is_minimal_integer(octets: &[u8]) -> bool {
    match octets {
        [] => false,
        [0x00, second, ..] => second & 0x80 != 0,
        [0xff, second, ..] => second & 0x80 == 0,
        _ => true,
    }
}

/// Returns the INTEGER with these contents, if it is minimal and has at most 64 bits.
pub(crate) fn int64(octets: &[u8]) -> Option<i64> {
    if octets.len() > 8 || !is_minimal_integer(octets) {
        return None;
    }
    let sign = if octets[0] & 0x80 == 0 { 0 } else { -1 };
    Some(octets.iter().fold(sign, |value, &octet| value << 8 | i64::from(octet)))
}

/// Iterates over the arcs of an object identifier, with the first two still combined. An item is `None` if the encoding
/// is not minimal, not complete, or not below 2^31.
fn arcs(octets: &[u8]) -> impl Iterator<Item = Option<u32>> {
    let mut octets = octets.iter();
    std::iter::from_fn(move || {
        let mut value = 0_u32;
        let mut octet = *octets.next()?;
        if octet == 0x80 {
            return Some(None);
        }
        loop {
            if value >= 1 << 24 {
                return Some(None);
            }
            value = value << 7 | u32::from(octet & 0x7f);
            if octet & 0x80 == 0 {
                return Some(Some(value));
            }
            let Some(&next) = octets.next() else { return Some(None) };
            octet = next;
        }
    })
}

/// Whether these are the contents of an OBJECT IDENTIFIER that Go can parse.
pub(crate) fn is_oid(octets: &[u8]) -> bool {
    !octets.is_empty() && arcs(octets).all(|arc| arc.is_some())
}

/// Returns the dotted form of an OBJECT IDENTIFIER with these contents.
pub(crate) fn dotted(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (i, arc) in arcs(octets).map_while(|arc| arc).enumerate() {
        // writing to a string does not fail
        let _ = match (i, arc) {
            (0, 0..80) => write!(text, "{}.{}", arc / 40, arc % 40),
            (0, _) => write!(text, "2.{}", arc - 80),
            _ => write!(text, ".{arc}"),
        };
    }
    text
}

/// Contents of a BIT STRING.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BitString<'a> {
    octets: &'a [u8],
    unused: u8,
}

impl<'a> BitString<'a> {
    /// Parses the contents of a BIT STRING.
    pub(crate) fn from_contents(contents: &'a [u8]) -> Option<Self> {
        let (&unused, octets) = contents.split_first()?;
        if unused > 7 {
            return None;
        }
        match octets.last() {
            None if unused != 0 => None,
            Some(last) if last & ((1 << unused) - 1) != 0 => None,
            _ => Some(Self { octets, unused }),
        }
    }

    /// Whether this bit, counted from the left, exists and is set.
    pub(crate) fn bit(&self, index: usize) -> bool {
        self.octets.get(index / 8).is_some_and(|octet| octet & (0x80 >> (index % 8)) != 0)
    }

    /// Returns the octets, if they have no unused bits.
    pub(crate) fn whole_octets(&self) -> Option<&'a [u8]> {
        (self.unused == 0).then_some(self.octets)
    }

    /// Returns the bits as a number with the same count of octets: shifted right by the unused bits.
    pub(crate) fn right_aligned(&self) -> Vec<u8> {
        if self.unused == 0 {
            return self.octets.to_vec();
        }
        let mut carry = 0;
        self.octets
            .iter()
            .map(|&octet| {
                let shifted = carry | octet >> self.unused;
                carry = octet << (8 - self.unused);
                shifted
            })
            .collect()
    }
}

/// Encodes an element with this identifier and these contents.
pub(crate) fn encode(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    let length = contents.len().to_be_bytes();
    let zeros = length.iter().take_while(|&&octet| octet == 0).count();
    match &length[zeros..] {
        [] => element.push(0),
        &[short] if short < 0x80 => element.push(short),
        long => {
            // at most eight octets of length
            element.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            element.extend_from_slice(long);
        }
    }
    element.extend_from_slice(contents);
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(bytes: &[u8]) -> Option<(u8, &[u8])> {
        Reader::new(bytes).any().map(|element| (element.tag, element.contents))
    }

    #[test]
    fn a_length_is_definite_and_minimal() {
        assert_eq!(any(&[0x04, 0x00]), Some((0x04, &[][..])));
        assert_eq!(any(&[0x04, 0x01, 7, 9]), Some((0x04, &[7][..])));
        for refused in [
            &[0x04][..],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 0x01, 7],
            &[0x04, 0x02, 7],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x85, 1, 0, 0, 0, 0],
            &[0x1f, 0x01, 0x00],
            &[0x04, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(any(refused), None, "{refused:x?}");
        }
        let mut long = vec![0x04, 0x81, 0x80];
        long.extend([5; 0x80]);
        assert_eq!(any(&long), Some((0x04, &[5; 0x80][..])));
    }

    #[test]
    fn an_integer_is_minimal() {
        for (octets, value) in [
            (&[0][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x00, 0x80], Some(128)),
            (&[0xff], Some(-1)),
            (&[0xff, 0x7f], Some(-129)),
            (&[], None),
            (&[0x00, 0x7f], None),
            (&[0xff, 0x80], None),
            (&[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0x80, 0, 0, 0, 0, 0, 0, 0], Some(i64::MIN)),
        ] {
            assert_eq!(int64(octets), value, "{octets:x?}");
        }
    }

    #[test]
    fn an_object_identifier_has_minimal_arcs_of_31_bits() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0xce, 0x3d]), "1.2.840.10045");
        assert_eq!(dotted(&[0x55, 0x1d, 0x0f]), "2.5.29.15");
        assert_eq!(dotted(&[0x88, 0x37]), "2.999");
        assert_eq!(dotted(&[0x2a, 0x87, 0xff, 0xff, 0xff, 0x7f]), "1.2.2147483647");
        assert!(is_oid(&[0x2a, 0x87, 0xff, 0xff, 0xff, 0x7f]));
        for refused in
            [&[][..], &[0x80, 0x01], &[0x2a, 0x80, 0x01], &[0x2a, 0x81], &[0x2a, 0x88, 0x80, 0x80, 0x80, 0x00]]
        {
            assert!(!is_oid(refused), "{refused:x?}");
        }
    }

    #[test]
    fn unused_bits_are_few_and_zero() {
        assert!(BitString::from_contents(&[]).is_none());
        assert!(BitString::from_contents(&[1]).is_none());
        assert!(BitString::from_contents(&[8, 0]).is_none());
        assert!(BitString::from_contents(&[3, 0x04]).is_none());
        let bits = BitString::from_contents(&[4, 0x12, 0x30]).unwrap();
        assert_eq!(bits.right_aligned(), [0x01, 0x23]);
        assert!(bits.bit(3) && bits.bit(6) && !bits.bit(0) && !bits.bit(100));
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let contents = vec![9; length];
            let element = encode(SEQUENCE, &contents);
            assert_eq!(any(&element), Some((SEQUENCE, &contents[..])));
        }
    }
}
