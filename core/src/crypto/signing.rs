//! Private keys and signing identities.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA384};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    KeyPair as _,
};
use bytes::Bytes;
use ed25519_dalek::{Signer as _, pkcs8::DecodePrivateKey as _};
use fabric_proto::msp::SerializedIdentity;
use orderer_x509::ecdsa::Signature;
use orderer_x509::{Certificate, Curve, pem};
use prost::Message as _;

use super::{KeyError, PublicKey, SignError, Signer, sha256};

/// A private key. Its bytes are never displayed.
pub struct SigningKey(Kind);

enum Kind {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Parses a private key in PEM, PKCS#8 or SEC1. Skips other PEM blocks before it (curve parameters).
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let mut text = text;
        while let Some((block, rest)) = pem::decode(text) {
            // a header of the older format, which Go ignores
            let is_encrypted = contains(&text[..text.len() - rest.len()], b"4,ENCRYPTED");
            text = rest;
            match block.label.as_str() {
                "PRIVATE KEY" | "EC PRIVATE KEY" => {
                    return Self::from_der(&block.contents)
                        .map_err(|e| if is_encrypted { KeyError::Encrypted } else { e });
                }
                "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
                "RSA PRIVATE KEY" => return Err(KeyError::Unsupported("RSA".to_owned())),
                _ => {}
            }
        }
        Err(KeyError::NotPem)
    }

    /// Parses a private key in DER, PKCS#8 or SEC1.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
            return Ok(Self(Kind::P256(key)));
        }
        if let Ok(key) = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, der) {
            return Ok(Self(Kind::P384(key)));
        }
        match ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            Ok(key) => Ok(Self(Kind::Ed25519(Box::new(key)))),
            Err(_) => Err(KeyError::Malformed("it is no key on P-256, P-384 or of Ed25519".to_owned())),
        }
    }

    /// Checks that DER is an ECDSA key, PKCS#8 or SEC1, including curves on which this node does not sign.
    ///
    /// # Errors
    /// The bytes are not such a key.
    pub fn check_ecdsa_der(der: &[u8]) -> Result<(), KeyError> {
        let algorithms =
            [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];
        let is_key = |algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).is_ok();
        let not = || KeyError::Malformed("it is no ECDSA key on P-256, P-384 or P-521".to_owned());
        algorithms.into_iter().any(is_key).then_some(()).ok_or_else(not)
    }

    /// Returns Fabric's identifier of the key, see [`PublicKey::ski`].
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
                let failed = SignError::Key("ECDSA P-256");
                let signature = key.sign(&SystemRandom::new(), message).map_err(|_| failed.clone())?;
                with_low_s(Curve::P256, signature.as_ref()).ok_or(failed)
            }
            Kind::P384(key) => {
                let failed = SignError::Key("ECDSA P-384");
                // Fabric signs a SHA-256 digest on this curve as well, for which the library has no name. ECDSA reads
                // a digest as a number, and zeros in front do not change a number.
                let mut padded = [0; 48];
                padded[16..].copy_from_slice(&sha256(&[message]));
                let digest = Digest::import_less_safe(&padded, &SHA384).map_err(|_| failed.clone())?;
                let signature = key.sign_digest(&digest).map_err(|_| failed.clone())?;
                with_low_s(Curve::P384, signature.as_ref()).ok_or(failed)
            }
            Kind::Ed25519(key) => Ok(Bytes::copy_from_slice(&key.sign(message).to_bytes())),
        }
    }
}

fn with_low_s(curve: Curve, der: &[u8]) -> Option<Bytes> {
    Some(Signature::parse_strict(der)?.to_low(curve).to_der().into())
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// A private key with its certificate, with which an orderer or a client signs.
#[derive(Debug)]
pub struct SigningIdentity {
    creator: Bytes,
    key: SigningKey,
}

impl SigningIdentity {
    /// Joins `key` with its certificate; keeps `certificate_pem` unchanged, because it is part of every signature
    /// header.
    pub fn new(msp_id: &str, certificate_pem: &[u8], key: SigningKey) -> Result<Self, KeyError> {
        let (block, _) =
            pem::decode(certificate_pem).ok_or_else(|| KeyError::Certificate("no PEM block found".to_owned()))?;
        let certificate = Certificate::parse(&block.contents).map_err(|e| KeyError::Certificate(e.to_string()))?;
        let public_key = PublicKey::from_x509(certificate.public_key())?;
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

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|part| part == wanted)
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
                let expected = if public.is_ed25519() { Err(SignatureError::Malformed) } else { Ok(()) };
                assert_eq!(public.verify(&message, &longer), expected, "bytes behind DER are ignored");
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
        // openssl ecparam -genkey -name prime256v1, generated for this test
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
