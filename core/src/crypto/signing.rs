//! Keys that sign.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA384};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use bytes::Bytes;
use ed25519_dalek::{Signer as _, pkcs8::DecodePrivateKey as _};
use fabric_proto::msp::SerializedIdentity;
use prost::Message as _;
use x509_parser::pem::Pem;

use super::{KeyError, PublicKey, SignError, Signer, ecdsa, sha256};

/// A private key. Its bytes are never shown.
pub struct SigningKey(Kind);

enum Kind {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Reads a private key in PEM, PKCS#8 or SEC1. Other PEM blocks before it (curve parameters) are skipped.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        for block in Pem::iter_from_buffer(pem) {
            let block = block.map_err(|e| KeyError::Malformed(e.to_string()))?;
            match block.label.as_str() {
                "PRIVATE KEY" | "EC PRIVATE KEY" => return Self::from_der(&block.contents),
                "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Unsupported("that is encrypted".to_owned())),
                "RSA PRIVATE KEY" => return Err(KeyError::Unsupported("RSA".to_owned())),
                _ => {}
            }
        }
        Err(KeyError::NotPem)
    }

    /// Reads a private key in DER, PKCS#8 or SEC1.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            return Ok(Self(Kind::P256(key)));
        }
        if let Ok(key) = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, der) {
            return Ok(Self(Kind::P384(key)));
        }
        match ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            Ok(key) => Ok(Self(Kind::Ed25519(Box::new(key)))),
            Err(_) => Err(KeyError::Unsupported("of this file".to_owned())),
        }
    }

    /// Fabric's name of the key, see [`PublicKey::ski`].
    pub fn ski(&self) -> [u8; 32] {
        match &self.0 {
            Kind::P256(key) | Kind::P384(key) => sha256(&[key.public_key().as_ref()]),
            Kind::Ed25519(key) => sha256(&[key.verifying_key().as_bytes()]),
        }
    }

    /// Signs `message`: ECDSA with SHA-256, DER, low-S; Ed25519 over the message itself.
    pub fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        match &self.0 {
            Kind::P256(key) => {
                let failed = SignError("ECDSA P-256");
                let signature = key.sign(&SystemRandom::new(), message).map_err(|_| failed.clone())?;
                ecdsa::P256.with_low_s(signature.as_ref()).map(Bytes::from).ok_or(failed)
            }
            Kind::P384(key) => {
                let failed = SignError("ECDSA P-384");
                // Fabric signs a SHA-256 digest on this curve as well, for which the library has no name. ECDSA reads
                // a digest as a number, and zeros in front do not change a number.
                let mut padded = [0; 48];
                padded[16..].copy_from_slice(&sha256(&[message]));
                let digest = Digest::import_less_safe(&padded, &SHA384).map_err(|_| failed.clone())?;
                let signature = key.sign_digest(&digest).map_err(|_| failed.clone())?;
                ecdsa::P384.with_low_s(signature.as_ref()).map(Bytes::from).ok_or(failed)
            }
            Kind::Ed25519(key) => Ok(Bytes::copy_from_slice(&key.sign(message).to_bytes())),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// A private key with its certificate: what an orderer, or a client, signs as.
#[derive(Debug)]
pub struct SigningIdentity {
    creator: Bytes,
    key: SigningKey,
}

impl SigningIdentity {
    /// Ties `key` to its certificate; `certificate_pem` is kept as it is, because it is part of every signature header.
    pub fn new(msp_id: &str, certificate_pem: &[u8], key: SigningKey) -> Result<Self, KeyError> {
        let malformed = |e: String| KeyError::Certificate(e);
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem).map_err(|e| malformed(e.to_string()))?;
        let certificate = pem.parse_x509().map_err(|e| malformed(e.to_string()))?;
        let public_key = PublicKey::from_spki_der(certificate.public_key().raw)?;
        if public_key.ski() != key.ski() {
            return Err(KeyError::Mismatch);
        }
        let identity =
            SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: Bytes::copy_from_slice(certificate_pem) };
        Ok(Self { creator: identity.encode_to_vec().into(), key })
    }
}

impl Signer for SigningIdentity {
    fn creator(&self) -> &Bytes {
        &self.creator
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, SignError> {
        self.key.sign(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SignatureError;
    use rcgen::{KeyPair, PublicKeyData as _, SignatureAlgorithm};

    fn pair(algorithm: &'static SignatureAlgorithm) -> (SigningKey, PublicKey) {
        let made = KeyPair::generate_for(algorithm).expect("a key");
        let private = SigningKey::from_pem(made.serialize_pem().as_bytes()).expect("reads");
        (private, PublicKey::from_spki_der(&made.subject_public_key_info()).expect("reads"))
    }

    #[test]
    fn what_a_key_signs_its_public_key_verifies() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let (private, public) = pair(algorithm);
            assert_eq!(private.ski(), public.ski());
            for round in 0..20u8 {
                let message = [round; 100];
                let signature = private.sign(&message).expect("signs");
                assert_eq!(public.verify(&message, &signature), Ok(()), "{}", public.algorithm());
                assert_eq!(public.verify(b"other", &signature), Err(SignatureError::Wrong));
                assert_eq!(public.verify(&message, b""), Err(SignatureError::Empty));
                let longer = [&signature[..], &[0]].concat();
                assert_eq!(public.verify(&message, &longer), Err(SignatureError::Malformed));
            }
        }
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let certificate =
            |key: &KeyPair| rcgen::CertificateParams::default().self_signed(key).expect("a certificate").pem();
        let (mine, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let key = || SigningKey::from_pem(mine.serialize_pem().as_bytes()).expect("reads");
        assert!(SigningIdentity::new("Org", certificate(&mine).as_bytes(), key()).is_ok());
        assert_eq!(
            SigningIdentity::new("Org", certificate(&other).as_bytes(), key()).map(|_| ()),
            Err(KeyError::Mismatch)
        );
    }

    #[test]
    fn a_sec1_key_is_read_as_well() {
        // openssl ecparam -genkey -name prime256v1, made for this test
        let pem = b"-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIBkfYBuQvH+OZe3C1l3mjXBW9pLZsV71DsebpjB3gK1ZoAoGCCqGSM49
AwEHoUQDQgAETX0bF5rtK1tPn6BTPvY9vYU0rumxJai132k+lZJe5c+rfashtVqA
npT1EHcPt3/JQhHhRpsG3qFof/h9SJo0uQ==
-----END EC PRIVATE KEY-----
";
        assert!(SigningKey::from_pem(pem).is_ok());
        assert!(matches!(SigningKey::from_pem(b"nothing here"), Err(KeyError::NotPem)));
    }
}
