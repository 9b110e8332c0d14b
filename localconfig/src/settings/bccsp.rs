//! The keys under `General.BCCSP`: where the key is that the node signs with.

use std::path::PathBuf;

use orderer_hsm::{KeyIds, Pin, TokenSettings};

use super::validate::Validator;
use crate::yaml::{self, Value};

/// Where the key is that the node signs with.
#[derive(Clone, Debug)]
pub enum KeyProvider {
    /// In a file.
    Files {
        /// The directory of keys; `None` for `keystore` in the MSP directory.
        keystore: Option<PathBuf>,
    },
    /// In a token.
    Token(TokenSettings),
}

impl Validator {
    pub(super) fn keys(&mut self) -> KeyProvider {
        if !self.text("General.BCCSP.Default").eq_ignore_ascii_case("PKCS11") {
            let key = "General.BCCSP.SW.FileKeyStore.KeyStore";
            let keystore = (!self.text(key).is_empty()).then(|| self.path(key));
            if let Some(folder) = keystore.as_ref().filter(|folder| !folder.is_dir()) {
                self.missing(key, folder, "no such folder");
            }
            return KeyProvider::Files { keystore };
        }
        let settings = TokenSettings {
            library: PathBuf::from(self.text("General.BCCSP.PKCS11.Library")),
            label: self.text("General.BCCSP.PKCS11.Label"),
            pin: Pin::new(self.secret("General.BCCSP.PKCS11.Pin")),
            key_ids: KeyIds {
                alt_id: self.text("General.BCCSP.PKCS11.AltID"),
                by_ski: self.written("General.BCCSP.PKCS11.KeyIDs").and_then(key_ids).unwrap_or_default(),
            },
            immutable: self.bool("General.BCCSP.PKCS11.Immutable"),
        };
        let needed = [
            ("General.BCCSP.PKCS11.Library", settings.library.as_os_str().is_empty()),
            ("General.BCCSP.PKCS11.Label", settings.label.is_empty()),
            ("General.BCCSP.PKCS11.Pin", settings.pin.expose().is_empty()),
        ];
        for (key, is_empty) in needed {
            if is_empty {
                let source = self.source(key);
                self.mistake(source, format!("{key} must not be empty when General.BCCSP.Default is PKCS11"));
            }
        }
        KeyProvider::Token(settings)
    }
}

/// Converts `KeyIDs`: mappings with `SKI` and `ID` in any case, or texts with both, as variables have them.
pub(super) fn key_ids(value: &Value) -> Option<Vec<(String, String)>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Sequence(items) => items.iter().map(key_id).collect(),
        Value::String(text) => {
            let parts = yaml::bracketed(text).unwrap_or_else(|| vec![text.clone()]);
            parts.iter().filter(|part| !part.is_empty()).map(|part| pair(part)).collect()
        }
        _ => None,
    }
}

fn key_id(item: &Value) -> Option<(String, String)> {
    let Value::Mapping(members) = item else { return pair(&yaml::text(item)?) };
    let (mut ski, mut id) = (None, None);
    for (name, value) in members {
        match yaml::text(name)?.to_ascii_lowercase().as_str() {
            "ski" => ski = yaml::text(value),
            "id" => id = yaml::text(value),
            _ => return None,
        }
    }
    checked(&ski?, &id?)
}

fn pair(text: &str) -> Option<(String, String)> {
    let mut words = text.split_whitespace();
    let (ski, id) = (words.next()?, words.next()?);
    words.next().is_none().then(|| checked(ski, id))?
}

fn checked(ski: &str, id: &str) -> Option<(String, String)> {
    let is_hex = !ski.is_empty() && ski.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && !id.is_empty()).then(|| (ski.to_ascii_lowercase(), id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        key_ids(&yaml::parse(text).expect("YAML"))
    }

    #[test]
    fn key_ids_are_read_from_files_and_variables() {
        let wanted = Some(vec![("0a".to_owned(), "one".to_owned()), ("0b".to_owned(), "2".to_owned())]);
        for text in
            ["[{SKI: '0A', ID: one}, {ski: 0b, id: 2}]", "['0a one', '0b 2']", "'[0a one, 0b 2]'", "'[ 0A one,0b  2 ]'"]
        {
            assert_eq!(read(text), wanted, "{text}");
        }
        assert_eq!((read(""), read("[]")), (Some(Vec::new()), Some(Vec::new())));
        for text in
            ["[{SKI: 0a}]", "[{SKI: 0a, ID: x, Other: y}]", "['0a']", "[xx one]", "['0a one two']", "{a: b}", "7"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
