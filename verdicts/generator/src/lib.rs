//! Generates chains of unusual configurations, certificates and signatures, which Fabric and the library validate.
//!
//! A case depends only on a seed and its number: [`generate`] returns the same bytes for the same pair, so that a case
//! that was found once can be generated again, and tests need to store only Fabric's verdicts. The cases target
//! everything that decides about trust: every field of a certificate can be changed (before it is signed), and so can
//! PEM, revocation lists, node OUs, principals, policies, capabilities, values, versions, sets of signatures, and the
//! bytes of all of them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "random numbers are cut to what is needed of them"
)]
#![allow(
    clippy::explicit_auto_deref,
    clippy::needless_for_each,
    clippy::assigning_clones,
    clippy::format_push_string,
    reason = "inference of what is picked needs the first; the others read better here"
)]

pub mod bend;
pub mod certificate;
pub mod crl;
pub mod der;
pub mod families;
pub mod keys;
pub mod large;
pub mod long_rsa;
pub mod network;
pub mod organization;
pub mod pem;
pub mod rng;
pub mod wire;

pub use families::{FAMILIES, generate};
