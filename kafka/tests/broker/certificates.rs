//! Certificates for one set of brokers and their clients.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// The files of a CA, of a broker certificate, and of several client certificates.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Certificates {
    pub fn make(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let (authority, authority_pem) = authority("kafka");
        fs::write(folder.join("ca.pem"), authority_pem).unwrap();
        let broker = issue(&authority, "broker");
        fs::write(folder.join("broker.pem"), [broker.key, broker.certificate].concat()).unwrap();
        let (foreign, _) = self::authority("another");
        for (issuer, name) in [(&authority, "orderer"), (&authority, "stranger"), (&foreign, "foreign")] {
            let pair = issue(issuer, name);
            fs::write(folder.join(format!("{name}.pem")), pair.certificate).unwrap();
            fs::write(folder.join(format!("{name}.key")), pair.key).unwrap();
        }
        Self { folder: folder.to_owned() }
    }

    /// Returns the CA certificate.
    pub fn authority(&self) -> Vec<u8> {
        fs::read(self.folder.join("ca.pem")).unwrap()
    }

    /// Returns the certificate of `orderer`, which may do anything, of `stranger`, which may do nothing, or of
    /// `foreign`, which another CA issued.
    pub fn client(&self, name: &str) -> Pair {
        let read = |ending| fs::read(self.folder.join(format!("{name}.{ending}"))).unwrap();
        Pair { certificate: read("pem"), key: read("key") }
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

fn issue(issuer: &Issuer<'static, KeyPair>, name: &str) -> Pair {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    // only the common name, because brokers identify a client by its whole subject
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap().pem().into_bytes();
    Pair { certificate, key: key.serialize_pem().into_bytes() }
}
