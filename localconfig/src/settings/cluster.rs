//! The keys under `General.Cluster`, and those of Raft under `Consensus`. The conditions under which each key is read
//! and checked are Fabric's (`reuseListener` and `initializeClusterClientConfig` in `orderer/common/server`).

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use orderer_actors::consensus::raft::RaftSettings;
use orderer_cluster::ClientSettings;
use orderer_core::ordering::raft::AcknowledgePoint;

use super::validate::Validator;
use crate::tls_files::{Clients, TlsFiles};

const LISTEN_ADDRESS: &str = "General.Cluster.ListenAddress";
const LISTEN_PORT: &str = "General.Cluster.ListenPort";
const SERVER_CERTIFICATE: &str = "General.Cluster.ServerCertificate";
const SERVER_KEY: &str = "General.Cluster.ServerPrivateKey";
const CLIENT_CERTIFICATE: &str = "General.Cluster.ClientCertificate";
const CLIENT_KEY: &str = "General.Cluster.ClientPrivateKey";
const ROOTS: &str = "General.Cluster.RootCAs";

/// Fabric's error text.
const ALTOGETHER: &str = "Options: General.Cluster.ListenPort, General.Cluster.ListenAddress, \
                          General.Cluster.ServerCertificate, General.Cluster.ServerPrivateKey, should be defined altogether.";

/// Settings of the connections between this node and other orderers.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The listener that only other orderers use; `None` if they use the general listener.
    pub listener: Option<ClusterListener>,
    /// File with the certificate that the node presents to other orderers, in PEM.
    pub client_certificate: PathBuf,
    /// File with the certificate's key, in PEM.
    pub client_key: PathBuf,
    /// Files with TLS authorities of other orderers, in PEM, in addition to those of the channels.
    pub roots: Vec<PathBuf>,
    /// Settings of connections to other orderers.
    pub connections: ClientSettings,
    /// Settings of fetching blocks from other orderers.
    pub replication: ReplicationSettings,
}

/// A listener that only other orderers use.
#[derive(Clone, Debug)]
pub struct ClusterListener {
    /// The address to listen on.
    pub address: SocketAddr,
    /// The TLS files; clients must present a certificate.
    pub tls: TlsFiles,
}

/// Settings of fetching blocks from other orderers (`General.Cluster.Replication*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationSettings {
    /// Maximum size in bytes of the blocks that were fetched and are not yet processed.
    pub buffer_bytes: usize,
    /// Time limit for another orderer to send a block.
    pub pull_timeout: Duration,
    /// Pause before orderers are asked again.
    pub retry_pause: Duration,
}

impl Validator {
    /// Reads the settings; `general` is the TLS of the general listener. Returns `None` without TLS, because other
    /// orderers identify the node by its TLS certificate.
    pub(super) fn cluster(&mut self, general: Option<&TlsFiles>) -> Option<ClusterSettings> {
        let listener = self.cluster_listener();
        if listener.is_none() && general.is_none() {
            return None;
        }
        let is_set = |checker: &Self, key| !checker.text(key).is_empty();
        let (client_certificate, client_key) = match (
            general,
            is_set(self, CLIENT_CERTIFICATE),
            is_set(self, CLIENT_KEY),
        ) {
            (Some(general), false, false) if listener.is_none() => {
                (general.certificate.clone(), general.private_key.clone())
            }
            (_, false, false) => {
                let source = self.source(SERVER_CERTIFICATE);
                let text = format!(
                    "{CLIENT_CERTIFICATE} and {CLIENT_KEY} must be set when {LISTEN_ADDRESS} is: General.TLS is not used in \
                         their place then, and no other orderer could be connected to"
                );
                self.mistake(source, text);
                return None;
            }
            _ => (self.cluster_file(CLIENT_CERTIFICATE), self.cluster_file(CLIENT_KEY)),
        };
        let roots = self.paths(ROOTS);
        for root in roots.iter().filter(|root| !root.is_file()) {
            self.missing(ROOTS, root, "no such file");
        }
        // without a separate listener, the general listener's time shift also applies to outgoing connections
        let time_shift = match (&listener, general) {
            (None, Some(general)) => general.time_shift,
            _ => self.duration("General.Cluster.TLSHandshakeTimeShift"),
        };
        // checked, and without effect: blocks are fetched until the node has them
        let _: usize = self.number("General.Cluster.ReplicationMaxRetries");
        Some(ClusterSettings {
            listener,
            client_certificate,
            client_key,
            roots,
            connections: ClientSettings {
                dial_timeout: self.duration("General.Cluster.DialTimeout"),
                rpc_timeout: self.duration("General.Cluster.RPCTimeout"),
                queue_messages: self.number("General.Cluster.SendBufferSize"),
                time_shift,
                expiration_warning: self.duration("General.Cluster.CertExpirationWarningThreshold"),
                tolerate_expired: self.bool("General.Cluster.TolerateExpiredCertificates"),
                ..ClientSettings::default()
            },
            replication: ReplicationSettings {
                buffer_bytes: self.number("General.Cluster.ReplicationBufferSize"),
                pull_timeout: self.duration("General.Cluster.ReplicationPullTimeout"),
                retry_pause: self.duration("General.Cluster.ReplicationRetryTimeout"),
            },
        })
    }

    /// Reads the separate listener. Either all of its four keys must be set, or none.
    fn cluster_listener(&mut self) -> Option<ClusterListener> {
        let (host, port) = (self.text(LISTEN_ADDRESS), self.number::<u16>(LISTEN_PORT));
        let is_set = [
            (LISTEN_PORT, port != 0),
            (LISTEN_ADDRESS, !host.is_empty()),
            (SERVER_CERTIFICATE, !self.text(SERVER_CERTIFICATE).is_empty()),
            (SERVER_KEY, !self.text(SERVER_KEY).is_empty()),
        ];
        let (one, _) = is_set.iter().find(|(_, is_set)| *is_set)?;
        if !is_set.iter().all(|(_, is_set)| *is_set) {
            let source = self.source(one);
            self.mistake(source, ALTOGETHER);
            return None;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let address = (bare, port).to_socket_addrs().ok().and_then(|mut all| all.next());
        if address.is_none() {
            let source = self.source(LISTEN_ADDRESS);
            self.mistake(source, format!("{LISTEN_ADDRESS}: '{host}' is no address of this machine"));
        }
        let tls = TlsFiles {
            certificate: self.cluster_file(SERVER_CERTIFICATE),
            private_key: self.cluster_file(SERVER_KEY),
            clients: Clients::MustShow(self.paths(ROOTS)),
            time_shift: self.duration("General.Cluster.TLSHandshakeTimeShift"),
        };
        Some(ClusterListener { address: address?, tls })
    }

    fn cluster_file(&mut self, key: &'static str) -> PathBuf {
        let file = self.path(key);
        if !file.is_file() {
            self.missing(key, &file, "no such file");
        }
        file
    }

    pub(super) fn raft(&self) -> RaftSettings {
        let tick = self.duration("Consensus.TickIntervalOverride");
        RaftSettings {
            eviction_suspicion: self.duration("Consensus.EvictionSuspicion"),
            tick_interval_override: (!tick.is_zero()).then_some(tick),
            acknowledge: match self.text("Raft.Acknowledge").to_ascii_lowercase().as_str() {
                "committed" => AcknowledgePoint::Committed,
                "sent" => AcknowledgePoint::Sent,
                _ => AcknowledgePoint::Durable,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::{ConfigSource, Loaded, load};
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("msp")).unwrap();
        for file in ["server.crt", "server.key", "client.crt", "client.key", "ca.crt", "own.crt", "own.key"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        folder
    }

    fn loaded(folder: &Path, general: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let file = folder.join("orderer.yaml");
        std::fs::write(&file, format!("General: {{{general}}}")).unwrap();
        let variable = |&(name, value): &(&str, &str)| (format!("ORDERER_{name}"), value.to_owned());
        let variables = variables.iter().map(variable).collect();
        let loaded = load(ConfigSource { file: Some(file), working_folder: folder.to_owned(), variables });
        let prefix = format!("{}/", folder.display());
        loaded.map_err(|mistakes| mistakes.iter().map(|m| m.to_string().replace(&prefix, "")).collect())
    }

    const TLS: &str = "TLS: {Enabled: true, Certificate: server.crt, PrivateKey: server.key}";
    const LISTENER: [(&str, &str); 4] = [
        ("GENERAL_CLUSTER_LISTENADDRESS", "127.0.0.1"),
        ("GENERAL_CLUSTER_LISTENPORT", "7060"),
        ("GENERAL_CLUSTER_SERVERCERTIFICATE", "own.crt"),
        ("GENERAL_CLUSTER_SERVERPRIVATEKEY", "own.key"),
    ];
    const CLIENT: [(&str, &str); 2] =
        [("GENERAL_CLUSTER_CLIENTCERTIFICATE", "client.crt"), ("GENERAL_CLUSTER_CLIENTPRIVATEKEY", "client.key")];

    #[test]
    fn without_tls_there_is_no_cluster() {
        let folder = folder();
        assert!(loaded(folder.path(), "", &[]).unwrap().settings.cluster.is_none());
        assert!(loaded(folder.path(), "", &CLIENT).unwrap().settings.cluster.is_none());
    }

    #[test]
    fn the_general_certificate_is_the_clients_if_none_is_named_and_the_listener_is_shared() {
        let folder = folder();
        let of = |variables: &[(&str, &str)]| {
            let cluster = loaded(folder.path(), TLS, variables).unwrap().settings.cluster.unwrap();
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            (name(&cluster.client_certificate), name(&cluster.client_key), cluster.listener.is_some())
        };
        assert_eq!(of(&[]), ("server.crt".into(), "server.key".into(), false));
        assert_eq!(of(&CLIENT), ("client.crt".into(), "client.key".into(), false));
        let both = [LISTENER.as_slice(), &CLIENT].concat();
        assert_eq!(of(&both), ("client.crt".into(), "client.key".into(), true));
        // if only one of the two is set, the other one is an empty path, which does not exist
        let mistakes = loaded(folder.path(), TLS, &CLIENT[..1]).unwrap_err();
        assert!(mistakes[0].contains("General.Cluster.ClientPrivateKey: no such file"), "{mistakes:?}");
        let mistakes = loaded(folder.path(), TLS, &LISTENER).unwrap_err();
        assert!(mistakes[0].contains("General.Cluster.ClientPrivateKey must be set"), "{mistakes:?}");
    }

    #[test]
    fn a_listener_of_its_own_needs_all_four_keys() {
        let folder = folder();
        for mask in 1..0b1111_u32 {
            let some: Vec<_> = (0..4).filter(|at| mask >> at & 1 == 1).map(|at| LISTENER[at]).collect();
            let mistakes = loaded(folder.path(), TLS, &[some.as_slice(), &CLIENT].concat()).unwrap_err();
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            let said = "Options: General.Cluster.ListenPort, General.Cluster.ListenAddress, \
                        General.Cluster.ServerCertificate, General.Cluster.ServerPrivateKey, should be defined altogether.";
            assert!(mistakes[0].ends_with(said), "{mistakes:?}");
        }
        // port 0 counts as unset; a general listener without TLS is allowed
        let zero = [("GENERAL_CLUSTER_LISTENPORT", "0")];
        assert!(loaded(folder.path(), TLS, &zero).unwrap().settings.cluster.unwrap().listener.is_none());
        let all = [LISTENER.as_slice(), &CLIENT, &[("GENERAL_CLUSTER_ROOTCAS", "ca.crt")]].concat();
        let cluster = loaded(folder.path(), "", &all).unwrap().settings.cluster.unwrap();
        let listener = cluster.listener.unwrap();
        assert_eq!(listener.address.to_string(), "127.0.0.1:7060");
        assert_eq!(listener.tls.clients, Clients::MustShow(vec![folder.path().join("ca.crt")]));
    }

    #[test]
    fn defaults_are_fabrics_and_variables_count() {
        let folder = folder();
        let settings = loaded(folder.path(), TLS, &[]).unwrap().settings;
        let cluster = settings.cluster.unwrap();
        let seconds = Duration::from_secs;
        let connections = &cluster.connections;
        assert_eq!((connections.dial_timeout, connections.rpc_timeout), (seconds(5), seconds(7)));
        assert_eq!((connections.queue_messages, connections.expiration_warning), (100, seconds(7 * 24 * 3600)));
        assert_eq!((connections.time_shift, connections.tolerate_expired), (Duration::ZERO, false));
        let (pull_timeout, retry_pause) = (seconds(5), seconds(5));
        let expected = ReplicationSettings { buffer_bytes: 20_971_520, pull_timeout, retry_pause };
        assert_eq!(cluster.replication, expected);
        let mut raft = RaftSettings {
            eviction_suspicion: seconds(600),
            tick_interval_override: None,
            acknowledge: AcknowledgePoint::Durable,
        };
        assert_eq!(settings.raft, raft);
        for (value, acknowledge) in [("committed", AcknowledgePoint::Committed), ("Sent", AcknowledgePoint::Sent)] {
            raft.acknowledge = acknowledge;
            let settings = loaded(folder.path(), TLS, &[("RAFT_ACKNOWLEDGE", value)]).unwrap().settings;
            assert_eq!(settings.raft, raft);
        }
        let mistakes = format!("{:?}", loaded(folder.path(), TLS, &[("RAFT_ACKNOWLEDGE", "perhaps")]).unwrap_err());
        assert!(mistakes.contains("not one of: durable, committed, sent"), "{mistakes}");
        let variables = [
            ("GENERAL_CLUSTER_DIALTIMEOUT", "1s"),
            ("GENERAL_CLUSTER_RPCTIMEOUT", "2s"),
            ("GENERAL_CLUSTER_SENDBUFFERSIZE", "10"),
            ("GENERAL_CLUSTER_CERTEXPIRATIONWARNINGTHRESHOLD", "3s"),
            ("GENERAL_CLUSTER_REPLICATIONBUFFERSIZE", "1"),
            ("GENERAL_CLUSTER_REPLICATIONPULLTIMEOUT", "4s"),
            ("GENERAL_CLUSTER_REPLICATIONRETRYTIMEOUT", "5ms"),
            ("GENERAL_CLUSTER_REPLICATIONMAXRETRIES", "2"),
            ("GENERAL_CLUSTER_TOLERATEEXPIREDCERTIFICATES", "true"),
            ("GENERAL_TLS_TLSHANDSHAKETIMESHIFT", "1h"),
            ("GENERAL_CLUSTER_TLSHANDSHAKETIMESHIFT", "2h"),
            ("CONSENSUS_EVICTIONSUSPICION", "7s"),
            ("CONSENSUS_TICKINTERVALOVERRIDE", "50ms"),
            ("CONSENSUS_WALDIR", "/anywhere"),
        ];
        let settings = loaded(folder.path(), TLS, &variables).unwrap().settings;
        let cluster = settings.cluster.unwrap();
        let connections = &cluster.connections;
        assert_eq!((connections.dial_timeout, connections.rpc_timeout), (seconds(1), seconds(2)));
        assert_eq!((connections.queue_messages, connections.expiration_warning), (10, seconds(3)));
        assert_eq!((connections.time_shift, connections.tolerate_expired), (seconds(3600), true));
        let (pull_timeout, retry_pause) = (seconds(4), Duration::from_millis(5));
        assert_eq!(cluster.replication, ReplicationSettings { buffer_bytes: 1, pull_timeout, retry_pause });
        let tick_interval_override = Some(Duration::from_millis(50));
        let acknowledge = AcknowledgePoint::Durable;
        assert_eq!(settings.raft, RaftSettings { eviction_suspicion: seconds(7), tick_interval_override, acknowledge });
        // with a separate listener, its own time shift applies
        let own = [variables.as_slice(), &LISTENER, &CLIENT].concat();
        let cluster = loaded(folder.path(), TLS, &own).unwrap().settings.cluster.unwrap();
        assert_eq!(
            (cluster.connections.time_shift, cluster.listener.unwrap().tls.time_shift),
            (seconds(7200), seconds(7200))
        );
    }
}
