//! A key in a token, as the signing certificate names it.

use bytes::Bytes;
use orderer_core::crypto::{PublicKey, sha256};
use orderer_x509::ecdsa::Signature;
use orderer_x509::{Certificate, Curve, pem};

use crate::error::shown_id;
use crate::{KeyIds, TokenError};

/// A private key in a token: its CKA_ID, and the public key that belongs to it.
#[derive(Clone, Debug)]
pub struct TokenKey {
    id: Vec<u8>,
    curve: Curve,
    public: PublicKey,
}

impl TokenKey {
    /// Names the key of a certificate.
    ///
    /// # Errors
    /// The certificate does not parse, or its key is not on P-256 or P-384.
    pub fn of_certificate(certificate_pem: &[u8], ids: &KeyIds) -> Result<Self, TokenError> {
        let certificate = |text: String| TokenError::Certificate(orderer_core::crypto::KeyError::Certificate(text));
        let (block, _) = pem::decode(certificate_pem).ok_or_else(|| certificate("no PEM block found".to_owned()))?;
        let parsed = Certificate::parse(&block.contents).map_err(|error| certificate(error.to_string()))?;
        let public = PublicKey::from_x509(parsed.public_key())?;
        let curve = match parsed.public_key() {
            Some(orderer_x509::PublicKey::Ec { curve: curve @ (Curve::P256 | Curve::P384), .. }) => *curve,
            _ => return Err(TokenError::Kind(public.algorithm())),
        };
        Ok(Self { id: ids.of(&public.ski()), curve, public })
    }

    /// Returns the CKA_ID.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// Returns the CKA_ID for people: as text if it is printable, otherwise in hex.
    pub fn shown_id(&self) -> String {
        shown_id(&self.id)
    }

    /// Encodes what the token returned as Fabric encodes signatures: in DER, with the lower of the two values for s.
    pub(crate) fn encode(&self, raw: &[u8]) -> Option<Bytes> {
        encode(self.curve, raw)
    }

    /// Returns the digest over which this key signs a message.
    pub(crate) fn digest(message: &[u8]) -> [u8; 32] {
        sha256(&[message])
    }

    /// Returns whether this key's owner made the signature.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify(message, signature).is_ok()
    }
}

/// Encodes r and s of a signature on the curve: in DER, low-S.
pub(crate) fn encode(curve: Curve, raw: &[u8]) -> Option<Bytes> {
    let (r, s) = raw.split_at_checked(raw.len() / 2).filter(|(r, s)| !r.is_empty() && r.len() == s.len())?;
    let signature = Signature { r: magnitude(r), s: magnitude(s) };
    Some(signature.to_low(curve).to_der().into())
}

fn magnitude(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}
