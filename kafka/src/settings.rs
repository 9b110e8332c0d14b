//! How to reach a cluster, in plain types.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::traffic::Traffic;

/// Everything the client has to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` of the brokers to begin with; one that answers is enough.
    pub brokers: Vec<String>,
    /// How the brokers name us in their logs and quotas.
    pub client_id: String,
    /// TLS, if the listener has it.
    pub tls: Option<Tls>,
    /// SASL, if the listener has it.
    pub sasl: Option<Sasl>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The largest produce request. A broker closes the connection on one above its `socket.request.max.bytes`, without
    /// a word; below this limit it can say what is wrong.
    pub max_request_bytes: usize,
    /// Counters of the traffic with brokers; clusters may share them.
    pub traffic: Arc<Traffic>,
}

impl Settings {
    /// Plain TCP to these brokers, with default limits.
    pub fn new(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            client_id: "orderer".to_owned(),
            tls: None,
            sasl: None,
            timeouts: Timeouts::default(),
            max_request_bytes: MAX_REQUEST_BYTES,
            traffic: Arc::default(),
        }
    }
}

/// Default of `socket.request.max.bytes`, with room for the request around the records.
const MAX_REQUEST_BYTES: usize = 100 * 1024 * 1024 - 64 * 1024;

/// Time limits after which a broker is given up. The defaults are Fabric's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Time limit for a connection that can be used: TCP, TLS, versions, SASL.
    pub dial: Duration,
    /// Time limit for an answer, beyond what the broker was asked to wait.
    pub read: Duration,
    /// Time limit for the acknowledgement of a batch.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let ten_seconds = Duration::from_secs(10);
        Self { dial: ten_seconds, read: ten_seconds, write: ten_seconds }
    }
}

/// Certificates and keys, as the bytes of PEM files.
#[derive(Clone)]
pub struct Tls {
    /// The authorities that brokers' certificates may come from.
    pub roots_pem: Vec<u8>,
    /// Our certificate, if the brokers ask for one.
    pub client: Option<ClientCertificate>,
}

/// A certificate of ours and its key.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate, then those up to the authority.
    pub chain_pem: Vec<u8>,
    /// Its key: PKCS#8, PKCS#1 or SEC1, without a password.
    pub key_pem: Vec<u8>,
}

/// Credentials for SASL.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Sasl {
    /// The password itself: only over TLS.
    Plain(Credentials),
    /// A proof of knowing the password, by SHA-256.
    ScramSha256(Credentials),
    /// A proof of knowing the password, by SHA-512.
    ScramSha512(Credentials),
}

/// A user and a password.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Sasl {
    /// The mechanism's name in the protocol.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain(_) => "PLAIN",
            Self::ScramSha256(_) => "SCRAM-SHA-256",
            Self::ScramSha512(_) => "SCRAM-SHA-512",
        }
    }

    /// The user.
    pub fn user(&self) -> &str {
        let (Self::Plain(credentials) | Self::ScramSha256(credentials) | Self::ScramSha512(credentials)) = self;
        &credentials.user
    }
}

// secrets stay out of logs
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("client_certificate", &self.client.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The reason why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The list of brokers is empty.
    #[error("no kafka brokers are given")]
    NoBrokers,
    /// Not `host:port`.
    #[error("kafka broker {address:?} is not of the form host:port")]
    BadAddress {
        /// The address as it was given.
        address: String,
    },
    /// A PEM text without, or with a broken, certificate or key.
    #[error("{what}: no readable PEM")]
    BadPem {
        /// The setting that is wrong.
        what: &'static str,
        /// The error that was found.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// Certificates or keys that TLS cannot use.
    #[error("{what} cannot be used for tls")]
    BadCertificate {
        /// The setting that is wrong.
        what: &'static str,
        /// The error that was found.
        #[source]
        cause: rustls::Error,
    },
}
