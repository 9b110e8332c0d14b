//! The folders of one organization, as cryptogen lays them out.

use std::fmt::Write as _;
use std::path::Path;

use super::authority::{Authority, Purpose};
use super::{DevError, write};

/// A member of an organization.
pub(super) struct Member {
    /// `orderers`, `peers` or `users`.
    group: &'static str,
    name: &'static str,
    unit: &'static str,
}

impl Member {
    /// A machine.
    pub(super) fn node(group: &'static str, name: &'static str, unit: &'static str) -> Self {
        Self { group, name, unit }
    }

    /// The organization's administrator.
    pub(super) fn admin() -> Self {
        Self { group: "users", name: "Admin", unit: "admin" }
    }

    /// A client.
    pub(super) fn user(name: &'static str) -> Self {
        Self { group: "users", name, unit: "client" }
    }

    fn is_node(&self) -> bool {
        self.group != "users"
    }

    /// `peer0.DOMAIN` or `User1@DOMAIN`.
    fn full_name(&self, domain: &str) -> String {
        let separator = if self.is_node() { '.' } else { '@' };
        format!("{}{separator}{domain}", self.name)
    }
}

/// Makes authorities, the MSP folder, and a folder for each member.
pub(super) fn make_organization(folder: &Path, domain: &str, members: &[Member]) -> Result<(), DevError> {
    let (ca, tls_ca) = (Authority::new("ca", domain)?, Authority::new("tlsca", domain)?);
    for (authority, name) in [(&ca, "ca"), (&tls_ca, "tlsca")] {
        write(&folder.join(name).join(format!("{name}.{domain}-cert.pem")), authority.certificate().as_bytes())?;
        write(&folder.join(name).join("priv_sk"), authority.key().as_bytes())?;
    }
    write_msp(&folder.join("msp"), domain, &ca, &tls_ca)?;
    for member in members {
        let name = member.full_name(domain);
        let own = folder.join(member.group).join(&name);
        let msp = own.join("msp");
        write_msp(&msp, domain, &ca, &tls_ca)?;
        let signing = ca.issue(&name, &Purpose::Signing { unit: member.unit })?;
        write(&msp.join("signcerts").join(format!("{name}-cert.pem")), signing.certificate.as_bytes())?;
        write(&msp.join("keystore").join("priv_sk"), signing.key.as_bytes())?;
        let names = if member.is_node() {
            vec![name.clone(), member.name.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()]
        } else {
            Vec::new()
        };
        let tls = tls_ca.issue(&name, &Purpose::Tls { names: &names })?;
        let file = if member.is_node() { "server" } else { "client" };
        write(&own.join("tls").join(format!("{file}.crt")), tls.certificate.as_bytes())?;
        write(&own.join("tls").join(format!("{file}.key")), tls.key.as_bytes())?;
        write(&own.join("tls").join("ca.crt"), tls_ca.certificate().as_bytes())?;
    }
    Ok(())
}

/// What every MSP folder of the organization has.
fn write_msp(msp: &Path, domain: &str, ca: &Authority, tls_ca: &Authority) -> Result<(), DevError> {
    let ca_file = format!("cacerts/ca.{domain}-cert.pem");
    write(&msp.join(&ca_file), ca.certificate().as_bytes())?;
    write(&msp.join("tlscacerts").join(format!("tlsca.{domain}-cert.pem")), tls_ca.certificate().as_bytes())?;
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
