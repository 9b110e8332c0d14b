//! TLS of the listeners: files, and whom the channels make trustworthy.

mod files;
mod listener;

pub use files::{TlsError, TlsFiles};
pub use listener::ListenerTls;
