//! The certificates that the node presents and signs with: reloads them when their files change, and warns before
//! they expire. New ones are used from the next connection, and from the next block, on; nothing is interrupted.

mod expiry;
mod files;
mod in_use;
mod keeper;
mod orderers;

pub use in_use::{CertificateShown, CertificatesInUse};
pub use keeper::Keeper;
pub use orderers::{Orderers, OrderersError, check_client_files};
