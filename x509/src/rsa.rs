//! RSA signatures, within the limits of Go's `crypto/rsa`.
//!
//! aws-lc-rs verifies what it offers. It offers neither PSS nor SHA-384 below 2048 bits, and nothing above 8192 bits, but Go
//! accepts all of these. RustCrypto's `rsa` verifies them; only its public-key operation is used, and the known vulnerability of
//! that crate concerns the timing of private keys.

use ::rsa::traits::SignatureScheme;
use ::rsa::{BoxedUint, Pkcs1v15Sign, Pss, PublicKey};
use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use sha2::{Sha256, Sha384, Sha512};

use crate::algorithm::Hash;
use crate::signature::SignatureError;

/// Minimum length of a modulus in bits, as in Go (`checkKeySize`).
const MIN_BITS: usize = 1024;
/// Maximum length of a modulus in bits. Go has no upper limit, and its verification takes time in the square of the length.
/// Moduli longer than other libraries support are rejected here, so that no certificate takes seconds of CPU time.
const MAX_BITS: usize = 16384;
/// Range of lengths in which aws-lc-rs offers all combinations.
const COMMON_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Padding of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// PKCS #1 v1.5.
    Pkcs1,
    /// PSS with a salt as long as the digest.
    Pss,
}

/// Verifies that `signature` over `message` is by the key with this modulus (without leading zeros) and exponent
/// (`VerifyPKCS1v15`, `VerifyPSS`).
pub(crate) fn verify(
    modulus: &[u8],
    exponent: u64,
    padding: Padding,
    hash: Hash,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let bits = check_key(modulus, exponent)?;
    if signature.len() != modulus.len() {
        return Err(SignatureError::Wrong);
    }
    let verifies = match parameters(bits, padding, hash) {
        Some(parameters) => {
            let exponent = exponent.to_be_bytes();
            let leading = exponent.iter().take_while(|byte| **byte == 0).count();
            let key = RsaPublicKeyComponents { n: modulus, e: &exponent[leading..] };
            key.verify(parameters, message, signature).is_ok()
        }
        None => verify_uncommon(modulus, exponent, padding, hash, message, signature),
    };
    if verifies { Ok(()) } else { Err(SignatureError::Wrong) }
}

/// Returns the length of the modulus in bits, if Go accepts such a key (`checkKeySize`, `checkPublicKey`).
fn check_key(modulus: &[u8], exponent: u64) -> Result<usize, SignatureError> {
    let (Some(first), Some(last)) = (modulus.first(), modulus.last()) else { return Err(SignatureError::WeakKey) };
    let bits = modulus.len().saturating_mul(8).saturating_sub(first.leading_zeros() as usize);
    let fits = (MIN_BITS..=MAX_BITS).contains(&bits)
        && last & 1 == 1
        && exponent & 1 == 1
        && (2..=(1 << 31) - 1).contains(&exponent);
    if fits { Ok(bits) } else { Err(SignatureError::WeakKey) }
}

/// Returns the parameters of aws-lc-rs for a combination; `None` if it offers none.
fn parameters(bits: usize, padding: Padding, hash: Hash) -> Option<&'static RsaParameters> {
    Some(match (padding, hash) {
        _ if bits > *COMMON_BITS.end() => return None,
        (Padding::Pkcs1, Hash::Sha1) => &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (Padding::Pkcs1, Hash::Sha256) => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (Padding::Pkcs1, Hash::Sha512) => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        _ if bits < *COMMON_BITS.start() => return None,
        (Padding::Pkcs1, Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
        (Padding::Pss, Hash::Sha1) => return None,
        (Padding::Pss, Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
        (Padding::Pss, Hash::Sha384) => &RSA_PSS_2048_8192_SHA384,
        (Padding::Pss, Hash::Sha512) => &RSA_PSS_2048_8192_SHA512,
    })
}

/// Verifies a signature that aws-lc-rs does not support.
fn verify_uncommon(
    modulus: &[u8],
    exponent: u64,
    padding: Padding,
    hash: Hash,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let modulus = BoxedUint::from_be_slice_vartime(modulus);
    let Ok(key) = PublicKey::new_with_size_limits(modulus, BoxedUint::from(exponent), MIN_BITS..=MAX_BITS) else {
        return false;
    };
    let digest = hash.digest(message);
    let digest = digest.as_ref();
    match (padding, hash) {
        (Padding::Pss, Hash::Sha1) => return false,
        (Padding::Pss, Hash::Sha256) => Pss::<Sha256>::new().verify(&key, digest, signature),
        (Padding::Pss, Hash::Sha384) => Pss::<Sha384>::new().verify(&key, digest, signature),
        (Padding::Pss, Hash::Sha512) => Pss::<Sha512>::new().verify(&key, digest, signature),
        (Padding::Pkcs1, _) => {
            let padding = Pkcs1v15Sign { hash_len: Some(digest.len()), prefix: digest_info(hash).into() };
            padding.verify(&key, digest, signature)
        }
    }
    .is_ok()
}

/// Returns the octets before a digest in PKCS #1 v1.5 (RFC 8017, 9.2).
fn digest_info(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha1 => &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14],
        Hash::Sha256 => &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ],
        Hash::Sha384 => &[
            0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04,
            0x30,
        ],
        Hash::Sha512 => &[
            0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04,
            0x40,
        ],
    }
}
