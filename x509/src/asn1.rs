//! DER parsing by the rules of Go's `encoding/asn1`, which is more lenient than Go's cryptobyte about the octets around a
//! structure's fields.
//!
//! Fabric uses it for revocation lists, for key identifiers in extensions, and for every certificate whose signature it rewrites;
//! Go itself uses it for the parameters of RSA-PSS.
//!
//! | Rule | In `encoding/asn1` |
//! |---|---|
//! | Numbers of identifiers above 30 are read (minimal, below 2^31). | `parseTagAndLength` |
//! | Lengths are definite, minimal and below 2^31. | `parseTagAndLength` |
//! | A structure may hold more than its fields; an element after the last field need not even be well formed. | `parseField` |
//! | The header of an element is read wherever a field is possible, even an optional one that is then absent. | `parseField` |
//! | The length of an explicit wrapper is read and then not used: the element in it ends where it says. | `parseField` |
//! | An optional field whose wrapper holds another type is absent; an empty wrapper is an error, and so is a header that ends the structure where a wrapper is possible. | `parseField` |
//! | The identifiers of all elements of a list are checked before the first is read. | `parseSequenceOf` |

use crate::der;
use crate::time;

/// Go's `encoding/asn1` rejects the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// Header of an element: identifier and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    class: u8,
    constructed: bool,
    number: u32,
    length: usize,
}

/// Kind of element that a field accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    class: u8,
    constructed: bool,
    number: u32,
}

impl Kind {
    const fn universal(number: u32, constructed: bool) -> Self {
        Self { class: 0, constructed, number }
    }

    /// An implicitly tagged primitive.
    pub(crate) const fn context(number: u32) -> Self {
        Self { class: 2, constructed: false, number }
    }

    /// An implicitly tagged structure.
    pub(crate) const fn context_constructed(number: u32) -> Self {
        Self { class: 2, constructed: true, number }
    }

    fn takes(self, header: Header) -> bool {
        header.class == self.class && header.constructed == self.constructed && header.number == self.number
    }
}

/// INTEGER.
pub(crate) const INTEGER: Kind = Kind::universal(2, false);
/// BOOLEAN.
const BOOLEAN: Kind = Kind::universal(1, false);
/// BIT STRING.
const BIT_STRING: Kind = Kind::universal(3, false);
/// OCTET STRING.
pub(crate) const OCTET_STRING: Kind = Kind::universal(4, false);
/// OBJECT IDENTIFIER.
const OBJECT_IDENTIFIER: Kind = Kind::universal(6, false);
/// SEQUENCE.
pub(crate) const SEQUENCE: Kind = Kind::universal(16, true);
/// SET.
const SET: Kind = Kind::universal(17, true);
/// UTCTime.
const UTC_TIME: Kind = Kind::universal(23, false);
/// GeneralizedTime.
const GENERALIZED_TIME: Kind = Kind::universal(24, false);

/// Reader of the fields in a structure's contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// An element of any kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    header: Header,
    /// Identifier, length and contents.
    pub(crate) whole: &'a [u8],
    contents: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts to read the contents of a structure, or bytes that contain one.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Returns the octets after the fields that were read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    fn at_end(&self) -> bool {
        self.offset == self.bytes.len()
    }

    fn octet(&mut self) -> Result<u8, Refused> {
        let octet = *self.bytes.get(self.offset).ok_or(Refused)?;
        self.offset += 1;
        Ok(octet)
    }

    fn header(&mut self) -> Result<Header, Refused> {
        let identifier = self.octet()?;
        let mut number = u32::from(identifier & 0x1f);
        if number == 0x1f {
            number = self.long_number()?;
        }
        let first = self.octet()?;
        let mut length = usize::from(first & 0x7f);
        if first & 0x80 != 0 {
            let octets = length;
            if octets == 0 {
                return Err(Refused);
            }
            length = 0;
            for _ in 0..octets {
                let octet = self.octet()?;
                if length >= 1 << 23 {
                    return Err(Refused);
                }
                length = length << 8 | usize::from(octet);
                if length == 0 {
                    return Err(Refused);
                }
            }
            if length < 0x80 {
                return Err(Refused);
            }
        }
        Ok(Header { class: identifier >> 6, constructed: identifier & 0x20 != 0, number, length })
    }

    fn long_number(&mut self) -> Result<u32, Refused> {
        let mut number = 0_u32;
        for position in 0..5 {
            let octet = self.octet()?;
            if position == 0 && octet == 0x80 || number >= 1 << 24 {
                return Err(Refused);
            }
            number = number << 7 | u32::from(octet & 0x7f);
            if octet & 0x80 == 0 {
                return if number < 0x1f { Err(Refused) } else { Ok(number) };
            }
        }
        Err(Refused)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Refused> {
        let end = self.offset.checked_add(length).ok_or(Refused)?;
        let contents = self.bytes.get(self.offset..end).ok_or(Refused)?;
        self.offset = end;
        Ok(contents)
    }

    /// Reads the next element of any kind.
    pub(crate) fn any(&mut self) -> Result<Raw<'a>, Refused> {
        let start = self.offset;
        let header = self.header()?;
        let contents = self.take(header.length)?;
        Ok(Raw { header, whole: &self.bytes[start..self.offset], contents })
    }

    /// Reads the next element of any kind; `None` at the end.
    pub(crate) fn optional_any(&mut self) -> Result<Option<Raw<'a>>, Refused> {
        if self.at_end() { Ok(None) } else { self.any().map(Some) }
    }

    /// Reads the next element, if it is of one of these kinds; otherwise leaves it unread.
    fn optional_of(&mut self, kinds: &[Kind]) -> Result<Option<Raw<'a>>, Refused> {
        if self.at_end() {
            return Ok(None);
        }
        let start = self.offset;
        let header = self.header()?;
        if !kinds.iter().any(|kind| kind.takes(header)) {
            self.offset = start;
            return Ok(None);
        }
        let contents = self.take(header.length)?;
        Ok(Some(Raw { header, whole: &self.bytes[start..self.offset], contents }))
    }

    /// Reads the contents of the next element, if it is of this kind.
    pub(crate) fn optional(&mut self, kind: Kind) -> Result<Option<&'a [u8]>, Refused> {
        Ok(self.optional_of(&[kind])?.map(|raw| raw.contents))
    }

    /// Reads the contents of the next element, which must be of this kind.
    pub(crate) fn required(&mut self, kind: Kind) -> Result<&'a [u8], Refused> {
        self.optional(kind)?.ok_or(Refused)
    }

    /// Reads the next element with its header; it must be of this kind.
    pub(crate) fn required_whole(&mut self, kind: Kind) -> Result<Raw<'a>, Refused> {
        self.optional_of(&[kind])?.ok_or(Refused)
    }

    /// Enters an explicit wrapper, if there is one. Ignores its length, as Go does: the element inside has a length of its own.
    fn unwrap_explicit(&mut self, number: u32) -> Result<bool, Refused> {
        if self.at_end() {
            return Ok(false);
        }
        let start = self.offset;
        let header = self.header()?;
        if self.at_end() {
            return Err(Refused);
        }
        if header.class == 2 && header.number == number && (header.length == 0 || header.constructed) {
            return if header.length == 0 { Err(Refused) } else { Ok(true) };
        }
        self.offset = start;
        Ok(false)
    }

    /// Reads the contents of an element of this kind in an explicit wrapper, if there is one.
    pub(crate) fn optional_explicit(&mut self, number: u32, kind: Kind) -> Result<Option<&'a [u8]>, Refused> {
        let start = self.offset;
        if !self.unwrap_explicit(number)? {
            return Ok(None);
        }
        // Go reads the header in the wrapper in any case, and there is at least one octet
        let inner = self.optional(kind)?;
        if inner.is_none() {
            self.offset = start;
        }
        Ok(inner)
    }

    /// Reads the contents of an element of this kind in an explicit wrapper, which must be there.
    pub(crate) fn required_explicit(&mut self, number: u32, kind: Kind) -> Result<&'a [u8], Refused> {
        self.optional_explicit(number, kind)?.ok_or(Refused)
    }

    /// Reads an INTEGER of any length.
    pub(crate) fn integer(&mut self) -> Result<&'a [u8], Refused> {
        let octets = self.required(INTEGER)?;
        if der::is_minimal_integer(octets) { Ok(octets) } else { Err(Refused) }
    }

    /// Reads an OBJECT IDENTIFIER.
    pub(crate) fn oid(&mut self) -> Result<&'a [u8], Refused> {
        let octets = self.required(OBJECT_IDENTIFIER)?;
        if der::is_oid(octets) { Ok(octets) } else { Err(Refused) }
    }

    /// Reads an optional BOOLEAN.
    pub(crate) fn optional_boolean(&mut self) -> Result<Option<bool>, Refused> {
        match self.optional(BOOLEAN)? {
            None => Ok(None),
            Some([0x00]) => Ok(Some(false)),
            Some([0xff]) => Ok(Some(true)),
            Some(_) => Err(Refused),
        }
    }

    /// Reads a BIT STRING.
    pub(crate) fn bit_string(&mut self) -> Result<der::BitString<'a>, Refused> {
        der::BitString::from_contents(self.required(BIT_STRING)?).ok_or(Refused)
    }

    /// Validates an optional BIT STRING with another identifier.
    pub(crate) fn optional_bit_string(&mut self, kind: Kind) -> Result<(), Refused> {
        match self.optional(kind)? {
            Some(contents) if der::BitString::from_contents(contents).is_none() => Err(Refused),
            _ => Ok(()),
        }
    }

    /// Validates an optional time of either form; returns whether it is there.
    pub(crate) fn optional_time(&mut self) -> Result<bool, Refused> {
        let Some(raw) = self.optional_of(&[UTC_TIME, GENERALIZED_TIME])? else { return Ok(false) };
        let time = if raw.header.number == UTC_TIME.number {
            time::utc_time(raw.contents)
        } else {
            time::generalized_time_with_fraction(raw.contents)
        };
        time.map(|_| true).ok_or(Refused)
    }

    /// Validates a time of either form.
    pub(crate) fn time(&mut self) -> Result<(), Refused> {
        if self.optional_time()? { Ok(()) } else { Err(Refused) }
    }

    /// Reads an `AlgorithmIdentifier`: object identifier and parameters with their header, empty if absent.
    pub(crate) fn algorithm(&mut self) -> Result<(&'a [u8], &'a [u8]), Refused> {
        algorithm(self.required(SEQUENCE)?)
    }

    /// Validates a name. Values are checked only if Go knows their type.
    pub(crate) fn name(&mut self) -> Result<(), Refused> {
        for set in sequence_of(self.required(SEQUENCE)?, SET)? {
            for attribute in sequence_of(set, SEQUENCE)? {
                let mut attribute = Fields::new(attribute);
                attribute.oid()?;
                if attribute.at_end() {
                    return Err(Refused);
                }
                attribute.any()?.check_value()?;
            }
        }
        Ok(())
    }
}

/// Returns the object identifier and the parameters in the contents of an `AlgorithmIdentifier`.
pub(crate) fn algorithm(contents: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let mut fields = Fields::new(contents);
    let oid = fields.oid()?;
    let parameters = fields.optional_any()?.map(|raw| raw.whole).unwrap_or_default();
    Ok((oid, parameters))
}

impl<'a> Raw<'a> {
    /// Returns the content octets.
    pub(crate) fn contents(&self) -> &'a [u8] {
        self.contents
    }

    /// Validates a value whose type Go knows. Accepts all others.
    fn check_value(&self) -> Result<(), Refused> {
        if self.header.class != 0 || self.header.constructed {
            return Ok(());
        }
        let value = self.contents;
        let good = match self.header.number {
            1 => matches!(value, [0x00 | 0xff]),
            2 => der::int64(value).is_some(),
            3 => der::BitString::from_contents(value).is_some(),
            6 => der::is_oid(value),
            23 => time::utc_time(value).is_some(),
            24 => time::generalized_time_with_fraction(value).is_some(),
            // UTF8String, NumericString, PrintableString, T61String, IA5String, BMPString
            number @ (12 | 18 | 19 | 20 | 22 | 30) => {
                u8::try_from(number).is_ok_and(|tag| crate::name::decode_string(tag, value).is_some())
            }
            _ => true,
        };
        if good { Ok(()) } else { Err(Refused) }
    }
}

/// Returns the contents of the elements of a list, all of which must be of one kind.
pub(crate) fn sequence_of(contents: &[u8], kind: Kind) -> Result<Vec<&[u8]>, Refused> {
    let mut fields = Fields::new(contents);
    let mut elements = Vec::new();
    while !fields.at_end() {
        elements.push(fields.required(kind)?);
    }
    Ok(elements)
}

/// Returns the object identifier, the critical flag and the body of an extension.
pub(crate) fn extension(contents: &[u8]) -> Result<(&[u8], bool, &[u8]), Refused> {
    let mut fields = Fields::new(contents);
    let oid = fields.oid()?;
    let critical = fields.optional_boolean()?.unwrap_or_default();
    Ok((oid, critical, fields.required(OCTET_STRING)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_field_still_has_its_header_read() {
        // [1] with a number above 30 that is not minimal
        let mut fields = Fields::new(&[0x9f, 0x01, 0x00]);
        assert_eq!(fields.optional(INTEGER).map(|_| ()), Err(Refused));
        let mut fields = Fields::new(&[0x9f, 0x1f, 0x00]);
        assert_eq!(fields.optional(INTEGER), Ok(None));
        assert_eq!(fields.rest().len(), 3);
    }

    #[test]
    fn the_length_of_a_wrapper_is_not_used() {
        let mut fields = Fields::new(&[0xa0, 0x01, 0x02, 0x01, 0x05]);
        assert_eq!(fields.required_explicit(0, INTEGER), Ok(&[5][..]));
        let mut fields = Fields::new(&[0xa0, 0x02, 0x05, 0x00]);
        assert_eq!(fields.optional_explicit(0, INTEGER), Ok(None));
        assert_eq!(fields.rest().len(), 4);
        assert_eq!(Fields::new(&[0xa0, 0x00, 0x05, 0x00]).optional_explicit(0, INTEGER), Err(Refused));
        assert_eq!(Fields::new(&[0x05, 0x00]).optional_explicit(0, INTEGER), Err(Refused));
        assert_eq!(Fields::new(&[]).optional_explicit(0, INTEGER), Ok(None));
    }
}
