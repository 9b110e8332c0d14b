//! `orderer crypto token-key`: a key in a PKCS#11 token, with a certificate request or a certificate.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::output::print_errors;

/// The end of `orderer crypto token-key --help`.
pub const AFTER_HELP: &str = "\
The key cannot leave the token. Its CKA_ID is the SHA-256 digest of its public key, by which the node finds it.
The PIN is read from the file of --pin-file, or from the variable ORDERER_GENERAL_BCCSP_PKCS11_PIN.

Try it:
  orderer crypto token-key --library /usr/lib/softhsm/libsofthsm2.so --label orderer --pin-file pin \\
    --common-name orderer.example.com --output orderer.csr

Exit codes:
  0  made    1  the token refuses, or a file cannot be read or written    2  wrong arguments";

/// Arguments of `orderer crypto token-key`.
#[derive(Debug, clap::Args)]
pub struct TokenKeyArguments {
    /// PKCS#11 library of the token's vendor
    #[arg(long, value_name = "FILE")]
    library: PathBuf,
    /// Label of the token
    #[arg(long, value_name = "NAME")]
    label: String,
    /// File with the PIN of the token's user
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Curve of the key
    #[arg(long, value_enum, default_value_t = TokenCurve::P256)]
    curve: TokenCurve,
    /// Label of the key; the identifier in hex if it is not given
    #[arg(long, value_name = "NAME")]
    key_label: Option<String>,
    /// Forbid changes of the key's attributes (General.BCCSP.PKCS11.Immutable)
    #[arg(long)]
    immutable: bool,
    /// Common name of the certificate's subject
    #[arg(long, value_name = "NAME")]
    common_name: String,
    /// Organizational unit of the certificate's subject
    #[arg(long, value_name = "NAME", default_value = "orderer")]
    unit: String,
    /// Folder of a certificate authority of `orderer crypto` or cryptogen, which issues a certificate instead of the request
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Curve of a key in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenCurve {
    /// P-256, also known as secp256r1 and prime256v1.
    P256,
    /// P-384, also known as secp384r1.
    P384,
}

/// Makes the key and the file. Performs blocking I/O.
pub fn run(arguments: &TokenKeyArguments) -> ExitCode {
    match make(arguments) {
        Ok(ski) => {
            let what = if arguments.authority.is_some() { "certificate" } else { "certificate request" };
            say!("key {ski} in the token '{}'", arguments.label);
            say!("{what} {}", arguments.output.display());
            ExitCode::SUCCESS
        }
        Err(error) => print_errors([format!("{error:#}")]),
    }
}

#[cfg(not(feature = "pkcs11"))]
fn make(_arguments: &TokenKeyArguments) -> anyhow::Result<String> {
    let error = orderer_hsm::TokenError::NotBuilt;
    anyhow::bail!("{error} ({})", error.action())
}

#[cfg(feature = "pkcs11")]
fn make(arguments: &TokenKeyArguments) -> anyhow::Result<String> {
    use orderer_core::crypto::hex;
    use orderer_hsm::{KeyIds, TokenSettings, generate_key};
    use orderer_x509::Curve;

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
    let pem = sign(arguments, issuer.as_ref(), KeyInToken { key, algorithm });
    let written = pem.and_then(|pem| write_new(&arguments.output, &pem));
    // the key stays: another request can be made for it
    written.map_err(|error| error.context(format!("the key {ski} was made, its certificate was not")))?;
    Ok(ski)
}

#[cfg(feature = "pkcs11")]
fn pin(file: Option<&Path>) -> anyhow::Result<orderer_hsm::Pin> {
    use anyhow::Context as _;
    const VARIABLE: &str = "ORDERER_GENERAL_BCCSP_PKCS11_PIN";
    let pin = match file {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("read the PIN in {}", file.display()))?,
        None => std::env::var(VARIABLE)
            .map_err(|_| anyhow::anyhow!("no PIN (name a file by --pin-file, or set {VARIABLE})"))?,
    };
    Ok(orderer_hsm::Pin::new(pin.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A key in a token as the library for certificates knows it.
#[cfg(feature = "pkcs11")]
struct KeyInToken {
    key: orderer_hsm::GeneratedKey,
    algorithm: &'static rcgen::SignatureAlgorithm,
}

#[cfg(feature = "pkcs11")]
impl rcgen::PublicKeyData for KeyInToken {
    fn der_bytes(&self) -> &[u8] {
        self.key.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

#[cfg(feature = "pkcs11")]
impl rcgen::SigningKey for KeyInToken {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(feature = "pkcs11")]
type Authority = rcgen::Issuer<'static, crate::cryptogen::FabricKey>;

/// Reads a certificate authority: one certificate and one key.
#[cfg(feature = "pkcs11")]
fn authority(folder: &Path) -> anyhow::Result<Authority> {
    use anyhow::Context as _;
    let with_ending = |endings: &[&str]| -> anyhow::Result<String> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.sort();
        let is_wanted = |path: &&PathBuf| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending));
        let path = paths.iter().find(is_wanted);
        let path = path.with_context(|| format!("{} has no file *{}", folder.display(), endings.join(", *")))?;
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
    };
    let key =
        crate::cryptogen::FabricKey::from_pem(&with_ending(&["_sk", ".key"])?).context("read the authority's key")?;
    rcgen::Issuer::from_ca_cert_pem(&with_ending(&["-cert.pem", ".crt"])?, key)
        .context("read the authority's certificate")
}

/// Returns the certificate, or the request for one.
#[cfg(feature = "pkcs11")]
fn sign(arguments: &TokenKeyArguments, issuer: Option<&Authority>, key: KeyInToken) -> anyhow::Result<String> {
    use crate::cryptogen::signing_params;
    let mut params = signing_params(&arguments.common_name, &arguments.unit, *key.key.ski());
    let Some(issuer) = issuer else {
        // the authority that will sign it is not known
        params.use_authority_key_identifier_extension = false;
        return Ok(params.serialize_request(&key)?.pem()?);
    };
    Ok(params.signed_by(&key, issuer)?.pem())
}

#[cfg(feature = "pkcs11")]
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| anyhow::anyhow!("write {}: {error}", path.display()))
}
