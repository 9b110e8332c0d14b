//! Keys of all types that a certificate may have. The keys are constant and public; they protect nothing.

use std::sync::LazyLock;

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, Pkcs1v15Sign, PrivateKey};
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use crate::der::{bits, explicit, implicit, integer, null, octets, oid, sequence, tlv, unsigned};
use crate::long_rsa::LongKey;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1
    Sha1,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    /// All hash functions.
    pub const ALL: [Self; 5] = [Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(message).to_vec(),
            Self::Sha224 => Sha224::digest(message).to_vec(),
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    /// Encodes the `DigestInfo` that an RSA signature covers.
    fn digest_info(self, message: &[u8]) -> Vec<u8> {
        sequence(&[sequence(&[self.oid(), null()]), octets(&self.digest(message))])
    }

    fn oid(self) -> Vec<u8> {
        match self {
            Self::Sha1 => oid(&[1, 3, 14, 3, 2, 26]),
            Self::Sha224 => oid(&[2, 16, 840, 1, 101, 3, 4, 2, 4]),
            Self::Sha256 => oid(&[2, 16, 840, 1, 101, 3, 4, 2, 1]),
            Self::Sha384 => oid(&[2, 16, 840, 1, 101, 3, 4, 2, 2]),
            Self::Sha512 => oid(&[2, 16, 840, 1, 101, 3, 4, 2, 3]),
        }
    }
}

/// Returns the SHA-256 of a message, for hashes of the protocol.
pub fn sha256(message: &[u8]) -> Vec<u8> {
    Hash::Sha256.digest(message)
}

/// A private key.
pub enum Key {
    /// NIST P-224
    P224(p224::ecdsa::SigningKey),
    /// NIST P-256
    P256(p256::ecdsa::SigningKey),
    /// NIST P-384
    P384(p384::ecdsa::SigningKey),
    /// NIST P-521
    P521(p521::ecdsa::SigningKey),
    /// RSA
    Rsa(Box<PrivateKey>),
    /// RSA with a longer modulus
    LongRsa(LongKey),
    /// Ed25519
    Ed25519(ed25519_dalek::SigningKey),
}

/// The form of an ECDSA signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The smaller value of s, as Fabric requires of members.
    LowS,
    /// The greater value of s.
    HighS,
}

impl Key {
    /// Encodes the `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> Vec<u8> {
        let ec = |curve: &[u64], point: &[u8]| {
            sequence(&[sequence(&[oid(&[1, 2, 840, 10045, 2, 1]), oid(curve)]), bits(0, point)])
        };
        match self {
            Self::P224(key) => ec(&[1, 3, 132, 0, 33], key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P256(key) => ec(&[1, 2, 840, 10045, 3, 1, 7], key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P384(key) => ec(&[1, 3, 132, 0, 34], key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P521(key) => ec(&[1, 3, 132, 0, 35], key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::Rsa(key) => rsa_spki(&key.n().to_be_bytes(), &key.e().to_be_bytes()),
            Self::LongRsa(key) => rsa_spki(key.modulus(), &LongKey::EXPONENT.to_be_bytes()),
            Self::Ed25519(key) => {
                sequence(&[sequence(&[oid(&[1, 3, 101, 112])]), bits(0, key.verifying_key().as_bytes())])
            }
        }
    }

    /// Returns a subject key identifier: the first 20 octets of a hash of the public key.
    pub fn identifier(&self) -> Vec<u8> {
        let mut id = sha256(&self.spki());
        id.truncate(20);
        id
    }

    /// Returns the usual hash function for this type of key.
    pub fn hash(&self) -> Hash {
        match self {
            Self::P384(_) => Hash::Sha384,
            Self::P521(_) => Hash::Sha512,
            _ => Hash::Sha256,
        }
    }

    /// Encodes the `AlgorithmIdentifier` of a signature.
    pub fn algorithm(&self, hash: Hash) -> Vec<u8> {
        match self {
            Self::Rsa(_) | Self::LongRsa(_) => {
                let last = match hash {
                    Hash::Sha1 => 5,
                    Hash::Sha224 => 14,
                    Hash::Sha256 => 11,
                    Hash::Sha384 => 12,
                    Hash::Sha512 => 13,
                };
                sequence(&[oid(&[1, 2, 840, 113_549, 1, 1, last]), null()])
            }
            Self::Ed25519(_) => sequence(&[oid(&[1, 3, 101, 112])]),
            _ => match hash {
                Hash::Sha1 => sequence(&[oid(&[1, 2, 840, 10045, 4, 1])]),
                Hash::Sha224 => sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 1])]),
                Hash::Sha256 => sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 2])]),
                Hash::Sha384 => sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 3])]),
                Hash::Sha512 => sequence(&[oid(&[1, 2, 840, 10045, 4, 3, 4])]),
            },
        }
    }

    /// Signs `message`.
    pub fn sign(&self, hash: Hash, message: &[u8], form: Form) -> Vec<u8> {
        match self {
            Self::LongRsa(key) => key.sign(&hash.digest_info(message)),
            Self::Rsa(key) => {
                let info = hash.digest_info(message);
                key.sign(Pkcs1v15Sign::new_unprefixed(), &info).unwrap_or_default()
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            _ => {
                let (r, s) = self.ecdsa(&hash.digest(message), form);
                sequence(&[unsigned(&r), unsigned(&s)])
            }
        }
    }

    /// Returns the integers r and s of an ECDSA signature over a digest. Both are empty for other keys.
    pub fn ecdsa(&self, digest: &[u8], form: Form) -> (Vec<u8>, Vec<u8>) {
        // leading zeros do not change the integer of a digest; the libraries require half the length of a field element
        let padded = |least: usize| {
            let mut padded = vec![0; least.saturating_sub(digest.len())];
            padded.extend(digest);
            padded
        };
        macro_rules! sign {
            ($key:expr, $curve:ident, $least:expr) => {{
                let signature: Result<$curve::ecdsa::Signature, _> = $key.sign_prehash(&padded($least));
                let Ok(signature) = signature else { return (Vec::new(), Vec::new()) };
                let low = signature.normalize_s();
                let (r, s) = low.split_scalars();
                let s = if form == Form::LowS { *s } else { -*s };
                (r.to_bytes().to_vec(), s.to_bytes().to_vec())
            }};
        }
        match self {
            Self::P224(key) => sign!(key, p224, 14),
            Self::P256(key) => sign!(key, p256, 16),
            Self::P384(key) => sign!(key, p384, 32),
            Self::P521(key) => sign!(key, p521, 64),
            Self::Rsa(_) | Self::LongRsa(_) | Self::Ed25519(_) => (Vec::new(), Vec::new()),
        }
    }
}

/// Types of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    P224,
    P256,
    P384,
    P521,
    Rsa768,
    Rsa1024,
    Rsa2048,
    Rsa4096,
    Rsa8192,
    Rsa16384,
    Ed25519,
}

impl Kind {
    /// Key types in random cases.
    pub const ALL: [Self; 8] =
        [Self::P224, Self::P256, Self::P384, Self::P521, Self::Rsa768, Self::Rsa1024, Self::Rsa2048, Self::Ed25519];
}

/// Number of keys of each curve.
pub const EACH: usize = 8;

static P224: LazyLock<Vec<Key>> =
    LazyLock::new(|| scalars(28).filter_map(|s| p224::ecdsa::SigningKey::from_slice(&s).ok().map(Key::P224)).collect());
static P256: LazyLock<Vec<Key>> =
    LazyLock::new(|| scalars(32).filter_map(|s| p256::ecdsa::SigningKey::from_slice(&s).ok().map(Key::P256)).collect());
static P384: LazyLock<Vec<Key>> =
    LazyLock::new(|| scalars(48).filter_map(|s| p384::ecdsa::SigningKey::from_slice(&s).ok().map(Key::P384)).collect());
static P521: LazyLock<Vec<Key>> =
    LazyLock::new(|| scalars(66).filter_map(|s| p521::ecdsa::SigningKey::from_slice(&s).ok().map(Key::P521)).collect());
static ED25519: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let key = |s: Vec<u8>| <[u8; 32]>::try_from(s).ok().map(|s| ed25519_dalek::SigningKey::from_bytes(&s));
    scalars(32).filter_map(key).map(Key::Ed25519).collect()
});
static RSA: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let primes = include_str!("rsa-primes.txt").lines().filter_map(|line| line.split_once(' '));
    let number = |hex: &str| {
        let octets: Vec<u8> =
            (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect();
        BoxedUint::from_be_slice_vartime(&octets)
    };
    let key = |(p, q): (&str, &str)| PrivateKey::from_p_q(number(p), number(q), BoxedUint::from(65_537_u64));
    primes.filter_map(|line| key(line).ok()).map(|key| Key::Rsa(Box::new(key))).collect()
});

static RSA_4096: LazyLock<Vec<Key>> = LazyLock::new(|| long_keys(512));
static RSA_8192: LazyLock<Vec<Key>> = LazyLock::new(|| long_keys(1024));
static RSA_16384: LazyLock<Vec<Key>> = LazyLock::new(|| long_keys(2048));

fn long_keys(octets: usize) -> Vec<Key> {
    (0..EACH).filter_map(|number| LongKey::new(octets, number)).map(Key::LongRsa).collect()
}

/// Returns octets from which keys are created.
fn scalars(length: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..EACH as u64).map(move |number| scalar(length, number))
}

fn scalar(length: usize, number: u64) -> Vec<u8> {
    let mut octets: Vec<u8> =
        (0..3_u64).flat_map(|part| sha256(&[length as u64, number, part].map(u64::to_be_bytes).concat())).collect();
    octets.truncate(length);
    // below the order of every curve
    octets[0] = if length == 66 { 0 } else { octets[0] & 0x7f };
    octets
}

/// Encodes the `SubjectPublicKeyInfo` of another key of a type, for any number. The RSA keys have no known private key;
/// their exponent is the largest that is accepted.
pub fn other_spki(kind: Kind, number: usize) -> Vec<u8> {
    match kind.octets() {
        Some(octets) => {
            let number = (EACH + number) as u64;
            let part = |part: u64| sha256(&[number, part].map(u64::to_be_bytes).concat());
            let mut modulus: Vec<u8> = (0..octets as u64 / 32).flat_map(part).collect();
            modulus[0] |= 0x80;
            modulus[octets - 1] |= 1;
            rsa_spki(&modulus, &LongKey::EXPONENT.to_be_bytes())
        }
        None => other(kind, number).map(|key| key.spki()).unwrap_or_default(),
    }
}

/// Returns another key of a type, for any number. Returns `None` for RSA keys up to 2048 bits.
pub fn other(kind: Kind, number: usize) -> Option<Key> {
    let beyond = (EACH + number) as u64;
    match kind {
        Kind::P224 => p224::ecdsa::SigningKey::from_slice(&scalar(28, beyond)).ok().map(Key::P224),
        Kind::P256 => p256::ecdsa::SigningKey::from_slice(&scalar(32, beyond)).ok().map(Key::P256),
        Kind::P384 => p384::ecdsa::SigningKey::from_slice(&scalar(48, beyond)).ok().map(Key::P384),
        Kind::P521 => p521::ecdsa::SigningKey::from_slice(&scalar(66, beyond)).ok().map(Key::P521),
        Kind::Ed25519 => {
            let scalar = <[u8; 32]>::try_from(scalar(32, beyond)).ok();
            scalar.map(|scalar| Key::Ed25519(ed25519_dalek::SigningKey::from_bytes(&scalar)))
        }
        Kind::Rsa4096 | Kind::Rsa8192 | Kind::Rsa16384 => {
            LongKey::new(kind.octets().unwrap_or_default(), EACH + number).map(Key::LongRsa)
        }
        Kind::Rsa768 | Kind::Rsa1024 | Kind::Rsa2048 => None,
    }
}

impl Kind {
    /// Returns the length of the modulus in octets, or `None` for keys without one.
    fn octets(self) -> Option<usize> {
        Some(match self {
            Self::Rsa768 => 96,
            Self::Rsa1024 => 128,
            Self::Rsa2048 => 256,
            Self::Rsa4096 => 512,
            Self::Rsa8192 => 1024,
            Self::Rsa16384 => 2048,
            _ => return None,
        })
    }
}

fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = sequence(&[unsigned(modulus), unsigned(exponent)]);
    sequence(&[sequence(&[oid(&[1, 2, 840, 113_549, 1, 1, 1]), null()]), bits(0, &numbers)])
}

/// Returns the key `number` of a type. There are a few keys of each type.
pub fn key(kind: Kind, number: usize) -> &'static Key {
    let of = |keys: &'static [Key], at: usize| &keys[at % keys.len()];
    match kind {
        Kind::P224 => of(&P224, number),
        Kind::P256 => of(&P256, number),
        Kind::P384 => of(&P384, number),
        Kind::P521 => of(&P521, number),
        Kind::Ed25519 => of(&ED25519, number),
        Kind::Rsa768 => of(&RSA, 0),
        Kind::Rsa1024 => of(&RSA, 1),
        Kind::Rsa2048 => of(&RSA, 2),
        Kind::Rsa4096 => of(&RSA_4096, number),
        Kind::Rsa8192 => of(&RSA_8192, number),
        Kind::Rsa16384 => of(&RSA_16384, number),
    }
}

/// Encodes the content of an authority key identifier extension with only the key identifier.
pub fn authority_key_identifier(identifier: &[u8]) -> Vec<u8> {
    sequence(&[implicit(0, identifier)])
}

/// Encodes the version of a certificate.
pub fn version(number: u64) -> Vec<u8> {
    explicit(0, &integer(number))
}

/// Encodes an element whose content need not be valid.
pub fn raw(tag: u8, content: &[u8]) -> Vec<u8> {
    tlv(tag, content)
}
