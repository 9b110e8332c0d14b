//! Organizational units: those that an MSP requires, and those that make roles.
//!
//! Fabric's rules are in `msp/mspimplsetup.go` (`setupOUs`, `setupNodeOUs`, `setupNodeOUsV142`) and `msp/mspimplvalidate.go`
//! (`validateIdentityOUs*`).

use std::collections::HashMap;

use bytes::Bytes;
use fabric_proto::msp::{FabricNodeOUs, FabricOuIdentifier};
use orderer_x509::Memo;

use super::certificate::from_pem;
use super::member_identity::InvalidIdentity;
use super::msp_version::MspVersion;
use super::principal::Role;
use super::trust_store::{ChainHash, TrustStore};

/// The organizational units in an MSP's definition are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// The certifier of a unit is not one of the MSP's authorities.
    #[error("the certifier of organizational unit '{unit}' is not usable: {problem}")]
    Certifier {
        /// Name of the unit.
        unit: String,
        /// Description of the error.
        problem: String,
    },
    /// A role that must have a unit has none.
    #[error("the roles by organizational unit lack one for {role}")]
    NoUnitForRole {
        /// Name of the role.
        role: &'static str,
    },
}

/// Roles that an identity's units give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoleSet(u8);

impl RoleSet {
    pub(super) fn has(self, role: Role) -> bool {
        self.0 & Self::bit(role) != 0
    }

    /// Returns one of the roles, for display; a valid identity has no second one of another name.
    pub(super) fn first(self) -> Option<Role> {
        [Role::Admin, Role::Orderer, Role::Peer, Role::Client].into_iter().find(|role| self.has(*role))
    }

    fn bit(role: Role) -> u8 {
        1 << role as u8
    }
}

/// Units that an MSP lists (`organizational_unit_identifiers`). A member must be in one of them, certified by one of its
/// certifiers. Empty for an MSP that requires none.
#[derive(Debug, Default)]
pub(super) struct ListedUnits(HashMap<String, Vec<Bytes>>);

impl ListedUnits {
    pub(super) fn read(
        units: &[FabricOuIdentifier],
        authorities: &TrustStore,
        hash: ChainHash,
        memo: &mut Memo,
    ) -> Result<Self, UnitError> {
        let mut listed = HashMap::<String, Vec<Bytes>>::new();
        for unit in units {
            let certifiers = certifiers(unit, authorities, hash, memo)?;
            let of_unit = listed.entry(unit.organizational_unit_identifier.clone()).or_default();
            if !of_unit.contains(&certifiers) {
                of_unit.push(certifiers);
            }
        }
        Ok(Self(listed))
    }

    /// Checks that a member with these units, whose chain of authorities has this identifier, is in a listed unit.
    pub(super) fn check<'a>(
        &self,
        mut units: impl Iterator<Item = &'a str>,
        certifiers: &Bytes,
    ) -> Result<(), InvalidIdentity> {
        let is_listed = |unit: &str| self.0.get(unit).is_some_and(|known| known.contains(certifiers));
        if self.0.is_empty() || units.any(is_listed) { Ok(()) } else { Err(InvalidIdentity::NoUnit) }
    }
}

/// An organizational unit that makes a role.
#[derive(Debug)]
struct RoleUnit {
    role: Role,
    name: String,
    /// Identifier of the chain of authorities that must have certified the unit; empty for any.
    certifiers: Bytes,
}

/// Roles by organizational unit (`fabric_node_ous`), where they are in force. Of roles with one name the first counts.
#[derive(Debug)]
pub(super) struct RoleUnits(Vec<RoleUnit>);

impl RoleUnits {
    /// Parses the definition; `None` if units make no roles. The definition must be valid even where it is not enabled.
    pub(super) fn read(
        ous: &FabricNodeOUs,
        version: MspVersion,
        authorities: &TrustStore,
        hash: ChainHash,
        memo: &mut Memo,
    ) -> Result<Option<Self>, UnitError> {
        let client_and_peer = [(Role::Client, &ous.client_ou_identifier), (Role::Peer, &ous.peer_ou_identifier)];
        let admin_and_orderer = [(Role::Admin, &ous.admin_ou_identifier), (Role::Orderer, &ous.orderer_ou_identifier)];
        if version < MspVersion::V1_4_3 {
            let is_named = |unit: &Option<FabricOuIdentifier>| {
                unit.as_ref().is_some_and(|unit| !unit.organizational_unit_identifier.is_empty())
            };
            if let Some((role, _)) = client_and_peer.iter().find(|(_, unit)| !is_named(unit)) {
                return Err(UnitError::NoUnitForRole { role: role.as_str() });
            }
        }
        // with V1_1 client counts before peer; then orderer before admin before peer before client
        let later = admin_and_orderer.iter().filter(|_| version >= MspVersion::V1_4_3);
        let mut roles = Vec::new();
        for (role, unit) in client_and_peer.iter().chain(later) {
            let Some(unit) = unit else { continue };
            let certifiers =
                if unit.certificate.is_empty() { Bytes::new() } else { certifiers(unit, authorities, hash, memo)? };
            roles.push(RoleUnit { role: *role, name: unit.organizational_unit_identifier.clone(), certifiers });
        }
        if version >= MspVersion::V1_4_3 {
            roles.reverse();
        }
        Ok((ous.enable && !roles.is_empty()).then_some(Self(roles)))
    }

    /// Whether there is a unit that makes this role.
    pub(super) fn makes(&self, role: Role) -> bool {
        self.0.iter().any(|unit| unit.role == role)
    }

    /// Returns the roles of these units, regardless of their certifiers and number.
    pub(super) fn of<'a>(&self, units: impl Iterator<Item = &'a str>) -> RoleSet {
        let mut roles = RoleSet::default();
        for name in units {
            for unit in self.0.iter().filter(|unit| unit.name == name) {
                roles.0 |= RoleSet::bit(unit.role);
            }
        }
        roles
    }

    /// Checks that a member with these units, whose chain of authorities has this identifier, has exactly one role. A unit that
    /// the certificate names twice counts twice.
    pub(super) fn check<'a>(
        &self,
        units: impl Iterator<Item = &'a str>,
        certifiers: &Bytes,
    ) -> Result<(), InvalidIdentity> {
        let mut count = 0;
        for name in units {
            let Some(unit) = self.0.iter().find(|unit| unit.name == name) else { continue };
            if !unit.certifiers.is_empty() && unit.certifiers != *certifiers {
                return Err(InvalidIdentity::WrongCertifier);
            }
            count += 1;
            if count > 1 {
                return Err(InvalidIdentity::ManyRoles);
            }
        }
        if count == 0 { Err(InvalidIdentity::NoRole) } else { Ok(()) }
    }
}

/// Returns the identifier of the chain that starts at the unit's certificate.
fn certifiers(
    unit: &FabricOuIdentifier,
    authorities: &TrustStore,
    hash: ChainHash,
    memo: &mut Memo,
) -> Result<Bytes, UnitError> {
    let unusable = |problem: &dyn std::fmt::Display| UnitError::Certifier {
        unit: unit.organizational_unit_identifier.clone(),
        problem: problem.to_string(),
    };
    let certificate = from_pem(&unit.certificate).map_err(|e| unusable(&e))?;
    let chain = authorities.chain_of_certifier(&certificate, memo).map_err(|e| unusable(&e))?;
    let chain = chain.ok_or_else(|| unusable(&"it is neither a root nor an intermediate of the MSP"))?;
    Ok(hash.identifier(&chain))
}
