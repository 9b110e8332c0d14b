//! A token as the pool knows it.

use crate::{TokenError, TokenKey};

/// A PKCS#11 library with one token. The pool calls it from its own threads only. Calls may block.
pub trait TokenLibrary: Send + Sync + 'static {
    /// Returns the name of the token, for operators.
    fn label(&self) -> &str;

    /// Initializes the library anew and finds the token. No session is open when the pool calls it.
    ///
    /// # Errors
    /// The library fails, or the token is not there.
    fn connect(&self) -> Result<(), TokenError>;

    /// Opens a session in which the token's user is logged in.
    ///
    /// # Errors
    /// The token is not there, or refuses the PIN.
    fn session(&self) -> Result<Box<dyn TokenSession>, TokenError>;
}

/// A session with a token. It is used by one thread, and closed when it is dropped.
pub trait TokenSession {
    /// Signs a digest. Returns r and s, each in as many bytes as the curve's order has.
    ///
    /// # Errors
    /// The session is invalid, the token is gone, or it has no such key.
    fn sign(&mut self, key: &TokenKey, digest: &[u8; 32]) -> Result<Vec<u8>, TokenError>;
}
