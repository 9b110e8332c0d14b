//! Makes the key, and signs the request or the certificate.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use orderer_core::crypto::hex;
use orderer_hsm::{GeneratedKey, KeyIds, Pin, TokenSettings, generate_key};
use orderer_x509::Curve;
use rcgen::Issuer;

use super::{TokenCurve, TokenKeyArguments};
use crate::cryptogen::{FabricKey, signing_params};

pub(super) fn make(arguments: &TokenKeyArguments) -> anyhow::Result<String> {
    // whatever can fail without the token fails before there is a key
    let issuer = arguments.authority.as_deref().map(authority).transpose()?;
    anyhow::ensure!(
        !arguments.output.exists(),
        "{} exists (name another file by --output)",
        arguments.output.display()
    );
    let settings = TokenSettings {
        library: arguments.library.clone(),
        label: arguments.label.clone(),
        pin: pin(arguments.pin_file.as_deref())?,
        key_ids: KeyIds::default(),
        immutable: arguments.immutable,
    };
    let (curve, algorithm) = match arguments.curve {
        TokenCurve::P256 => (Curve::P256, &rcgen::PKCS_ECDSA_P256_SHA256),
        TokenCurve::P384 => (Curve::P384, &rcgen::PKCS_ECDSA_P384_SHA384),
    };
    let generated = generate_key(&settings, curve, arguments.key_label.as_deref());
    let key = generated.map_err(|error| anyhow::anyhow!("{error} ({})", error.action()))?;
    let ski = hex(key.ski());
    let pem = sign(arguments, issuer.as_ref(), &KeyInToken { key, algorithm });
    let written = pem.and_then(|pem| write_new(&arguments.output, &pem));
    // the key stays: another request can be made for it
    written.map_err(|error| error.context(format!("the key {ski} was made, its certificate was not")))?;
    Ok(ski)
}

fn pin(file: Option<&Path>) -> anyhow::Result<Pin> {
    const VARIABLE: &str = "ORDERER_GENERAL_BCCSP_PKCS11_PIN";
    let pin = match file {
        Some(file) => fs::read_to_string(file).with_context(|| format!("read the PIN in {}", file.display()))?,
        None => std::env::var(VARIABLE)
            .map_err(|_| anyhow::anyhow!("no PIN (name a file by --pin-file, or set {VARIABLE})"))?,
    };
    Ok(Pin::new(pin.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A key in a token as the library for certificates knows it.
struct KeyInToken {
    key: GeneratedKey,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

impl rcgen::PublicKeyData for KeyInToken {
    fn der_bytes(&self) -> &[u8] {
        self.key.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for KeyInToken {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

type Authority = Issuer<'static, FabricKey>;

/// Reads a certificate authority: one certificate and one key.
fn authority(folder: &Path) -> anyhow::Result<Authority> {
    let with_ending = |endings: &[&str]| -> anyhow::Result<String> {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.sort();
        let is_wanted = |path: &&PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
        let path = paths.iter().find(is_wanted);
        let path = path.with_context(|| format!("{} has no file *{}", folder.display(), endings.join(", *")))?;
        fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
    };
    let key = FabricKey::from_pem(&with_ending(&["_sk", ".key"])?).context("read the authority's key")?;
    rcgen::Issuer::from_ca_cert_pem(&with_ending(&["-cert.pem", ".crt"])?, key)
        .context("read the authority's certificate")
}

/// Returns the certificate, or the request for one.
fn sign(arguments: &TokenKeyArguments, issuer: Option<&Authority>, key: &KeyInToken) -> anyhow::Result<String> {
    let mut params = signing_params(&arguments.common_name, &arguments.unit, *key.key.ski());
    let Some(issuer) = issuer else {
        // the authority that will sign it is not known
        params.use_authority_key_identifier_extension = false;
        return Ok(params.serialize_request(key)?.pem()?);
    };
    Ok(params.signed_by(key, issuer)?.pem())
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| anyhow::anyhow!("write {}: {error}", path.display()))
}
