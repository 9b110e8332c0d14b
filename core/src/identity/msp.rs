//! One membership service provider: the definition of an organization's members.

use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::msp::{FabricMspConfig, FabricNodeOUs, FabricOuIdentifier, MspConfig};
use prost::Message as _;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{Certificate, CertificateError};
use super::chain::Authorities;
use super::identified::{Identity, NotValid, Standing};
use super::members::Members;
use super::msps::IdentityError;
use super::principal::Role;
use super::version::MspVersion;
use crate::crypto::PublicKey;

/// `MSPConfig.type` of an X.509 MSP.
const TYPE_X509: i32 = 0;

/// A definition that no member could be told by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MspError {
    /// Only X.509 MSPs can be used by an orderer.
    #[error("MSP type {0} is not supported, only X.509 (0) is")]
    Type(i32),
    /// The definition does not parse.
    #[error("MSP definition does not parse: {0}")]
    Malformed(prost::DecodeError),
    /// It has no name.
    #[error("the MSP has no name")]
    NoName,
    /// It has no root.
    #[error("MSP '{msp_id}' has no root certificate")]
    NoRoot {
        /// The MSP.
        msp_id: String,
    },
    /// A certificate in it does not parse.
    #[error("MSP '{msp_id}': {place} certificate {index}")]
    Certificate {
        /// The MSP.
        msp_id: String,
        /// Which list.
        place: &'static str,
        /// Position in the list.
        index: usize,
        /// What is wrong.
        #[source]
        cause: CertificateError,
    },
    /// A root or intermediate is no certificate authority.
    #[error(
        "MSP '{msp_id}': '{subject}' is listed as an authority, but is none (CA constraint, key usage or subject key id missing)"
    )]
    NotAnAuthority {
        /// The MSP.
        msp_id: String,
        /// The certificate's subject.
        subject: String,
    },
    /// An intermediate that leads to no root.
    #[error("MSP '{msp_id}': intermediate '{subject}' was not issued by one of its roots")]
    NotAnchored {
        /// The MSP.
        msp_id: String,
        /// The certificate's subject.
        subject: String,
    },
    /// An administrator who is no member.
    #[error("MSP '{msp_id}': administrator '{subject}' is not a valid member: {cause}")]
    Admin {
        /// The MSP.
        msp_id: String,
        /// The certificate's subject.
        subject: String,
        /// Why.
        cause: NotValid,
    },
    /// Nobody could administer the organization.
    #[error("MSP '{msp_id}' lists no administrator and has no organizational unit that makes one")]
    NoAdministrator {
        /// The MSP.
        msp_id: String,
    },
    /// A role that must have a unit has none.
    #[error("MSP '{msp_id}': the roles by organizational unit lack one for {role}")]
    NoUnitForRole {
        /// The MSP.
        msp_id: String,
        /// The role.
        role: &'static str,
    },
    /// Its members would sign with a hash that this node does not compute.
    #[error("MSP '{msp_id}': hash family '{family}' is not supported, only SHA2 is")]
    HashFamily {
        /// The MSP.
        msp_id: String,
        /// Its name in the definition.
        family: String,
    },
    /// A revocation list that does not parse or that no authority signed.
    #[error("MSP '{msp_id}': revocation list {index} {problem}")]
    RevocationList {
        /// The MSP.
        msp_id: String,
        /// Position in the list.
        index: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A unit's certifier is not one of the MSP's authorities.
    #[error("MSP '{msp_id}': the certifier of organizational unit '{unit}' is not one of its authorities")]
    Certifier {
        /// The MSP.
        msp_id: String,
        /// The unit.
        unit: String,
    },
    /// Two organizations use one name for different definitions.
    #[error("two different definitions for MSP '{msp_id}'")]
    Conflict {
        /// The MSP.
        msp_id: String,
    },
}

/// See the module's description.
#[derive(Debug)]
pub struct Msp {
    id: Arc<str>,
    version: MspVersion,
    definition: Bytes,
    authorities: Authorities,
    /// Hashes of the signed parts of administrators' certificates.
    admins: Vec<[u8; 32]>,
    /// If not empty, a member is in one of them.
    units: Vec<Unit>,
    roles: Option<Roles>,
    tls_roots: Vec<Bytes>,
    members: Members,
}

/// An organizational unit, and which chain must have certified it if that matters.
#[derive(Debug)]
struct Unit {
    name: String,
    certifiers: Option<[u8; 32]>,
}

/// Roles by organizational unit.
#[derive(Debug)]
struct Roles(Vec<(Role, Unit)>);

impl Msp {
    /// Reads and checks a definition, by the rules of `version`.
    pub fn from_config(config: &MspConfig, version: MspVersion) -> Result<Self, MspError> {
        if config.r#type != TYPE_X509 {
            return Err(MspError::Type(config.r#type));
        }
        let fabric = FabricMspConfig::decode(config.config.clone()).map_err(MspError::Malformed)?;
        if fabric.name.is_empty() {
            return Err(MspError::NoName);
        }
        let msp_id = fabric.name.clone();
        if let Some(crypto) = &fabric.crypto_config
            && !matches!(crypto.signature_hash_family.as_str(), "" | "SHA2")
        {
            return Err(MspError::HashFamily { msp_id, family: crypto.signature_hash_family.clone() });
        }
        let roots = read_all(&msp_id, "root", &fabric.root_certs)?;
        if roots.is_empty() {
            return Err(MspError::NoRoot { msp_id });
        }
        let intermediates = read_all(&msp_id, "intermediate", &fabric.intermediate_certs)?;
        let authorities = read_authorities(&msp_id, roots, &intermediates, &fabric.revocation_list)?;
        let mut tls_roots = read_all(&msp_id, "TLS root", &fabric.tls_root_certs)?;
        tls_roots.extend(read_all(&msp_id, "TLS intermediate", &fabric.tls_intermediate_certs)?);

        let units = fabric
            .organizational_unit_identifiers
            .iter()
            .map(|unit| read_certified_unit(&msp_id, &authorities, unit))
            .collect::<Result<_, _>>()?;
        let roles = match &fabric.fabric_node_ous {
            Some(ous) if version > MspVersion::V1_0 => Roles::read(&msp_id, &authorities, ous, version)?,
            _ => None,
        };
        let mut msp = Self {
            id: msp_id.as_str().into(),
            version,
            definition: config.config.clone(),
            authorities,
            admins: Vec::new(),
            units,
            roles,
            tls_roots: tls_roots.into_iter().map(|c| c.der).collect(),
            members: Members::default(),
        };
        msp.read_admins(&read_all(&msp_id, "administrator", &fabric.admins)?)?;
        Ok(msp)
    }

    /// Listed administrators must be members; where units make roles, clients or, by the newer rules, administrators.
    fn read_admins(&mut self, admins: &[Certificate]) -> Result<(), MspError> {
        let msp_id = || self.id.to_string();
        let units_make_admins =
            self.roles.as_ref().is_some_and(|Roles(roles)| roles.iter().any(|(r, _)| *r == Role::Admin));
        if admins.is_empty() && !units_make_admins && self.version >= MspVersion::V1_4_3 {
            return Err(MspError::NoAdministrator { msp_id: msp_id() });
        }
        for admin in admins {
            let outcome = match &self.roles {
                None => self.standing_of(admin).map(|_| ()),
                Some(_) if self.version < MspVersion::V1_4_3 => match self.standing_of(admin) {
                    Ok(Standing { role: Some(Role::Client), .. }) => Ok(()),
                    Ok(_) => Err(NotValid::NoRole),
                    Err(cause) => Err(cause),
                },
                // the unit alone is looked at: a revoked administrator stays one until taken off the list
                Some(Roles(roles)) => {
                    let in_unit = |(role, unit): &(Role, Unit)| {
                        matches!(role, Role::Client | Role::Admin) && admin.organizational_units.contains(&unit.name)
                    };
                    if roles.iter().any(in_unit) { Ok(()) } else { Err(NotValid::NoRole) }
                }
            };
            outcome.map_err(|cause| MspError::Admin { msp_id: msp_id(), subject: admin.subject.clone(), cause })?;
        }
        self.admins = admins.iter().map(|admin| admin.tbs_hash).collect();
        Ok(())
    }

    /// The MSP's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The definition's bytes: equal for equal definitions.
    pub fn definition(&self) -> &Bytes {
        &self.definition
    }

    /// Roots and intermediates of its members' TLS certificates, in DER.
    pub fn tls_roots(&self) -> &[Bytes] {
        &self.tls_roots
    }

    /// Who has this certificate, in PEM: an identity of this MSP, valid or not. Remembered.
    pub fn identify(&self, id_bytes: &Bytes) -> Result<Arc<Identity>, Arc<IdentityError>> {
        self.members.recall(id_bytes, || self.read_identity(id_bytes))
    }

    fn read_identity(&self, id_bytes: &[u8]) -> Result<Identity, IdentityError> {
        let certificate = Certificate::from_pem(id_bytes)?;
        let public_key = PublicKey::from_spki_der(&certificate.public_key_der)?;
        let standing = if self.version < MspVersion::V3_0 && public_key.is_ed25519() {
            Err(NotValid::KeyKind)
        } else {
            self.standing_of(&certificate)
        };
        let is_listed_admin = self.admins.contains(&certificate.tbs_hash);
        let (msp_id, version) = (Arc::clone(&self.id), self.version);
        Ok(Identity { msp_id, version, certificate, public_key, standing, is_listed_admin })
    }

    fn standing_of(&self, certificate: &Certificate) -> Result<Standing, NotValid> {
        let chain = self.authorities.chain_of(certificate)?;
        let has = |unit: &Unit| certificate.organizational_units.contains(&unit.name);
        let certified = |unit: &Unit| unit.certifiers.is_none_or(|wanted| wanted == chain.identifier);
        if !self.units.is_empty() && !self.units.iter().any(|unit| has(unit) && certified(unit)) {
            return Err(NotValid::NoUnit);
        }
        let Some(Roles(roles)) = &self.roles else {
            return Ok(Standing { chain, role: None });
        };
        let mut held = roles.iter().filter(|(_, unit)| has(unit));
        let (role, unit) = held.next().ok_or(NotValid::NoRole)?;
        if held.next().is_some() {
            return Err(NotValid::ManyRoles);
        }
        if !certified(unit) {
            return Err(NotValid::WrongCertifier);
        }
        Ok(Standing { chain, role: Some(*role) })
    }
}

impl Roles {
    /// `None` if units make no roles.
    fn read(
        msp_id: &str,
        authorities: &Authorities,
        ous: &FabricNodeOUs,
        version: MspVersion,
    ) -> Result<Option<Self>, MspError> {
        let client_and_peer = [(Role::Client, &ous.client_ou_identifier), (Role::Peer, &ous.peer_ou_identifier)];
        let admin_and_orderer = [(Role::Admin, &ous.admin_ou_identifier), (Role::Orderer, &ous.orderer_ou_identifier)];
        if version < MspVersion::V1_4_3 {
            let is_named = |unit: &Option<FabricOuIdentifier>| {
                unit.as_ref().is_some_and(|unit| !unit.organizational_unit_identifier.is_empty())
            };
            if let Some((role, _)) = client_and_peer.iter().find(|(_, unit)| !is_named(unit)) {
                return Err(MspError::NoUnitForRole { msp_id: msp_id.to_owned(), role: role.as_str() });
            }
        }
        let later = admin_and_orderer.iter().filter(|_| version >= MspVersion::V1_4_3);
        let mut roles = Vec::new();
        for (role, unit) in client_and_peer.iter().chain(later) {
            if let Some(unit) = unit {
                roles.push((*role, read_unit(msp_id, authorities, unit)?));
            }
        }
        Ok((ous.enable && !roles.is_empty()).then_some(Self(roles)))
    }
}

fn read_all(msp_id: &str, place: &'static str, pems: &[Bytes]) -> Result<Vec<Certificate>, MspError> {
    let read = |(index, pem): (usize, &Bytes)| {
        Certificate::from_pem(pem).map_err(|cause| MspError::Certificate {
            msp_id: msp_id.to_owned(),
            place,
            index,
            cause,
        })
    };
    pems.iter().enumerate().map(read).collect()
}

fn read_authorities(
    msp_id: &str,
    roots: Vec<Certificate>,
    intermediates: &[Certificate],
    revocation_lists: &[Bytes],
) -> Result<Authorities, MspError> {
    for ca in roots.iter().chain(intermediates) {
        if !ca.is_ca || !ca.may_sign_certificates || ca.subject_key_id.is_none() {
            return Err(MspError::NotAnAuthority { msp_id: msp_id.to_owned(), subject: ca.subject.clone() });
        }
    }
    let mut authorities = Authorities::new(roots, intermediates.to_vec());
    if let Some(stray) = intermediates.iter().find(|ca| !authorities.is_anchored(ca)) {
        return Err(MspError::NotAnchored { msp_id: msp_id.to_owned(), subject: stray.subject.clone() });
    }
    for (index, pem) in revocation_lists.iter().enumerate() {
        let wrong = |problem| MspError::RevocationList { msp_id: msp_id.to_owned(), index, problem };
        let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| wrong("has no PEM block"))?;
        let (_, list) = CertificateRevocationList::from_der(&block.contents).map_err(|_| wrong("does not parse"))?;
        if !authorities.revoke(&list) {
            return Err(wrong("is not signed by one of its authorities"));
        }
    }
    Ok(authorities)
}

/// A unit that anyone below the MSP's authorities may be in, or only those below one of them.
fn read_unit(msp_id: &str, authorities: &Authorities, unit: &FabricOuIdentifier) -> Result<Unit, MspError> {
    if unit.certificate.is_empty() {
        return Ok(Unit { name: unit.organizational_unit_identifier.clone(), certifiers: None });
    }
    read_certified_unit(msp_id, authorities, unit)
}

/// A unit whose certifier must be named.
fn read_certified_unit(msp_id: &str, authorities: &Authorities, unit: &FabricOuIdentifier) -> Result<Unit, MspError> {
    let name = unit.organizational_unit_identifier.clone();
    let certificate = Certificate::from_pem(&unit.certificate).ok();
    let certifiers = certificate.and_then(|c| authorities.identifier_of_authority(&c));
    if certifiers.is_none() {
        return Err(MspError::Certifier { msp_id: msp_id.to_owned(), unit: name });
    }
    Ok(Unit { name, certifiers })
}
