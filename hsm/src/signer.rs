//! The identity whose key is in a token.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::msp::SerializedIdentity;
use orderer_core::crypto::{SignError, Signer};
use prost::Message as _;

use crate::{KeyIds, TokenError, TokenKey, TokenPool};

/// Message that is signed to learn whether the key belongs to the certificate. No block and no envelope has this form.
const SAMPLE: &[u8] = b"sample of a token's signature; it vouches for nothing";

/// A certificate whose key is in a token. It signs as the key in a file would.
pub struct TokenSigner {
    creator: Bytes,
    key: Arc<TokenKey>,
    pool: Arc<TokenPool>,
}

impl TokenSigner {
    /// Joins a certificate with its key in the token, which signs once and verifies it. Keeps `certificate_pem` unchanged,
    /// because it is part of every signature header.
    ///
    /// # Errors
    /// The certificate cannot be used, the token has no such key, the key belongs to another certificate, or the token does not
    /// sign.
    pub fn new(msp_id: &str, certificate_pem: &[u8], ids: &KeyIds, pool: &Arc<TokenPool>) -> Result<Self, TokenError> {
        let key = Arc::new(TokenKey::of_certificate(certificate_pem, ids)?);
        let signature = pool.try_sign(&key, SAMPLE)?;
        if !key.verifies(SAMPLE, &signature) {
            return Err(TokenError::Mismatch { id: key.shown_id() });
        }
        let identity =
            SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: Bytes::copy_from_slice(certificate_pem) };
        Ok(Self { creator: identity.encode_to_vec().into(), key, pool: Arc::clone(pool) })
    }
}

impl Signer for TokenSigner {
    fn creator(&self) -> &Bytes {
        &self.creator
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        self.pool.sign(&self.key, message)
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("key", &self.key.shown_id()).finish_non_exhaustive()
    }
}
