//! The certificates that the node shows and signs with: read again when their files change, and warned about before they
//! expire. What is read is used from the next connection, and from the next block, on; nothing is interrupted.

mod expiry;
mod files;
mod in_use;
mod keeper;

pub use in_use::{CertificateShown, CertificatesInUse};
pub use keeper::Keeper;
