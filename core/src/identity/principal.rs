//! What a policy may ask of a signer, read once from its protobuf form.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::common::msp_principal::Classification;
use fabric_proto::common::msp_role::MspRoleType;
use fabric_proto::common::{CombinedPrincipal, MspIdentityAnonymity, MspPrincipal, MspRole, OrganizationUnit};
use fabric_proto::msp::SerializedIdentity;
use prost::Message as _;

use super::certificate::Certificate;

/// Combined principals may hold each other; deeper than this they ask for nothing that can be satisfied.
const NESTING_MAX: usize = 8;

/// What an identity is to its organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Anyone with a valid certificate.
    Member,
    /// May administer.
    Admin,
    /// Sends transactions.
    Client,
    /// Endorses and commits.
    Peer,
    /// Orders.
    Orderer,
}

impl Role {
    /// The word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Orderer => "orderer",
        }
    }
}

/// See the module's description.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Anyone of this MSP in this role.
    Role {
        /// The MSP.
        msp_id: Arc<str>,
        /// The role.
        role: Role,
    },
    /// Anyone of this MSP in this organizational unit.
    OrganizationalUnit {
        /// The MSP.
        msp_id: Arc<str>,
        /// The unit's name.
        unit: Arc<str>,
        /// Which chain of authorities must have said so.
        certifiers: Bytes,
    },
    /// Exactly this certificate (hash of its signed part).
    Identity {
        /// The MSP.
        msp_id: Arc<str>,
        /// Hash of the part of the certificate that its issuer signed.
        tbs_hash: [u8; 32],
    },
    /// All of these at once.
    Combined(Vec<Principal>),
    /// Anyone whose certificate names them, which every X.509 certificate does.
    Nominal,
    /// Something that no X.509 identity is, and why.
    Unsatisfiable(Arc<str>),
}

impl Principal {
    /// Reads a principal. What cannot be read is kept as [`Unsatisfiable`](Self::Unsatisfiable): the reference takes
    /// such a policy too, and it never holds.
    pub fn from_proto(principal: &MspPrincipal) -> Self {
        Self::read(principal, 0)
    }

    fn read(principal: &MspPrincipal, depth: usize) -> Self {
        let never = |why: &str| Self::Unsatisfiable(why.into());
        if depth > NESTING_MAX {
            return never("principals nested too deeply");
        }
        let bytes = principal.principal.clone();
        match Classification::try_from(principal.principal_classification) {
            Ok(Classification::Role) => match MspRole::decode(bytes) {
                Ok(MspRole { msp_identifier, role }) => {
                    let role = match MspRoleType::try_from(role) {
                        Ok(MspRoleType::Member) => Role::Member,
                        Ok(MspRoleType::Admin) => Role::Admin,
                        Ok(MspRoleType::Client) => Role::Client,
                        Ok(MspRoleType::Peer) => Role::Peer,
                        Ok(MspRoleType::Orderer) => Role::Orderer,
                        Err(_) => return never("a role that is not known"),
                    };
                    Self::Role { msp_id: msp_identifier.into(), role }
                }
                Err(_) => never("a role that does not parse"),
            },
            Ok(Classification::OrganizationUnit) => match OrganizationUnit::decode(bytes) {
                Ok(unit) => Self::OrganizationalUnit {
                    msp_id: unit.msp_identifier.into(),
                    unit: unit.organizational_unit_identifier.into(),
                    certifiers: unit.certifiers_identifier,
                },
                Err(_) => never("an organizational unit that does not parse"),
            },
            Ok(Classification::Identity) => {
                let parsed = SerializedIdentity::decode(bytes).ok().and_then(|identity| {
                    let certificate = Certificate::from_pem(&identity.id_bytes).ok()?;
                    Some(Self::Identity { msp_id: identity.mspid.into(), tbs_hash: certificate.tbs_hash })
                });
                parsed.unwrap_or_else(|| never("an identity that does not parse"))
            }
            Ok(Classification::Anonymity) => match MspIdentityAnonymity::decode(bytes) {
                Ok(anonymity) if anonymity.anonymity_type == 0 => Self::Nominal,
                _ => never("an anonymous identity"),
            },
            Ok(Classification::Combined) => match CombinedPrincipal::decode(bytes) {
                Ok(CombinedPrincipal { principals }) if !principals.is_empty() => {
                    Self::Combined(principals.iter().map(|p| Self::read(p, depth + 1)).collect())
                }
                _ => never("a combination of no principals"),
            },
            Err(_) => never("a kind of principal that is not known"),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { msp_id, role } => write!(f, "{msp_id}.{}", role.as_str()),
            Self::OrganizationalUnit { msp_id, unit, .. } => write!(f, "{msp_id} unit '{unit}'"),
            Self::Identity { msp_id, .. } => write!(f, "one identity of {msp_id}"),
            Self::Combined(all) => {
                for (i, principal) in all.iter().enumerate() {
                    write!(f, "{}{principal}", if i == 0 { "" } else { " and " })?;
                }
                Ok(())
            }
            Self::Nominal => f.write_str("anyone named"),
            Self::Unsatisfiable(why) => f.write_str(why),
        }
    }
}
