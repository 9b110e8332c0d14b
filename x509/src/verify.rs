//! From a certificate up to trusted roots: all ways (`Certificate.Verify` of Go's `crypto/x509`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::certificate::Certificate;
use crate::extension::ExtendedKeyUsage;
use crate::memo::Memo;
use crate::signature::SignatureError;
use crate::verify_error::{CertificateId, RejectedAuthority, VerifyError};
use crate::{constraints, policies};

/// Content octets of the object identifier of subject alternative names (2.5.29.17).
pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Content octets of the object identifier of name constraints (2.5.29.30).
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];

/// How many candidates a search considers, as in Go (`maxChainSignatureChecks`). It also bounds the length of chains.
const MAX_CHECKS: u32 = 100;

/// Certificates among which issuers are looked for. Exact duplicates are left out.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// In the order in which they were added.
    certificates: Vec<Arc<Certificate>>,
    by_subject: HashMap<Bytes, Namesakes>,
    known: HashSet<Bytes>,
}

/// Certificates of one subject, in the order in which they were added.
#[derive(Clone, Debug, Default)]
struct Namesakes {
    all: Vec<Arc<Certificate>>,
    /// The same by their subject key identifier; an empty one is as good as none.
    by_key_id: HashMap<Bytes, Vec<Arc<Certificate>>>,
}

impl Pool {
    /// One with these certificates.
    pub fn new(certificates: impl IntoIterator<Item = Arc<Certificate>>) -> Self {
        let mut pool = Self::default();
        for certificate in certificates {
            pool.add(certificate);
        }
        pool
    }

    /// Adds one, unless it is there already.
    pub fn add(&mut self, certificate: Arc<Certificate>) {
        if self.known.insert(certificate.raw.clone()) {
            let namesakes = self.by_subject.entry(certificate.raw_subject.clone()).or_default();
            namesakes.all.push(certificate.clone());
            namesakes.by_key_id.entry(key_id(&certificate).clone()).or_default().push(certificate.clone());
            self.certificates.push(certificate);
        }
    }

    /// Whether exactly this certificate is there.
    pub fn contains(&self, certificate: &Certificate) -> bool {
        self.known.contains(&certificate.raw)
    }

    /// All, in the order in which they were added.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// Those with the name of the certificate's issuer, the more plausible ones first (`findPotentialParents`): key identifiers
    /// that are equal, then one that is missing, then those that differ. They are found as they are asked for: there may be
    /// thousands, of which a search considers a hundred.
    fn potential_parents<'a>(&'a self, child: &Certificate) -> impl Iterator<Item = &'a Arc<Certificate>> + use<'a> {
        let authority = child.extensions.authority_key_id.clone().unwrap_or_default();
        let namesakes = self.by_subject.get(&child.raw_issuer);
        let with = move |id: &[u8]| namesakes.and_then(|namesakes| namesakes.by_key_id.get(id)).into_iter().flatten();
        let equal = with(&authority);
        let missing = (!authority.is_empty()).then(|| with(&[])).into_iter().flatten();
        let all = namesakes.into_iter().flat_map(|namesakes| &namesakes.all);
        let others = all.filter(move |parent| !key_id(parent).is_empty() && *key_id(parent) != authority);
        equal.chain(missing).chain(others)
    }
}

/// The subject key identifier; an empty one is as good as none.
fn key_id(certificate: &Certificate) -> &Bytes {
    static NONE: Bytes = Bytes::new();
    certificate.extensions.subject_key_id.as_ref().unwrap_or(&NONE)
}

/// What a chain is for: the extended key usage that each certificate in it that lists any must have, or `anyExtendedKeyUsage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Anything: extended key usages are not looked at.
    Any,
    /// TLS servers. It is Go's default, and so what Fabric's MSP asks of its members.
    #[default]
    ServerAuth,
    /// TLS clients.
    ClientAuth,
}

/// When a chain has to be valid, and what for (`VerifyOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Time, in seconds since 1970.
    pub at: i64,
    /// What the chain is for.
    pub purpose: Purpose,
}

/// All chains from `leaf` to one of `roots`, each from `leaf` to the root, at this time (seconds since 1970): what Go finds with
/// the options that Fabric's MSP sets.
///
/// # Errors
/// There is none. The error is the one that Go gives.
pub fn verify(
    leaf: &Arc<Certificate>,
    roots: &Pool,
    intermediates: &Pool,
    at: i64,
    memo: &mut Memo,
) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
    verify_with(leaf, roots, intermediates, &Options { at, ..Options::default() }, memo)
}

/// All chains from `leaf` to one of `roots`, each from `leaf` to the root, that these options take.
///
/// A leaf that is among the roots is a chain by itself, whatever its signature is. What a search costs is bounded as in Go: a
/// hundred candidates, and as many signatures, are considered. What `memo` knows is not verified again, and counts.
///
/// # Errors
/// There is none. The error is the one that Go gives.
pub fn verify_with(
    leaf: &Arc<Certificate>,
    roots: &Pool,
    intermediates: &Pool,
    options: &Options,
    memo: &mut Memo,
) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
    check_validity(leaf, Role::Leaf, &[], options)?;
    let candidates = if roots.contains(leaf) {
        vec![vec![leaf.clone()]]
    } else {
        let mut search = Search { roots, intermediates, options, checks: 0, memo };
        search.chains(std::slice::from_ref(leaf))?
    };
    filter(candidates, options.purpose)
}

/// Leaves out chains that fail as a whole, and says why when none is left.
fn filter(candidates: Vec<Vec<Arc<Certificate>>>, purpose: Purpose) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
    let (mut invalid_policies, mut incompatible_usage, mut constraint) = (0, 0, None);
    let leaf = candidates.first().and_then(|chain| chain.first()).cloned();
    let chains: Vec<_> = candidates
        .into_iter()
        .filter(|chain| {
            if !policies::are_valid(chain) {
                invalid_policies += 1;
                return false;
            }
            if !usage_fits(chain, purpose) {
                incompatible_usage += 1;
                return false;
            }
            match constraints::check_chain(chain) {
                Ok(()) => true,
                Err(error) => {
                    constraint.get_or_insert(error);
                    false
                }
            }
        })
        .collect();
    let Some(leaf) = leaf.filter(|_| chains.is_empty()) else { return Ok(chains) };
    let certificate = CertificateId::of(&leaf);
    Err(match constraint {
        Some(source) => VerifyError::NotAuthorizedForThisName { certificate, source },
        None if invalid_policies == 0 => VerifyError::IncompatibleUsage { certificate },
        None => VerifyError::NoValidChains { certificate, incompatible_usage, invalid_policies },
    })
}

/// `checkChainForKeyUsage`, for one usage.
fn usage_fits(chain: &[Arc<Certificate>], purpose: Purpose) -> bool {
    let wanted = match purpose {
        Purpose::Any => return true,
        Purpose::ServerAuth => ExtendedKeyUsage::ServerAuth,
        Purpose::ClientAuth => ExtendedKeyUsage::ClientAuth,
    };
    chain.iter().all(|certificate| {
        let usages = &certificate.extensions.extended_key_usage;
        usages.is_empty() || usages.iter().any(|usage| *usage == wanted || *usage == ExtendedKeyUsage::Any)
    })
}

/// Where a certificate is about to stand in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Leaf,
    Intermediate,
    Root,
}

/// `isValid`: what a certificate says about itself and about the `chain` below it.
fn check_validity(
    certificate: &Arc<Certificate>,
    role: Role,
    chain: &[Arc<Certificate>],
    options: &Options,
) -> Result<(), VerifyError> {
    let extensions = &certificate.extensions;
    if !extensions.unhandled_critical.is_empty() {
        let extensions = extensions.unhandled_critical.join(", ");
        return Err(VerifyError::UnhandledCriticalExtension {
            certificate: CertificateId::of(certificate),
            extensions,
        });
    }
    if options.at < certificate.not_before {
        return Err(VerifyError::NotYetValid {
            certificate: CertificateId::of(certificate),
            at: options.at,
            not_before: certificate.not_before,
        });
    }
    if options.at > certificate.not_after {
        return Err(VerifyError::Expired {
            certificate: CertificateId::of(certificate),
            at: options.at,
            not_after: certificate.not_after,
        });
    }
    if role == Role::Intermediate && !certificate.is_ca() {
        return Err(VerifyError::NotAuthorizedToSign { certificate: CertificateId::of(certificate) });
    }
    if let Some(limit) = extensions.basic_constraints.and_then(|constraints| constraints.max_path_len) {
        let between = chain.len().saturating_sub(1);
        if u64::try_from(between).is_ok_and(|between| between > limit) {
            return Err(VerifyError::TooManyIntermediates { certificate: CertificateId::of(certificate) });
        }
    }
    Ok(())
}

/// A search for chains.
struct Search<'a> {
    roots: &'a Pool,
    intermediates: &'a Pool,
    options: &'a Options,
    /// Candidates that were considered.
    checks: u32,
    /// Signatures that were checked. Go checks them again on each way that leads along them.
    memo: &'a mut Memo,
}

/// What becomes of a candidate.
enum Considered {
    Chains(Vec<Vec<Arc<Certificate>>>),
    /// Passed over without a word.
    Skipped,
    /// Not the signer. Go remembers it for its hint only.
    NotSigner(SignatureError),
    /// Not valid where it stands.
    Invalid(VerifyError),
    /// The certificates above it do not lead to a root.
    DeadEnd(VerifyError),
}

impl Search<'_> {
    /// All ways up from the last certificate of `chain` (`buildChains`).
    fn chains(&mut self, chain: &[Arc<Certificate>]) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
        let Some(child) = chain.last() else { return Ok(Vec::new()) };
        let mut chains = Vec::new();
        let mut hint = None;
        // that of the candidate considered last, where it is not only a wrong signer
        let mut error = None;

        let roots = self.roots.potential_parents(child).map(|parent| (Role::Root, parent));
        let intermediates = self.intermediates.potential_parents(child).map(|parent| (Role::Intermediate, parent));
        for (role, candidate) in roots.chain(intermediates) {
            self.checks += 1;
            if self.checks > MAX_CHECKS {
                error = Some(VerifyError::SignatureLimit { certificate: CertificateId::of(&chain[0]) });
                break;
            }
            match self.consider(role, candidate, child, chain) {
                Considered::Skipped => {}
                Considered::Chains(found) => {
                    chains.extend(found);
                    error = None;
                }
                Considered::NotSigner(reason) => {
                    hint.get_or_insert_with(|| RejectedAuthority::new(candidate, reason.into()));
                }
                Considered::Invalid(reason) => {
                    hint.get_or_insert_with(|| RejectedAuthority::new(candidate, reason.clone()));
                    error = Some(reason);
                }
                Considered::DeadEnd(reason) => {
                    let exhausted = matches!(reason, VerifyError::SignatureLimit { .. });
                    error = Some(reason);
                    if exhausted {
                        break;
                    }
                }
            }
        }
        if !chains.is_empty() {
            return Ok(chains);
        }
        Err(error.unwrap_or_else(|| VerifyError::UnknownAuthority { certificate: CertificateId::of(child), hint }))
    }

    /// `considerCandidate`.
    fn consider(
        &mut self,
        role: Role,
        candidate: &Arc<Certificate>,
        child: &Arc<Certificate>,
        chain: &[Arc<Certificate>],
    ) -> Considered {
        if candidate.public_key.is_none() || is_in_chain(candidate, chain) {
            return Considered::Skipped;
        }
        if let Err(reason) = self.memo.check_certificate(child, candidate) {
            return Considered::NotSigner(reason);
        }
        if let Err(reason) = check_validity(candidate, role, chain, self.options) {
            return Considered::Invalid(reason);
        }
        let mut longer = Vec::with_capacity(chain.len() + 1);
        longer.extend_from_slice(chain);
        longer.push(candidate.clone());
        if role == Role::Root {
            return Considered::Chains(vec![longer]);
        }
        match self.chains(&longer) {
            Ok(chains) => Considered::Chains(chains),
            Err(reason) => Considered::DeadEnd(reason),
        }
    }
}

/// Whether a certificate of the chain is of the same holder (`alreadyInChain`): subject, key and alternative names are equal.
fn is_in_chain(candidate: &Certificate, chain: &[Arc<Certificate>]) -> bool {
    let names = candidate.extension(SUBJECT_ALT_NAME);
    for certificate in chain {
        if candidate.raw_subject != certificate.raw_subject || candidate.raw_spki != certificate.raw_spki {
            continue;
        }
        match (names, certificate.extension(SUBJECT_ALT_NAME)) {
            (None, None) => return true,
            // Go looks no further then
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(names), Some(others)) if names == others => return true,
            (Some(_), Some(_)) => {}
        }
    }
    false
}

impl Certificate {
    /// Body of the first extension with these content octets of its object identifier.
    pub(crate) fn extension(&self, oid: &[u8]) -> Option<&Bytes> {
        self.extensions.all.iter().find(|extension| extension.oid == oid).map(|extension| &extension.value)
    }

    pub(crate) fn has_extension(&self, oid: &[u8]) -> bool {
        self.extension(oid).is_some()
    }
}
