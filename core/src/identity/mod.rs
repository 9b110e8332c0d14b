//! Identities of signers: X.509 membership service providers, as a channel's configuration defines them.
//!
//! Parsing an identity (certificate, chain, roles) costs about 150 µs and is done once: its [`Msp`] caches the result,
//! keyed by the certificate's bytes. A new definition is a new [`Msp`], so no cached result outlives its definition.

mod authorities;
mod certificate;
mod described;
mod identified;
mod members;
mod msp;
mod msps;
mod principal;
mod revocations;
mod setup;
mod tls;
mod units;
mod version;

pub use authorities::ChainError;
pub use certificate::CertificateError;
pub use described::{CertificateFacts, describe};
pub use identified::{Identity, NotValid, PrincipalMismatch};
pub use msp::Msp;
pub use msps::{IdentityError, Msps, expires_at};
pub use principal::{NamedIdentity, Principal, Role};
pub use setup::{Effort, MspError};
pub use tls::{TlsAuthorities, TlsCertificateError};
pub use units::UnitError;
pub use version::MspVersion;
