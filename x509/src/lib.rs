//! X.509 certificates and revocation lists, parsed and verified by the rules of Go's `crypto/x509`.
//!
//! Fabric validates certificates with Go's library, so an orderer with other results diverges from its peers. No Rust library
//! accepts and rejects exactly the same certificates as Go; this crate implements the rules, without I/O, and is compared with
//! Go case by case. Libraries do the mathematics of signatures.

mod algorithm;
mod asn1;
mod certificate;
mod constraints;
mod cost;
mod crl;
mod der;
mod domain;
pub mod ecdsa;
mod extension;
#[cfg(feature = "handshake")]
pub mod handshake;
mod hostname;
mod key;
mod legacy;
mod lenient;
mod memo;
mod name;
pub mod pem;
mod policies;
mod recode;
mod recovery;
mod rsa;
mod signature;
mod time;
mod uri;
mod verify;
mod verify_error;

pub use algorithm::{Hash, SignatureAlgorithm};
pub use certificate::{Certificate, ParseError};
pub use constraints::{ConstraintError, NameKind};
pub use crl::{CrlError, RevocationList, RevokedCertificate};
pub use extension::{
    BasicConstraints, ExtendedKeyUsage, Extension, Extensions, NameConstraints, SubjectAltName, Subtrees,
};
pub use hostname::HostnameError;
pub use key::{Curve, KeyError, PublicKey};
pub use legacy::verify_legacy_name_constraints;
pub use lenient::{LenientError, authority_key_id, subject_key_id};
pub use memo::Memo;
pub use name::Name;
pub use signature::SignatureError;
pub use verify::{Options, Pool, Purpose, verify, verify_with};
pub use verify_error::{CertificateId, RejectedAuthority, VerifyError};
