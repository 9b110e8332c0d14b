//! TLS of the listeners: files, and whom the channels make trustworthy.

mod files;
mod listener;

pub use files::{Clients, TlsError, TlsFiles};
pub use listener::{Audience, ListenerTls};
