//! TLS towards other orderers: the presented identity, the trusted authorities, and the verification of server
//! certificates.

mod material;
mod verifier;

pub use material::{Identity, IdentityError, Roots, RootsError};
pub(crate) use verifier::{ExpectedServer, Shown, client_config, is_of_other_key, observing_config};
