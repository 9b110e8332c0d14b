//! Builds an [`Msp`] from its definition, with Fabric's checks in Fabric's order (`msp/mspimplsetup.go`).

use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::lenient::{decode, decode_as_v2};
use fabric_proto::msp::{FabricMspConfig, MspConfig, SigningIdentityInfo};
use orderer_x509::{Certificate, CrlError, Memo, Pool, RevocationList, pem};

use super::certificate::{CertificateError, from_pem, name_of};
use super::identity_cache::IdentityCache;
use super::member_identity::{Identity, InvalidIdentity};
use super::msp::{Msp, import_key};
use super::msp_manager::IdentityError;
use super::msp_version::MspVersion;
use super::principal::Role;
use super::trust_store::{CertificateChainError, ChainHash, TrustStore, subject_key_id};
use super::units::{ListedUnits, RoleUnits, UnitError};
use crate::crypto::{HashFamily, KeyError, SigningKey};

/// `MSPConfig.type` of an X.509 MSP.
const TYPE_X509: i32 = 0;

/// A definition is not a valid MSP. Fabric rejects a configuration with it as well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MspError {
    /// The MSP is not of type X.509, the only one that an orderer supports.
    #[error("MSP type {0} is not supported, only X.509 (0) is")]
    Type(i32),
    /// The definition cannot be decoded.
    #[error("MSP definition does not parse: {0}")]
    Malformed(prost::DecodeError),
    /// The hash function for identifiers of authority chains is unknown.
    #[error("MSP '{msp_id}': identity identifier hash function '{name}' is not known")]
    HashFunction {
        /// MSP ID.
        msp_id: String,
        /// Name in the definition.
        name: String,
    },
    /// The MSP has no ID.
    #[error("the MSP has no name")]
    NoName,
    /// The MSP has no root certificate.
    #[error("MSP '{msp_id}' has no root certificate")]
    NoRoot {
        /// MSP ID.
        msp_id: String,
    },
    /// A certificate in the definition cannot be parsed.
    #[error("MSP '{msp_id}': {place} certificate {index}")]
    Certificate {
        /// MSP ID.
        msp_id: String,
        /// Name of the list that holds the certificate.
        place: &'static str,
        /// Position in the list.
        index: usize,
        /// Error of the certificate.
        #[source]
        cause: CertificateError,
    },
    /// The key of a certificate in the definition is not usable.
    #[error("MSP '{msp_id}': the key of {place} certificate {subject}")]
    Key {
        /// MSP ID.
        msp_id: String,
        /// Name of the list that holds the certificate.
        place: &'static str,
        /// Subject and serial number.
        subject: String,
        /// Error of the key.
        #[source]
        cause: KeyError,
    },
    /// A root or intermediate certificate is not a certificate authority's.
    #[error("MSP '{msp_id}': {place} certificate {subject} is no certificate authority's: it lacks {lacks}")]
    NotAnAuthority {
        /// MSP ID.
        msp_id: String,
        /// Name of the list that holds the certificate.
        place: &'static str,
        /// Subject and serial number.
        subject: String,
        /// The missing extension or attribute.
        lacks: &'static str,
    },
    /// An authority does not have exactly one chain to a root, or was revoked.
    #[error("MSP '{msp_id}': {place} certificate {subject} is not valid: {cause}")]
    Authority {
        /// MSP ID.
        msp_id: String,
        /// Name of the list that holds the certificate.
        place: &'static str,
        /// Subject and serial number.
        subject: String,
        /// Error of the chain.
        cause: CertificateChainError,
    },
    /// An administrator is not a member, or has another role.
    #[error("MSP '{msp_id}': administrator {subject} is not a valid member: {cause}")]
    Admin {
        /// MSP ID.
        msp_id: String,
        /// Subject and serial number.
        subject: String,
        /// Reason why the administrator is not accepted.
        cause: InvalidIdentity,
    },
    /// The MSP has no administrators.
    #[error("MSP '{msp_id}' lists no administrator and has no organizational unit that makes one")]
    NoAdministrator {
        /// MSP ID.
        msp_id: String,
    },
    /// The organizational units are invalid.
    #[error("MSP '{msp_id}': {cause}")]
    Unit {
        /// MSP ID.
        msp_id: String,
        /// Error of the units.
        cause: UnitError,
    },
    /// A revocation list, or its ECDSA signature, cannot be parsed.
    #[error("MSP '{msp_id}': revocation list {index} does not parse: {cause}")]
    RevocationList {
        /// MSP ID.
        msp_id: String,
        /// Position in the list.
        index: usize,
        /// Error of the revocation list.
        cause: CrlError,
    },
    /// The signing identity, which a channel's definition does not need, is invalid.
    #[error("MSP '{msp_id}': its signing identity: {problem}")]
    SigningIdentity {
        /// MSP ID.
        msp_id: String,
        /// Description of the error.
        problem: String,
    },
    /// Two organizations use one MSP ID for different definitions.
    #[error("two different definitions for MSP '{msp_id}'")]
    Conflict {
        /// MSP ID.
        msp_id: String,
    },
}

/// Limit on the work of validating a configuration: its certificates, and the signatures and policies that an update requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkLimit {
    /// As much as Fabric's rules require: for messages that are ordered already, and for an operator's own files.
    AsNeeded,
    /// More than any legal definition requires, about twenty seconds of CPU time: for requests of clients.
    Bounded,
}

impl WorkLimit {
    /// Returns a memo that caches results and counts the work.
    pub(crate) fn memo(self) -> Memo {
        match self {
            Self::AsNeeded => Memo::new(),
            Self::Bounded => Memo::bounded(),
        }
    }
}

/// Parses and validates a definition by the rules of `version`.
pub(super) fn set_up(config: &MspConfig, version: MspVersion, effort: WorkLimit) -> Result<Msp, MspError> {
    if config.r#type != TYPE_X509 {
        return Err(MspError::Type(config.r#type));
    }
    let definition = config.config.clone();
    let fabric: Result<FabricMspConfig, _> =
        if version < MspVersion::V3_0 { decode_as_v2(definition) } else { decode(definition) };
    let fabric = fabric.map_err(MspError::Malformed)?;
    if fabric.name.is_empty() {
        return Err(MspError::NoName);
    }
    let setup = SetupContext { id: &fabric.name, version };
    let memo = &mut effort.memo();
    let crypto = fabric.crypto_config.clone().unwrap_or_default();
    let name = crypto.identity_identifier_hash_function;
    let chain_hash = ChainHash::from_name(&name).ok_or_else(|| MspError::HashFunction { msp_id: setup.id(), name })?;
    let mut msp = Msp {
        id: fabric.name.as_str().into(),
        version,
        definition: config.config.clone(),
        family: HashFamily::from_name(&crypto.signature_hash_family),
        chain_hash,
        authorities: setup.authorities(&fabric, memo)?,
        admins: Vec::new(),
        listed_units: ListedUnits::default(),
        role_units: None,
        tls_roots: setup.read_all(TLS_ROOT, &fabric.tls_root_certs)?,
        tls_intermediates: setup.read_all(TLS_INTERMEDIATE, &fabric.tls_intermediate_certs)?,
        has_signing_identity: fabric.signing_identity.is_some(),
        members: IdentityCache::default(),
    };
    if let Some(signing) = &fabric.signing_identity {
        setup.check_signing_identity(&msp, signing, memo)?;
    }
    setup.check_tls_authorities(&msp, memo)?;
    let wrong_unit = |cause| MspError::Unit { msp_id: setup.id(), cause };
    msp.listed_units = ListedUnits::read(&fabric.organizational_unit_identifiers, &msp.authorities, chain_hash, memo)
        .map_err(wrong_unit)?;
    msp.role_units = match &fabric.fabric_node_ous {
        Some(ous) if version > MspVersion::V1_0 => {
            RoleUnits::read(ous, version, &msp.authorities, chain_hash, memo).map_err(wrong_unit)?
        }
        _ => None,
    };
    setup.admit_administrators(&mut msp, &fabric, memo)?;
    Ok(msp)
}

const ROOT: &str = "root";
const INTERMEDIATE: &str = "intermediate";
const TLS_ROOT: &str = "TLS root";
const TLS_INTERMEDIATE: &str = "TLS intermediate";
const ADMINISTRATOR: &str = "administrator";

/// The MSP in setup, for errors.
struct SetupContext<'a> {
    id: &'a str,
    version: MspVersion,
}

impl SetupContext<'_> {
    fn id(&self) -> String {
        self.id.to_owned()
    }

    fn read_all(&self, place: &'static str, pems: &[Bytes]) -> Result<Vec<Arc<Certificate>>, MspError> {
        let read = |(index, pem): (usize, &Bytes)| {
            from_pem(pem).map_err(|cause| MspError::Certificate { msp_id: self.id(), place, index, cause })
        };
        pems.iter().enumerate().map(read).collect()
    }

    fn authorities(&self, fabric: &FabricMspConfig, memo: &mut Memo) -> Result<TrustStore, MspError> {
        if fabric.root_certs.is_empty() {
            return Err(MspError::NoRoot { msp_id: self.id() });
        }
        let roots = self.read_all(ROOT, &fabric.root_certs)?;
        let intermediates = self.read_all(INTERMEDIATE, &fabric.intermediate_certs)?;
        for (place, certificates) in [(ROOT, &roots), (INTERMEDIATE, &intermediates)] {
            for certificate in certificates {
                let wrong = |cause| MspError::Key { msp_id: self.id(), place, subject: name_of(certificate), cause };
                import_key(certificate, self.version).map_err(wrong)?;
            }
        }
        let not_valid = |place, certificate: &Arc<Certificate>, cause| MspError::Authority {
            msp_id: self.id(),
            place,
            subject: name_of(certificate),
            cause,
        };
        let mut authorities = TrustStore::new(&roots, &intermediates, memo)
            .map_err(|(certificate, cause)| not_valid("root or intermediate", &certificate, cause))?;
        authorities.set_revocations(self.revocation_lists(&fabric.revocation_list)?);
        for (index, authority) in authorities.all().enumerate() {
            let place = if index < roots.len() { ROOT } else { INTERMEDIATE };
            self.check_is_authority(place, authority)?;
            authorities.check_authority(authority, memo).map_err(|cause| not_valid(place, authority, cause))?;
        }
        authorities.mark_internal(memo).map_err(|(certificate, cause)| not_valid(INTERMEDIATE, &certificate, cause))?;
        Ok(authorities)
    }

    fn revocation_lists(&self, lists: &[Bytes]) -> Result<Vec<RevocationList>, MspError> {
        let read = |(index, bytes): (usize, &Bytes)| {
            RevocationList::parse(bytes)
                .and_then(RevocationList::with_plain_signature)
                .map_err(|cause| MspError::RevocationList { msp_id: self.id(), index, cause })
        };
        lists.iter().enumerate().map(read).collect()
    }

    fn check_is_authority(&self, place: &'static str, certificate: &Certificate) -> Result<(), MspError> {
        let lacks = if !certificate.is_ca() {
            "the CA attribute of the basic constraints"
        } else if subject_key_id(certificate).is_none() {
            "a readable subject key identifier"
        } else {
            return Ok(());
        };
        Err(MspError::NotAnAuthority { msp_id: self.id(), place, subject: name_of(certificate), lacks })
    }

    fn check_tls_authorities(&self, msp: &Msp, memo: &mut Memo) -> Result<(), MspError> {
        let roots = Pool::new(msp.tls_roots.iter().cloned());
        let intermediates = Pool::new(msp.tls_intermediates.iter().cloned());
        for (place, certificates) in [(TLS_ROOT, &msp.tls_roots), (TLS_INTERMEDIATE, &msp.tls_intermediates)] {
            for certificate in certificates {
                self.check_is_authority(place, certificate)?;
                msp.authorities.check_tls_authority(certificate, &roots, &intermediates, memo).map_err(|cause| {
                    MspError::Authority { msp_id: self.id(), place, subject: name_of(certificate), cause }
                })?;
            }
        }
        Ok(())
    }

    /// Validates a signing identity. No member uses one in a channel's definition, but Fabric reads it. Its expiry is not
    /// checked: Fabric compares it with the clock, so its own nodes decide differently from one day to the next.
    fn check_signing_identity(
        &self,
        msp: &Msp,
        signing: &SigningIdentityInfo,
        memo: &mut Memo,
    ) -> Result<(), MspError> {
        let wrong = |problem: String| MspError::SigningIdentity { msp_id: self.id(), problem };
        let certificate = from_pem(&signing.public_signer).map_err(|e| wrong(e.to_string()))?;
        msp.identity_of(certificate, memo).map_err(|e| wrong(e.to_string()))?;
        let material = signing.private_signer.as_ref().map(|key| &key.key_material).filter(|bytes| !bytes.is_empty());
        let material = material.ok_or_else(|| wrong("it has no key material".to_owned()))?;
        let (block, _) = pem::decode(material).ok_or_else(|| wrong("its key material is not in PEM".to_owned()))?;
        SigningKey::check_ecdsa_der(&block.contents).map_err(|e| wrong(format!("its key: {e}")))
    }

    /// Validates and sets the listed administrators. They must be members; where units make roles, they must be clients or, by
    /// the newer rules, administrators.
    fn admit_administrators(&self, msp: &mut Msp, fabric: &FabricMspConfig, memo: &mut Memo) -> Result<(), MspError> {
        let certificates = self.read_all(ADMINISTRATOR, &fabric.admins)?;
        let mut admins = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            let subject = name_of(&certificate);
            let admin = msp.identity_of(certificate, memo).map_err(|cause| match cause {
                IdentityError::Chain(cause) => {
                    MspError::Admin { msp_id: self.id(), subject: subject.clone(), cause: cause.into() }
                }
                IdentityError::Key(cause) => {
                    MspError::Key { msp_id: self.id(), place: ADMINISTRATOR, subject: subject.clone(), cause }
                }
                _ => MspError::Admin { msp_id: self.id(), subject: subject.clone(), cause: InvalidIdentity::NoRole },
            })?;
            admins.push(admin);
        }
        let units_make_admins = msp.role_units.as_ref().is_some_and(|roles| roles.makes(Role::Admin));
        if admins.is_empty() && !units_make_admins && self.version >= MspVersion::V1_4_3 {
            return Err(MspError::NoAdministrator { msp_id: self.id() });
        }
        for admin in &admins {
            self.check_administrator(msp, admin).map_err(|cause| MspError::Admin {
                msp_id: self.id(),
                subject: name_of(&admin.certificate),
                cause,
            })?;
        }
        msp.admins = admins.into_iter().map(|admin| admin.certificate.raw().clone()).collect();
        Ok(())
    }

    fn check_administrator(&self, msp: &Msp, admin: &Identity) -> Result<(), InvalidIdentity> {
        let is = |role| if admin.roles.has(role) { Ok(()) } else { Err(InvalidIdentity::NoRole) };
        match &msp.role_units {
            None => admin.validity.clone(),
            Some(_) if self.version < MspVersion::V1_4_3 => {
                admin.validity.clone()?;
                is(Role::Client)
            }
            // only the unit is checked: a revoked administrator stays one until removed from the list
            Some(_) => is(Role::Client).or_else(|_| is(Role::Admin)),
        }
    }
}
