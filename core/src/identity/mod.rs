//! Identities of signers: X.509 membership service providers, as a channel's configuration defines them.
//!
//! Parsing an identity (certificate, chain, roles) costs about 150 µs and is done once: its [`Msp`] caches the result,
//! keyed by the certificate's bytes. A new definition is a new [`Msp`], so no cached result outlives its definition.

mod certificate;
mod certificate_info;
mod identity_cache;
mod member_identity;
mod msp;
mod msp_manager;
mod msp_version;
mod principal;
mod revocations;
mod setup;
mod tls;
mod trust_store;
mod units;

pub use certificate::CertificateError;
pub use certificate_info::{CertificateInfo, describe};
pub use member_identity::{Identity, InvalidIdentity, PrincipalMismatch};
pub use msp::Msp;
pub use msp_manager::{IdentityError, MspManager, expires_at};
pub use msp_version::MspVersion;
pub use principal::{NamedIdentity, Principal, Role};
pub use setup::{MspError, WorkLimit};
pub use tls::{TlsAuthorities, TlsCertificateError};
pub use trust_store::CertificateChainError;
pub use units::UnitError;
