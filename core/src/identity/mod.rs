//! Who a signer is: X.509 membership service providers, as a channel's configuration defines them.
//!
//! Reading an identity (parse, chain, roles) costs about 150 µs and is done once: its [`Msp`] keeps the outcome, keyed by
//! the certificate's bytes. A new definition is a new [`Msp`], so nothing outlives the definition it came from.

mod authorities;
mod certificate;
mod described;
mod identified;
mod members;
mod msp;
mod msps;
mod principal;
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
pub use setup::MspError;
pub use tls::{TlsAuthorities, TlsCertificateError};
pub use units::UnitError;
pub use version::MspVersion;
