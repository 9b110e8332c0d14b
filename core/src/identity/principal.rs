//! Principals: conditions of policies on a signer, parsed once from their protobuf form.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::common::msp_principal::Classification;
use fabric_proto::common::msp_role::MspRoleType;
use fabric_proto::common::{CombinedPrincipal, MspIdentityAnonymity, MspPrincipal, MspRole, OrganizationUnit};
use fabric_proto::lenient::decode;
use fabric_proto::msp::SerializedIdentity;
use orderer_x509::Certificate;

use super::certificate::from_pem;

/// Role of an identity in its organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Any valid identity.
    Member,
    /// Administrator.
    Admin,
    /// Client, which sends transactions.
    Client,
    /// Peer, which endorses and commits.
    Peer,
    /// Orderer.
    Orderer,
}

impl Role {
    /// Returns the role's name in policies.
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

/// Condition of a policy on a signer.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Any identity of this MSP in this role.
    Role {
        /// MSP ID.
        msp_id: Arc<str>,
        /// Required role.
        role: Role,
    },
    /// Any identity of this MSP in this organizational unit.
    OrganizationalUnit {
        /// MSP ID.
        msp_id: Arc<str>,
        /// Name of the unit.
        unit: Arc<str>,
        /// Identifier of the chain of authorities that must have certified the unit.
        certifiers: Bytes,
    },
    /// The identity with exactly this certificate.
    Identity(NamedIdentity),
    /// All of these at once; none of them is `Combined` itself.
    Combined(Vec<Principal>),
    /// Any identity that is not anonymous, which holds for every X.509 certificate.
    Nominal,
    /// A condition that no X.509 identity satisfies, with the reason.
    Unsatisfiable(Arc<str>),
}

/// Identity that a principal names.
#[derive(Clone, Debug)]
pub struct NamedIdentity {
    pub(super) msp_id: Arc<str>,
    pub(super) certificate: Arc<Certificate>,
}

impl Principal {
    /// Parses a principal. One that cannot be parsed is kept as [`Unsatisfiable`](Self::Unsatisfiable): Fabric accepts such
    /// a policy too, and it never holds. Principals may be combined to any depth.
    pub fn from_proto(principal: &MspPrincipal) -> Self {
        if principal.principal_classification != Classification::Combined as i32 {
            return Self::read_one(principal);
        }
        let mut unread = vec![principal.clone()];
        // a repeated principal is kept once
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        while let Some(principal) = unread.pop() {
            if principal.principal_classification != Classification::Combined as i32 {
                if seen.insert((principal.principal_classification, principal.principal.clone())) {
                    all.push(Self::read_one(&principal));
                }
                continue;
            }
            match decode::<CombinedPrincipal>(principal.principal) {
                Ok(CombinedPrincipal { principals }) if !principals.is_empty() => {
                    unread.extend(principals.into_iter().rev());
                }
                _ => return Self::Unsatisfiable("a combination of no principals".into()),
            }
        }
        Self::Combined(all)
    }

    /// Parses a principal that is not a combination.
    fn read_one(principal: &MspPrincipal) -> Self {
        let never = |why: &str| Self::Unsatisfiable(why.into());
        let bytes = principal.principal.clone();
        match Classification::try_from(principal.principal_classification) {
            Ok(Classification::Role) => match decode::<MspRole>(bytes) {
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
            Ok(Classification::OrganizationUnit) => match decode::<OrganizationUnit>(bytes) {
                Ok(unit) => Self::OrganizationalUnit {
                    msp_id: unit.msp_identifier.into(),
                    unit: unit.organizational_unit_identifier.into(),
                    certifiers: unit.certifiers_identifier,
                },
                Err(_) => never("an organizational unit that does not parse"),
            },
            Ok(Classification::Identity) => {
                let parsed = decode::<SerializedIdentity>(bytes).ok().and_then(|identity| {
                    let certificate = from_pem(&identity.id_bytes).ok()?;
                    Some(Self::Identity(NamedIdentity { msp_id: identity.mspid.into(), certificate }))
                });
                parsed.unwrap_or_else(|| never("an identity that does not parse"))
            }
            Ok(Classification::Anonymity) => match decode::<MspIdentityAnonymity>(bytes) {
                Ok(anonymity) if anonymity.anonymity_type == 0 => Self::Nominal,
                _ => never("an anonymous identity"),
            },
            Ok(Classification::Combined) | Err(_) => never("a kind of principal that is not known"),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { msp_id, role } => write!(f, "{msp_id}.{}", role.as_str()),
            Self::OrganizationalUnit { msp_id, unit, .. } => write!(f, "{msp_id} unit '{unit}'"),
            Self::Identity(named) => write!(f, "'{}' of {}", named.certificate.subject(), named.msp_id),
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
