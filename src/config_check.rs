//! Checks a configuration as `start` would find it: nothing is written, nothing is started.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orderer_actors::chain_state::{error_chain, load_snapshot};
use orderer_actors::ledger_provider::LedgerProvider;
use orderer_actors::node_context::unix_now;
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::identity::{Msp, MspVersion, expires_at};
use orderer_core::own::{self, OwnSigner};
use orderer_core::types::ChannelId;
use orderer_kafka::KafkaCluster;
use orderer_kafka::check::{Finding, Severity};
use orderer_ledger::OpenError;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::FromDer as _;

use crate::certificates::{OrderersError, check_client_files};
use crate::crash_guard::CrashLoopGuard;
use crate::fabric_ledger_dir;
use crate::http::NO_PROFILES;
use crate::local_msp::{KeySource, LocalMspError, read_definition, read_signer};
use crate::node::{BOOTSTRAP_FIX, PROVISIONAL, PROVISIONAL_FIX, read_genesis};
use crate::settings::{Bootstrap, CheckedConfig, DebugEndpoint, Settings, kafka_settings};
use crate::telemetry::check_spec;
use crate::tls::{ClientTrust, ListenerTls, TlsFiles};
use crate::traces::OtlpExporter;
use orderer_core::counted::counted;

const DAY: i64 = 24 * 60 * 60;
/// A certificate that expires sooner, in seconds, is worth a warning.
const SHORT: i64 = 30 * DAY;

/// A check in progress: its input, and its findings so far.
struct Check<'a> {
    settings: &'a Settings,
    catalog: Arc<ConfigCache>,
    /// Whether it was reported that the bootstrap channel does not know the signer.
    is_stranger: bool,
    findings: Vec<Finding>,
}

/// Checks all settings. `logging_spec` is the value of `FABRIC_LOGGING_SPEC`; with `bind` the addresses are bound for
/// a moment.
pub fn check(examined: &CheckedConfig, logging_spec: Option<&str>, bind: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(examined.mistakes.iter().map(|mistake| finding(Severity::Error, mistake.to_string())));
    if let Some(Err(error)) = logging_spec.map(check_spec) {
        findings.push(finding(Severity::Error, format!("FABRIC_LOGGING_SPEC: {error}")));
    }
    findings.extend(examined.notes.iter().map(|note| {
        let level = if note.is_warning { Severity::Warning } else { Severity::Fine };
        finding(level, note.text.clone())
    }));
    let Some(settings) = &examined.settings else { return findings };
    if examined.mistakes.is_empty() {
        findings.push(finding(Severity::Fine, format!("settings: {} is understood", settings.source)));
    }
    let mut check = Check { settings, catalog: Arc::default(), is_stranger: false, findings };
    for (section, tls) in listeners(settings) {
        check.tls(section, tls);
    }
    check.cluster();
    check.exposure();
    let snapshot = check.bootstrap();
    let signer = check.local_msp(snapshot.as_ref());
    if let Some(snapshot) = &snapshot {
        let signer = signer.as_ref().filter(|_| !check.is_stranger);
        check.own_part(snapshot, signer);
    }
    check.ledgers(signer.as_ref());
    check.kafka();
    if settings.profile.is_some() && cfg!(not(feature = "profiles")) {
        check.put(Severity::Error, NO_PROFILES.to_owned());
    }
    check.tracing();
    if bind {
        check.bind();
    }
    check.findings
}

fn listeners(settings: &Settings) -> Vec<(&'static str, &TlsFiles)> {
    let operations = settings.http.operations.as_ref().and_then(|l| l.tls.as_ref());
    let admin = settings.http.admin.as_ref().and_then(|l| l.tls.as_ref());
    let cluster = settings.cluster.as_ref().and_then(|cluster| cluster.listener.as_ref()).map(|listener| &listener.tls);
    let all = [
        ("General.TLS", settings.tls.as_ref()),
        ("General.Cluster", cluster),
        ("Operations.TLS", operations),
        ("Admin.TLS", admin),
    ];
    all.into_iter().filter_map(|(section, tls)| Some((section, tls?))).collect()
}

fn finding(level: Severity, found: String) -> Finding {
    Finding { level, found, fix: None }
}

impl Check<'_> {
    fn put(&mut self, level: Severity, found: String) {
        self.findings.push(finding(level, found));
    }

    fn mend(&mut self, level: Severity, found: String, fix: &str) {
        self.findings.push(Finding { level, found, fix: Some(fix.to_owned()) });
    }

    fn tls(&mut self, section: &str, files: &TlsFiles) {
        let roots = files.clients.roots();
        // missing files were reported already
        if ![&files.certificate, &files.private_key].into_iter().chain(roots).all(|file| file.is_file()) {
            return;
        }
        if let Err(error) = ListenerTls::new(files.clone(), ClientTrust::Operators) {
            self.mend(
                Severity::Error,
                format!("{section}: {}", error_chain(&error)),
                "put matching PEM files in place",
            );
            return;
        }
        self.put(Severity::Fine, format!("{section}: certificate and key belong together"));
        for file in [&files.certificate].into_iter().chain(roots) {
            for certificate in CertificateDer::pem_file_iter(file).into_iter().flatten().flatten() {
                self.certificate(section, file, &certificate);
            }
        }
    }

    /// Reports a certificate's validity period.
    fn certificate(&mut self, section: &str, file: &Path, der: &[u8]) {
        let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(der) else {
            self.put(Severity::Error, format!("{section}: {}: no X.509 certificate", file.display()));
            return;
        };
        let (validity, now) = (certificate.validity(), unix_now().0);
        let what = format!("{section}: '{}' in {}", certificate.subject(), file.display());
        if validity.not_before.timestamp() > now {
            self.mend(
                Severity::Error,
                format!("{what} is not good before {}", validity.not_before),
                "look at the clock",
            );
        } else {
            self.good_until(&what, validity.not_after.timestamp());
        }
    }

    fn good_until(&mut self, what: &str, not_after: i64) {
        let left = not_after - unix_now().0;
        let days = left / DAY;
        match left {
            ..0 => self.mend(Severity::Error, format!("{what} has expired"), "put a new certificate in its place"),
            0..SHORT => {
                self.mend(
                    Severity::Warning,
                    format!("{what} expires in {}", counted(days, "day")),
                    "put a new certificate in its place",
                );
            }
            _ => self.put(Severity::Fine, format!("{what} is good for {}", counted(days, "day"))),
        }
    }

    fn bootstrap(&mut self) -> Option<ChannelSnapshot> {
        let needed = self.channels() == 0;
        let file = match &self.settings.bootstrap {
            Bootstrap::File(file) => file,
            // the setting matters only while the node has no channel
            Bootstrap::Provisional(_) if needed => {
                self.mend(Severity::Error, PROVISIONAL.to_owned(), PROVISIONAL_FIX);
                return None;
            }
            Bootstrap::Provisional(_) | Bootstrap::Nothing => return None,
        };
        let what = format!("General.BootstrapFile {}", file.display());
        if !file.is_file() {
            if needed {
                self.mend(Severity::Error, format!("{what}: no such file"), BOOTSTRAP_FIX);
            }
            return None;
        }
        match read_genesis(file, &self.catalog, &self.settings.consensus_mapping) {
            Ok((_, snapshot)) => {
                let consensus = &snapshot.orderer().consensus_type;
                self.put(Severity::Fine, format!("{what}: channel {}, consensus type {consensus}", snapshot.channel()));
                Some(snapshot)
            }
            Err(error) => {
                self.put(Severity::Error, format!("{what}: {error:#}"));
                None
            }
        }
    }

    fn local_msp(&mut self, bootstrap: Option<&ChannelSnapshot>) -> Option<OwnSigner> {
        let (folder, id) = (&self.settings.local_msp_dir, &self.settings.local_msp_id);
        if !folder.is_dir() || id.is_empty() {
            return None;
        }
        let what = format!("General.LocalMSPDir {}", folder.display());
        let keys = match KeySource::open(&self.settings.keys) {
            Ok(keys) => keys,
            Err(error) => {
                let text = error_chain(&LocalMspError::from(error));
                self.put(Severity::Error, format!("General.BCCSP.PKCS11: {text}"));
                return None;
            }
        };
        let identity = match read_signer(folder, id, &keys) {
            Ok(identity) => identity,
            Err(error) => {
                self.put(Severity::Error, format!("{what}: {}", error_chain(&error)));
                return None;
            }
        };
        if let Some(token) = keys.token() {
            let label = token.status().label;
            let text = format!("General.BCCSP.PKCS11: the token '{label}' signs with the key of the certificate");
            self.put(Severity::Fine, text);
        }
        let creator = identity.creator().clone();
        if let Some(not_after) = expires_at(&creator) {
            self.good_until(&format!("{what}: the certificate that blocks are signed with"), not_after.0);
        }
        let defined = read_definition(folder, id).map_err(|error| error_chain(&error));
        for line in defined.iter().flat_map(|definition| &definition.left_out) {
            self.put(Severity::Warning, format!("{what}: {line}"));
        }
        let msp = defined
            .and_then(|defined| Msp::from_config(&defined.config, MspVersion::LATEST).map_err(|e| error_chain(&e)));
        match msp {
            Ok(_) => self.put(Severity::Fine, format!("{what}: a definition of {id}")),
            // only a warning: the node signs without the definition, and other nodes use those in the channels'
            // configurations
            Err(error) => self.put(Severity::Warning, format!("{what} does not define {id}: {error}")),
        }
        let signer = Some(OwnSigner::new(identity));
        let Some(snapshot) = bootstrap else { return signer };
        let vouched = match snapshot.msps().deserialize_identity(&creator) {
            Ok(known) => known.validity().map_err(ToString::to_string),
            Err(error) => Err(error.to_string()),
        };
        match vouched {
            Ok(()) => self.put(Severity::Fine, format!("{what}: a member of channel {}", snapshot.channel())),
            Err(why) => {
                self.is_stranger = true;
                self.mend(
                    Severity::Error,
                    format!("{what}: no member of channel {}: {why}", snapshot.channel()),
                    "peers would not take its blocks: set LocalMSPID and LocalMSPDir to those of an ordering organization",
                );
            }
        }
        signer
    }

    /// Checks whether the node would order a channel with this configuration, and whether peers would accept its
    /// blocks.
    fn own_part(&mut self, snapshot: &ChannelSnapshot, signer: Option<&OwnSigner>) {
        let (settings, channel) = (self.settings, snapshot.channel());
        if let Some(Err(refused)) = signer.map(|signer| signer.check(snapshot)) {
            self.mend(
                Severity::Error,
                error_chain(&refused),
                "set General.LocalMSPID and General.LocalMSPDir to an orderer's that the policy accepts",
            );
        }
        if let Err(refused) = own::engine(&settings.consensus_mapping, snapshot, &settings.tls_keys()) {
            self.put(Severity::Error, format!("channel {channel} is not ordered here: {refused}"));
        }
        if let Some(addresses) = own::other_orderers_of_solo(snapshot) {
            let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
            self.put(Severity::Warning, format!("channel {channel}: {} ({addresses})", own::WARNING_SOLO));
        }
    }

    fn ledgers(&mut self, signer: Option<&OwnSigner>) {
        let location = &self.settings.ledger_location;
        let what = format!("FileLedger.Location {}", location.display());
        let there = location.ancestors().find(|folder| folder.exists());
        let folder = there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            self.put(Severity::Error, format!("{what}: {} is no folder", folder.display()));
            return;
        }
        if let Err(error) = is_writable(folder) {
            let fix = format!("let the node's user write to {}", folder.display());
            self.mend(Severity::Error, format!("{what}: cannot write to {}: {error}", folder.display()), &fix);
            return;
        }
        match CrashLoopGuard::check(location) {
            Err(refused) => self.put(Severity::Error, error_chain(&refused)),
            Ok(pause) if !pause.is_zero() => self.put(
                Severity::Warning,
                format!("the node was killed several times within minutes: a start now waits {} s", pause.as_secs()),
            ),
            Ok(_) => {}
        }
        let store = LedgerProvider::read_only(location);
        let channels = store.list().unwrap_or_default();
        match fabric_ledger_dir::inspect(location, &channels) {
            Ok(Ok(())) => {}
            Ok(Err(refused)) => self.put(Severity::Error, format!("FileLedger.Location: {refused}")),
            Err(error) => self.put(Severity::Error, format!("{what}: {error}")),
        }
        for channel in &channels {
            self.ledger(&store, channel, signer);
        }
        let found = match (location.is_dir(), channels.len()) {
            (false, _) => format!("{what} is made when the node starts"),
            (true, 0) => format!("{what}: can be written to, no channel yet"),
            (true, count) if self.settings.bootstrap != Bootstrap::Nothing => {
                format!("{what}: has channels ({count}), General.BootstrapFile is not used")
            }
            (true, count) => format!("{what}: has channels ({count})"),
        };
        self.put(Severity::Fine, found);
    }

    fn channels(&self) -> usize {
        let folder = self.settings.ledger_location.join("channels");
        fs::read_dir(folder).map_or(0, |entries| entries.flatten().count())
    }

    /// Checks the files for connections to other orderers.
    fn cluster(&mut self) {
        let Some(cluster) = &self.settings.cluster else { return };
        // missing files were reported already
        let files = [&cluster.client_certificate, &cluster.client_key].into_iter().chain(&cluster.roots);
        if !files.into_iter().all(|file| file.is_file()) {
            return;
        }
        let is_general = self.settings.tls.as_ref().is_some_and(|tls| {
            (&tls.certificate, &tls.private_key) == (&cluster.client_certificate, &cluster.client_key)
        });
        if let Err(error) = check_client_files(cluster) {
            // an error in the general certificate was reported, too
            if !(is_general && matches!(error, OrderersError::Identity { .. })) {
                self.mend(Severity::Error, error_chain(&error), "put matching PEM files in place");
            }
            return;
        }
        if is_general {
            self.put(
                Severity::Fine,
                "General.Cluster: other orderers are shown the certificate of General.TLS".to_owned(),
            );
        } else {
            self.put(Severity::Fine, "General.Cluster: client certificate and key belong together".to_owned());
            for der in CertificateDer::pem_file_iter(&cluster.client_certificate).into_iter().flatten().flatten() {
                self.certificate("General.Cluster", &cluster.client_certificate, &der);
            }
        }
        // a listener of its own has them, too, and was checked
        for root in cluster.roots.iter().filter(|_| cluster.listener.is_none()) {
            for der in CertificateDer::pem_file_iter(root).into_iter().flatten().flatten() {
                self.certificate("General.Cluster", root, &der);
            }
        }
        if cluster.connections.tolerate_expired {
            self.put(
                Severity::Warning,
                "General.Cluster.TolerateExpiredCertificates: orderers with expired certificates are connected to"
                    .to_owned(),
            );
        }
    }

    /// Warns if ledgers can be read without a certificate.
    fn exposure(&mut self) {
        let http = &self.settings.http;
        let Some(operations) = http.operations.as_ref().filter(|listener| listener.tls.is_none()) else { return };
        if operations.address.ip().is_loopback() {
            return;
        }
        let address = operations.address;
        match http.debug {
            DebugEndpoint::Open => self.mend(
                Severity::Warning,
                format!(
                    "Debug.Endpoint is open: whoever reaches {address} reads ledgers, configurations and logs there"
                ),
                "turn on Operations.TLS, or set Debug.Endpoint to protected",
            ),
            DebugEndpoint::Protected => self.put(
                Severity::Fine,
                format!("Operations: without TLS /debug on {address} answers this machine alone (Debug.Endpoint)"),
            ),
            DebugEndpoint::Off => {}
        }
    }

    /// Checks whether the node would continue an existing channel. Opens and closes the ledger; leaves one alone that
    /// a running node has open.
    fn ledger(&mut self, store: &LedgerProvider, channel: &ChannelId, signer: Option<&OwnSigner>) {
        let ledger = match store.open(channel) {
            Ok(ledger) => ledger,
            Err(OpenError::AlreadyOpen { .. }) => {
                return self.put(Severity::Fine, format!("channel {channel}: its ledger is in use, the node runs"));
            }
            Err(error) => return self.put(Severity::Error, format!("channel {channel}: {}", error_chain(&error))),
        };
        match load_snapshot(&ledger, &self.catalog) {
            Ok(snapshot) => self.own_part(&snapshot, signer),
            Err(error) => self.put(Severity::Error, format!("channel {channel}: {}", error_chain(&error))),
        }
    }

    fn kafka(&mut self) {
        let kafka = &self.settings.kafka;
        let mut reach = kafka_settings(kafka);
        reach.brokers.clone_from(&self.settings.consensus_mapping.brokers);
        if reach.brokers.is_empty() {
            if kafka.tls.is_none() && kafka.sasl.is_none() {
                return;
            }
            // the channels say which brokers
            reach.brokers.push("localhost:9092".to_owned());
        }
        match KafkaCluster::new(reach) {
            Ok(_) => self.mend(
                Severity::Fine,
                "Kafka: brokers, certificates and credentials can be used".to_owned(),
                "orderer kafka check asks the brokers themselves",
            ),
            Err(error) => self.put(Severity::Error, format!("Kafka: {}", error_chain(&error))),
        }
    }

    fn tracing(&mut self) {
        let settings = self.settings;
        // no connection is made until there is something to send
        if let Some(tracing) = settings.tracing.as_ref().filter(|tracing| tracing.roots.iter().all(|r| r.is_file())) {
            match OtlpExporter::start(tracing, "") {
                Ok((traces, _)) => {
                    traces.finish();
                    self.put(Severity::Fine, format!("Tracing: spans go to {}", tracing.endpoint));
                }
                Err(error) => self.put(Severity::Error, format!("{error:#}")),
            }
        }
        let folders = [("Broadcast", &settings.broadcast_trace_dir), ("Deliver", &settings.deliver_trace_dir)];
        for (service, folder) in folders {
            let Some(folder) = folder else { continue };
            let what = format!("Debug.{service}TraceDir {}", folder.display());
            let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
            match is_writable(there) {
                Ok(()) => self.mend(
                    Severity::Warning,
                    format!("{what}: a file is written for each request"),
                    "for a short while only: nobody removes them",
                ),
                Err(error) => {
                    self.put(Severity::Error, format!("{what}: cannot write to {}: {error}", there.display()));
                }
            }
        }
    }

    fn bind(&mut self) {
        let http = &self.settings.http;
        let operations = http.operations.as_ref().map(|listener| listener.address);
        let admin = http.admin.as_ref().map(|listener| listener.address);
        let cluster = self.settings.cluster.as_ref().and_then(|cluster| cluster.listener.as_ref()).map(|l| l.address);
        let all = [
            ("General", Some(self.settings.listen)),
            ("General.Cluster", cluster),
            ("Operations", operations),
            ("Admin", admin),
            ("General.Profile", self.settings.profile),
        ];
        // all at once: two of them may want the same address
        let mut taken: Vec<TcpListener> = Vec::new();
        for (section, address) in all.into_iter().filter_map(|(section, a)| Some((section, a?))) {
            match TcpListener::bind::<SocketAddr>(address) {
                Ok(listener) => {
                    taken.push(listener);
                    self.put(Severity::Fine, format!("{section}: {address} can be listened on"));
                }
                Err(error) => self.put(Severity::Error, format!("{section}: listen on {address}: {error}")),
            }
        }
    }
}

/// Creates a file and removes it again.
fn is_writable(folder: &Path) -> std::io::Result<()> {
    let probe: PathBuf = folder.join(format!(".orderer-config-check-{}", std::process::id()));
    fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}
