//! The two hashes of a block, and the form of its header that is hashed and signed.

use crate::crypto::sha256;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Encodes the header in DER: SEQUENCE { INTEGER number, OCTET STRING previous hash, OCTET STRING data hash }. The
/// hash and the orderer's signature cover this form, not the protobuf form.
pub fn header_bytes(number: u64, previous_hash: &[u8], data_hash: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(16 + previous_hash.len() + data_hash.len());
    put_integer(&mut body, number);
    put_tlv(&mut body, 0x04, previous_hash);
    put_tlv(&mut body, 0x04, data_hash);
    let mut out = Vec::with_capacity(body.len() + 6);
    put_tlv(&mut out, 0x30, &body);
    out
}

/// Returns the hash of a header, which the next block holds as its previous hash.
pub fn header_hash(number: u64, previous_hash: &[u8], data_hash: &[u8]) -> Hash {
    sha256(&[&header_bytes(number, previous_hash, data_hash)])
}

/// Returns the hash of a block's data, computed over the concatenated entries.
pub fn data_hash<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let entries: Vec<&[u8]> = entries.into_iter().collect();
    sha256(&entries)
}

/// Writes a DER INTEGER, which is signed: a number whose top bit is set gets a leading zero byte.
fn put_integer(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let significant = &bytes[usize::min(number.leading_zeros() as usize / 8, 7)..];
    let needs_zero = significant[0] & 0x80 != 0;
    out.push(0x02);
    put_length(out, significant.len() + usize::from(needs_zero));
    if needs_zero {
        out.push(0);
    }
    out.extend_from_slice(significant);
}

fn put_tlv(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put_length(out, content.len());
    out.extend_from_slice(content);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[length.leading_zeros() as usize / 8..];
            // a usize has at most eight bytes
            #[expect(clippy::cast_possible_truncation)]
            out.push(0x80 | significant.len() as u8);
            out.extend_from_slice(significant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_minimal_and_never_negative() {
        assert_eq!(header_bytes(0, b"", b""), [0x30, 7, 2, 1, 0, 4, 0, 4, 0]);
        assert_eq!(header_bytes(127, b"", b"")[2..5], [2, 1, 127]);
        assert_eq!(header_bytes(128, b"", b"")[2..6], [2, 2, 0, 128]);
        assert_eq!(header_bytes(256, b"", b"")[2..6], [2, 2, 1, 0]);
        assert_eq!(header_bytes(u64::MAX, b"", b"")[2..5], [2, 9, 0]);
    }

    #[test]
    fn lengths_above_127_take_more_bytes() {
        let der = header_bytes(1, &[7; 300], &[8; 32]);
        assert_eq!(der[..4], [0x30, 0x82, 1, 0x55]);
        assert_eq!(der[7..11], [4, 0x82, 1, 0x2c]);
    }

    proptest! {
        #[test]
        fn a_der_parser_reads_back_what_was_written(number: u64, previous in proptest::collection::vec(any::<u8>(), 0..300)) {
            use x509_parser::der_parser::der::parse_der;
            let der = header_bytes(number, &previous, &[9; 32]);
            let (rest, object) = parse_der(&der).expect("is DER");
            prop_assert!(rest.is_empty());
            let parts = object.as_sequence().expect("is a sequence");
            prop_assert_eq!(parts[0].as_u64().ok(), Some(number));
            prop_assert_eq!(parts[1].as_slice().ok(), Some(&previous[..]));
        }
    }
}
