//! The certificate authorities of one MSP, and the way from a certificate up to one of its roots.

use bytes::Bytes;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{Certificate, is_sha1};
use crate::channel::UnixSeconds;
use crate::crypto::sha256;

/// More certificates between an identity and its root are refused; real chains have one to three.
const CHAIN_MAX: usize = 10;

/// Why a certificate does not belong to an MSP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A certificate authority is not an identity.
    #[error("the certificate is a certificate authority's and cannot be used as an identity")]
    IsAuthority,
    /// No way up to a root of the MSP.
    #[error("the certificate was not issued by a certificate authority of the MSP")]
    UnknownAuthority,
    /// An authority above which others stand may issue, one below which others stand may not.
    #[error("the certificate was issued by an authority that has intermediate authorities below it")]
    NotALeafAuthority,
    /// Listed by its issuer.
    #[error("the certificate was revoked")]
    Revoked,
}

/// Roots, intermediates and revocations of one MSP.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    /// Positions in `intermediates`-then-`roots` of those that issued an intermediate.
    has_below: Vec<bool>,
    revocations: Vec<Revocations>,
}

/// One list, with the authority's signature over it already checked.
#[derive(Debug)]
struct Revocations {
    issuer: [u8; 32],
    serials: Vec<Bytes>,
}

/// From the issuer of a certificate up to the root.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    /// SHA-256 over the DER of issuer, issuer's issuer, .., root.
    pub(super) identifier: [u8; 32],
}

impl Authorities {
    pub(super) fn new(roots: Vec<Certificate>, intermediates: Vec<Certificate>) -> Self {
        let mut authorities = Self {
            has_below: vec![false; roots.len() + intermediates.len()],
            roots,
            intermediates,
            revocations: Vec::new(),
        };
        for child in 0..authorities.intermediates.len() {
            let child = &authorities.intermediates[child];
            let parents: Vec<usize> = authorities.parents_of(child).map(|(at, _)| at).collect();
            for parent in parents {
                authorities.has_below[parent] = true;
            }
        }
        authorities
    }

    /// Adds a list of revoked certificates; `false` if none of the authorities signed it.
    pub(super) fn revoke(&mut self, crl: &CertificateRevocationList<'_>) -> bool {
        if is_sha1(&crl.signature_algorithm.algorithm.to_id_string()) {
            return false;
        }
        let signer = self.all().find(|ca| {
            ca.subject_der == crl.issuer().as_raw()
                && x509_parser::x509::SubjectPublicKeyInfo::from_der(&ca.public_key_der)
                    .is_ok_and(|(_, key)| crl.verify_signature(&key).is_ok())
        });
        let Some(signer) = signer else { return false };
        let issuer = signer.tbs_hash;
        let serials = crl.iter_revoked_certificates().map(|r| Bytes::copy_from_slice(r.raw_serial())).collect();
        self.revocations.push(Revocations { issuer, serials });
        true
    }

    /// Finds the way from an identity's certificate to a root. Validity in time is judged one second after the
    /// certificate's own beginning: whether it has expired is another question, asked elsewhere.
    pub(super) fn chain_of(&self, leaf: &Certificate) -> Result<Chain, ChainError> {
        if leaf.is_ca {
            return Err(ChainError::IsAuthority);
        }
        let at = UnixSeconds(leaf.not_before.0.saturating_add(1));
        let path = self.path_up(leaf, at, 0).ok_or(ChainError::UnknownAuthority)?;
        let issuer = path[0];
        if self.has_below[issuer] {
            return Err(ChainError::NotALeafAuthority);
        }
        if self.is_revoked(leaf, self.at(issuer)) {
            return Err(ChainError::Revoked);
        }
        for pair in path.windows(2) {
            if self.is_revoked(self.at(pair[0]), self.at(pair[1])) {
                return Err(ChainError::Revoked);
            }
        }
        Ok(Chain { identifier: self.identifier(&path) })
    }

    /// The identifier that a chain has whose lowest authority is this certificate.
    pub(super) fn identifier_of_authority(&self, certificate: &Certificate) -> Option<[u8; 32]> {
        let own = self.all().position(|ca| ca.der == certificate.der)?;
        if own >= self.intermediates.len() {
            return Some(self.identifier(&[own]));
        }
        let at = UnixSeconds(certificate.not_before.0.saturating_add(1));
        let mut path = vec![own];
        path.extend(self.path_up(certificate, at, 0)?);
        Some(self.identifier(&path))
    }

    /// Whether a certificate leads to a root.
    pub(super) fn is_anchored(&self, certificate: &Certificate) -> bool {
        let at = UnixSeconds(certificate.not_before.0.saturating_add(1));
        self.path_up(certificate, at, 0).is_some()
    }

    fn path_up(&self, child: &Certificate, at: UnixSeconds, depth: usize) -> Option<Vec<usize>> {
        if depth >= CHAIN_MAX || !child.is_valid_at(at) {
            return None;
        }
        for (position, parent) in self.parents_of(child) {
            let leaves_room = parent.path_limit.is_none_or(|limit| depth <= limit as usize);
            if !parent.is_valid_at(at) || !leaves_room {
                continue;
            }
            if position >= self.intermediates.len() {
                return Some(vec![position]);
            }
            if let Some(mut above) = self.path_up(parent, at, depth + 1) {
                above.insert(0, position);
                return Some(above);
            }
        }
        None
    }

    fn parents_of<'a>(&'a self, child: &'a Certificate) -> impl Iterator<Item = (usize, &'a Certificate)> {
        self.all()
            .enumerate()
            .filter(move |(_, ca)| ca.is_ca && ca.may_sign_certificates && ca.der != child.der && ca.signed(child))
    }

    fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.intermediates.iter().chain(&self.roots)
    }

    fn at(&self, position: usize) -> &Certificate {
        self.intermediates.get(position).unwrap_or_else(|| &self.roots[position - self.intermediates.len()])
    }

    fn is_revoked(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        self.revocations.iter().any(|list| list.issuer == issuer.tbs_hash && list.serials.contains(&certificate.serial))
    }

    fn identifier(&self, path: &[usize]) -> [u8; 32] {
        let ders: Vec<&[u8]> = path.iter().map(|&position| self.at(position).der.as_ref()).collect();
        sha256(&ders)
    }
}
