//! Which token, and which of its keys.

use std::fmt;
use std::path::PathBuf;

use orderer_core::crypto::hex;

/// The PIN of a token's user. It is never displayed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pin(String);

impl Pin {
    /// Wraps a PIN.
    pub fn new(pin: String) -> Self {
        Self(pin)
    }

    /// Returns the PIN itself, to log in with.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The CKA_ID of a key, if it is not the key's SKI (`AltID` and `KeyIDs` of `General.BCCSP.PKCS11`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyIds {
    /// The CKA_ID of every key that `by_ski` does not name; empty for none.
    pub alt_id: String,
    /// Pairs of an SKI in lowercase hex, and the CKA_ID of that key.
    pub by_ski: Vec<(String, String)>,
}

impl KeyIds {
    /// Returns the CKA_ID of the key with this SKI, in Fabric's order: its own mapping, the one for all keys, the SKI. Of two
    /// mappings of one SKI, the later counts.
    pub fn of(&self, ski: &[u8; 32]) -> Vec<u8> {
        let wanted = hex(ski);
        if let Some((_, id)) = self.by_ski.iter().rev().find(|(known, _)| *known == wanted) {
            return id.clone().into_bytes();
        }
        if self.alt_id.is_empty() { ski.to_vec() } else { self.alt_id.clone().into_bytes() }
    }
}

/// The token and its keys (`General.BCCSP.PKCS11`).
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The PKCS#11 library of the token's vendor.
    pub library: PathBuf,
    /// Label of the token.
    pub label: String,
    /// PIN of the token's user.
    pub pin: Pin,
    /// CKA_IDs that are not SKIs.
    pub key_ids: KeyIds,
    /// Whether keys that are generated cannot be modified afterwards.
    pub immutable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_as_fabric_names_it() {
        let ski = [0xab; 32];
        let mut ids = KeyIds::default();
        assert_eq!(ids.of(&ski), ski);
        ids.alt_id = "all".to_owned();
        assert_eq!(ids.of(&ski), b"all");
        ids.by_ski = vec![("ab".repeat(32), "first".to_owned()), ("ab".repeat(32), "second".to_owned())];
        assert_eq!((ids.of(&ski), ids.of(&[1; 32])), (b"second".to_vec(), b"all".to_vec()));
    }

    #[test]
    fn a_pin_is_never_displayed() {
        let settings = TokenSettings {
            library: PathBuf::from("/lib/p11.so"),
            label: "token".to_owned(),
            pin: Pin::new("98765432".to_owned()),
            key_ids: KeyIds::default(),
            immutable: false,
        };
        let shown = format!("{settings:?}");
        assert!(shown.contains("(hidden)") && !shown.contains("98765432"), "{shown}");
    }
}
