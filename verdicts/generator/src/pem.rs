//! Valid and invalid PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::rng::Rng;

/// Encodes one PEM block.
pub fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines += &String::from_utf8_lossy(line);
        lines.push('\n');
    }
    (lines + &format!("-----END {label}-----\n")).into_bytes()
}

/// Encodes a certificate in PEM.
pub fn certificate(der: &[u8]) -> Vec<u8> {
    pem("CERTIFICATE", der)
}

/// Returns the DER of the first block, if it has the usual form.
pub fn der_of(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let body = text.split_once("-----BEGIN ")?.1.split_once("-----\n")?.1.split_once("-----END ")?.0;
    STANDARD.decode(body.replace(['\n', '\r'], "")).ok()
}

/// Encodes the same certificate or list in an unusual form. Returns a description as well. `other` is another block.
pub fn bend(rng: &mut Rng, label: &str, der: &[u8], other: &[u8]) -> (Vec<u8>, &'static str) {
    let good = pem(label, der);
    let text = String::from_utf8_lossy(&good).into_owned();
    let base64 = STANDARD.encode(der);
    let with = |what: String| what.into_bytes();
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let insert = |at: usize, piece: &str| {
        let mut text = text.clone();
        text.insert_str(at, piece);
        with(text)
    };
    let body_at = begin.len() + 1;
    let within = body_at + rng.below(base64.len());
    match rng.below(38) {
        0 => (with(text.replace('\n', "\r\n")), "CRLF"),
        1 => (with(text.replace('\n', "\r")), "CR alone"),
        2 => (with(format!("some text\n{text}")), "text before it"),
        3 => (with(format!("some text {text}")), "text before it in the line"),
        4 => (with(format!("{text}some text")), "text behind it"),
        5 => ([good.clone(), other.to_vec()].concat(), "another block behind it"),
        6 => ([other.to_vec(), good.clone()].concat(), "another block before it"),
        7 => (with(format!("{begin}\n{base64}\n{end}\n")), "one line"),
        8 => (with(format!("{begin}{base64}{end}")), "no line breaks"),
        9 => (with(format!("{begin}\n{base64}{end}\n")), "END not at the beginning of a line"),
        10 => (with(text.trim_end().to_owned()), "no line break at the end"),
        11 => (with(text.replace(&begin, "-----BEGIN X509 CRL-----")), "another BEGIN"),
        12 => (with(text.replace(label, "TRUSTED CERTIFICATE")), "another label"),
        13 => (with(text.replace(label, "")), "an empty label"),
        14 => (with(text.replace(&begin, &format!("{begin}  \t"))), "blanks behind BEGIN"),
        15 => (with(text.replace(&end, &format!("{end} \t"))), "blanks behind END"),
        16 => (with(text.replace(&end, &format!("{end}x"))), "a letter behind END"),
        17 => (insert(body_at, "Proc-Type: 4,ENCRYPTED\nDEK-Info: x\n\n"), "headers"),
        18 => (insert(body_at, "Key: value\n"), "a header without a blank line"),
        19 => (insert(body_at, ": value\n"), "a header without a name"),
        20 => (insert(within, " "), "a blank within"),
        21 => (insert(within, "\t"), "a tabulator within"),
        22 => (insert(within, "\n\n"), "a blank line within"),
        23 => (insert(within, "-"), "a hyphen within"),
        24 => (insert(within, "="), "an equals sign within"),
        25 => (insert(within, ":"), "a colon within"),
        26 => (insert(within, "\u{e9}"), "a letter beyond ASCII within"),
        27 => (with(text.replace('=', "")), "no padding"),
        28 => (insert(text.len() - end.len() - 2, "="), "too much padding"),
        29 => (with(format!("-----BEGIN {label}-----\n{text}")), "BEGIN twice"),
        30 => (with(format!("-----END {label}-----\n{text}")), "an END before it"),
        31 => (
            with(format!("-----BEGIN {label}-----\nno base64!\n-----END {label}-----\n{text}")),
            "a bad block before it",
        ),
        32 => (with(text.replace("-----BEGIN", "----BEGIN")), "a hyphen too few"),
        33 => (with(text.replace("-----BEGIN", "------BEGIN")), "a hyphen too many"),
        34 => (with(format!("\u{feff}{text}")), "a byte order mark"),
        35 => (der.to_vec(), "DER"),
        36 => (insert(within, "\0"), "a NUL within"),
        _ => {
            let mut bytes = good;
            let junk = rng.bytes(2);
            crate::der::mutate_octets(rng, &mut bytes, &junk);
            (bytes, "octets of the PEM at random")
        }
    }
}
