//! A claimed signature.

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::SignatureError;
use crate::identity::Identity;

/// The claim that `signature` is an identity's signature over `message`.
#[derive(Clone, Copy, Debug)]
pub struct SignatureClaim<'a> {
    /// The claimed signer.
    pub identity: &'a Arc<Identity>,
    /// The bytes that the signature covers.
    pub message: &'a Bytes,
    /// The signature.
    pub signature: &'a Bytes,
}

impl SignatureClaim<'_> {
    pub(super) fn verify(&self) -> Result<(), SignatureError> {
        self.identity.verify(self.message, self.signature)
    }
}
