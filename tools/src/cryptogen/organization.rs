//! The directories of one organization, in cryptogen's layout.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::certificate_authority::{Algorithm, CertificateAuthority, Purpose};
use super::spec::Organization;
use super::{CryptoError, io_error, unfinished, write, write_key};

/// A user or a machine that gets a directory.
struct MemberIdentity<'a> {
    group: &'static str,
    name: String,
    /// Organizational unit of its role.
    unit: &'static str,
    /// DNS names and addresses of a server; `None` for a client.
    server: Option<&'a [String]>,
    algorithm: Algorithm,
}

/// Creates the authorities, the organization's MSP directory, and a directory for each member.
pub(super) fn make(folder: &Path, organization: &Organization) -> Result<(), CryptoError> {
    let authority = |name: &str| CertificateAuthority::new(name, organization.subject.clone(), organization.algorithm);
    let (ca, tls_ca) = (authority(&organization.ca)?, authority(&format!("tls{}", organization.ca))?);
    for (authority, name) in [(&ca, "ca"), (&tls_ca, "tlsca")] {
        write(&folder.join(name).join(certificate_file(&authority.name)), authority.certificate().as_bytes())?;
        write_key(&folder.join(name).join("priv_sk"), &authority.key())?;
    }
    let maker = Maker { folder, organization, ca, tls_ca };
    write_msp(&folder.join("msp"), organization.node_ous, &maker.ca, &maker.tls_ca)?;
    let admin = maker.make_member(&organization.administrator(), &[])?;
    let admins = [Admin { name: organization.admin_name(), certificate: admin }];
    maker.write_admins(&folder.join("msp"), &admins)?;
    maker.make_members(&admins)
}

/// Adds the members that have no directory yet, with certificates of the authorities that are there.
pub(super) fn extend(folder: &Path, organization: &Organization) -> Result<(), CryptoError> {
    let authority =
        |name: &str, file: String| CertificateAuthority::load(&folder.join(name), file, organization.subject.clone());
    let ca = authority("ca", organization.ca.clone())?;
    let tls_ca = authority("tlsca", format!("tls{}", organization.ca))?;
    let name = organization.admin_name();
    let mut admins = Vec::new();
    if !organization.node_ous {
        let file = folder.join("users").join(&name).join("msp/signcerts").join(certificate_file(&name));
        let certificate = std::fs::read_to_string(&file).map_err(io_error("read", &file))?;
        admins.push(Admin { name, certificate });
    }
    Maker { folder, organization, ca, tls_ca }.make_members(&admins)
}

/// An administrator, whom MSP directories without organizational units list.
struct Admin {
    name: String,
    certificate: String,
}

/// Creates members of an organization.
struct Maker<'a> {
    folder: &'a Path,
    organization: &'a Organization,
    ca: CertificateAuthority,
    tls_ca: CertificateAuthority,
}

impl Maker<'_> {
    /// Creates the users and machines that have no directory yet.
    fn make_members(&self, admins: &[Admin]) -> Result<(), CryptoError> {
        let organization = self.organization;
        for number in 1..=organization.users {
            let user = MemberIdentity {
                group: "users",
                name: format!("User{number}@{}", organization.domain),
                unit: "client",
                server: None,
                algorithm: organization.users_algorithm,
            };
            if !self.path(&user).exists() {
                self.make_member(&user, &[])?;
            }
        }
        let (group, unit) = if organization.orders { ("orderers", "orderer") } else { ("peers", "peer") };
        for node in &organization.nodes {
            let (name, server) = (node.name.clone(), Some(&node.names[..]));
            let machine = MemberIdentity { group, name, unit, server, algorithm: node.algorithm };
            if !self.path(&machine).exists() {
                self.make_member(&machine, admins)?;
            }
        }
        Ok(())
    }

    fn path(&self, member: &MemberIdentity<'_>) -> PathBuf {
        self.folder.join(member.group).join(&member.name)
    }

    /// Creates the directory of a member, complete or not at all; returns the member's certificate. Without
    /// organizational units, a machine's administrators are `admins`; each user is the administrator of its own MSP
    /// directory, as with cryptogen.
    fn make_member(&self, member: &MemberIdentity<'_>, admins: &[Admin]) -> Result<String, CryptoError> {
        let path = self.path(member);
        let own = unfinished(&path);
        if own.exists() {
            std::fs::remove_dir_all(&own).map_err(io_error("remove", &own))?;
        }
        let own_msp = own.join("msp");
        write_msp(&own_msp, self.organization.node_ous, &self.ca, &self.tls_ca)?;
        let unit = self.organization.node_ous.then_some(member.unit);
        let signing = self.ca.issue(&member.name, &Purpose::Signing { unit }, member.algorithm)?;
        write(&own_msp.join("signcerts").join(certificate_file(&member.name)), signing.certificate.as_bytes())?;
        write_key(&own_msp.join("keystore").join("priv_sk"), &signing.key)?;
        let purpose = Purpose::Tls { names: member.server.unwrap_or_default() };
        let tls = self.tls_ca.issue(&member.name, &purpose, member.algorithm)?;
        let (tls_folder, file) = (own.join("tls"), if member.server.is_some() { "server" } else { "client" });
        write(&tls_folder.join(format!("{file}.crt")), tls.certificate.as_bytes())?;
        write_key(&tls_folder.join(format!("{file}.key")), &tls.key)?;
        write(&tls_folder.join("ca.crt"), self.tls_ca.certificate().as_bytes())?;
        if member.server.is_some() {
            self.write_admins(&own_msp, admins)?;
        } else {
            let own = Admin { name: member.name.clone(), certificate: signing.certificate.clone() };
            self.write_admins(&own_msp, &[own])?;
        }
        std::fs::rename(&own, &path).map_err(io_error("move what was made to", &path))?;
        Ok(signing.certificate)
    }

    /// Lists administrators in an MSP directory, unless an organizational unit marks them.
    fn write_admins(&self, msp: &Path, admins: &[Admin]) -> Result<(), CryptoError> {
        for admin in admins.iter().filter(|_| !self.organization.node_ous) {
            write(&msp.join("admincerts").join(certificate_file(&admin.name)), admin.certificate.as_bytes())?;
        }
        Ok(())
    }
}

impl Organization {
    fn admin_name(&self) -> String {
        format!("Admin@{}", self.domain)
    }

    fn administrator(&self) -> MemberIdentity<'static> {
        MemberIdentity {
            group: "users",
            name: self.admin_name(),
            unit: "admin",
            server: None,
            algorithm: self.admin_algorithm,
        }
    }
}

/// Writes the files that every MSP directory of the organization has.
fn write_msp(
    msp: &Path,
    node_ous: bool,
    ca: &CertificateAuthority,
    tls_ca: &CertificateAuthority,
) -> Result<(), CryptoError> {
    let ca_file = format!("cacerts/{}", certificate_file(&ca.name));
    write(&msp.join(&ca_file), ca.certificate().as_bytes())?;
    write(&msp.join("tlscacerts").join(certificate_file(&tls_ca.name)), tls_ca.certificate().as_bytes())?;
    if !node_ous {
        return Ok(());
    }
    let mut config = String::from("NodeOUs:\n  Enable: true\n");
    for (key, unit) in [("Client", "client"), ("Peer", "peer"), ("Admin", "admin"), ("Orderer", "orderer")] {
        // writing to a String cannot fail
        let _ = write!(
            config,
            "  {key}OUIdentifier:\n    Certificate: {ca_file}\n    OrganizationalUnitIdentifier: {unit}\n"
        );
    }
    write(&msp.join("config.yaml"), config.as_bytes())
}

fn certificate_file(name: &str) -> String {
    format!("{name}-cert.pem")
}
