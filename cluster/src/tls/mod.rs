//! TLS towards other orderers: what this node shows, whom it trusts, and how a server's certificate is judged.

mod material;
mod verifier;

pub use material::{Identity, IdentityError, Roots, RootsError};
pub(crate) use verifier::{ExpectedServer, Shown, client_config, observing_config};
