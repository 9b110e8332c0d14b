//! Parses distinguished names.
//!
//! | Rule | In Go |
//! |---|---|
//! | SEQUENCE of SETs (also empty ones) of SEQUENCEs of a type and a value; order within a SET is not checked, and what follows a value is ignored. | `parseName` |
//! | Values are PrintableString (with `*` and `&`), UTF8String, T61String (read as Latin-1), IA5String, BMPString, NumericString; any other type makes Go reject the certificate. | `parseASN1String` |
//! | BMPString: one terminator of two zero octets is dropped; surrogates and noncharacters are rejected. | `parseASN1String` |
//! | Names are compared as DER where chains are built, and as text where organizational units are. | `isValid`, `pkix.FillFromRDNSequence` |

use std::fmt;

use crate::der::{self, Reader};

/// A name, with its values decoded to text as in Go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Object identifier in dotted form, and value, in the order of the certificate.
    pub(crate) attributes: Vec<(String, String)>,
    /// End of each part of the name in `attributes`; most parts have one attribute.
    ends: Vec<usize>,
}

impl Name {
    /// Parses a name with its identifier and length.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, &'static str> {
        let mut name = Self::default();
        let mut sets = Reader::new(der).enter(der::SEQUENCE).ok_or("invalid RDNSequence")?;
        while !sets.is_empty() {
            let mut set = sets.enter(der::SET).ok_or("invalid RDNSequence")?;
            while !set.is_empty() {
                let mut attribute = set.enter(der::SEQUENCE).ok_or("invalid RDNSequence: invalid attribute")?;
                let oid = attribute.oid().ok_or("invalid RDNSequence: invalid attribute type")?;
                let value = attribute.any().ok_or("invalid RDNSequence: invalid attribute value")?;
                let text = decode_string(value.tag, value.contents)
                    .ok_or("invalid RDNSequence: invalid attribute value: not a string of a type that names have")?;
                name.attributes.push((der::dotted(oid), text));
            }
            name.ends.push(name.attributes.len());
        }
        Ok(name)
    }

    /// Returns all organizational units, in order.
    pub fn organizational_units(&self) -> impl Iterator<Item = &str> {
        self.values("2.5.4.11")
    }

    /// Returns the last common name.
    pub fn common_name(&self) -> Option<&str> {
        self.values("2.5.4.3").last()
    }

    /// Returns the object identifier in dotted form, and the value, of all attributes, in order.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(oid, value)| (oid.as_str(), value.as_str()))
    }

    fn values<'a>(&'a self, oid: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(known, _)| known == oid).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Name {
    /// Formats for instance `C=US, OU=client, CN=User1@org1.example.com`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut start, mut first) = (0, true);
        for &end in &self.ends {
            for (i, (oid, value)) in self.attributes.get(start..end).unwrap_or_default().iter().enumerate() {
                let separator = match (i, first) {
                    (_, true) => "",
                    (0, false) => ", ",
                    _ => " + ",
                };
                match abbreviation(oid) {
                    Some(abbreviation) => write!(f, "{separator}{abbreviation}={value}")?,
                    None => write!(f, "{separator}OID({oid})={value}")?,
                }
                first = false;
            }
            start = end;
        }
        Ok(())
    }
}

/// Returns the usual abbreviation of a type of attribute.
fn abbreviation(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "surname",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "streetAddress",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.15" => "businessCategory",
        "2.5.4.16" => "postalAddress",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "givenName",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.45" => "uniqueIdentifier",
        "2.5.4.46" => "dnQualifier",
        "0.9.2342.19200300.100.1.1" => "uid",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "Email",
        _ => return None,
    })
}

/// Decodes a string of one of the types that names have, by its identifier octet.
pub(crate) fn decode_string(tag: u8, value: &[u8]) -> Option<String> {
    let ascii = |allowed: fn(&u8) -> bool| {
        if value.iter().all(allowed) { std::str::from_utf8(value).ok().map(str::to_owned) } else { None }
    };
    match tag {
        0x0c => std::str::from_utf8(value).ok().map(str::to_owned),
        0x12 => ascii(|octet| octet.is_ascii_digit() || *octet == b' '),
        0x13 => ascii(|octet| octet.is_ascii_alphanumeric() || b" '()*+,-./:=?&".contains(octet)),
        0x14 => Some(value.iter().map(|&octet| char::from(octet)).collect()),
        0x16 => ascii(u8::is_ascii),
        0x1e => bmp_string(value),
        _ => None,
    }
}

fn bmp_string(value: &[u8]) -> Option<String> {
    let (units, []) = value.as_chunks::<2>() else { return None };
    let units = units.strip_suffix(&[[0, 0]]).unwrap_or(units);
    units
        .iter()
        .map(|unit| match u16::from_be_bytes(*unit) {
            0xfffe..=0xffff | 0xfdd0..=0xfdef => None,
            // a surrogate is not a character
            unit => char::from_u32(u32::from(unit)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        let contents = [der::encode(der::OBJECT_IDENTIFIER, oid), der::encode(tag, value)].concat();
        der::encode(der::SEQUENCE, &contents)
    }

    fn name(sets: &[&[Vec<u8>]]) -> Vec<u8> {
        let sets: Vec<_> = sets.iter().map(|set| der::encode(der::SET, &set.concat())).collect();
        der::encode(der::SEQUENCE, &sets.concat())
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const OU: &[u8] = &[0x55, 4, 11];

    #[test]
    fn a_name_reads_as_people_write_it() {
        let der = name(&[
            &[attribute(&[0x55, 4, 6], 0x13, b"US")],
            &[attribute(OU, 0x0c, b"client"), attribute(OU, 0x13, b"x")],
            &[],
            &[attribute(CN, 0x16, b"User1@org1.example.com")],
            &[attribute(&[0x2a, 3], 0x16, b"y")],
        ]);
        let name = Name::parse(&der).unwrap();
        assert_eq!(name.to_string(), "C=US, OU=client + OU=x, CN=User1@org1.example.com, OID(1.2.3)=y");
        assert_eq!(name.organizational_units().collect::<Vec<_>>(), ["client", "x"]);
        assert_eq!(name.common_name(), Some("User1@org1.example.com"));
    }

    #[test]
    fn an_empty_name_is_one() {
        let name = Name::parse(&[0x30, 0]).unwrap();
        assert_eq!(name, Name::default());
        assert_eq!(name.to_string(), "");
    }

    #[test]
    fn strings_are_decoded_by_their_type() {
        for (tag, value, text) in [
            (0x13, &b"a*&b"[..], Some("a*&b")),
            (0x13, b"a@b", None),
            (0x13, b"a_b", None),
            (0x0c, "\u{fc}".as_bytes(), Some("\u{fc}")),
            (0x0c, b"\xfc", None),
            (0x14, b"\xfc", Some("\u{fc}")),
            (0x16, b"a@b", Some("a@b")),
            (0x16, b"\x80", None),
            (0x12, b"1 2", Some("1 2")),
            (0x12, b"1a", None),
            (0x1e, b"\0a\0b\0\0", Some("ab")),
            (0x1e, b"\0a\0\0\0\0", Some("a\0")),
            (0x1e, b"\0", None),
            (0x1e, b"\xd8\0", None),
            (0x1e, b"\xff\xfe", None),
            (0x1e, b"\xfd\xd0", None),
            (0x1a, b"visible", None),
            (0x1b, b"general", None),
            (0x1c, b"\0\0\0a", None),
        ] {
            assert_eq!(decode_string(tag, value).as_deref(), text, "{tag:x} {value:x?}");
        }
    }
}
