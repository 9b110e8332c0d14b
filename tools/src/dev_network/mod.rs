//! The development network: everything that a first-time user needs, created by one command.
//!
//! ```text
//! DIR/orderer.yaml                           configuration of the node that `start --dev` runs
//! DIR/configtx.yaml                          profiles of the network, for `orderer genesis`
//! DIR/genesis/                               blocks 0 of the system channel and of the application channel
//! DIR/crypto/ordererOrganizations/example.com/..        organizations, in the layout of Fabric's cryptogen
//! DIR/crypto/peerOrganizations/org1.example.com/..
//! DIR/ledger/                                the node's ledgers
//! ```
//!
//! The network is built in a directory beside DIR and then moved, so that a crash leaves no incomplete network in DIR.
//! Its keys are for development only. [`cluster`] creates a network with Raft.

pub mod cluster;
mod layout;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use orderer_core::types::{ChannelId, ChannelIdError};

use crate::configtx;
use crate::cryptogen::{self, Algorithm, CryptoError, Network, SimpleTopology};
pub use layout::{CONFIG_FILE, Size};
use layout::{SYSTEM_CHANNEL, genesis_path};
use orderer_localconfig::settings::Settings;

/// The channel that is ready for transactions.
pub const APPLICATION_CHANNEL: &str = "devchannel";
const ORDERER_DOMAIN: &str = "example.com";
const ORDERER_MSP: &str = "OrdererMSP";
const PEER_DOMAIN: &str = "org1.example.com";
const PEER_MSP: &str = "Org1MSP";
/// The profiles of the network, in the form of Fabric's configtx.yaml.
const CONFIGTX: &str = include_str!("configtx.yaml");
/// Name of these profiles' file in the network's directory.
const CONFIGTX_FILE: &str = "configtx.yaml";
/// The profile of the application channel.
const APPLICATION_PROFILE: &str = "DevChannel";
/// The channels, each with the profile in [`CONFIGTX`] from which it is created.
const CHANNELS: [(&str, &str); 2] = [(SYSTEM_CHANNEL, "System"), (APPLICATION_CHANNEL, APPLICATION_PROFILE)];

/// Reason for which the development network cannot be created or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// A file or directory cannot be read or written.
    #[error("development network: {action} {}", path.display())]
    Io {
        /// The failed operation.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        cause: io::Error,
    },
    /// The directory contains other files than a development network.
    #[error("development network: {} is not empty and has no {CONFIG_FILE}: name an empty folder", .0.display())]
    NotOurs(PathBuf),
    /// The directory contains a network of another size.
    #[error("development network: {} has {found}, and not {wanted}: name another folder", folder.display())]
    Another {
        /// The directory.
        folder: PathBuf,
        /// Size of the existing network.
        found: Size,
        /// The requested size.
        wanted: Size,
    },
    /// The certificates cannot be created.
    #[error("development network: make certificates")]
    Crypto(#[from] CryptoError),
    /// Invalid numbers of members. Cannot happen, because they are constants.
    #[error("development network: choose members")]
    Members(#[from] cryptogen::SpecErrors),
    /// An invalid profile. Cannot happen unless a user has changed the network's configtx.yaml.
    #[error("development network: make a genesis block")]
    Genesis(#[from] configtx::ProfileErrors),
    /// An invalid channel name.
    #[error("development network: channel name")]
    Channel(#[from] ChannelIdError),
}

/// A development network in a directory.
#[derive(Debug)]
pub struct DevNetwork {
    folder: PathBuf,
    created: bool,
    /// Path of the node's configuration file.
    pub config_file: PathBuf,
    /// Paths of the channels' blocks 0.
    pub genesis_blocks: Vec<PathBuf>,
}

/// Moves all entries of a directory into an empty one. Moves the configuration file last, because its presence marks a
/// complete network.
fn move_into(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name != CONFIG_FILE {
            fs::rename(from.join(&name), to.join(&name))?;
        }
    }
    fs::rename(from.join(CONFIG_FILE), to.join(CONFIG_FILE))?;
    fs::remove_dir(from)
}

/// Creates the network with one solo orderer in `folder`, with keys of this algorithm, or finds the existing one,
/// whatever its keys. Creation takes about 20 ms. Performs blocking I/O.
///
/// # Errors
/// Fails if the directory contains other files or a network with Raft, or cannot be written.
pub fn prepare(folder: &Path, algorithm: Algorithm) -> Result<DevNetwork, DevError> {
    let created = make_whole(folder, |unfinished| make(unfinished, algorithm))?;
    let folder = find(folder)?;
    if !genesis_path(&folder, SYSTEM_CHANNEL).exists() {
        let found = Size::found(&folder);
        return Err(DevError::Another { folder, found, wanted: Size::Single });
    }
    Ok(DevNetwork {
        config_file: folder.join(CONFIG_FILE),
        genesis_blocks: CHANNELS.map(|(channel, _)| genesis_path(&folder, channel)).to_vec(),
        folder,
        created,
    })
}

fn find(folder: &Path) -> Result<PathBuf, DevError> {
    fs::canonicalize(folder).map_err(|cause| DevError::Io { action: "find", path: folder.to_owned(), cause })
}

/// Creates a network with `make` in a directory beside `folder` and moves it there, unless `folder` contains a network.
/// Returns whether it created one.
fn make_whole(folder: &Path, make: impl FnOnce(&Path) -> Result<(), DevError>) -> Result<bool, DevError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |cause| DevError::Io { action, path, cause }
    };
    if folder.join(CONFIG_FILE).exists() {
        return Ok(false);
    }
    let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(DevError::NotOurs(folder.to_owned()));
    }
    // an existing empty directory may be a process's working directory, so it is filled and not replaced; its canonical
    // path has a last component, from which the name of the temporary directory is made
    let known = if folder.exists() { find(folder)? } else { folder.into() };
    let unfinished = cryptogen::unfinished(&known);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
    }
    make(&unfinished)?;
    let moved = if known.exists() { move_into(&unfinished, &known) } else { fs::rename(&unfinished, &known) };
    moved.map_err(io("move the finished network to", folder))?;
    Ok(true)
}

fn make(folder: &Path, algorithm: Algorithm) -> Result<(), DevError> {
    make_crypto(folder, 1, algorithm)?;
    make_channels(folder, &configtx_text(algorithm), &CHANNELS)?;
    write(&folder.join(CONFIG_FILE), config_text().as_bytes())
}

/// Creates the certificates and keys of a network with this number of orderers.
fn make_crypto(folder: &Path, orderers: usize, algorithm: Algorithm) -> Result<(), DevError> {
    let members = SimpleTopology {
        domain: ORDERER_DOMAIN.to_owned(),
        orderers,
        organizations: 1,
        peers: 1,
        users: 1,
        hosts: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        algorithm,
    };
    fs::create_dir_all(folder).map_err(|cause| DevError::Io { action: "make", path: folder.to_owned(), cause })?;
    Ok(cryptogen::generate(&folder.join("crypto"), &Network::simple(&members)?)?)
}

/// Writes configtx.yaml, and the genesis block of each channel from the profile with this name.
fn make_channels(folder: &Path, text: &str, channels: &[(&str, &str)]) -> Result<(), DevError> {
    let file = folder.join(CONFIGTX_FILE);
    write(&file, text.as_bytes())?;
    for (channel, profile) in channels {
        let loaded = configtx::load(&file, profile, &BTreeMap::new())?;
        write(&genesis_path(folder, channel), &loaded.genesis_block(&ChannelId::parse(channel)?)?)?;
    }
    Ok(())
}

/// Returns configtx.yaml for this key algorithm. Ed25519 keys require channel capability V3_0, with which addresses of
/// orderers are only listed in their organizations.
fn configtx_text(algorithm: Algorithm) -> Cow<'static, str> {
    match algorithm {
        Algorithm::Ecdsa => CONFIGTX.into(),
        Algorithm::Ed25519 => CONFIGTX
            .replace("&ChannelCapabilities {V2_0: true}", "&ChannelCapabilities {V3_0: true}")
            .replace("  Addresses: [\"127.0.0.1:7050\"]\n", "")
            .into(),
    }
}

fn config_text() -> String {
    format!(
        "# The node of a development network; every other key has its default.
General:
  ListenAddress: 127.0.0.1
  ListenPort: 7050
  LocalMSPDir: crypto/ordererOrganizations/{ORDERER_DOMAIN}/orderers/orderer.{ORDERER_DOMAIN}/msp
  LocalMSPID: {ORDERER_MSP}
  TLS:
    # certificates for localhost are there: true turns TLS on
    Enabled: false
    Certificate: crypto/ordererOrganizations/{ORDERER_DOMAIN}/orderers/orderer.{ORDERER_DOMAIN}/tls/server.crt
    PrivateKey: crypto/ordererOrganizations/{ORDERER_DOMAIN}/orderers/orderer.{ORDERER_DOMAIN}/tls/server.key
    ClientRootCAs: [crypto/peerOrganizations/{PEER_DOMAIN}/tlsca/tlsca.{PEER_DOMAIN}-cert.pem]
FileLedger:
  Location: ledger
# channels can be joined and removed at the Admin endpoint, and figures are at /metrics of the Operations endpoint
ChannelParticipation:
  Enabled: true
Metrics:
  Provider: prometheus
"
    )
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DevError> {
    let failed = |cause| DevError::Io { action: "write", path: path.to_owned(), cause };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)
}

fn orderer_tls_root(folder: &Path) -> PathBuf {
    let organization = folder.join("crypto/ordererOrganizations").join(ORDERER_DOMAIN);
    organization.join("tlsca").join(format!("tlsca.{ORDERER_DOMAIN}-cert.pem"))
}

fn admin_msp(folder: &Path) -> PathBuf {
    folder.join(format!("crypto/peerOrganizations/{PEER_DOMAIN}/users/Admin@{PEER_DOMAIN}/msp"))
}

impl DevNetwork {
    /// Finds the network in `folder`; of a network with Raft, its first orderer. Returns `None` if there is no network.
    pub fn find(folder: &Path) -> Option<Self> {
        let folder = fs::canonicalize(folder).ok()?;
        let blocks = CHANNELS.map(|(channel, _)| genesis_path(&folder, channel));
        let genesis_blocks: Vec<_> = blocks.into_iter().filter(|block| block.is_file()).collect();
        let config_file = folder.join(CONFIG_FILE);
        let whole = config_file.is_file() && genesis_path(&folder, APPLICATION_CHANNEL).is_file();
        whole.then_some(Self { folder, created: false, config_file, genesis_blocks })
    }

    /// Returns the path of a channel's block 0.
    pub fn genesis_block(&self, channel: &str) -> PathBuf {
        genesis_path(&self.folder, channel)
    }

    /// Creates genesis blocks of more channels like the application channel, from its profile. Writes them to `folder`,
    /// and returns their paths. Performs blocking I/O.
    ///
    /// # Errors
    /// Fails if the network's configtx.yaml cannot be read or has errors, if a name is invalid, or if the directory
    /// cannot be written.
    pub fn make_genesis_blocks(&self, channels: &[String], folder: &Path) -> Result<Vec<PathBuf>, DevError> {
        let loaded = configtx::load(&self.folder.join(CONFIGTX_FILE), APPLICATION_PROFILE, &BTreeMap::new())?;
        let make = |channel: &String| {
            let path = folder.join(format!("{channel}.block"));
            write(&path, &loaded.genesis_block(&ChannelId::parse(channel)?)?)?;
            Ok(path)
        };
        channels.iter().map(make).collect()
    }

    /// Returns the MSP directory of a client, and the ID of its MSP.
    pub fn client(&self) -> (PathBuf, String) {
        (self.user_folder().join("msp"), PEER_MSP.to_owned())
    }

    /// Returns the paths of the client's TLS certificate and key.
    pub fn client_tls(&self) -> (PathBuf, PathBuf) {
        let tls = self.user_folder().join("tls");
        (tls.join("client.crt"), tls.join("client.key"))
    }

    /// Returns the path of the certificate of the authority that issued the orderers' TLS certificates.
    pub fn orderer_tls_root(&self) -> PathBuf {
        orderer_tls_root(&self.folder)
    }

    fn user_folder(&self) -> PathBuf {
        self.folder.join(format!("crypto/peerOrganizations/{PEER_DOMAIN}/users/User1@{PEER_DOMAIN}"))
    }

    /// Returns the message that is printed when the node serves: addresses, paths, and example commands for a shell.
    pub fn greeting(&self, settings: &Settings) -> String {
        let (folder, address) = (self.folder.display(), settings.listen);
        let dev = quoted(&folder.to_string());
        let (operators, health) = operators(settings);
        let secured = if settings.tls.is_some() { "TLS" } else { "plaintext" };
        let made = if self.created { "created" } else { "continued" };
        let admin = admin_msp(&self.folder);
        format!(
            "
A development network {made} in {folder}
  orderer          {address} (gRPC, {secured})
{operators}  channels         {APPLICATION_CHANNEL} (ready for transactions of {PEER_MSP}), {SYSTEM_CHANNEL} (creates others)
  organizations    crypto/ordererOrganizations/{ORDERER_DOMAIN} ({ORDERER_MSP})
                   crypto/peerOrganizations/{PEER_DOMAIN} ({PEER_MSP}: Admin, User1, peer0)
  configuration    orderer.yaml

With the clients in this program:
  date | orderer client broadcast --dev {dev}
  orderer client deliver --dev {dev} --from oldest --to newest
  orderer client fetch config --dev {dev}

With Fabric's peer command (FABRIC_CFG_PATH at its core.yaml):
  export CORE_PEER_LOCALMSPID={PEER_MSP} CORE_PEER_MSPCONFIGPATH={}
  peer channel fetch newest -c {APPLICATION_CHANNEL} -o {address}
  peer channel fetch config -c {APPLICATION_CHANNEL} -o {address}

Is it healthy?
  orderer health --dev {dev}{health}
",
            quoted(&admin.display().to_string())
        )
    }
}

/// Returns lines about the endpoints for operators, and the flag with which `orderer health` reaches a node without an
/// Operations endpoint on a known port.
fn operators(settings: &Settings) -> (String, &'static str) {
    let mut lines = String::new();
    let of = |address: SocketAddr| if address.port() == 0 { "see the log".to_owned() } else { address.to_string() };
    let operations = settings.http.operations.as_ref().map(|listener| listener.address);
    if let Some(address) = operations {
        let _ = writeln!(lines, "  operations       {} (/healthz, /metrics, /debug/ for a browser)", of(address));
    }
    if let Some(admin) = settings.http.admin.as_ref().filter(|_| settings.http.participation) {
        let _ = writeln!(lines, "  administration   {} (orderer channel list -o ..)", of(admin.address));
    }
    (lines, if operations.is_some_and(|address| address.port() != 0) { "" } else { " --grpc" })
}

/// Quotes a text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-@+=:".contains(c));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderer_core::block::EncodedBlock;
    use orderer_core::config::ChannelSnapshot;
    use orderer_core::crypto::Signer as _;

    fn is_one_that_a_node_can_run_and_is_found_again(algorithm: Algorithm) {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("net");
        let network = prepare(&folder, algorithm).expect("made");
        assert!(network.created);
        let mut snapshots = Vec::new();
        for path in &network.genesis_blocks {
            let block = EncodedBlock::parse(&fs::read(path).expect("readable")).expect("a block");
            let snapshot = ChannelSnapshot::from_config_block(&block.decode(), &std::sync::Arc::default())
                .expect("a configuration");
            snapshot.check_supported().expect("supported");
            snapshots.push(snapshot);
        }
        let loaded = orderer_localconfig::settings::load(orderer_localconfig::settings::ConfigSource {
            file: Some(network.config_file.clone()),
            working_folder: parent.path().to_owned(),
            variables: std::collections::BTreeMap::default(),
        });
        let settings = loaded.expect("loads").settings;
        let own =
            orderer_localconfig::local_msp::read_signing_identity(&settings.local_msp_dir, &settings.local_msp_id);
        let own = own.expect("an identity");
        for snapshot in &snapshots {
            let identity = snapshot.msps().deserialize_identity(own.creator()).expect("known to the channel");
            assert_eq!(identity.validity(), Ok(()));
            assert_eq!(identity.public_key().is_ed25519(), algorithm == Algorithm::Ed25519);
        }
        let before = fs::read(&network.genesis_blocks[0]).expect("readable");
        assert!(!prepare(&folder, algorithm).expect("found").created);
        assert_eq!(fs::read(&network.genesis_blocks[0]).expect("readable"), before);
    }

    #[test]
    fn the_network_is_one_that_a_node_can_run_and_is_found_again() {
        is_one_that_a_node_can_run_and_is_found_again(Algorithm::Ecdsa);
        is_one_that_a_node_can_run_and_is_found_again(Algorithm::Ed25519);
    }

    #[test]
    fn more_channels_have_the_configuration_of_the_application_channel() {
        let parent = tempfile::tempdir().expect("a folder");
        let snapshot = |path: &Path| {
            let block = EncodedBlock::parse(&fs::read(path).expect("readable")).expect("a block");
            ChannelSnapshot::from_config_block(&block.decode(), &std::sync::Arc::default()).expect("a configuration")
        };
        for (folder, algorithm) in [("ecdsa", Algorithm::Ecdsa), ("ed25519", Algorithm::Ed25519)] {
            let network = prepare(&parent.path().join(folder), algorithm).expect("made");
            let names = ["first".to_owned(), "second".to_owned()];
            let made = network.make_genesis_blocks(&names, &parent.path().join("more")).expect("made");
            let application = snapshot(&network.genesis_block(APPLICATION_CHANNEL)).config();
            for (name, path) in names.iter().zip(&made) {
                let snapshot = snapshot(path);
                assert_eq!(snapshot.channel().as_str(), name);
                assert_eq!(snapshot.config(), application);
            }
            assert_eq!(made.len(), names.len());
        }
    }

    #[test]
    fn a_folder_may_be_there_and_named_with_a_slash_at_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let empty = folder.path().join("net/");
        fs::create_dir(&empty).expect("made");
        assert!(prepare(&empty, Algorithm::Ecdsa).expect("made").created);
        assert!(!prepare(&empty.join("."), Algorithm::Ecdsa).expect("found").created);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn the_folder_may_be_the_one_in_which_the_command_runs() {
        use std::os::unix::fs::MetadataExt as _;
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("net");
        fs::create_dir(&folder).expect("made");
        let inode = |path: &Path| fs::metadata(path).expect("there").ino();
        let before = inode(&folder);
        assert!(prepare(&folder.join("."), Algorithm::Ecdsa).expect("made").created);
        assert_eq!(inode(&folder), before, "who stands in it still does");
        assert!(!prepare(&folder, Algorithm::Ecdsa).expect("found").created);
    }

    #[test]
    fn a_folder_that_is_something_elses_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("thesis.tex"), "").expect("written");
        assert!(matches!(prepare(folder.path(), Algorithm::Ecdsa), Err(DevError::NotOurs(_))));
    }
}
