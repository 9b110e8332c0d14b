//! Checks all values: returns settings, or every error at once.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use orderer_actors::Durability;
use orderer_core::config::{ConsensusMapping, EtcdraftMapping};

use super::bccsp::key_ids;
use super::keys::{KEYS, Key, Kind, ReloadEffect, Unset};
use super::load::Note;
use super::memory::{ConfiguredLimits, LEAST_BYTES, machine_bytes};
use super::sources::{ConfigError, Source};
use super::{Keepalive, Limits, Settings, secrets};
use crate::log_spec::check_spec;
use crate::tls_files::{Clients, TlsFiles};
use crate::yaml::{self, Value};

pub(super) struct Validator {
    /// The directory that relative paths are relative to.
    pub(super) folder: PathBuf,
    /// Values by the key's own path.
    pub(super) values: BTreeMap<&'static str, (Value, Source)>,
    /// Files that contain a key's value, by the key's own path.
    pub(super) files: BTreeMap<&'static str, (Value, Source)>,
    /// Variables without the prefix that have a meaning all the same.
    pub(super) foreign: BTreeMap<String, String>,
    pub(super) mistakes: Vec<ConfigError>,
    pub(super) notes: Vec<Note>,
}

impl Validator {
    pub(super) fn settings(&mut self, source: String) -> Option<Settings> {
        self.read_files();
        // every key is read, so that every error is found
        for key in KEYS.iter().filter(|key| !matches!(key.effect, ReloadEffect::Ignored(_))) {
            self.check_kind(key);
        }
        let listen = self.address();
        let tls = self.tls();
        let cluster = self.cluster(tls.as_ref());
        let bootstrap = self.bootstrap();
        let local_msp_dir = self.path("General.LocalMSPDir");
        let local_msp_id = self.text("General.LocalMSPID");
        if !local_msp_dir.is_dir() {
            self.missing("General.LocalMSPDir", &local_msp_dir, "no such folder");
        }
        let keys = self.keys();
        let limits = self.limits();
        let log_spec = self.log_spec();
        let kafka = self.kafka();
        let (consensus_mapping, http, metrics) = (self.consensus_mapping(), self.http(), self.metrics());
        let (tracing, profile) = (self.tracing(), self.profile());
        let folder = |path: &'static str| (!self.text(path).is_empty()).then(|| self.path(path));
        let (broadcast_trace_dir, deliver_trace_dir) =
            (folder("Debug.BroadcastTraceDir"), folder("Debug.DeliverTraceDir"));
        let memory = self.text("Solo.Durability") == "memory";
        Some(Settings {
            effective: self.effective(),
            source,
            log_spec,
            listen: listen?,
            tls,
            cluster,
            raft: self.raft(),
            keepalive: Keepalive {
                interval: self.duration("General.Keepalive.ServerInterval"),
                timeout: self.duration("General.Keepalive.ServerTimeout"),
            },
            max_receive_bytes: self.number::<usize>("General.MaxRecvMsgSize").min(limits.large_message_bytes as usize),
            connection_timeout: self.duration("General.ConnectionTimeout"),
            bootstrap,
            local_msp_dir,
            local_msp_id,
            keys,
            time_window: self.duration("General.Authentication.TimeWindow"),
            expiration_checks: !self.bool("General.Authentication.NoExpirationChecks"),
            ledger_location: self.path("FileLedger.Location"),
            low_disk_bytes: self.number("FileLedger.LowDiskBytes"),
            durability: if memory { Durability::Memory } else { Durability::Disk },
            limits,
            throttling: orderer_core::rate_limit::RateLimits {
                all: self.number("General.Throttling.Rate"),
                client: self.number("General.Throttling.ClientRate"),
                organization: self.number("General.Throttling.OrganizationRate"),
                inactivity: self.duration("General.Throttling.InactivityTimeout"),
            },
            consensus_mapping,
            kafka,
            http,
            metrics,
            tracing,
            profile,
            broadcast_trace_dir,
            deliver_trace_dir,
        })
    }

    fn limits(&mut self) -> Limits {
        let written = ConfiguredLimits {
            memory: u64::try_from(self.number::<usize>("Limits.MemoryBytes")).unwrap_or(u64::MAX),
            channel_ingress: self.number("Limits.ChannelIngressBytes"),
            large_message: self.number("Limits.LargeMessageBytes"),
            block_cache: self.number("Limits.BlockCacheBytes"),
            streams_per_connection: self.number("Limits.StreamsPerConnection"),
        };
        if written.streams_per_connection == 0 {
            let source = self.source("Limits.StreamsPerConnection");
            self.mistake(source, "Limits.StreamsPerConnection must be above 0");
        }
        if (1..LEAST_BYTES).contains(&written.memory) {
            let source = self.source("Limits.MemoryBytes");
            self.mistake(source, format!("Limits.MemoryBytes must be at least {} MB", LEAST_BYTES >> 20));
        }
        let limits = written.shares(machine_bytes());
        let (message, room) = (self.number::<usize>("General.MaxRecvMsgSize"), limits.large_message_bytes as usize);
        if message > room {
            let text = format!(
                "messages above {} MB are refused although General.MaxRecvMsgSize allows {} MB: Limits.LargeMessageBytes, or \
                 its share of Limits.MemoryBytes, has no room for them",
                room >> 20,
                message >> 20
            );
            self.notes.push(Note { is_warning: false, text });
        }
        limits
    }

    fn address(&mut self) -> Option<SocketAddr> {
        let (host, port) = (self.text("General.ListenAddress"), self.number::<u16>("General.ListenPort"));
        // an IPv6 address may be in brackets, which it needs before a port
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let resolved = (bare, port).to_socket_addrs().ok().and_then(|mut all| all.next());
        if resolved.is_none() {
            let source = self.source("General.ListenAddress");
            self.mistake(source, format!("General.ListenAddress: '{host}' is no address of this machine"));
        }
        resolved
    }

    fn profile(&mut self) -> Option<SocketAddr> {
        if !self.bool("General.Profile.Enabled") {
            return None;
        }
        let written = self.text("General.Profile.Address");
        // as in Go, a port alone means all interfaces
        let full = if written.starts_with(':') { format!("0.0.0.0{written}") } else { written.clone() };
        let address = full.to_socket_addrs().ok().and_then(|mut all| all.next());
        if address.is_none() {
            let source = self.source("General.Profile.Address");
            self.mistake(source, format!("General.Profile.Address: '{written}' is no host:port of this machine"));
        }
        address
    }

    fn log_spec(&mut self) -> Option<String> {
        let spec = self.text("General.LogSpec");
        if let Err(error) = check_spec(&spec) {
            let source = self.source("General.LogSpec");
            self.mistake(source, format!("General.LogSpec: {error}"));
        }
        (!spec.is_empty()).then_some(spec)
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        if !self.bool("General.TLS.Enabled") {
            return None;
        }
        let mut file = |path: &'static str| {
            let file = self.path(path);
            if !file.is_file() {
                self.missing(path, &file, "no such file");
            }
            file
        };
        let (certificate, private_key) = (file("General.TLS.Certificate"), file("General.TLS.PrivateKey"));
        let must_show = self.bool("General.TLS.ClientAuthRequired");
        let roots = if must_show { self.paths("General.TLS.ClientRootCAs") } else { Vec::new() };
        for root in &roots {
            if !root.is_file() {
                self.missing("General.TLS.ClientRootCAs", root, "no such file");
            }
        }
        let clients = if must_show { Clients::MustShow(roots) } else { Clients::Anybody };
        let time_shift = self.duration("General.TLS.TLSHandshakeTimeShift");
        Some(TlsFiles { certificate, private_key, clients, time_shift })
    }

    fn consensus_mapping(&mut self) -> ConsensusMapping {
        let etcdraft = match self.text("Consensus.Serve.etcdraft").to_ascii_lowercase().as_str() {
            "kafka" => EtcdraftMapping::Kafka,
            "solo" => EtcdraftMapping::Solo,
            "none" => EtcdraftMapping::Nothing,
            _ => EtcdraftMapping::Raft,
        };
        ConsensusMapping { etcdraft, brokers: self.list("Kafka.Brokers") }
    }

    /// Checks that a value has the kind of its key, and removes one that counts as unset.
    fn check_kind(&mut self, key: &Key) {
        let Some((value, source)) = self.values.get(key.path) else { return };
        let (text, source) = (yaml::shown(value), source.clone());
        let says_nothing = match key.unset {
            Unset::Never => *value == Value::Null,
            Unset::Empty => text.is_empty() || text == "{}",
            Unset::Zero => text.is_empty() || text == "{}" || is_zero(key.kind, value),
        };
        if says_nothing {
            self.values.remove(key.path);
            return;
        }
        // a private key in place of a file's name would be shown with every error about that file
        if secrets::is_pem(&text) && !matches!(key.kind, Kind::Secret | Kind::Pem | Kind::Pems) {
            self.mistake(source, format!("{}: PEM does not belong here", key.path));
            self.values.remove(key.path);
            return;
        }
        let number = || yaml::integer(value);
        let wanted = match key.kind {
            Kind::Anything => None,
            Kind::Text | Kind::Secret => yaml::text(value).is_none().then_some("a text"),
            Kind::Path => yaml::text(value).is_none().then_some("a file"),
            Kind::Pem => yaml::text(value).is_none().then_some("PEM or a file"),
            Kind::Pems => yaml::texts(value).is_none().then_some("a list of PEM texts or files"),
            Kind::Paths => yaml::texts(value).is_none().then_some("a list of files"),
            Kind::List => yaml::texts(value).is_none().then_some("a list"),
            Kind::KeyIds => key_ids(value).is_none().then_some("a list of mappings with SKI (in hex) and ID"),
            Kind::Bool => yaml::boolean(value).is_none().then_some("true or false"),
            Kind::Port => (!number().is_some_and(|n| (1..=65535).contains(&n))).then_some("a port from 1 to 65535"),
            Kind::Number => number().is_none_or(|n| u32::try_from(n).is_err()).then_some("a whole number"),
            Kind::Bytes => yaml::size(value).is_none().then_some("a number of bytes, such as 1048576 or 1 MB"),
            Kind::Duration => yaml::duration(value).is_none().then_some("a duration, such as 500ms or 1h30m"),
            Kind::Choice(words) if words.iter().any(|word| word.eq_ignore_ascii_case(&text)) => None,
            Kind::Choice(words) => {
                self.mistake(source, format!("{}: '{text}' is not one of: {}", key.path, words.join(", ")));
                return;
            }
        };
        if let Some(wanted) = wanted {
            self.mistake(source, format!("{}: '{}' is not {wanted}", key.path, secrets::shown(key, &text)));
        }
    }
}

fn is_zero(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Duration => yaml::duration(value).is_some_and(|duration| duration.is_zero()),
        Kind::Bytes => yaml::size(value) == Some(0),
        _ => yaml::integer(value) == Some(0),
    }
}
