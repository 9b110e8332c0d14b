//! A signer, as its MSP sees it.

use std::sync::Arc;

use bytes::Bytes;
use orderer_x509::{Certificate, Curve, SignatureAlgorithm};

use super::authorities::ChainError;
use super::principal::{NamedIdentity, Principal, Role};
use super::units::RoleSet;
use super::version::MspVersion;
use crate::channel::UnixSeconds;
use crate::crypto::{HashFamily, PublicKey, SignatureError};

/// An identity that its MSP has read. Whether the MSP vouches for it is remembered inside, because Fabric tells the two
/// apart: a signature of an identity that is not valid verifies, it just satisfies hardly any principal.
#[derive(Debug)]
pub struct Identity {
    pub(super) msp_id: Arc<str>,
    pub(super) version: MspVersion,
    pub(super) family: HashFamily,
    /// Text of the certificate's subject.
    pub(super) subject: String,
    /// In normal form.
    pub(super) certificate: Arc<Certificate>,
    /// The same as it was sent, if that differs.
    pub(super) as_sent: Arc<Certificate>,
    /// SHA-256 of the certificate in normal form.
    pub(super) key: [u8; 32],
    pub(super) public_key: PublicKey,
    /// Identifier of the chain above it; none if it has no chain.
    pub(super) certifiers: Option<Bytes>,
    /// What its organizational units say; of an identity that has a chain.
    pub(super) roles: RoleSet,
    /// Whether units make roles in its MSP.
    pub(super) has_role_units: bool,
    pub(super) validity: Result<(), NotValid>,
    /// Its certificate is on the MSP's list of administrators, which counts also for one who is not valid any more.
    pub(super) is_listed_admin: bool,
}

/// Why an MSP does not vouch for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotValid {
    /// Its chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The MSP wants one of certain units, and the certificate has none of them.
    #[error("the certificate has none of the organizational units that the MSP asks for")]
    NoUnit,
    /// The MSP has roles by unit; the certificate must have exactly one.
    #[error("the certificate's organizational units make it neither client, peer, admin nor orderer")]
    NoRole,
    /// As above.
    #[error("the certificate's organizational units give it more than one role")]
    ManyRoles,
    /// The unit has to be certified by another authority.
    #[error("the certificate's role was not certified by the authority that the MSP names for it")]
    WrongCertifier,
    /// Fabric 3 knows no members with RSA keys.
    #[error("members with RSA keys do not count since the channel capability V3_0")]
    KeyKind,
}

/// Why an identity is not what a principal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrincipalMismatch {
    /// It belongs to another MSP.
    #[error("it is of another organization")]
    OtherMsp,
    /// Its MSP does not vouch for it: see [`Identity::validity`].
    #[error("its organization does not vouch for it")]
    NotValid,
    /// It has another role.
    #[error("it has another role")]
    OtherRole,
    /// It is not in that organizational unit.
    #[error("it is in another organizational unit")]
    OtherUnit,
    /// It is someone else.
    #[error("it is somebody else")]
    OtherIdentity,
    /// Nobody can satisfy the principal.
    #[error("nobody can be that")]
    Unsatisfiable,
}

impl Identity {
    /// The MSP that was asked.
    pub fn msp_id(&self) -> &str {
        &self.msp_id
    }

    /// The certificate's subject, such as `C=US, OU=client, CN=User1@org1.example.com`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// When the certificate expires. Nothing in this type looks at it.
    pub fn not_after(&self) -> UnixSeconds {
        UnixSeconds(self.certificate.not_after())
    }

    /// The same for two identities exactly when they are one signer: MSP, and hash of the certificate whose signature is
    /// brought into its lower form.
    pub fn key(&self) -> (&str, &[u8; 32]) {
        (&self.msp_id, &self.key)
    }

    /// The key in its certificate.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Whether `signature` is this identity's over `message`, by the hash family of its MSP.
    ///
    /// # Errors
    /// The signature does not count.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.public_key.verify_by(self.family, message, signature)
    }

    /// Whether its MSP vouches for it (chain, revocation, organizational units; not expiry).
    pub fn validity(&self) -> Result<(), &NotValid> {
        self.validity.as_ref().copied()
    }

    /// The role its organizational unit gives it.
    pub fn role(&self) -> Option<Role> {
        if self.is_listed_admin {
            return Some(Role::Admin);
        }
        self.validity.as_ref().ok().and_then(|()| self.roles.first())
    }

    /// Whether it is what `principal` asks for. Compares; verifies nothing.
    ///
    /// # Errors
    /// It is not.
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
                    && self.certificate.subject().organizational_units().any(|own| *own == **unit);
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
            // of whatever MSP, valid or not
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

    /// Whether the principal's certificate, in normal form, is this one.
    fn is(&self, named: &NamedIdentity) -> bool {
        let other = &named.certificate;
        if other.raw() == self.certificate.raw() || other.raw() == self.as_sent.raw() {
            return true;
        }
        // of one content with another signature: its lower form is this one, whose signature is known to be good
        let is_twin = |curve| other.with_low_s(curve).is_ok_and(|normal| normal.raw() == self.certificate.raw());
        other.raw_tbs() == self.certificate.raw_tbs()
            && matches!(other.algorithm(), SignatureAlgorithm::Ecdsa(_))
            && [Curve::P256, Curve::P384, Curve::P521, Curve::P224].into_iter().any(is_twin)
    }
}
