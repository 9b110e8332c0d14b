//! Hides secrets: the values of secret keys, and PEM and passwords in any text.

use super::keys::{Key, Kind};

/// Replacement of a secret.
pub(super) const HIDDEN: &str = "(hidden)";
/// Replacement of inline PEM.
const HIDDEN_PEM: &str = "(PEM)";

const PEM_BEGINS: &str = "-----BEGIN ";
const PEM_ENDS: &str = "-----END ";
const PEM_DASHES: &str = "-----";

/// Returns whether a text is PEM rather than a file's name.
pub(super) fn is_pem(text: &str) -> bool {
    text.contains(PEM_BEGINS)
}

/// Returns a key's value without secrets.
pub(super) fn shown(key: &Key, text: &str) -> String {
    if key.kind == Kind::Secret && !text.is_empty() { HIDDEN.to_owned() } else { without_secrets(text) }
}

/// Returns a text without the PEM and the passwords of addresses in it.
pub(super) fn without_secrets(text: &str) -> String {
    without_user_info(&without_pem(text))
}

fn without_pem(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(begins) = rest.find(PEM_BEGINS) {
        let (before, pem) = rest.split_at(begins);
        shown.push_str(before);
        shown.push_str(HIDDEN_PEM);
        // PEM without an end hides all that follows
        let label = pem.find(PEM_ENDS).map(|at| at + PEM_ENDS.len());
        let ends = label.and_then(|label| Some(label + pem[label..].find(PEM_DASHES)? + PEM_DASHES.len()));
        rest = ends.map_or("", |ends| &pem[ends..]);
    }
    shown + rest
}

/// Reduces `scheme://user:password@host` to `scheme://host`.
fn without_user_info(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, authority) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = authority.find(['/', ' ', '\'', '"', '?', '#']).unwrap_or(authority.len());
        rest = authority[..ends].rfind('@').map_or(authority, |user| &authority[user + 1..]);
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_and_passwords_in_addresses_are_left_out_of_any_text() {
        let cases = [
            (
                "K: no such file: -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\n!",
                "K: no such file: (PEM)\n!",
            ),
            ("'-----BEGIN X----- abc", "'(PEM)"),
            ("two -----BEGIN A-----x-----END A-----, -----BEGIN B-----y-----END B-----.", "two (PEM), (PEM)."),
            ("'https://me:word@host:1/x' is not", "'https://host:1/x' is not"),
            ("http://host/a@b", "http://host/a@b"),
            ("nothing", "nothing"),
        ];
        for (written, wanted) in cases {
            assert_eq!(without_secrets(written), wanted);
        }
    }
}
