//! Certificate authorities of one MSP: chains from a certificate up to a root, and revocation.
//!
//! The chains are those that Go's `Certificate.Verify` finds, one second after the start of the certificate's validity. This
//! module adds Fabric's further conditions: exactly one chain, no names without constraints, and no authority between others.
//! They are in Fabric's `msp/mspimpl.go` and `msp/mspimplvalidate.go`.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use orderer_x509::{self as x509, Certificate, Memo, Pool, RevocationList, SignatureAlgorithm, VerifyError};

use super::certificate::name_of;
use super::revocations::RevocationIndex;
use crate::crypto::sha256;

/// A certificate does not belong to an MSP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateChainError {
    /// The certificate is a certificate authority's, which cannot be an identity.
    #[error("the certificate is a certificate authority's and cannot be used as an identity")]
    IsAuthority,
    /// No chain leads to a root of the MSP, or each one violates a rule.
    #[error("the certificate was not issued by a certificate authority of the MSP: {0}")]
    NotVerified(#[from] VerifyError),
    /// More than one chain leads to roots of the MSP, which Fabric rejects.
    #[error(
        "{0} chains lead from the certificate to roots of the MSP, and Fabric takes exactly one: an authority was renewed or \
         cross-signed, and both of its certificates are listed"
    )]
    ManyChains(usize),
    /// The certificate is one of the roots, where a member or an intermediate authority is required; or it is listed as a root
    /// but not signed by its own key.
    #[error("the certificate is listed as a root, and is not signed by its own key")]
    NotSelfSigned,
    /// The issuer has intermediate authorities below it, and only authorities without any may issue members.
    #[error("the certificate was issued by an authority that has intermediate authorities below it")]
    NotALeafAuthority,
    /// The signature is by an ECDSA key and cannot be converted to its low-S form.
    #[error("the signature of the certificate does not parse")]
    Signature,
    /// The certificate is on a revocation list of its issuer.
    #[error("the certificate was revoked")]
    Revoked,
    /// The issuer has no subject key identifier, which is needed to find its revocation lists.
    #[error("the issuer {0} has no readable subject key identifier")]
    NoSubjectKeyId(String),
    /// The verification exceeds the work limit of one definition or certificate; Fabric has no such limit.
    #[error(
        "too much work to verify certificates: leave out authorities and revocation lists that no member of the organization needs"
    )]
    WorkLimit,
    /// A revocation list has no authority key identifier. With such a list in an MSP, no certificate is valid.
    #[error("revocation list {0} of the MSP has no readable authority key identifier")]
    NoAuthorityKeyId(usize),
}

/// Roots, intermediates and revocations of one MSP.
#[derive(Debug, Default)]
pub(super) struct TrustStore {
    roots: Vec<Arc<Certificate>>,
    intermediates: Vec<Arc<Certificate>>,
    root_pool: Pool,
    intermediate_pool: Pool,
    /// DER of the authorities that issued an intermediate, and of all authorities above them.
    internal: HashSet<Bytes>,
    revocations: RevocationIndex,
}

/// Chain from a certificate to a root, both included.
pub(super) type CertificateChain = Vec<Arc<Certificate>>;

impl TrustStore {
    /// Builds the set from these certificates, which are converted to Fabric's normal form.
    ///
    /// # Errors
    /// A certificate that is signed with ECDSA has no valid chain to a root; the error names it.
    pub(super) fn new(
        roots: &[Arc<Certificate>],
        intermediates: &[Arc<Certificate>],
        memo: &mut Memo,
    ) -> Result<Self, (Arc<Certificate>, CertificateChainError)> {
        let listed = Self {
            root_pool: Pool::new(roots.iter().cloned()),
            intermediate_pool: Pool::new(intermediates.iter().cloned()),
            ..Self::default()
        };
        let mut normal = |certificates: &[Arc<Certificate>]| -> Result<Vec<_>, _> {
            certificates
                .iter()
                .map(|certificate| listed.in_normal_form(certificate, memo).map_err(|e| (Arc::clone(certificate), e)))
                .collect()
        };
        let (roots, intermediates) = (normal(roots)?, normal(intermediates)?);
        Ok(Self {
            root_pool: Pool::new(roots.iter().cloned()),
            intermediate_pool: Pool::new(intermediates.iter().cloned()),
            roots,
            intermediates,
            ..Self::default()
        })
    }

    /// Iterates over roots and intermediates, in the order in which they are listed.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.roots.iter().chain(&self.intermediates)
    }

    /// Sets the revocation lists, in the order in which they are listed.
    pub(super) fn set_revocations(&mut self, lists: Vec<RevocationList>) {
        self.revocations = RevocationIndex::new(lists);
    }

    /// Marks the authorities that have intermediates below them: those issue no members.
    ///
    /// # Errors
    /// An intermediate has no valid chain to a root; the error names it.
    pub(super) fn mark_internal(&mut self, memo: &mut Memo) -> Result<(), (Arc<Certificate>, CertificateChainError)> {
        let mut internal = HashSet::new();
        for intermediate in &self.intermediates {
            let chain = self.unique_chain(intermediate, memo).map_err(|e| (Arc::clone(intermediate), e))?;
            internal.extend(chain[1..].iter().map(|above| above.raw().clone()));
        }
        self.internal = internal;
        Ok(())
    }

    /// Returns the only chain of the certificate.
    pub(super) fn unique_chain(
        &self,
        certificate: &Arc<Certificate>,
        memo: &mut Memo,
    ) -> Result<CertificateChain, CertificateChainError> {
        unique_chain(certificate, &self.root_pool, &self.intermediate_pool, memo)
    }

    /// Returns the certificate with the low-S form of its signature, which is the form that Fabric compares. A certificate
    /// that is signed with ECDSA is verified on the way; any other certificate is returned unchanged and is not verified.
    pub(super) fn in_normal_form(
        &self,
        certificate: &Arc<Certificate>,
        memo: &mut Memo,
    ) -> Result<Arc<Certificate>, CertificateChainError> {
        Ok(self.in_normal_form_with_chain(certificate, memo)?.0)
    }

    /// Returns the certificate in normal form, and its chain if the conversion has determined it.
    pub(super) fn in_normal_form_with_chain(
        &self,
        certificate: &Arc<Certificate>,
        memo: &mut Memo,
    ) -> Result<(Arc<Certificate>, Option<CertificateChain>), CertificateChainError> {
        if !is_signed_with_ecdsa(certificate) {
            return Ok((Arc::clone(certificate), None));
        }
        if certificate.is_ca() && memo.check_certificate(certificate, certificate).is_ok() {
            let normal = with_low_s(certificate, certificate)?;
            unique_chain(&normal, &Pool::new([Arc::clone(&normal)]), &self.intermediate_pool, memo)?;
            return Ok((normal, None));
        }
        let chain = self.unique_chain(certificate, memo)?;
        let Some(issuer) = chain.get(1) else { return Err(CertificateChainError::NotSelfSigned) };
        let normal = with_low_s(certificate, issuer)?;
        // a converted certificate is verified again when a caller needs its chain
        let chain = Arc::ptr_eq(&normal, certificate).then_some(chain);
        Ok((normal, chain))
    }

    /// Checks that an authority leads to a root and was not revoked.
    pub(super) fn check_authority(
        &self,
        certificate: &Arc<Certificate>,
        memo: &mut Memo,
    ) -> Result<(), CertificateChainError> {
        let chain = self.unique_chain(certificate, memo)?;
        self.check_revocation(&chain, memo)
    }

    /// Returns the chain from an identity's certificate to a root, by way of an authority that may issue members. `known` is
    /// its chain, if it was found already.
    pub(super) fn chain_of_member(
        &self,
        certificate: &Arc<Certificate>,
        known: Option<CertificateChain>,
        memo: &mut Memo,
    ) -> Result<CertificateChain, CertificateChainError> {
        if certificate.is_ca() {
            return Err(CertificateChainError::IsAuthority);
        }
        let chain = known.map_or_else(|| self.unique_chain(certificate, memo), Ok)?;
        match chain.get(1) {
            None => Err(CertificateChainError::NotSelfSigned),
            Some(issuer) if self.internal.contains(issuer.raw()) => Err(CertificateChainError::NotALeafAuthority),
            Some(_) => Ok(chain),
        }
    }

    /// Returns the chain from an intermediate that has no intermediate below it to a root.
    fn chain_of_intermediate(
        &self,
        certificate: &Arc<Certificate>,
        memo: &mut Memo,
    ) -> Result<CertificateChain, CertificateChainError> {
        let chain = self.unique_chain(certificate, memo)?;
        if chain.len() < 2 {
            return Err(CertificateChainError::NotSelfSigned);
        }
        if self.internal.contains(chain[0].raw()) { Err(CertificateChainError::NotALeafAuthority) } else { Ok(chain) }
    }

    /// Returns the chain that starts at this authority, as the members it issues have it; `None` if the authority is not
    /// listed.
    pub(super) fn chain_of_certifier(
        &self,
        certificate: &Arc<Certificate>,
        memo: &mut Memo,
    ) -> Result<Option<CertificateChain>, CertificateChainError> {
        let certificate = self.in_normal_form(certificate, memo)?;
        let is_it = |listed: &Arc<Certificate>| listed.raw() == certificate.raw();
        if self.roots.iter().any(is_it) {
            return Ok(Some(vec![certificate]));
        }
        if self.intermediates.iter().any(is_it) {
            return self.chain_of_intermediate(&certificate, memo).map(Some);
        }
        Ok(None)
    }

    /// Checks that the issuer, the second certificate of the chain, has not revoked the first.
    pub(super) fn check_revocation(
        &self,
        chain: &[Arc<Certificate>],
        memo: &mut Memo,
    ) -> Result<(), CertificateChainError> {
        let [certificate, issuer, ..] = chain else { return Ok(()) };
        let no_id = || CertificateChainError::NoSubjectKeyId(name_of(issuer));
        let issuer_id = subject_key_id(issuer).ok_or_else(no_id)?;
        self.revocations.check(certificate.serial(), issuer, &issuer_id, memo)
    }

    /// Checks that a TLS authority leads to one of these roots and was not revoked by the MSP's lists.
    pub(super) fn check_tls_authority(
        &self,
        certificate: &Arc<Certificate>,
        roots: &Pool,
        intermediates: &Pool,
        memo: &mut Memo,
    ) -> Result<(), CertificateChainError> {
        self.check_revocation(&unique_chain(certificate, roots, intermediates, memo)?, memo)
    }
}

/// Returns the subject key identifier from the first extension of that kind, as Fabric reads it.
pub(super) fn subject_key_id(certificate: &Certificate) -> Option<Bytes> {
    const OID: [u8; 3] = [0x55, 0x1d, 0x0e];
    let extension = certificate.extensions().find(&OID)?;
    x509::subject_key_id(&extension.value).ok()
}

/// Returns the only chain of the certificate, verified one second after the start of its validity.
fn unique_chain(
    certificate: &Arc<Certificate>,
    roots: &Pool,
    intermediates: &Pool,
    memo: &mut Memo,
) -> Result<CertificateChain, CertificateChainError> {
    let at = certificate.not_before().saturating_add(1);
    let mut chains = x509::verify(certificate, roots, intermediates, at, memo)?;
    let count = chains.len();
    match chains.pop() {
        Some(chain) if count == 1 => {
            x509::verify_legacy_name_constraints(&chain)?;
            Ok(chain)
        }
        _ => Err(CertificateChainError::ManyChains(count)),
    }
}

fn is_signed_with_ecdsa(certificate: &Certificate) -> bool {
    matches!(certificate.algorithm(), SignatureAlgorithm::Ecdsa(_))
}

fn with_low_s(certificate: &Arc<Certificate>, issuer: &Certificate) -> Result<Arc<Certificate>, CertificateChainError> {
    let Some(x509::PublicKey::Ec { curve, .. }) = issuer.public_key() else {
        return Err(CertificateChainError::Signature);
    };
    let normal = certificate.with_low_s(*curve).map_err(|_| CertificateChainError::Signature)?;
    Ok(if normal.raw() == certificate.raw() { Arc::clone(certificate) } else { Arc::new(normal) })
}

/// The hash by which Fabric names a chain of certifiers (`FabricCryptoConfig.identity_identifier_hash_function`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ChainHash {
    #[default]
    Sha256,
    Sha384,
    Sha3_256,
    Sha3_384,
}

impl ChainHash {
    /// Parses the name; the empty one means SHA256.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "" | "SHA256" => Self::Sha256,
            "SHA384" => Self::Sha384,
            "SHA3_256" => Self::Sha3_256,
            "SHA3_384" => Self::Sha3_384,
            _ => return None,
        })
    }

    /// Hashes the DER of the authorities, from the lowest to the root.
    pub(super) fn identifier(self, authorities: &[Arc<Certificate>]) -> Bytes {
        use aws_lc_rs::digest;
        let algorithm = match self {
            Self::Sha256 => {
                let ders: Vec<&[u8]> = authorities.iter().map(|authority| authority.raw().as_ref()).collect();
                return Bytes::copy_from_slice(&sha256(&ders));
            }
            Self::Sha384 => &digest::SHA384,
            Self::Sha3_256 => &digest::SHA3_256,
            Self::Sha3_384 => &digest::SHA3_384,
        };
        let mut context = digest::Context::new(algorithm);
        for authority in authorities {
            context.update(authority.raw());
        }
        Bytes::copy_from_slice(context.finish().as_ref())
    }
}
