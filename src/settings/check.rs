//! From values as they are written to settings, or to all mistakes in them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orderer_actors::Durability;
use orderer_core::config::{RaftAs, Serving, parse_go_duration};
use serde_yaml::Value;

use super::effective::Effective;
use super::keys::{Effect, KEYS, Key, Kind};
use super::read::{EMBEDDED, Mistake, Source, Written, flatten};
use super::{Keepalive, Limits, Settings};
use crate::telemetry::check_spec;
use crate::tls::{Clients, TlsFiles};

/// A key further away than this from what was written is not what was meant.
const NEAREST_MAX_DISTANCE: usize = 12;

/// Checked settings, and what is worth saying about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// For the log, once there is one.
    pub notes: Vec<String>,
    /// Every key, and where its value came from.
    pub effective: Vec<Effective>,
    /// To read them again.
    pub origin: Origin,
}

/// Where settings come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The configuration file; `None` for the embedded defaults.
    pub file: Option<PathBuf>,
    /// What relative paths are relative to if there is no file.
    pub working_folder: PathBuf,
    /// The process's environment.
    pub variables: BTreeMap<String, String>,
}

/// All that can be said of a configuration, whatever is wrong with it.
#[derive(Debug)]
pub struct Examined {
    /// As far as the mistakes leave any.
    pub settings: Option<Settings>,
    /// What is wrong.
    pub mistakes: Vec<Mistake>,
    /// What is worth saying.
    pub notes: Vec<String>,
    /// Every key, and where its value came from.
    pub effective: Vec<Effective>,
}

/// Reads and checks the settings.
pub fn load(origin: Origin) -> Result<Loaded, Vec<Mistake>> {
    match examine(&origin) {
        Examined { settings: Some(settings), mistakes, notes, effective } if mistakes.is_empty() => {
            Ok(Loaded { settings, notes, effective, origin })
        }
        Examined { mistakes, .. } => Err(mistakes),
    }
}

/// Reads and checks the settings, and tells everything about them.
pub fn examine(origin: &Origin) -> Examined {
    let Origin { file, working_folder, variables } = origin;
    let unreadable =
        |mistake| Examined { settings: None, mistakes: vec![mistake], notes: Vec::new(), effective: Vec::new() };
    let (text, written_in, folder) = match file {
        Some(path) => {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(e) => {
                    let source = Source::File(path.clone(), None);
                    return unreadable(Mistake { source, text: format!("cannot be read: {e}") });
                }
            };
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(working_folder);
            (text, path.clone(), folder.to_owned())
        }
        None => (EMBEDDED.to_owned(), PathBuf::from("(embedded orderer.yaml)"), working_folder.clone()),
    };
    let written = match flatten(&text, &written_in) {
        Ok(written) => written,
        Err(mistake) => return unreadable(mistake),
    };
    let foreign = variables.iter().filter(|(name, _)| name.starts_with("OTEL_"));
    let mut checker = Checker {
        folder,
        values: BTreeMap::new(),
        foreign: foreign.map(|(name, value)| (name.clone(), value.clone())).collect(),
        mistakes: Vec::new(),
        notes: Vec::new(),
    };
    checker.place(written);
    checker.override_by(variables);
    let settings = checker.settings(written_in.display().to_string());
    let effective = checker.effective();
    let Checker { mistakes, notes, .. } = checker;
    Examined { settings, mistakes, notes, effective }
}

pub(super) struct Checker {
    /// What relative paths are relative to.
    folder: PathBuf,
    /// By the key's own path.
    values: BTreeMap<&'static str, (Value, Source)>,
    /// Variables that are not ours and count all the same.
    foreign: BTreeMap<String, String>,
    mistakes: Vec<Mistake>,
    notes: Vec<String>,
}

impl Checker {
    /// Finds the key of each value.
    fn place(&mut self, written: Written) {
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

    fn override_by(&mut self, variables: &BTreeMap<String, String>) {
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

    fn settings(&mut self, source: String) -> Option<Settings> {
        // every key is read, so that every mistake is found
        for key in KEYS.iter().filter(|key| !matches!(key.effect, Effect::Ignored(_))) {
            self.check_kind(key);
            let changed = self.values.get(key.path).is_some_and(|(value, _)| plain(value) != key.default);
            if key.effect == Effect::NotYet && changed && !matches!(key.kind, Kind::Paths | Kind::List) {
                self.notes.push(format!("{} has no effect in this version", key.path));
            }
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
        let limits = Limits {
            streams_per_connection: self.number("Limits.StreamsPerConnection"),
            channel_ingress_bytes: self.number("Limits.ChannelIngressBytes"),
            large_message_bytes: self.number("Limits.LargeMessageBytes"),
            block_cache_bytes: self.number::<usize>("Limits.BlockCacheBytes"),
        };
        for path in ["Limits.StreamsPerConnection", "Limits.ChannelIngressBytes", "Limits.LargeMessageBytes"] {
            if self.number::<u32>(path) == 0 {
                let source = self.source(path);
                self.mistake(source, format!("{path} must be above 0"));
            }
        }
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
            max_receive_bytes: self.number::<usize>("General.MaxRecvMsgSize"),
            connection_timeout: self.duration("General.ConnectionTimeout"),
            bootstrap_file,
            local_msp_dir,
            local_msp_id,
            time_window: self.duration("General.Authentication.TimeWindow"),
            expiration_checks: !self.bool("General.Authentication.NoExpirationChecks"),
            ledger_location: self.path("FileLedger.Location"),
            durability: if memory { Durability::Memory } else { Durability::Disk },
            limits,
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

    pub(super) fn mistake(&mut self, source: Source, text: String) {
        self.mistakes.push(Mistake { source, text });
    }

    pub(super) fn missing(&mut self, key: &'static str, path: &Path, what: &str) {
        let source = self.source(key);
        self.mistake(source, format!("{key}: {what}: {}", path.display()));
    }

    pub(super) fn source(&self, path: &str) -> Source {
        self.values.get(path).map_or(Source::Default, |(_, source)| source.clone())
    }

    /// The value, if it was written anywhere.
    pub(super) fn written(&self, path: &str) -> Option<&Value> {
        self.values.get(path).map(|(value, _)| value)
    }

    /// A variable that is not ours, unless it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.foreign.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The value as text, or the default.
    pub(super) fn text(&self, path: &'static str) -> String {
        let default = || KEYS.iter().find(|key| key.path == path).map_or("", |key| key.default).to_owned();
        self.values.get(path).map_or_else(default, |(value, _)| plain(value))
    }

    pub(super) fn bool(&self, path: &'static str) -> bool {
        self.text(path).eq_ignore_ascii_case("true")
    }

    /// A number that `check_kind` has found to be one; of one that does not fit, the largest that does.
    pub(super) fn number<N: TryFrom<u64> + Bounded>(&self, path: &'static str) -> N {
        N::try_from(bytes(&self.text(path)).unwrap_or(0)).unwrap_or(N::MAX)
    }

    pub(super) fn duration(&self, path: &'static str) -> Duration {
        duration(&self.text(path)).unwrap_or_default()
    }

    pub(super) fn path(&self, path: &'static str) -> PathBuf {
        self.folder.join(self.text(path))
    }

    pub(super) fn paths(&self, path: &'static str) -> Vec<PathBuf> {
        self.list(path).iter().map(|item| self.folder.join(item)).collect()
    }

    pub(super) fn list(&self, path: &'static str) -> Vec<String> {
        match self.values.get(path) {
            Some((Value::Sequence(items), _)) => items.iter().map(plain).collect(),
            Some((Value::String(one), _)) => vec![one.clone()],
            _ => Vec::new(),
        }
    }
}

pub(super) trait Bounded {
    const MAX: Self;
}
impl Bounded for i16 {
    const MAX: Self = Self::MAX;
}

impl Bounded for u16 {
    const MAX: Self = Self::MAX;
}
impl Bounded for u32 {
    const MAX: Self = Self::MAX;
}
impl Bounded for usize {
    const MAX: Self = Self::MAX;
}

/// A scalar as it would be written.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null => String::new(),
        other => serde_yaml::to_string(other).unwrap_or_default().trim().replace('\n', " "),
    }
}

fn duration(text: &str) -> Option<Duration> {
    parse_go_duration(text).filter(|(_, negative)| !negative).map(|(duration, _)| duration)
}

/// A number of bytes; KB, MB and GB are powers of 1024, as in the reference.
fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("msp")).expect("a folder");
        let file = folder.path().join("orderer.yaml");
        std::fs::write(&file, text).expect("a file");
        let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let origin = Origin { file: Some(file), working_folder: folder.path().to_owned(), variables };
        load(origin).map_err(|mistakes| {
            let prefix = format!("{}/", folder.path().display());
            mistakes.iter().map(|m| m.to_string().replace(&prefix, "")).collect()
        })
    }

    #[test]
    fn the_embedded_file_documents_every_key_with_its_default() {
        let written = flatten(EMBEDDED, Path::new("orderer.yaml")).expect("is YAML");
        for key in KEYS.iter().filter(|key| !matches!(key.effect, Effect::Ignored(_))) {
            let (value, _) = written.get(key.path).unwrap_or_else(|| panic!("{} is not in orderer.yaml", key.path));
            let written = match value {
                Value::Sequence(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
                other => plain(other),
            };
            assert_eq!(written, key.default, "{}", key.path);
        }
        let unknown: Vec<_> = written.keys().filter(|path| !KEYS.iter().any(|key| key.covers(path))).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let text = "General:\n  ListenPrt: 7050\n  ListenPort: many\n  TLS:\n    Enabled: yes please\n  \
                    Keepalive:\n    ServerInterval: soon\n  LocalMSPDir: nowhere\nSolo:\n  Durability: maybe\n";
        let mistakes = load_text(text, &[]).expect_err("must fail");
        expect_test::expect![[r"
            orderer.yaml:2: unknown key General.ListenPrt; did you mean General.ListenPort?
            orderer.yaml:3: General.ListenPort: 'many' is not a port from 1 to 65535
            orderer.yaml:5: General.TLS.Enabled: 'yes please' is not true or false
            orderer.yaml:7: General.Keepalive.ServerInterval: 'soon' is not a duration, such as 500ms or 1h30m
            orderer.yaml:10: Solo.Durability: 'maybe' is not one of: disk, memory
            orderer.yaml:8: General.LocalMSPDir: no such folder: nowhere"]]
        .assert_eq(&mistakes.join("\n"));
    }

    #[test]
    fn a_missing_file_is_named_with_the_key_that_named_it() {
        let text = "General: {BootstrapMethod: file, BootstrapFile: genesis.block}";
        assert_eq!(
            load_text(text, &[]).expect_err("must fail"),
            ["orderer.yaml: General.BootstrapFile: no such file: genesis.block"]
        );
    }

    #[test]
    fn variables_override_the_file() {
        let loaded = load_text(
            "General:\n  ListenPort: 1\n",
            &[("ORDERER_GENERAL_LISTENPORT", "7999"), ("ORDERER_SOLO_DURABILITY", "memory"), ("ORDERER_CA", "x")],
        );
        let loaded = loaded.expect("loads");
        assert_eq!(loaded.settings.listen.port(), 7999);
        assert_eq!(loaded.settings.durability, Durability::Memory);
        assert_eq!(loaded.notes, ["variable ORDERER_CA names no key"]);
        let mistakes = load_text("", &[("ORDERER_GENERAL_LISTENPORT", "x")]).expect_err("must fail");
        assert_eq!(mistakes, ["ORDERER_GENERAL_LISTENPORT: General.ListenPort: 'x' is not a port from 1 to 65535"]);
    }

    /// The keys of Fabric 2.5's own file, with its values.
    #[test]
    fn the_reference_file_is_accepted_as_it_is() {
        let text = include_str!("../../tests/fixtures/fabric-2.5-orderer.yaml");
        // its bootstrap method is file, with no file
        let loaded = load_text(text, &[("ORDERER_GENERAL_BOOTSTRAPMETHOD", "none")]).expect("loads");
        assert!(loaded.notes.iter().any(|n| n.contains("raft") && n.contains("General.Cluster")), "{:?}", loaded.notes);
        assert_eq!(loaded.settings.listen.port(), 7050);
    }

    #[test]
    fn the_configuration_in_force_names_its_sources_and_hides_secrets() {
        let loaded = load_text(
            "General:\n  ListenPort: 1\nKafka:\n  SASLPlain: {User: u, Password: secret}\n  Brokers: [a:1, b:2]\n",
            &[("ORDERER_SOLO_DURABILITY", "memory"), ("ORDERER_KAFKA_SASL_PASSWORD", "secret")],
        );
        let effective = loaded.expect("loads").effective;
        let shown = |key: &str| {
            let found = effective.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key}"));
            (found.value.as_str(), found.source.rsplit('/').next().unwrap_or_default())
        };
        assert_eq!(shown("General.ListenPort"), ("1", "orderer.yaml:2"));
        assert_eq!(shown("General.ListenAddress"), ("127.0.0.1", "default"));
        assert_eq!(shown("Solo.Durability"), ("memory", "ORDERER_SOLO_DURABILITY"));
        assert_eq!(shown("Kafka.Brokers"), ("[a:1, b:2]", "orderer.yaml:5"));
        assert_eq!(shown("Kafka.SASL.Password"), ("(hidden)", "ORDERER_KAFKA_SASL_PASSWORD"));
        assert_eq!(shown("Kafka.SASLPlain.Password").0, "(hidden)");
        assert!(!format!("{effective:?}").contains("secret"));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("104857600"), Some(104_857_600));
        assert_eq!(bytes("1 MB"), Some(1 << 20));
        assert_eq!(bytes("64kb"), Some(64 << 10));
        assert_eq!(bytes("lots"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
            let _ = load_text(&text, &[]);
        }
    }
}
