//! TLS of the listeners: files, and whom the channels make trustworthy.

mod client_verifier;
mod listener;

pub use orderer_localconfig::tls_files::{Clients, TlsError, TlsFiles};
pub use listener::{Audience, ListenerTls};
