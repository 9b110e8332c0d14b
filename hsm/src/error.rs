//! Reasons for which a token does not sign.

use std::path::PathBuf;
use std::time::Duration;

use orderer_core::crypto::KeyError;

/// Reason for which a token cannot be used. [`action`](Self::action) says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The program was built without the feature.
    #[error("Could not find default `PKCS11` BCCSP: this program was built without the feature pkcs11")]
    NotBuilt,
    /// The library does not begin to work.
    #[error("initialize the PKCS#11 library {}: {cause}", path.display())]
    Initialize {
        /// The library's file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The library cannot be loaded.
    #[error("load the PKCS#11 library {}: {cause}", path.display())]
    Library {
        /// The library's file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// No token has the label.
    #[error("find the token with the label '{label}': {}", others(found))]
    NoToken {
        /// The label.
        label: String,
        /// Labels of the tokens that there are.
        found: Vec<String>,
    },
    /// The token refuses the PIN, or all PINs.
    #[error("log in to the token '{label}': {cause}")]
    Pin {
        /// The token's label.
        label: String,
        /// The cause.
        cause: String,
    },
    /// The token has no such key.
    #[error("find the key of the signing certificate in the token '{label}': no private key has the CKA_ID {id}")]
    NoKey {
        /// The token's label.
        label: String,
        /// The CKA_ID, as text or in hex.
        id: String,
    },
    /// The key in the token does not belong to the certificate.
    #[error("use the key with the CKA_ID {id}: it does not belong to the signing certificate")]
    Mismatch {
        /// The CKA_ID, as text or in hex.
        id: String,
    },
    /// The certificate's key is of a kind that tokens are not used for.
    #[error(
        "use a key in a token: the key of the signing certificate is {0}, and only ECDSA keys on P-256 and P-384 can be in a token"
    )]
    Kind(&'static str),
    /// The signing certificate cannot be read.
    #[error("read the signing certificate: {0}")]
    Certificate(#[from] KeyError),
    /// A call of the library failed.
    #[error("{0}")]
    Call(String),
    /// A call of the library does not return.
    #[error("the PKCS#11 library has not returned from a call for {} s", .0.as_secs())]
    NoAnswer(Duration),
}

fn others(found: &[String]) -> String {
    if found.is_empty() {
        return "the library shows no token".to_owned();
    }
    let quoted: Vec<_> = found.iter().map(|label| format!("'{label}'")).collect();
    format!("the library shows {}", quoted.join(", "))
}

impl TokenError {
    /// Returns the operator's action.
    pub fn action(&self) -> &'static str {
        match self {
            Self::NotBuilt => "use the program of a package, or build it with --features pkcs11",
            Self::Library { .. } => {
                "set General.BCCSP.PKCS11.Library to the .so file of the token's vendor, which the node's user can read"
            }
            Self::Initialize { .. } => {
                "check the token, its connection, and the library's own configuration, which the node's user must be able to read"
            }
            Self::NoToken { .. } => {
                "connect the token, let the node's user access it, or set General.BCCSP.PKCS11.Label to its label"
            }
            Self::Pin { .. } => {
                "set General.BCCSP.PKCS11.Pin to the PIN of the token's user and restart the node; it logs in only once with a refused PIN, because tokens lock themselves"
            }
            Self::NoKey { .. } => {
                "set LocalMSPDir to the MSP whose key is in the token, or make the key and its certificate (orderer crypto token-key), or set General.BCCSP.PKCS11.AltID or KeyIDs to the key's CKA_ID"
            }
            Self::Mismatch { .. } => {
                "set General.BCCSP.PKCS11.AltID or KeyIDs to the CKA_ID of the certificate's own key, or leave both empty to have it found by its SKI"
            }
            Self::Kind(_) => "set General.BCCSP.Default to SW, or have a certificate issued for an ECDSA key",
            Self::Certificate(_) => "check the file in signcerts below General.LocalMSPDir",
            Self::Call(_) => "check the token and its connection; the node retries by itself",
            Self::NoAnswer(_) => "check the token and its connection; if the library does not return, restart the node",
        }
    }

    /// Returns whether another attempt may make things worse: a token locks itself after several wrong PINs.
    pub(crate) fn forbids_attempts(&self) -> bool {
        matches!(self, Self::Pin { .. })
    }
}

/// Returns a CKA_ID for people: as text if it is printable, otherwise in hex.
pub(crate) fn shown_id(id: &[u8]) -> String {
    let text = std::str::from_utf8(id).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    text.map_or_else(|| orderer_core::crypto::hex(id), |text| format!("'{text}'"))
}
