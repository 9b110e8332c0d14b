//! Keys, signatures and hashes.

use bytes::Bytes;

/// Signs in the name of one identity.
pub trait Signer: Send + Sync {
    /// The serialized `msp.SerializedIdentity` that signatures are made for.
    fn creator(&self) -> &Bytes;
    /// Signs `message` itself, not a hash of it. About 20 µs for P-256.
    fn sign(&self, message: &[u8]) -> Result<Bytes, SignError>;
}

/// A signature could not be made.
#[derive(Debug, thiserror::Error)]
#[error("sign")]
pub struct SignError;
