//! The certificates that the node shows and signs with: read again when their files change, and warned about before they
//! expire. What is read is used from the next connection, and from the next block, on; nothing is interrupted.

mod expiry;
mod files;
mod keeper;

pub use keeper::Keeper;
