//! One membership service provider (MSP): the definition of an organization's members.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::msp::MspConfig;
use orderer_x509::{Certificate, Memo};

use super::certificate::from_pem;
use super::identity_cache::IdentityCache;
use super::member_identity::{Identity, InvalidIdentity};
use super::msp_manager::IdentityError;
use super::msp_version::MspVersion;
use super::setup::{self, MspError, WorkLimit};
use super::trust_store::{CertificateChain, ChainHash, TrustStore};
use super::units::{ListedUnits, RoleSet, RoleUnits};
use crate::crypto::{HashFamily, KeyError, PublicKey, sha256};

/// Membership service provider of one organization, built from its definition in a channel's configuration.
pub struct Msp {
    pub(super) id: Arc<str>,
    pub(super) version: MspVersion,
    pub(super) definition: Bytes,
    pub(super) family: HashFamily,
    pub(super) chain_hash: ChainHash,
    pub(super) authorities: TrustStore,
    /// DER of the administrators' certificates, in normal form.
    pub(super) admins: Vec<Bytes>,
    pub(super) listed_units: ListedUnits,
    pub(super) role_units: Option<RoleUnits>,
    pub(super) tls_roots: Vec<Arc<Certificate>>,
    pub(super) tls_intermediates: Vec<Arc<Certificate>>,
    pub(super) has_signing_identity: bool,
    pub(super) members: IdentityCache,
}

impl Msp {
    /// Parses and validates a definition by the rules of `version`. Costs about 100 µs for each certificate in it.
    ///
    /// # Errors
    /// Fabric rejects the definition, or it is not of an X.509 MSP.
    pub fn from_config(config: &MspConfig, version: MspVersion) -> Result<Self, MspError> {
        setup::set_up(config, version, WorkLimit::AsNeeded)
    }

    /// Parses and validates a definition, with at most the work that `effort` allows.
    ///
    /// # Errors
    /// The definition is rejected as by [`from_config`](Self::from_config), or takes more work.
    pub fn from_config_within(config: &MspConfig, version: MspVersion, effort: WorkLimit) -> Result<Self, MspError> {
        setup::set_up(config, version, effort)
    }

    /// Returns the MSP ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the definition's bytes: equal for equal definitions.
    pub fn definition(&self) -> &Bytes {
        &self.definition
    }

    /// Whether the definition contains a signing identity, with its private key.
    pub fn has_signing_identity(&self) -> bool {
        self.has_signing_identity
    }

    /// Returns the root authorities of the members' TLS certificates.
    pub fn tls_roots(&self) -> &[Arc<Certificate>] {
        &self.tls_roots
    }

    /// Returns the intermediate authorities of the members' TLS certificates.
    pub fn tls_intermediates(&self) -> &[Arc<Certificate>] {
        &self.tls_intermediates
    }

    /// Returns the identity of this MSP, valid or not, that has this certificate in PEM. The result is cached.
    ///
    /// # Errors
    /// The certificate cannot be parsed, its key is not usable, or it is signed with ECDSA and has no valid chain to a root of
    /// this MSP.
    pub fn deserialize_identity(&self, id_bytes: &Bytes) -> Result<Arc<Identity>, Arc<IdentityError>> {
        self.members.recall(id_bytes, || {
            let as_sent = from_pem(id_bytes)?;
            self.identity_of(as_sent, &mut Memo::new())
        })
    }

    /// Builds the identity of a certificate that Go can parse.
    pub(super) fn identity_of(&self, as_sent: Arc<Certificate>, memo: &mut Memo) -> Result<Identity, IdentityError> {
        let public_key = self.import_key(&as_sent)?;
        let (certificate, chain) = self.authorities.in_normal_form_with_chain(&as_sent, memo)?;
        let chain = self.authorities.chain_of_member(&certificate, chain, memo);
        let certifiers = chain.as_ref().ok().map(|chain| self.chain_hash.identifier(&chain[1..]));
        let units = || certificate.subject().organizational_units();
        let roles = match (&self.role_units, &certifiers) {
            (Some(roles), Some(_)) => roles.of(units()),
            _ => RoleSet::default(),
        };
        let validity = if self.version >= MspVersion::V3_0 && public_key.is_rsa() {
            Err(InvalidIdentity::KeyKind)
        } else {
            self.validate(&certificate, chain.map_err(InvalidIdentity::from), certifiers.as_ref(), memo)
        };
        let mut own_units: Vec<Box<str>> = units().map(Box::from).collect();
        own_units.sort_unstable();
        Ok(Identity {
            msp_id: Arc::clone(&self.id),
            version: self.version,
            family: self.family,
            subject: certificate.subject().to_string(),
            key: sha256(&[certificate.raw()]),
            is_listed_admin: self.admins.contains(certificate.raw()),
            has_role_units: self.role_units.is_some(),
            certificate,
            as_sent,
            public_key,
            certifiers,
            units: own_units.into(),
            roles,
            validity,
        })
    }

    /// Returns the key of a certificate. Ed25519 keys are accepted since the channel capability V3_0.
    pub(super) fn import_key(&self, certificate: &Certificate) -> Result<PublicKey, KeyError> {
        import_key(certificate, self.version)
    }

    fn validate(
        &self,
        certificate: &Certificate,
        chain: Result<CertificateChain, InvalidIdentity>,
        certifiers: Option<&Bytes>,
        memo: &mut Memo,
    ) -> Result<(), InvalidIdentity> {
        let chain = chain?;
        self.authorities.check_revocation(&chain, memo)?;
        let units = || certificate.subject().organizational_units();
        let certifiers = certifiers.ok_or(InvalidIdentity::NoUnit)?;
        self.listed_units.check(units(), certifiers)?;
        self.role_units.as_ref().map_or(Ok(()), |roles| roles.check(units(), certifiers))
    }
}

/// Returns the key of a certificate, as MSPs of this version import it.
pub(super) fn import_key(certificate: &Certificate, version: MspVersion) -> Result<PublicKey, KeyError> {
    let key = PublicKey::from_x509(certificate.public_key())?;
    if key.is_ed25519() && version < MspVersion::V3_0 {
        return Err(KeyError::Unsupported("Ed25519, which needs the channel capability V3_0,".to_owned()));
    }
    Ok(key)
}

impl fmt::Debug for Msp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Msp").field("id", &self.id).field("version", &self.version).finish_non_exhaustive()
    }
}
