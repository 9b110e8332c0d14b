//! The node's identity: an MSP directory, as Fabric's tools create it.
//!
//! ```text
//! signcerts/      one certificate in PEM           cacerts/, intermediatecerts/, admincerts/, crls/
//! keystore/       private keys in PEM              tlscacerts/, tlsintermediatecerts/
//! config.yaml     roles by organizational unit
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::msp::{FabricCryptoConfig, FabricMspConfig, FabricNodeOUs, FabricOuIdentifier, MspConfig};
use orderer_actors::chain_state::error_chain;
use orderer_core::crypto::{KeyError, Signer, SigningIdentity, SigningKey};
use orderer_hsm::{KeyIds, TokenError, TokenPool, TokenSigner};
use serde::Deserialize;

use crate::settings::KeyProvider;

/// Reason for which a directory is no local MSP. Every text names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalMspError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        cause: std::io::Error,
    },
    /// A directory that must contain a file contains none.
    #[error("{} has no {what} in it", path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
        /// The missing part.
        what: &'static str,
    },
    /// No key fits the certificate.
    #[error("no key in {} belongs to the certificate {}: {}", keystore.display(), certificate.display(), each(tried))]
    NoKey {
        /// The directory of keys.
        keystore: PathBuf,
        /// The certificate.
        certificate: PathBuf,
        /// The error of each file.
        tried: Vec<(PathBuf, KeyError)>,
    },
    /// The token with the key cannot be used.
    #[error("{0} ({action})", action = .0.action())]
    Token(TokenError),
    /// `config.yaml` does not parse.
    #[error("{}: {cause}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        cause: crate::yaml::Error,
    },
}

// not by an attribute: the text has the cause already, which would be displayed again as the source
impl From<TokenError> for LocalMspError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// Where the key of the signing certificate is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In a file.
    Files {
        /// The directory of keys; `None` for `keystore` in the MSP directory.
        keystore: Option<PathBuf>,
    },
    /// In a token.
    Token {
        /// Sessions with the token.
        pool: Arc<TokenPool>,
        /// CKA_IDs that are not SKIs.
        ids: KeyIds,
    },
}

impl KeySource {
    /// Connects to the token, if the key is in one. Performs blocking I/O.
    ///
    /// # Errors
    /// The token is not there, or refuses the PIN.
    pub fn open(provider: &KeyProvider) -> Result<Self, TokenError> {
        match provider {
            KeyProvider::Files { keystore } => Ok(Self::Files { keystore: keystore.clone() }),
            KeyProvider::Token(settings) => {
                Ok(Self::Token { pool: orderer_hsm::open(settings)?, ids: settings.key_ids.clone() })
            }
        }
    }

    /// Returns the sessions with the token, if the key is in one.
    pub fn token(&self) -> Option<&Arc<TokenPool>> {
        match self {
            Self::Files { .. } => None,
            Self::Token { pool, .. } => Some(pool),
        }
    }

    /// Returns the directory of keys, if the key is in a file.
    pub fn keystore(&self, msp_dir: &Path) -> Option<PathBuf> {
        match self {
            Self::Files { keystore } => Some(keystore.clone().unwrap_or_else(|| msp_dir.join("keystore"))),
            Self::Token { .. } => None,
        }
    }
}

/// Reads the certificate to sign with, and finds its key. A key in a token signs once and verifies it. Performs blocking I/O.
///
/// # Errors
/// The certificate or the key is not there, or they do not belong together.
pub fn read_signer(folder: &Path, msp_id: &str, keys: &KeySource) -> Result<Arc<dyn Signer>, LocalMspError> {
    match keys {
        KeySource::Files { keystore } => {
            let keystore = keystore.clone().unwrap_or_else(|| folder.join("keystore"));
            Ok(Arc::new(read_identity(folder, msp_id, keystore)?))
        }
        KeySource::Token { pool, ids } => {
            let (_, certificate) = signing_certificate(folder)?;
            Ok(Arc::new(TokenSigner::new(msp_id, &certificate, ids, pool)?))
        }
    }
}

/// Reads the certificate and the key to sign with.
pub fn read_signing_identity(folder: &Path, msp_id: &str) -> Result<SigningIdentity, LocalMspError> {
    read_identity(folder, msp_id, folder.join("keystore"))
}

fn signing_certificate(folder: &Path) -> Result<(PathBuf, Vec<u8>), LocalMspError> {
    let signcerts = folder.join("signcerts");
    files(&signcerts)?.into_iter().next().ok_or(LocalMspError::Nothing { path: signcerts, what: "certificate" })
}

fn read_identity(folder: &Path, msp_id: &str, keystore: PathBuf) -> Result<SigningIdentity, LocalMspError> {
    let (certificate_path, certificate) = signing_certificate(folder)?;
    let mut keys = files(&keystore)?;
    if keys.is_empty() {
        return Err(LocalMspError::Nothing { path: keystore, what: "key" });
    }
    // a key is usually named by its SKI; those come first, so that a large keystore costs nothing
    if let Some(name) = ski_file_name(&certificate) {
        keys.sort_by_key(|(path, _)| path.file_name() != Some(name.as_ref()));
    }
    let mut tried = Vec::new();
    for (path, pem) in keys {
        match SigningKey::from_pem(&pem).and_then(|key| SigningIdentity::new(msp_id, &certificate, key)) {
            Ok(identity) => return Ok(identity),
            Err(error) => tried.push((path, error)),
        }
    }
    Err(LocalMspError::NoKey { keystore, certificate: certificate_path, tried })
}

/// Describes the first few files.
fn each(tried: &[(PathBuf, KeyError)]) -> String {
    const SHOWN: usize = 3;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut shown: Vec<_> = tried.iter().take(SHOWN).map(|(path, why)| format!("{}: {why}", name(path))).collect();
    if tried.len() > SHOWN {
        shown.push("and so on".to_owned());
    }
    shown.join("; ")
}

fn ski_file_name(certificate_pem: &[u8]) -> Option<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let key = orderer_core::crypto::PublicKey::from_spki_der(certificate.public_key().raw).ok()?;
    Some(format!("{}_sk", orderer_core::crypto::hex(&key.ski())))
}

/// The definition of an organization that an MSP directory contains.
#[derive(Debug)]
pub struct Definition {
    /// The definition as a channel's configuration has it.
    pub config: MspConfig,
    /// A line for each item of the directory that the definition leaves out, as Fabric's tools do.
    pub left_out: Vec<String>,
}

/// Reads the definition of the MSP, without its keys, as a channel's configuration has it.
///
/// # Errors
/// The directory has no root, or a file cannot be read.
pub fn read_definition(folder: &Path, msp_id: &str) -> Result<Definition, LocalMspError> {
    let mut left_out = Vec::new();
    let all = |name: &str| -> Result<Vec<Bytes>, LocalMspError> {
        let folder = folder.join(name);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        // other files in the directory, a note for instance, are no certificates
        let pems = files(&folder)?.into_iter().filter(|(_, bytes)| is_pem(bytes));
        Ok(pems.map(|(_, bytes)| bytes.into()).collect())
    };
    let root_certs = all("cacerts")?;
    if root_certs.is_empty() {
        return Err(LocalMspError::Nothing { path: folder.join("cacerts"), what: "certificate" });
    }
    let config = ConfigFile::read(folder)?;
    let unit = |unit: &Unit| -> Result<FabricOuIdentifier, LocalMspError> {
        let certificate = match &unit.certificate {
            Some(path) if !path.is_empty() => read(&folder.join(path))?.into(),
            _ => Bytes::new(),
        };
        Ok(FabricOuIdentifier {
            certificate,
            organizational_unit_identifier: unit.identifier.clone().unwrap_or_default(),
        })
    };
    let named = |unit: &&Unit| unit.identifier.as_ref().is_some_and(|name| !name.is_empty());
    // the certificate of a role's unit may be missing: then any authority may certify it
    let mut optional = |wanted: &Option<Unit>| {
        let wanted = wanted.as_ref().filter(named)?;
        Some(unit(wanted).unwrap_or_else(|error| {
            let name = wanted.identifier.clone().unwrap_or_default();
            left_out
                .push(format!("the certificate of organizational unit '{name}' is left out: {}", error_chain(&error)));
            FabricOuIdentifier { certificate: Bytes::new(), organizational_unit_identifier: name }
        }))
    };
    let fabric_node_ous = match &config.node_ous {
        Some(ous) if ous.enable => Some(FabricNodeOUs {
            enable: true,
            client_ou_identifier: optional(&ous.client),
            peer_ou_identifier: optional(&ous.peer),
            admin_ou_identifier: optional(&ous.admin),
            orderer_ou_identifier: optional(&ous.orderer),
        }),
        _ => None,
    };
    let tls_root_certs = all("tlscacerts")?;
    let mut tls_intermediate_certs = all("tlsintermediatecerts")?;
    if tls_root_certs.is_empty() && !tls_intermediate_certs.is_empty() {
        tls_intermediate_certs.clear();
        left_out.push("tlsintermediatecerts is left out, because tlscacerts has no certificate".to_owned());
    }
    let definition = FabricMspConfig {
        name: msp_id.to_owned(),
        root_certs,
        intermediate_certs: all("intermediatecerts")?,
        admins: all("admincerts")?,
        revocation_list: all("crls")?,
        signing_identity: None,
        organizational_unit_identifiers: config.units.iter().map(unit).collect::<Result<_, _>>()?,
        crypto_config: Some(FabricCryptoConfig {
            signature_hash_family: "SHA2".to_owned(),
            identity_identifier_hash_function: "SHA256".to_owned(),
        }),
        tls_root_certs,
        tls_intermediate_certs,
        fabric_node_ous,
    };
    Ok(Definition { config: MspConfig { r#type: 0, config: definition.encode_to_vec().into() }, left_out })
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

/// The content of `config.yaml`.
#[derive(Debug, Default, Deserialize)]
struct ConfigFile {
    #[serde(rename = "NodeOUs")]
    node_ous: Option<NodeOus>,
    #[serde(rename = "OrganizationalUnitIdentifiers", default)]
    units: Vec<Unit>,
}

#[derive(Debug, Deserialize)]
struct NodeOus {
    #[serde(rename = "Enable", default)]
    enable: bool,
    #[serde(rename = "ClientOUIdentifier")]
    client: Option<Unit>,
    #[serde(rename = "PeerOUIdentifier")]
    peer: Option<Unit>,
    #[serde(rename = "AdminOUIdentifier")]
    admin: Option<Unit>,
    #[serde(rename = "OrdererOUIdentifier")]
    orderer: Option<Unit>,
}

#[derive(Debug, Deserialize)]
struct Unit {
    #[serde(rename = "Certificate")]
    certificate: Option<String>,
    #[serde(rename = "OrganizationalUnitIdentifier")]
    identifier: Option<String>,
}

impl ConfigFile {
    fn read(folder: &Path) -> Result<Self, LocalMspError> {
        let path = folder.join("config.yaml");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = read(&path)?;
        crate::yaml::read(&text).map_err(|cause| LocalMspError::Config { path, cause })
    }
}

/// Reads the files of a directory, by name, without directories and hidden files.
fn files(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, LocalMspError> {
    let failed = |cause| LocalMspError::Io { path: folder.to_owned(), cause };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.into_iter().map(|path| read(&path).map(|bytes| (path, bytes))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, LocalMspError> {
    fs::read(path).map_err(|cause| LocalMspError::Io { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderer_core::identity::{Msp, MspVersion};

    fn fixture(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/net/crypto").join(path)
    }

    #[test]
    fn an_orderers_folder_gives_an_identity_that_its_own_msp_vouches_for() {
        let folder = fixture("ordererOrganizations/example.com/orderers/orderer.example.com/msp");
        read_signing_identity(&folder, "OrdererMSP").expect("an identity");
        let definition = read_definition(&folder, "OrdererMSP").expect("a definition");
        let msp = Msp::from_config(&definition.config, MspVersion::LATEST).expect("an MSP");
        let (_, certificate) = files(&folder.join("signcerts")).expect("readable").remove(0);
        assert_eq!(msp.deserialize_identity(&certificate.into()).expect("an identity").validity(), Ok(()));
    }

    #[test]
    fn what_fabrics_tools_leave_out_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = fixture("ordererOrganizations/example.com/msp");
        let copy = |from: &str, to: &str| {
            fs::create_dir(folder.path().join(to)).expect("a folder");
            for (path, bytes) in files(&source.join(from)).expect("readable") {
                fs::write(folder.path().join(to).join(path.file_name().expect("a name")), bytes).expect("written");
            }
        };
        copy("cacerts", "cacerts");
        copy("tlscacerts", "tlsintermediatecerts");
        let units = "NodeOUs:\n  Enable: true\n  AdminOUIdentifier:\n    Certificate: cacerts/gone.pem\n    \
                     OrganizationalUnitIdentifier: admin\n";
        fs::write(folder.path().join("config.yaml"), units).expect("written");
        let Definition { config, left_out } = read_definition(folder.path(), "OrdererMSP").expect("a definition");
        assert!(left_out[0].contains("gone.pem") && left_out[1].contains("tlsintermediatecerts"), "{left_out:?}");
        Msp::from_config(&config, MspVersion::LATEST).expect("an MSP");
    }

    #[test]
    fn the_right_key_is_found_among_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = fixture("ordererOrganizations/example.com/orderers/orderer.example.com/msp");
        for (name, from) in [("signcerts", "signcerts"), ("keystore", "keystore")] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            for (path, bytes) in files(&source.join(from)).expect("readable") {
                fs::write(folder.path().join(name).join(path.file_name().expect("a name")), bytes).expect("written");
            }
        }
        let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        fs::write(folder.path().join("keystore/a_sk"), &other).expect("written");
        fs::write(folder.path().join("keystore/zz_sk"), "garbage").expect("written");
        read_signing_identity(folder.path(), "OrdererMSP").expect("an identity");
        fs::remove_file(folder.path().join("keystore/priv_sk")).expect("removed");
        let error = read_signing_identity(folder.path(), "OrdererMSP").expect_err("must fail").to_string();
        assert!(error.contains("no key in ") && error.contains("keystore"), "{error}");
        assert!(error.contains("signcerts") && error.contains("a_sk: the private key does not belong"), "{error}");
        assert!(error.contains("zz_sk: no private key in PEM found"), "{error}");

        let store = folder.path().join("keystore");
        fs::remove_file(store.join("a_sk")).expect("removed");
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAA==\n-----END EC PRIVATE KEY-----\n",
        ] {
            fs::write(store.join("zz_sk"), encrypted).expect("written");
            let error = read_signing_identity(folder.path(), "OrdererMSP").expect_err("must fail").to_string();
            assert!(error.ends_with("zz_sk: the key is encrypted: decrypt it with openssl pkey"), "{error}");
        }
    }
}
