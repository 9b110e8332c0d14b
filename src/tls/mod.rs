//! TLS of the listeners: files, and whom the channels make trustworthy.

mod client_verifier;
mod listener;

pub use listener::{Audience, ListenerTls};
pub use orderer_localconfig::tls_files::{Clients, TlsError, TlsFiles};
