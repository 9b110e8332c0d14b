//! The directories of one organization, in cryptogen's layout.

use std::fmt::Write as _;
use std::path::Path;

use super::certificate_authority::{Algorithm, CertificateAuthority, Purpose};
use super::spec::Organization;
use super::{CryptoError, write, write_key};

/// A user or a machine that gets a directory.
struct MemberIdentity<'a> {
    group: &'static str,
    name: &'a str,
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
    let msp = |msp: &Path| write_msp(msp, organization.node_ous, &ca, &tls_ca);
    let admin_certs = |msp: &Path, name: &str, certificate: &str| {
        // administrators have an organizational unit or, without those, are listed
        if organization.node_ous {
            return Ok(());
        }
        write(&msp.join("admincerts").join(certificate_file(name)), certificate.as_bytes())
    };
    msp(&folder.join("msp"))?;

    let make_member = |member: &MemberIdentity<'_>| -> Result<String, CryptoError> {
        let own = folder.join(member.group).join(member.name);
        let own_msp = own.join("msp");
        msp(&own_msp)?;
        let unit = organization.node_ous.then_some(member.unit);
        let signing = ca.issue(member.name, &Purpose::Signing { unit }, member.algorithm)?;
        write(&own_msp.join("signcerts").join(certificate_file(member.name)), signing.certificate.as_bytes())?;
        write_key(&own_msp.join("keystore").join("priv_sk"), &signing.key)?;
        let tls =
            tls_ca.issue(member.name, &Purpose::Tls { names: member.server.unwrap_or_default() }, member.algorithm)?;
        let (tls_folder, file) = (own.join("tls"), if member.server.is_some() { "server" } else { "client" });
        write(&tls_folder.join(format!("{file}.crt")), tls.certificate.as_bytes())?;
        write_key(&tls_folder.join(format!("{file}.key")), &tls.key)?;
        write(&tls_folder.join("ca.crt"), tls_ca.certificate().as_bytes())?;
        Ok(signing.certificate)
    };

    let admin = format!("Admin@{}", organization.domain);
    let administrator = MemberIdentity {
        group: "users",
        name: &admin,
        unit: "admin",
        server: None,
        algorithm: organization.admin_algorithm,
    };
    let admin_certificate = make_member(&administrator)?;
    admin_certs(&folder.join("msp"), &admin, &admin_certificate)?;
    admin_certs(&folder.join("users").join(&admin).join("msp"), &admin, &admin_certificate)?;
    for number in 1..=organization.users {
        let name = format!("User{number}@{}", organization.domain);
        let user = MemberIdentity {
            group: "users",
            name: &name,
            unit: "client",
            server: None,
            algorithm: organization.users_algorithm,
        };
        let certificate = make_member(&user)?;
        // as cryptogen does: in the own MSP directory each user is an administrator
        admin_certs(&folder.join("users").join(&name).join("msp"), &name, &certificate)?;
    }
    let (group, unit) = if organization.orders { ("orderers", "orderer") } else { ("peers", "peer") };
    for node in &organization.nodes {
        let machine =
            MemberIdentity { group, name: &node.name, unit, server: Some(&node.names), algorithm: node.algorithm };
        make_member(&machine)?;
        admin_certs(&folder.join(group).join(&node.name).join("msp"), &admin, &admin_certificate)?;
    }
    Ok(())
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
