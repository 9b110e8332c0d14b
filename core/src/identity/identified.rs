//! A signer, as its MSP sees it.

use std::sync::Arc;

use super::certificate::Certificate;
use super::chain::{Chain, ChainError};
use super::principal::{Principal, Role};
use super::version::MspVersion;
use crate::channel::UnixSeconds;
use crate::crypto::{PublicKey, SignatureError};

/// An identity whose certificate parsed. Whether its MSP vouches for it is remembered inside, because the reference
/// tells the two apart: a signature of an identity that is not valid verifies, it just satisfies no principal.
#[derive(Debug)]
pub struct Identity {
    pub(super) msp_id: Arc<str>,
    pub(super) version: MspVersion,
    pub(super) certificate: Certificate,
    pub(super) public_key: PublicKey,
    pub(super) standing: Result<Standing, NotValid>,
    /// Its certificate is on the MSP's list of administrators, which counts also for one who is not valid any more.
    pub(super) is_listed_admin: bool,
}

/// What a valid identity may pass for.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) chain: Chain,
    /// By its organizational unit, when the MSP has roles by unit.
    pub(super) role: Option<Role>,
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
    /// Ed25519 keys count from the channel capability V3_0.
    #[error("Ed25519 keys need the channel capability V3_0")]
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
        &self.certificate.subject
    }

    /// When the certificate expires. Nothing in this type looks at it.
    pub fn not_after(&self) -> UnixSeconds {
        self.certificate.not_after
    }

    /// The same for two identities exactly when they are one signer: MSP and signed part of the certificate.
    pub fn key(&self) -> (&str, &[u8; 32]) {
        (&self.msp_id, &self.certificate.tbs_hash)
    }

    /// The key in its certificate.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Whether `signature` is this identity's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.public_key.verify(message, signature)
    }

    /// Whether its MSP vouches for it (chain, revocation, organizational units; not expiry).
    pub fn validity(&self) -> Result<(), &NotValid> {
        self.standing.as_ref().map(|_| ())
    }

    /// The role its organizational unit gives it.
    pub fn role(&self) -> Option<Role> {
        if self.is_listed_admin { Some(Role::Admin) } else { self.standing.as_ref().ok().and_then(|s| s.role) }
    }

    /// Whether it is what `principal` asks for. Allocates nothing.
    pub fn satisfies(&self, principal: &Principal) -> Result<(), PrincipalMismatch> {
        let of_msp = |msp_id: &Arc<str>| {
            if **msp_id != *self.msp_id {
                return Err(PrincipalMismatch::OtherMsp);
            }
            self.standing.as_ref().map_err(|_| PrincipalMismatch::NotValid)
        };
        let holds = |holds: bool, otherwise| if holds { Ok(()) } else { Err(otherwise) };
        match principal {
            Principal::Role { msp_id, role: Role::Admin } if **msp_id == *self.msp_id && self.is_listed_admin => Ok(()),
            Principal::Role { msp_id, role } => {
                let standing = of_msp(msp_id)?;
                holds(*role == Role::Member || standing.role == Some(*role), PrincipalMismatch::OtherRole)
            }
            Principal::OrganizationalUnit { msp_id, unit, certifiers } => {
                let standing = of_msp(msp_id)?;
                let in_unit = standing.chain.identifier == certifiers.as_ref()
                    && self.certificate.organizational_units.iter().any(|own| **own == **unit);
                holds(in_unit, PrincipalMismatch::OtherUnit)
            }
            Principal::Identity { msp_id, tbs_hash } => {
                of_msp(msp_id)?;
                holds(self.certificate.tbs_hash == *tbs_hash, PrincipalMismatch::OtherIdentity)
            }
            Principal::Combined(_) | Principal::Nominal if self.version < MspVersion::V1_3 => {
                Err(PrincipalMismatch::Unsatisfiable)
            }
            Principal::Combined(all) => all.iter().try_for_each(|p| self.satisfies(p)),
            Principal::Nominal => self.standing.as_ref().map(|_| ()).map_err(|_| PrincipalMismatch::NotValid),
            Principal::Unsatisfiable(_) => Err(PrincipalMismatch::Unsatisfiable),
        }
    }
}
