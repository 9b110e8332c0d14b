//! TLS of the listeners: files, and whom the channels make trustworthy.

mod client_verifier;
mod handshake;
mod listener;

pub use handshake::{wants_tls, why_it_failed};
pub use listener::{Audience, ListenerTls};
pub use orderer_localconfig::tls_files::{Clients, TlsError, TlsFiles};
