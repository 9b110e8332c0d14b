//! An identity as its MSP sees it: roles, units, validity.

use std::sync::Arc;

use bytes::Bytes;
use orderer_x509::{Certificate, Curve, SignatureAlgorithm};

use super::msp_version::MspVersion;
use super::principal::{NamedIdentity, Principal, Role};
use super::trust_store::CertificateChainError;
use super::units::RoleSet;
use crate::crypto::{HashFamily, PublicKey, SignatureError};
use crate::types::UnixSeconds;

/// An identity that its MSP has parsed. Its validity is a field of its own, because Fabric separates the two: a
/// signature of an identity that is not valid verifies, but satisfies hardly any principal.
#[derive(Debug)]
pub struct Identity {
    pub(super) msp_id: Arc<str>,
    pub(super) version: MspVersion,
    pub(super) family: HashFamily,
    /// Subject of the certificate as text.
    pub(super) subject: String,
    /// Certificate in normal form.
    pub(super) certificate: Arc<Certificate>,
    /// Certificate as it was sent; the same one if it was in normal form.
    pub(super) as_sent: Arc<Certificate>,
    /// SHA-256 of the certificate in normal form.
    pub(super) key: [u8; 32],
    pub(super) public_key: PublicKey,
    /// Identifier of the chain above the certificate; `None` if it has no chain.
    pub(super) certifiers: Option<Bytes>,
    /// Organizational units, sorted, because both a policy and a certificate may name many.
    pub(super) units: Box<[Box<str>]>,
    /// Roles by organizational unit; empty for an identity without a chain.
    pub(super) roles: RoleSet,
    /// Whether the MSP derives roles from organizational units.
    pub(super) has_role_units: bool,
    pub(super) validity: Result<(), InvalidIdentity>,
    /// Whether the certificate is on the MSP's list of administrators, which counts even if the identity is not valid
    /// any more.
    pub(super) is_listed_admin: bool,
}

/// Reason why an MSP does not accept a certificate as valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// The certificate has no acceptable chain.
    #[error(transparent)]
    Chain(#[from] CertificateChainError),
    /// The certificate has none of the organizational units that the MSP requires.
    #[error("the certificate has none of the organizational units that the MSP requires")]
    NoUnit,
    /// The certificate has no role, where the MSP derives roles from units and requires exactly one.
    #[error("the certificate's organizational units make it neither client, peer, admin nor orderer")]
    NoRole,
    /// The certificate has more than one role, where the MSP requires exactly one.
    #[error("the certificate's organizational units give it more than one role")]
    ManyRoles,
    /// The role's organizational unit must be certified by another authority.
    #[error("the certificate's role was not certified by the authority that the MSP names for it")]
    WrongCertifier,
    /// The key is RSA, which Fabric 3 does not accept for members.
    #[error("members with RSA keys do not count since the channel capability V3_0")]
    KeyKind,
}

/// Reason why an identity does not satisfy a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipalMismatch {
    /// The identity belongs to another MSP.
    #[error("it is of another organization")]
    OtherMsp,
    /// The identity is not valid in its MSP: see [`Identity::validity`].
    #[error("its organization does not vouch for it")]
    NotValid,
    /// The identity has another role.
    #[error("it has another role")]
    OtherRole,
    /// The identity is not in the organizational unit.
    #[error("it is in another organizational unit")]
    OtherUnit,
    /// The principal names another identity.
    #[error("it is somebody else")]
    OtherIdentity,
    /// No identity can satisfy the principal.
    #[error("nobody can be that")]
    Unsatisfiable,
}

impl Identity {
    /// Returns the ID of the MSP that parsed the identity.
    pub fn msp_id(&self) -> &str {
        &self.msp_id
    }

    /// Returns the certificate's subject, such as `C=US, OU=client, CN=User1@org1.example.com`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the end of the certificate's validity. No method of this type checks it.
    pub fn not_after(&self) -> UnixSeconds {
        UnixSeconds(self.certificate.not_after())
    }

    /// Returns a key that two identities share exactly when they are the same signer: the MSP ID, and the hash of the
    /// certificate with its signature in low-S form.
    pub fn key(&self) -> (&str, &[u8; 32]) {
        (&self.msp_id, &self.key)
    }

    /// Returns the key in the certificate.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Verifies that `signature` is this identity's signature over `message`, by the hash family of its MSP.
    ///
    /// # Errors
    /// The signature is not valid.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.public_key.verify_by(self.family, message, signature)
    }

    /// Returns whether the MSP accepts the identity as valid (chain, revocation, organizational units; not expiry).
    pub fn validity(&self) -> Result<(), &InvalidIdentity> {
        self.validity.as_ref().copied()
    }

    /// Returns the role that the list of administrators or an organizational unit gives the identity.
    pub fn role(&self) -> Option<Role> {
        if self.is_listed_admin {
            return Some(Role::Admin);
        }
        self.validity.as_ref().ok().and_then(|()| self.roles.first())
    }

    /// Checks whether the identity satisfies `principal`. Compares; verifies no signature.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn satisfies(&self, principal: &Principal) -> Result<(), PrincipalMismatch> {
        let of_msp = |msp_id: &str| if *msp_id == *self.msp_id { Ok(()) } else { Err(PrincipalMismatch::OtherMsp) };
        let holds = |holds: bool, otherwise| if holds { Ok(()) } else { Err(otherwise) };
        match principal {
            Principal::Role { msp_id, role } => {
                of_msp(msp_id)?;
                self.has_role(*role)
            }
            Principal::OrganizationalUnit { msp_id, unit, certifiers } => {
                of_msp(msp_id)?;
                self.valid()?;
                let in_unit = self.certifiers.as_ref() == Some(certifiers)
                    && self.units.binary_search_by(|own| (**own).cmp(unit)).is_ok();
                holds(in_unit, PrincipalMismatch::OtherUnit)
            }
            Principal::Identity(named) => {
                of_msp(&named.msp_id)?;
                holds(self.is(named), PrincipalMismatch::OtherIdentity)?;
                self.valid()
            }
            Principal::Combined(_) | Principal::Nominal if self.version < MspVersion::V1_3 => {
                Err(PrincipalMismatch::Unsatisfiable)
            }
            Principal::Combined(all) => all.iter().try_for_each(|p| self.satisfies(p)),
            // for identities of any MSP, valid or not
            Principal::Nominal => Ok(()),
            Principal::Unsatisfiable(_) => Err(PrincipalMismatch::Unsatisfiable),
        }
    }

    fn has_role(&self, role: Role) -> Result<(), PrincipalMismatch> {
        let by_unit = |role| if self.roles.has(role) { Ok(()) } else { Err(PrincipalMismatch::OtherRole) };
        let since_v1_4_3 = self.version >= MspVersion::V1_4_3 && self.has_role_units;
        match role {
            Role::Member => self.valid(),
            Role::Admin if self.is_listed_admin => Ok(()),
            Role::Admin | Role::Orderer if !since_v1_4_3 => Err(PrincipalMismatch::OtherRole),
            Role::Admin | Role::Orderer | Role::Client | Role::Peer => {
                self.valid()?;
                by_unit(role)
            }
        }
    }

    fn valid(&self) -> Result<(), PrincipalMismatch> {
        self.validity.as_ref().copied().map_err(|_| PrincipalMismatch::NotValid)
    }

    /// Whether the principal names this certificate, in normal form or as it was sent.
    fn is(&self, named: &NamedIdentity) -> bool {
        let other = &named.certificate;
        if other.raw() == self.certificate.raw() || other.raw() == self.as_sent.raw() {
            return true;
        }
        // same content, another signature: if its low-S form is this certificate, the signature is known to be valid
        let is_twin = |curve| other.with_low_s(curve).is_ok_and(|normal| normal.raw() == self.certificate.raw());
        other.raw_tbs() == self.certificate.raw_tbs()
            && matches!(other.algorithm(), SignatureAlgorithm::Ecdsa(_))
            && [Curve::P256, Curve::P384, Curve::P521, Curve::P224].into_iter().any(is_twin)
    }
}
