//! The keys under `Operations`, `Admin` and `ChannelParticipation`.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use super::load::Note;
use super::validate::Validator;
use crate::tls_files::{Clients, TlsFiles};

/// A listener for operators.
#[derive(Clone, Debug)]
pub struct HttpListener {
    /// The address to listen on.
    pub address: SocketAddr,
    /// The host of that address, as it is configured.
    pub host: String,
    /// The TLS files; `None` for plaintext.
    pub tls: Option<TlsFiles>,
}

/// The endpoints for operators. A listener without an address is not opened.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The listener for health, metrics and log levels.
    pub operations: Option<HttpListener>,
    /// The listener for channel participation.
    pub admin: Option<HttpListener>,
    /// Whether channels can be joined and removed.
    pub participation: bool,
    /// Maximum size in bytes of a participation request's body.
    pub max_body_bytes: usize,
    /// The clients that may read `/debug`.
    pub debug: DebugEndpoint,
}

/// The clients to which the operations endpoint shows the node's content: blocks, configurations, rejections, logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugEndpoint {
    /// Over TLS, clients with a certificate; without TLS, clients on this machine.
    Protected,
    /// Over TLS, clients with a certificate; without TLS, all clients.
    Open,
    /// No client.
    Off,
}

/// The names of one listener's keys.
struct Keys {
    address: &'static str,
    enabled: &'static str,
    certificate: &'static str,
    private_key: &'static str,
    client_auth: &'static str,
    client_roots: &'static str,
    /// `None`: clients' certificates are verified by the clock, as in Fabric.
    time_shift: Option<&'static str>,
}

const OPERATIONS: Keys = Keys {
    address: "Operations.ListenAddress",
    enabled: "Operations.TLS.Enabled",
    certificate: "Operations.TLS.Certificate",
    private_key: "Operations.TLS.PrivateKey",
    client_auth: "Operations.TLS.ClientAuthRequired",
    client_roots: "Operations.TLS.ClientRootCAs",
    time_shift: None,
};

const ADMIN: Keys = Keys {
    address: "Admin.ListenAddress",
    enabled: "Admin.TLS.Enabled",
    certificate: "Admin.TLS.Certificate",
    private_key: "Admin.TLS.PrivateKey",
    client_auth: "Admin.TLS.ClientAuthRequired",
    client_roots: "Admin.TLS.ClientRootCAs",
    time_shift: Some("Admin.TLS.TLSHandshakeTimeShift"),
};

impl Validator {
    pub(super) fn http(&mut self) -> HttpSettings {
        if self.bool(ADMIN.enabled) && !self.bool(ADMIN.client_auth) {
            let source = self.source(ADMIN.client_auth);
            let text = "Admin.TLS.ClientAuthRequired must be true when Admin.TLS.Enabled is true";
            self.mistake(source, text);
        }
        HttpSettings {
            operations: self.listener(&OPERATIONS),
            admin: self.listener(&ADMIN),
            participation: self.bool("ChannelParticipation.Enabled"),
            max_body_bytes: self.number("ChannelParticipation.MaxRequestBodySize"),
            debug: match self.text("Debug.Endpoint").to_ascii_lowercase().as_str() {
                "open" => DebugEndpoint::Open,
                "off" => DebugEndpoint::Off,
                _ => DebugEndpoint::Protected,
            },
        }
    }

    fn listener(&mut self, keys: &Keys) -> Option<HttpListener> {
        let written = self.text(keys.address);
        if written.is_empty() {
            return None;
        }
        // as in Go, a port alone means all interfaces
        let full = if written.starts_with(':') { format!("0.0.0.0{written}") } else { written.clone() };
        let address = full.to_socket_addrs().ok().and_then(|mut all| all.next());
        if address.is_none() {
            let source = self.source(keys.address);
            self.mistake(source, format!("{}: '{written}' is no host:port of this machine", keys.address));
        }
        let tls = self.bool(keys.enabled).then(|| self.listener_tls(keys));
        let host = full.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
        Some(HttpListener { address: address?, host, tls })
    }

    fn listener_tls(&mut self, keys: &Keys) -> TlsFiles {
        let (certificate, private_key) = (self.path(keys.certificate), self.path(keys.private_key));
        let roots = self.paths(keys.client_roots);
        let named = [(keys.certificate, &certificate), (keys.private_key, &private_key)];
        for (key, file) in named.into_iter().chain(roots.iter().map(|root| (keys.client_roots, root))) {
            if !file.is_file() {
                self.missing(key, file, "no such file");
            }
        }
        let must_show = self.bool(keys.client_auth);
        // Fabric starts with that, too
        if must_show && roots.is_empty() {
            let text = format!("{} is empty: nobody gets in, since {} is true", keys.client_roots, keys.client_auth);
            self.notes.push(Note::warning(text));
        }
        let clients = if must_show { Clients::MustShow(roots) } else { Clients::MayShow(roots) };
        let time_shift = keys.time_shift.map_or(Duration::ZERO, |key| self.duration(key));
        TlsFiles { certificate, private_key, clients, time_shift }
    }
}
