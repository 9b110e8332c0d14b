//! Signing keys in hardware, by PKCS#11 (`General.BCCSP.PKCS11`).
//!
//! A [`TokenPool`] owns the sessions with one token. Its threads alone call the library, so a library that does not return
//! holds up none of the node's own threads: a caller waits for a signature for a bounded time. A token that goes away (a
//! session is invalid, the device is gone, the library fails) is a state of the pool, with a reason. Signatures that are
//! requested meanwhile wait, and the pool connects again by itself, with growing pauses.
//!
//! `library.rs` is the seam: the pool knows a token by two traits. `pkcs11.rs` implements them with the crate cryptoki, if the
//! feature `pkcs11` is enabled. Everything else is compiled and tested without it.

mod error;
mod keeper;
mod key;
mod library;
mod pool;
mod settings;
mod signer;
mod state;
mod status;
mod worker;

#[cfg(feature = "pkcs11")]
mod pkcs11;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use error::TokenError;
pub use key::TokenKey;
pub use library::{TokenLibrary, TokenSession};
pub use pool::{PoolLimits, SigningTurn, TokenPool};
pub use settings::{KeyIds, Pin, TokenSettings};
pub use signer::TokenSigner;
pub use status::{Away, TokenStatus};

#[cfg(feature = "pkcs11")]
pub use pkcs11::{GeneratedKey, generate_key};

/// Whether this program can load PKCS#11 libraries.
pub const IS_BUILT: bool = cfg!(feature = "pkcs11");

/// Loads the library, and opens a session with the token that has the label. Performs blocking I/O.
///
/// # Errors
/// The library cannot be loaded, no token has the label, or the token refuses the PIN.
#[cfg(feature = "pkcs11")]
pub fn open(settings: &TokenSettings) -> Result<Arc<TokenPool>, TokenError> {
    TokenPool::open(pkcs11::Pkcs11Library::new(settings.clone()), PoolLimits::default())
}

/// Fails: this program was built without the feature `pkcs11`.
///
/// # Errors
/// Always [`TokenError::NotBuilt`].
#[cfg(not(feature = "pkcs11"))]
pub fn open(_settings: &TokenSettings) -> Result<Arc<TokenPool>, TokenError> {
    Err(TokenError::NotBuilt)
}
