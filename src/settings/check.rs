//! From values as they are written to settings, or to all mistakes in them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use orderer_actors::Durability;
use orderer_core::config::{RaftAs, Serving};
use serde_yaml::Value;

use super::keys::{Effect, KEYS, Key, Kind};
use super::memory::{LEAST_BYTES, WrittenLimits, machine_bytes};
use super::read::{Mistake, Source, Written};
use super::values::{bytes, duration, plain};
use super::{Keepalive, Limits, Settings};
use crate::telemetry::check_spec;
use crate::tls::{Clients, TlsFiles};

/// A key further away than this from what was written is not what was meant.
const NEAREST_MAX_DISTANCE: usize = 12;

pub(super) struct Checker {
    /// What relative paths are relative to.
    pub(super) folder: PathBuf,
    /// By the key's own path.
    pub(super) values: BTreeMap<&'static str, (Value, Source)>,
    /// Variables that are not ours and count all the same.
    pub(super) foreign: BTreeMap<String, String>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) notes: Vec<String>,
}

impl Checker {
    /// Finds the key of each value.
    pub(super) fn place(&mut self, written: Written) {
        let mut ignored: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (path, (value, source)) in written {
            let Some(key) = KEYS.iter().find(|key| key.covers(&path)) else {
                // an empty section says nothing, whatever its name
                let is_section = KEYS.iter().any(|key| is_inside(key.path, &path));
                if !(is_section && matches!(value, Value::Null | Value::Mapping(_))) {
                    self.mistake(source, format!("unknown key {path}{}", nearest(&path)));
                }
                continue;
            };
            if let Effect::Ignored(why) = key.effect {
                if value != Value::Null {
                    ignored.entry(why).or_default().insert(key.path);
                }
                continue;
            }
            self.values.insert(key.path, (value, source));
        }
        for (why, keys) in ignored {
            let keys: Vec<&str> = keys.into_iter().collect();
            self.notes.push(format!("ignored: {} ({why})", keys.join(", ")));
        }
    }

    pub(super) fn override_by(&mut self, variables: &BTreeMap<String, String>) {
        for (name, text) in variables.iter().filter(|(name, _)| name.starts_with("ORDERER_")) {
            let Some(key) = KEYS.iter().find(|key| key.variable() == name.to_ascii_uppercase()) else {
                // other programs have such variables too, so this is no mistake
                self.notes.push(format!("variable {name} names no key"));
                continue;
            };
            if let Effect::Ignored(why) = key.effect {
                self.notes.push(format!("ignored: variable {name} ({why})"));
                continue;
            }
            let value = match key.kind {
                Kind::Paths | Kind::List => {
                    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
                    let items = list.split([',', ' ']).map(str::trim).filter(|item| !item.is_empty());
                    Value::Sequence(items.map(|item| Value::String(item.to_owned())).collect())
                }
                _ => Value::String(text.clone()),
            };
            self.values.insert(key.path, (value, Source::Variable(name.clone())));
        }
    }

    pub(super) fn settings(&mut self, source: String) -> Option<Settings> {
        // every key is read, so that every mistake is found
        for key in KEYS.iter().filter(|key| !matches!(key.effect, Effect::Ignored(_))) {
            self.check_kind(key);
        }
        let listen = self.address();
        let tls = self.tls();
        let bootstrap_file = self.bootstrap();
        let local_msp_dir = self.path("General.LocalMSPDir");
        let local_msp_id = self.text("General.LocalMSPID");
        if !local_msp_dir.is_dir() {
            self.missing("General.LocalMSPDir", &local_msp_dir, "no such folder");
        }
        if local_msp_id.is_empty() {
            let source = self.source("General.LocalMSPID");
            self.mistake(source, "General.LocalMSPID must not be empty".to_owned());
        }
        let limits = self.limits();
        let log_spec = self.log_spec();
        let kafka = self.kafka();
        let (serving, http, metrics) = (self.serving(), self.http(), self.metrics());
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
            keepalive: Keepalive {
                interval: self.duration("General.Keepalive.ServerInterval"),
                timeout: self.duration("General.Keepalive.ServerTimeout"),
            },
            max_receive_bytes: self.number::<usize>("General.MaxRecvMsgSize").min(limits.large_message_bytes as usize),
            connection_timeout: self.duration("General.ConnectionTimeout"),
            bootstrap_file,
            local_msp_dir,
            local_msp_id,
            time_window: self.duration("General.Authentication.TimeWindow"),
            expiration_checks: !self.bool("General.Authentication.NoExpirationChecks"),
            ledger_location: self.path("FileLedger.Location"),
            durability: if memory { Durability::Memory } else { Durability::Disk },
            limits,
            throttling: orderer_core::fairness::Limits {
                all: self.number("General.Throttling.Rate"),
                client: self.number("General.Throttling.ClientRate"),
                organization: self.number("General.Throttling.OrganizationRate"),
                inactivity: self.duration("General.Throttling.InactivityTimeout"),
            },
            serving,
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
        let written = WrittenLimits {
            memory: u64::try_from(self.number::<usize>("Limits.MemoryBytes")).unwrap_or(u64::MAX),
            channel_ingress: self.number("Limits.ChannelIngressBytes"),
            large_message: self.number("Limits.LargeMessageBytes"),
            block_cache: self.number("Limits.BlockCacheBytes"),
            streams_per_connection: self.number("Limits.StreamsPerConnection"),
        };
        if written.streams_per_connection == 0 {
            let source = self.source("Limits.StreamsPerConnection");
            self.mistake(source, "Limits.StreamsPerConnection must be above 0".to_owned());
        }
        if (1..LEAST_BYTES).contains(&written.memory) {
            let source = self.source("Limits.MemoryBytes");
            self.mistake(source, format!("Limits.MemoryBytes must be at least {} MB", LEAST_BYTES >> 20));
        }
        let limits = written.shares(machine_bytes());
        let (message, room) = (self.number::<usize>("General.MaxRecvMsgSize"), limits.large_message_bytes as usize);
        if message > room {
            self.notes.push(format!(
                "messages above {} MB are refused although General.MaxRecvMsgSize allows {} MB: Limits.LargeMessageBytes, or \
                 its share of Limits.MemoryBytes, has no room for them",
                room >> 20,
                message >> 20
            ));
        }
        limits
    }

    fn address(&mut self) -> Option<SocketAddr> {
        let (host, port) = (self.text("General.ListenAddress"), self.number::<u16>("General.ListenPort"));
        let resolved = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut all| all.next());
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
        // as in Go, a port alone is one on all interfaces
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
        if must_show && roots.is_empty() {
            let source = self.source("General.TLS.ClientRootCAs");
            let text = "General.TLS.ClientRootCAs must list a file when General.TLS.ClientAuthRequired is true";
            self.mistake(source, text.to_owned());
        }
        let clients = if must_show { Clients::MustShow(roots) } else { Clients::Anybody };
        Some(TlsFiles { certificate, private_key, clients })
    }

    fn bootstrap(&mut self) -> Option<PathBuf> {
        if self.text("General.BootstrapMethod") != "file" {
            return None;
        }
        let written = self.text("General.BootstrapFile");
        if written.is_empty() {
            let source = self.source("General.BootstrapMethod");
            let text = "General.BootstrapFile must name a genesis block when General.BootstrapMethod is file";
            self.mistake(source, text.to_owned());
            return None;
        }
        let file = self.path("General.BootstrapFile");
        if !file.is_file() {
            self.missing("General.BootstrapFile", &file, "no such file");
        }
        Some(file)
    }

    fn serving(&mut self) -> Serving {
        let etcdraft = match self.text("Consensus.Serve.etcdraft").to_ascii_lowercase().as_str() {
            "kafka" => RaftAs::Kafka,
            "none" => RaftAs::Nothing,
            _ => RaftAs::Solo,
        };
        Serving { etcdraft, brokers: self.list("Kafka.Brokers") }
    }

    fn check_kind(&mut self, key: &Key) {
        let Some((value, source)) = self.values.get(key.path) else { return };
        let (text, source) = (plain(value), source.clone());
        if *value == Value::Null {
            self.values.remove(key.path);
            return;
        }
        let wanted = match key.kind {
            Kind::Anything | Kind::Text | Kind::Path => matches!(value, Value::Mapping(_)).then_some("a text"),
            Kind::Paths => (!matches!(value, Value::Sequence(_) | Value::String(_))).then_some("a list of files"),
            Kind::List => (!matches!(value, Value::Sequence(_) | Value::String(_))).then_some("a list"),
            Kind::Bool => (!matches!(text.to_ascii_lowercase().as_str(), "true" | "false")).then_some("true or false"),
            Kind::Port => (!text.parse::<u16>().is_ok_and(|p| p > 0)).then_some("a port from 1 to 65535"),
            Kind::Number => text.parse::<u32>().is_err().then_some("a whole number"),
            Kind::Bytes => bytes(&text).is_none().then_some("a number of bytes, such as 1048576 or 1 MB"),
            Kind::Duration => duration(&text).is_none().then_some("a duration, such as 500ms or 1h30m"),
            Kind::Choice(words) if words.iter().any(|word| word.eq_ignore_ascii_case(&text)) => None,
            Kind::Choice(words) => {
                self.mistake(source, format!("{}: '{text}' is not one of: {}", key.path, words.join(", ")));
                return;
            }
        };
        if let Some(wanted) = wanted {
            self.mistake(source, format!("{}: '{text}' is not {wanted}", key.path));
        }
    }
}

fn is_inside(path: &str, section: &str) -> bool {
    path.len() > section.len()
        && path.is_char_boundary(section.len())
        && path[..section.len()].eq_ignore_ascii_case(section)
        && path.as_bytes()[section.len()] == b'.'
}

/// A known key that may have been meant.
fn nearest(path: &str) -> String {
    let wanted = path.to_ascii_lowercase();
    let distance = |key: &&Key| strsim::osa_distance(&wanted, &key.path.to_ascii_lowercase());
    match KEYS.iter().min_by_key(distance).filter(|key| distance(key) <= NEAREST_MAX_DISTANCE) {
        Some(key) => format!("; did you mean {}?", key.path),
        None => String::new(),
    }
}
