//! A token of SoftHSM with the key of an orderer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fabric_proto::Message as _;
use fabric_proto::common::{Block, Metadata, SignatureHeader};
use fabric_proto::msp::SerializedIdentity;
use orderer_core::block::{EncodedBlock, verify_block_signatures};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::crypto::PublicKey;
use orderer_x509::{Certificate, pem};

use super::Setup;
use super::node::orderer_folder;

pub const LABEL: &str = "ordering";
pub const PIN: &str = "p1n-of-the-token";

/// Returns the path of SoftHSM's library.
pub fn library() -> PathBuf {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    ];
    places
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .expect("SoftHSM is not installed (apt-get install softhsm2)")
}

/// A token in the directory of a node, and an MSP without keys.
pub struct Token {
    folder: PathBuf,
}

impl Token {
    /// Makes an empty token for a node, and sets the node up to sign with it.
    pub fn of(setup: Setup) -> (Self, Setup) {
        let folder = setup.folder().to_owned();
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let configuration = folder.join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.join("tokens").display()
        );
        fs::write(&configuration, text).unwrap();
        fs::write(folder.join("pin"), format!("{PIN}\n")).unwrap();
        let msp = folder.join("msp");
        fs::create_dir_all(msp.join("signcerts")).unwrap();
        fs::create_dir_all(msp.join("cacerts")).unwrap();
        for (from, to) in [("cacerts", "cacerts"), ("config.yaml", "config.yaml")] {
            copy(&orderer_folder().join("msp").join(from), &msp.join(to));
        }
        let setup = setup
            .variable("SOFTHSM2_CONF", configuration.display())
            .set("GENERAL_LOCALMSPDIR", msp.display())
            .set("GENERAL_BCCSP_DEFAULT", "PKCS11")
            .set("GENERAL_BCCSP_PKCS11_LIBRARY", library().display())
            .set("GENERAL_BCCSP_PKCS11_LABEL", LABEL)
            .set("GENERAL_BCCSP_PKCS11_PIN", PIN);
        let token = Self { folder };
        token.softhsm(&["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "so-p1n"]);
        (token, setup)
    }

    /// Returns the path of a file in the node's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a command that has to succeed with the token.
    pub fn command(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        let ended = command.args(arguments).env("SOFTHSM2_CONF", self.file("softhsm2.conf")).output().unwrap();
        assert!(ended.status.success(), "{program} {arguments:?}: {ended:?}");
    }

    pub fn softhsm(&self, arguments: &[&str]) {
        self.command("softhsm2-util", arguments);
    }

    /// Puts the key of a fixtures' orderer into the token under this CKA_ID in hex, and its certificate into the MSP.
    pub fn import(&self, orderer: &str, id: impl FnOnce([u8; 32]) -> String) {
        let msp = orderer_folder().with_file_name(orderer).join("msp");
        let certificate = fs::read(msp.join(format!("signcerts/{orderer}-cert.pem"))).unwrap();
        fs::write(self.file("msp/signcerts/cert.pem"), &certificate).unwrap();
        let key = msp.join("keystore/priv_sk").display().to_string();
        let id = id(public_key(&certificate).ski());
        self.softhsm(&["--import", &key, "--token", LABEL, "--label", orderer, "--id", &id, "--pin", PIN]);
    }

    /// Moves the token away.
    pub fn take_away(&self) {
        fs::rename(self.file("tokens"), self.file("elsewhere")).unwrap();
    }

    /// Moves the token back.
    pub fn bring_back(&self) {
        fs::rename(self.file("elsewhere"), self.file("tokens")).unwrap();
    }

    pub fn certificate(&self) -> Vec<u8> {
        fs::read(self.file("msp/signcerts/cert.pem")).unwrap()
    }

    /// Asserts that the certificate's key signed every block but the first, as peers require.
    pub fn assert_signed(&self, chain: &[Block]) {
        let genesis = EncodedBlock::parse(&chain[0].encode_to_vec()).unwrap();
        let snapshot =
            ChannelSnapshot::from_config_block(&genesis.decode(), &Arc::new(ConfigCache::default())).unwrap();
        for block in &chain[1..] {
            let metadata = Metadata::decode(block.metadata.as_ref().unwrap().metadata[0].clone()).unwrap();
            let header = SignatureHeader::decode(metadata.signatures[0].signature_header.clone()).unwrap();
            assert_eq!(SerializedIdentity::decode(header.creator).unwrap().id_bytes, self.certificate());
            let block = EncodedBlock::parse(&block.encode_to_vec()).unwrap();
            verify_block_signatures(&block, &snapshot).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Returns the public key of a certificate in PEM.
pub fn public_key(certificate: &[u8]) -> PublicKey {
    let (block, _) = pem::decode(certificate).unwrap();
    PublicKey::from_x509(Certificate::parse(&block.contents).unwrap().public_key()).unwrap()
}
