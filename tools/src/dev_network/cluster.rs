//! The development network with Raft: one, three or five orderers order its channel together.
//!
//! The directory has the layout of the network with one solo orderer. The first orderer uses `orderer.yaml` and
//! `ledger/`, the second `orderer2.yaml` and `ledger2/`, and so on. There is no system channel. The orderers connect to
//! each other on the listeners that clients use. These listeners have TLS, because Raft nodes identify each other by
//! TLS certificates.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use orderer_localconfig::settings::Settings;

use super::layout::{CONFIG_FILE, Size, config_file, name, numbered};
use super::{
    APPLICATION_CHANNEL, CONFIGTX, DevError, ORDERER_DOMAIN, ORDERER_MSP, PEER_DOMAIN, PEER_MSP, admin_msp, find,
    make_channels, make_crypto, make_whole, operators, orderer_tls_root, quoted, write,
};
use crate::cryptogen::Algorithm;

/// Default port of the first orderer.
pub const BASE_PORT: u16 = 7050;
/// Maximum port of the first orderer, so that every port of five orderers is at most 65535.
pub const BASE_PORT_MAX: u16 = u16::MAX - (ORDERERS_MAX - 1) * PORTS_EACH - OPERATIONS_PORT;
/// Maximum number of orderers.
const ORDERERS_MAX: u16 = 5;
/// Distance between the ports of two successive orderers.
const PORTS_EACH: u16 = 10;
/// Distance from an orderer's port to that of its Admin endpoint.
const ADMIN_PORT: u16 = 3;
/// Distance from an orderer's port to that of its Operations endpoint.
const OPERATIONS_PORT: u16 = 5;

/// Prefixes of the variables that the orderers do not receive, because every orderer would read the same value. Each
/// orderer's configuration file sets these keys.
const OWN_VARIABLES: [&str; 11] = [
    "GENERAL_LISTENADDRESS",
    "GENERAL_LISTENPORT",
    "GENERAL_BOOTSTRAP",
    "GENERAL_LOCALMSP",
    "GENERAL_TLS_",
    "GENERAL_CLUSTER_",
    "GENERAL_PROFILE_",
    "FILELEDGER_LOCATION",
    "OPERATIONS_LISTENADDRESS",
    "ADMIN_LISTENADDRESS",
    "CONSENSUS_SERVE_ETCDRAFT",
];

/// A development network with Raft, in a directory.
#[derive(Debug)]
pub struct DevCluster {
    folder: PathBuf,
    created: bool,
    /// The orderers. Commands with `--dev` connect to the first one.
    pub orderers: Vec<DevOrderer>,
}

/// One orderer of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevOrderer {
    /// Host name within the organization's domain, such as `orderer2`.
    pub name: String,
    /// Path of its configuration file.
    pub config_file: PathBuf,
}

/// Returns whether the environment variable sets a key that each orderer's configuration file sets with a value of its
/// own. Such variables are not passed to the orderers.
pub fn is_own(variable: &str) -> bool {
    variable.strip_prefix("ORDERER_").is_some_and(|key| OWN_VARIABLES.iter().any(|own| key.starts_with(own)))
}

/// Creates a network with this number of orderers in `folder`, or finds the existing one. The first orderer of a new
/// network listens on `base_port`; an existing network keeps its ports. Performs blocking I/O.
///
/// Returns `None` if `orderers` is `None` and the directory contains no network, or a network with one solo orderer:
/// the caller then uses the solo network.
///
/// # Errors
/// Fails if the directory contains other files or a network of another size, or cannot be written.
pub fn prepare(folder: &Path, orderers: Option<u8>, base_port: u16) -> Result<Option<DevCluster>, DevError> {
    if orderers.is_none() && !folder.join(CONFIG_FILE).exists() {
        return Ok(None);
    }
    let number = orderers.unwrap_or(1);
    let created = make_whole(folder, |unfinished| make(unfinished, u16::from(number), base_port))?;
    let folder = find(folder)?;
    let found = Size::found(&folder);
    let wanted = orderers.map_or(found, Size::Cluster);
    match found {
        _ if found != wanted => Err(DevError::Another { folder, found, wanted }),
        Size::Single => Ok(None),
        Size::Cluster(number) => {
            let orderer = |place| DevOrderer { name: name(place), config_file: folder.join(config_file(place)) };
            let orderers = (0..u16::from(number)).map(orderer).collect();
            Ok(Some(DevCluster { folder, created, orderers }))
        }
    }
}

fn make(folder: &Path, orderers: u16, base_port: u16) -> Result<(), DevError> {
    make_crypto(folder, usize::from(orderers), Algorithm::Ecdsa)?;
    make_channels(folder, &configtx_text(orderers, base_port), &[(APPLICATION_CHANNEL, "DevChannel")])?;
    (0..orderers)
        .rev()
        .try_for_each(|place| write(&folder.join(config_file(place)), config_text(place, base_port).as_bytes()))
}

fn port(place: u16, base_port: u16) -> u16 {
    base_port + place * PORTS_EACH
}

/// Returns the relative path of an orderer's certificates and keys, in the layout of Fabric's cryptogen.
fn crypto_folder(place: u16) -> String {
    format!("crypto/ordererOrganizations/{ORDERER_DOMAIN}/orderers/{}.{ORDERER_DOMAIN}", name(place))
}

/// Returns configtx.yaml of the solo network, changed to consensus by Raft.
fn configtx_text(orderers: u16, base_port: u16) -> String {
    let addresses: Vec<_> = (0..orderers).map(|place| format!("\"127.0.0.1:{}\"", port(place, base_port))).collect();
    let addresses = addresses.join(", ");
    let mut raft = "  OrdererType: etcdraft\n  EtcdRaft:\n    Consenters:\n".to_owned();
    for place in 0..orderers {
        let (port, tls) = (port(place, base_port), format!("{}/tls", crypto_folder(place)));
        let _ = writeln!(
            raft,
            "      - Host: 127.0.0.1\n        Port: {port}\n        ClientTLSCert: {tls}/server.crt\n        \
             ServerTLSCert: {tls}/server.crt"
        );
    }
    // all orderers run on one machine, so a leader that sends nothing for a second (10 ticks) has failed
    raft.push_str(
        "    Options: {TickInterval: 100ms, ElectionTick: 10, HeartbeatTick: 1, MaxInflightBlocks: 5, \
         SnapshotIntervalSize: 16 MB}",
    );
    CONFIGTX.replace("\"127.0.0.1:7050\"", &addresses).replace("  OrdererType: solo", &raft)
}

fn config_text(place: u16, base_port: u16) -> String {
    let (port, own) = (port(place, base_port), crypto_folder(place));
    format!(
        "# One orderer of a development network with several; every other key has its default.
General:
  ListenAddress: 127.0.0.1
  ListenPort: {port}
  # makes the channel the first time
  BootstrapMethod: file
  BootstrapFile: genesis/{APPLICATION_CHANNEL}.block
  LocalMSPDir: {own}/msp
  LocalMSPID: {ORDERER_MSP}
  # the certificates are those in the channel's configuration, by which the orderers know each other
  TLS:
    Enabled: true
    Certificate: {own}/tls/server.crt
    PrivateKey: {own}/tls/server.key
    RootCAs: [crypto/ordererOrganizations/{ORDERER_DOMAIN}/tlsca/tlsca.{ORDERER_DOMAIN}-cert.pem]
    ClientRootCAs: [crypto/peerOrganizations/{PEER_DOMAIN}/tlsca/tlsca.{PEER_DOMAIN}-cert.pem]
FileLedger:
  Location: {ledger}
Consensus:
  Serve:
    etcdraft: raft
Operations:
  ListenAddress: 127.0.0.1:{operations}
# channels can be joined and removed at the Admin endpoint, and figures are at /metrics of the Operations endpoint
Admin:
  ListenAddress: 127.0.0.1:{admin}
ChannelParticipation:
  Enabled: true
Metrics:
  Provider: prometheus
",
        ledger = numbered("ledger", place),
        operations = port + OPERATIONS_PORT,
        admin = port + ADMIN_PORT,
    )
}

impl DevCluster {
    /// Returns the message that is printed when all orderers serve: addresses, paths, and example commands for a shell.
    /// `settings` are the settings of each orderer, in order.
    pub fn greeting(&self, settings: &[Settings]) -> String {
        let folder = self.folder.display();
        let made = if self.created { "created" } else { "continued" };
        let mut lines = format!("\nA development network {made} in {folder}\n");
        for (DevOrderer { name, .. }, settings) in self.orderers.iter().zip(settings) {
            let _ = writeln!(lines, "  {name:<16} {} (gRPC, TLS)", settings.listen);
            lines.push_str(&operators(settings).0);
        }
        let dev = quoted(&folder.to_string());
        let root = quoted(&orderer_tls_root(&self.folder).display().to_string());
        let admin = quoted(&admin_msp(&self.folder).display().to_string());
        let last = settings.last().map_or_else(String::new, |settings| settings.listen.to_string());
        let _ = write!(
            lines,
            "  channel          {APPLICATION_CHANNEL} (etcdraft, ready for transactions of {PEER_MSP})
  organizations    crypto/ordererOrganizations/{ORDERER_DOMAIN} ({ORDERER_MSP})
                   crypto/peerOrganizations/{PEER_DOMAIN} ({PEER_MSP}: Admin, User1, peer0)
  configuration    orderer.yaml, and one beside it for each other orderer

With the clients in this program, at the first orderer or at any other:
  date | orderer client broadcast --dev {dev}
  orderer client deliver --dev {dev} --from oldest --to newest
  orderer client fetch config --dev {dev} -o {last} --tls --cafile {root}

With Fabric's peer command (FABRIC_CFG_PATH at its core.yaml):
  export CORE_PEER_LOCALMSPID={PEER_MSP} CORE_PEER_MSPCONFIGPATH={admin}
  peer channel fetch newest -c {APPLICATION_CHANNEL} -o {last} --tls --cafile {root}

Is the first one healthy?
  orderer health --dev {dev}
"
        );
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use orderer_core::block::EncodedBlock;
    use orderer_core::config::ChannelSnapshot;
    use orderer_core::own::is_consenter;
    use orderer_localconfig::settings::{ConfigSource, load};

    use super::super::DevNetwork;
    use super::super::layout::genesis_path;
    use super::*;

    fn settings(orderer: &DevOrderer) -> Settings {
        let folder = orderer.config_file.parent().expect("a folder").to_owned();
        let origin = ConfigSource {
            file: Some(orderer.config_file.clone()),
            working_folder: folder,
            variables: std::collections::BTreeMap::default(),
        };
        load(origin).expect("loads").settings
    }

    #[test]
    fn each_orderer_is_a_consenter_where_the_channel_says_that_it_listens() {
        for number in [1, 3, 5] {
            let parent = tempfile::tempdir().expect("a folder");
            let folder = parent.path().join("net");
            let cluster = prepare(&folder, Some(number), 20_000).expect("made").expect("a cluster");
            assert!(cluster.created && cluster.orderers.len() == usize::from(number));
            let block = fs::read(genesis_path(&folder, APPLICATION_CHANNEL)).expect("readable");
            let block = EncodedBlock::parse(&block).expect("a block").decode();
            let snapshot = ChannelSnapshot::from_config_block(&block, &Arc::default()).expect("a configuration");
            snapshot.check_supported().expect("supported");
            let all: Vec<Settings> = cluster.orderers.iter().map(settings).collect();
            let mut addresses = std::collections::BTreeSet::new();
            for settings in &all {
                assert!(is_consenter(&snapshot, &settings.tls_keys()), "{}", settings.listen);
                let http = [&settings.http.operations, &settings.http.admin];
                addresses.extend(http.into_iter().flatten().map(|listener| listener.address));
                addresses.insert(settings.listen);
            }
            assert_eq!(addresses.len(), 3 * all.len());
            let greeting = cluster.greeting(&all);
            assert!(all.iter().all(|settings| greeting.contains(&settings.listen.to_string())), "{greeting}");
            // commands with --dev find the first one
            let network = DevNetwork::find(&folder).expect("found");
            assert_eq!(network.config_file, cluster.orderers[0].config_file);
        }
    }

    #[test]
    fn what_is_there_goes_on_and_is_not_taken_for_another() {
        let parent = tempfile::tempdir().expect("a folder");
        let (three, single) = (parent.path().join("three"), parent.path().join("single"));
        assert!(prepare(&single, None, BASE_PORT).expect("nothing").is_none() && !single.exists());
        assert!(prepare(&three, Some(3), 20_000).expect("made").is_some());
        super::super::prepare(&single, Algorithm::Ecdsa).expect("made");
        assert!(prepare(&single, None, BASE_PORT).expect("found").is_none());

        for orderers in [None, Some(3)] {
            // the network keeps the ports it was created with
            let again = prepare(&three, orderers, BASE_PORT).expect("found").expect("a cluster");
            assert!(!again.created && settings(&again.orderers[2]).listen.port() == 20_020);
        }
        let refused = [
            prepare(&three, Some(5), BASE_PORT).expect_err("three").to_string(),
            prepare(&single, Some(3), BASE_PORT).expect_err("one").to_string(),
            super::super::prepare(&three, Algorithm::Ecdsa).expect_err("three").to_string(),
        ];
        for (text, parts) in
            refused.iter().zip([["3 orderers", "5 orderers"], ["solo", "3 orderers"], ["3 orderers", "solo"]])
        {
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn what_would_hold_for_all_orderers_is_not_given_to_them() {
        for own in ["ORDERER_GENERAL_LISTENPORT", "ORDERER_FILELEDGER_LOCATION", "ORDERER_GENERAL_TLS_ENABLED"] {
            assert!(is_own(own), "{own}");
        }
        for other in ["ORDERER_FILELEDGER_LOWDISKBYTES", "GENERAL_LISTENPORT", "ORDERER_GENERAL_LISTEN", "PATH"] {
            assert!(!is_own(other), "{other}");
        }
    }
}
