//! The certificates that the node presents and signs with: reloads them when their files change, and warns before
//! they expire. New ones are used from the next connection, and from the next block, on; nothing is interrupted. A certificate
//! that a channel's configuration would have to name waits until it does.

mod expiry;
mod file_stamps;
mod inventory;
mod orderers;
mod reloader;
mod replacement_guard;

pub use inventory::{CertificateInventory, CertificateView};
pub use orderers::{Orderers, OrderersError, check_client_files};
pub use reloader::CertificateReloader;
