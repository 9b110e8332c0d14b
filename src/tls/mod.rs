//! TLS of the listeners: files, and whom the channels make trustworthy.

mod client;
mod client_verifier;
mod files;
mod handshake;
mod listener;

pub use client::{Trust, client_config};
pub use files::{Clients, TlsError, TlsFiles};
pub use handshake::{wants_tls, why_it_failed};
pub use listener::{Audience, ListenerTls};
