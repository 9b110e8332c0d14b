//! TLS of the listeners: its files, and the roots that the channels add.

mod client_verifier;
mod handshake;
mod listener;
mod metered;

pub use handshake::{wants_tls, why_it_failed};
pub use listener::{ClientTrust, ListenerTls, PendingCertificate, Reloaded};
pub use metered::Metered;
pub use orderer_localconfig::tls_files::{Clients, TlsError, TlsFiles};
