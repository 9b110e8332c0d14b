//! PEM decoding, with the search and the rules of Go's `encoding/pem`.
//!
//! | Rule | In Go |
//! |---|---|
//! | A block ends at the first line that begins with `-----END `, and begins at the last `-----BEGIN ` before it, which must begin a line. Text before it is skipped. | `pem.Decode` |
//! | An invalid block is skipped, and the search continues after its END. | `pem.Decode` |
//! | The label is the text between BEGIN and five dashes; END has the same. Spaces and tabs may follow both. | `pem.Decode` |
//! | Lines with a colon after BEGIN are headers, and are ignored. | `pem.Decode` |
//! | The body is base64 with padding; spaces, tabs and line ends may be anywhere, and unused bits at the end need not be zero. | `pem.Decode`, `encoding/base64` |

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A PEM block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Label between BEGIN and the dashes; may be empty.
    pub label: String,
    /// The decoded body.
    pub contents: Bytes,
}

/// Returns the first block that Go decodes, and the text after it.
pub fn decode(text: &[u8]) -> Option<(Block, &[u8])> {
    let mut searched = text;
    loop {
        let end = find(searched, END)?;
        match block(searched, end) {
            Found::Block(block, rest) => return Some((block, rest)),
            Found::Nothing => return None,
            Found::Mistake => searched = searched.get(end + END.len()..)?,
        }
    }
}

enum Found<'a> {
    Block(Block, &'a [u8]),
    /// The block is invalid, and the search continues after it.
    Mistake,
    /// Go ends its search.
    Nothing,
}

/// Decodes the block whose END marker is at `end`.
fn block(text: &[u8], end: usize) -> Found<'_> {
    let Some(begin) = text[..end].windows(BEGIN.len()).rposition(|window| window == BEGIN) else {
        return Found::Mistake;
    };
    if begin > 0 && text[begin - 1] != b'\n' {
        return Found::Mistake;
    }
    let mut at = begin + BEGIN.len();
    let (line, next) = line(text, at);
    at = next;
    let Some(label) = line.strip_suffix(DASHES) else { return Found::Mistake };

    let mut headers = false;
    loop {
        if at == text.len() {
            return Found::Nothing;
        }
        let (line, next) = self::line(text, at);
        if !line.contains(&b':') {
            break;
        }
        headers = true;
        at = next;
    }
    if headers && end < at {
        // headers extend past the END marker: Go continues after the marker, unless the headers extend past all of it
        return if at > end + END.len() { Found::Nothing } else { Found::Mistake };
    }

    let trailer = &text[end + END.len()..];
    let Some(after) = trailer.strip_prefix(label).and_then(|after| after.strip_prefix(DASHES)) else {
        return Found::Mistake;
    };
    let (behind, next) = self::line(after, 0);
    if !behind.is_empty() {
        return Found::Mistake;
    }
    // the line end of the last header, or of BEGIN, may be the one before END
    let body: Vec<u8> =
        text.get(at..end).unwrap_or_default().iter().copied().filter(|octet| !b" \t\r\n".contains(octet)).collect();
    match BASE64.decode(body) {
        Ok(contents) => Found::Block(
            Block { label: String::from_utf8_lossy(label).into_owned(), contents: contents.into() },
            &after[next..],
        ),
        Err(_) => Found::Mistake,
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Returns the line that begins at `start`, without white space at its end, and the start of the next line.
fn line(text: &[u8], start: usize) -> (&[u8], usize) {
    let rest = &text[start..];
    let (mut line, next) = match rest.iter().position(|&octet| octet == b'\n') {
        Some(end) => (rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), start + end + 1),
        None => (rest, text.len()),
    };
    while let [before @ .., b' ' | b'\t'] = line {
        line = before;
    }
    (line, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str) -> Option<(String, Vec<u8>)> {
        decode(text.as_bytes()).map(|(block, _)| (block.label, block.contents.to_vec()))
    }

    #[test]
    fn blocks_that_go_takes() {
        for (text, label) in [
            ("-----BEGIN A-----\nAQID\n-----END A-----\n", "A"),
            ("-----BEGIN A-----\r\nAQ\tI D\r\n-----END A----- \t\r\n", "A"),
            ("-----BEGIN -----\nAQID\n-----END -----", ""),
            ("garbage\n-----BEGIN A-----\nAQ\nID\n\n-----END A-----\nmore", "A"),
            ("-----BEGIN A-----\nkey: value\n\nAQID\n-----END A-----\n", "A"),
            ("-----BEGIN A-----\nkey: value\nAQID\n-----END A-----\n", "A"),
            ("-----BEGIN X-----\n-----BEGIN A-----\nAQID\n-----END A-----\n", "A"),
            ("-----BEGIN B-----\nAQI\n-----END B-----\n-----BEGIN A-----\nAQID\n-----END A-----\n", "A"),
            ("-----BEGIN B-----\nAQID\n-----END C-----\n-----BEGIN A-----\nAQID\n-----END A-----\n", "A"),
        ] {
            assert_eq!(contents(text), Some((label.to_owned(), vec![1, 2, 3])), "{text}");
        }
        assert_eq!(contents("-----BEGIN A-----\n-----END A-----"), Some(("A".to_owned(), vec![])));
        assert_eq!(contents("-----BEGIN A-----\nAR==\n-----END A-----"), Some(("A".to_owned(), vec![1])));
    }

    #[test]
    fn blocks_that_go_does_not_take() {
        for text in [
            "",
            "-----BEGIN A-----\nAQID\n",
            "-----BEGIN A-----\nAQID-----END A-----\n",
            "-----BEGIN A-----\nAQ\n-----END A-----\n",
            "-----BEGIN A-----\nAQID\n-----END A----- x\n",
            "-----BEGIN A----\nAQID\n-----END A-----\n",
            " -----BEGIN A-----\nAQID\n-----END A-----\n",
            "-----BEGIN A-----\nkey: value\n-----END A-----\n",
            "-----BEGIN A-----\nAQ==ID\n-----END A-----\n",
        ] {
            assert_eq!(contents(text), None, "{text}");
        }
    }

    #[test]
    fn what_follows_is_handed_back() {
        let (_, rest) = decode(b"-----BEGIN A-----\nAQID\n-----END A-----\r\nrest\n").unwrap();
        assert_eq!(rest, b"rest\n");
    }
}
