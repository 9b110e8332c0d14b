//! `orderer crypto token-key`: a key in a PKCS#11 token, with a certificate request or a certificate.

#[cfg(feature = "pkcs11")]
mod make;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::output::print_errors;
#[cfg(feature = "pkcs11")]
use make::make;

/// The end of `orderer crypto token-key --help`.
pub const AFTER_HELP: &str = "\
The key cannot leave the token. Its CKA_ID is the SHA-256 digest of its public
key, by which the node finds it. The PIN is read from the file of --pin-file,
or from the variable ORDERER_GENERAL_BCCSP_PKCS11_PIN.

Try it:
  orderer crypto token-key --library /usr/lib/softhsm/libsofthsm2.so \\
    --label orderer --pin-file pin \\
    --common-name orderer.example.com --output orderer.csr

Exit codes:
  0  the key and the file are made
  1  the token refuses, or a file cannot be read or written
  2  the arguments are invalid";

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
