//! Certificate authorities, identities and TLS certificates for development, in the directories of Fabric's
//! cryptogen.
//!
//! ```text
//! DIR/README.txt                                          what this is not good for
//! DIR/ordererOrganizations/example.com/ca, tlsca          authorities with their keys
//! DIR/ordererOrganizations/example.com/msp                the organization, as configurations define it
//! DIR/ordererOrganizations/example.com/orderers/NAME/msp, tls
//! DIR/ordererOrganizations/example.com/users/Admin@example.com/msp, tls
//! DIR/peerOrganizations/org1.example.com/..               the same with peers and more users
//! ```
//!
//! Anyone who can read such a directory can act as any identity in it. So the subject of every authority, and a
//! README in the directory, say what it is for.

mod certificate_authority;
mod organization;
mod spec;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use certificate_authority::{Algorithm, FabricKey, signing_params};
pub use spec::{Network, Organization, SimpleTopology, SpecErrors};

/// Organizational unit in the subject of every authority.
pub const MARK: &str = "For development only";

const README: &str = "\
These certificates and keys are for development only.

The keys of the certificate authorities lie here unprotected, beside those of everybody they vouch for: whoever can read
this folder can be any member of these organizations. In production a certificate authority such as Fabric CA issues
certificates, and keys stay where they are made.

Made by `orderer crypto`.
";

/// Reason for which nothing, or not everything, was generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The directory exists already.
    #[error("{} exists: certificates are never written over; name another folder by --output, or remove it", .0.display())]
    Exists(PathBuf),
    /// A file or directory cannot be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// The failed operation.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        cause: io::Error,
    },
    /// An authority's directory is not usable.
    #[error("the authority in {}: {problem}", folder.display())]
    Authority {
        /// The directory.
        folder: PathBuf,
        /// The error.
        problem: String,
    },
    /// A certificate could not be created.
    #[error("make the certificate of {name}")]
    Certificate {
        /// The certificate's common name.
        name: String,
        /// The cause.
        #[source]
        cause: rcgen::Error,
    },
}

/// Generates everything in `folder`, which must not exist: it is built beside it and moved there complete. Takes
/// about 2 ms, and creates two certificates, for each member. Performs blocking I/O.
pub fn generate(folder: &Path, network: &Network) -> Result<(), CryptoError> {
    if fs::symlink_metadata(folder).is_ok() {
        return Err(CryptoError::Exists(folder.to_owned()));
    }
    let unfinished = unfinished(folder);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(io_error("remove", &unfinished))?;
    }
    write(&unfinished.join("README.txt"), README.as_bytes())?;
    for (path, organization) in network.organizations() {
        organization::make(&unfinished.join(path), organization)?;
    }
    fs::rename(&unfinished, folder).map_err(io_error("move what was made to", folder))
}

/// Generates each organization in `folder`, which may exist, also with other organizations. Performs blocking I/O.
pub fn generate_within(folder: &Path, network: &Network) -> Result<(), CryptoError> {
    let organizations: Vec<_> = network.organizations().map(|(path, o)| (folder.join(path), o)).collect();
    if let Some((path, _)) = organizations.iter().find(|(path, _)| fs::symlink_metadata(path).is_ok()) {
        return Err(CryptoError::Exists(path.clone()));
    }
    organizations.iter().try_for_each(|(path, organization)| generate_organization(path, organization))
}

/// Adds the members and organizations that have no directory in `folder` yet. What is there stays as it is. Performs
/// blocking I/O.
pub fn extend(folder: &Path, network: &Network) -> Result<(), CryptoError> {
    for (path, organization) in network.organizations() {
        let path = folder.join(path);
        if path.exists() {
            organization::extend(&path, organization)?;
        } else {
            generate_organization(&path, organization)?;
        }
    }
    Ok(())
}

/// Generates an organization completely or not at all.
fn generate_organization(folder: &Path, organization: &Organization) -> Result<(), CryptoError> {
    let unfinished = unfinished(folder);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(io_error("remove", &unfinished))?;
    }
    organization::make(&unfinished, organization)?;
    fs::rename(&unfinished, folder).map_err(io_error("move what was made to", folder))
}

/// Returns the directory beside `folder` in which it is built.
pub fn unfinished(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    folder.with_file_name(name)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CryptoError {
    let path = path.to_owned();
    move |cause| CryptoError::Io { action, path, cause }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CryptoError> {
    write_by(path, bytes, &mut fs::OpenOptions::new())
}

/// Writes a file that only its owner may read.
fn write_key(path: &Path, pem: &str) -> Result<(), CryptoError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    write_by(path, pem.as_bytes(), fs::OpenOptions::new().mode(0o600))
}

fn write_by(path: &Path, bytes: &[u8], options: &mut fs::OpenOptions) -> Result<(), CryptoError> {
    let mut written = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        io::Write::write_all(&mut options.write(true).create(true).truncate(true).open(path)?, bytes)
    };
    written().map_err(io_error("write", path))
}
