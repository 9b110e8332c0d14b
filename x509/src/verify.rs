//! Builds all chains from a certificate to trusted roots (`Certificate.Verify` of Go's `crypto/x509`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::certificate::Certificate;
use crate::extension::ExtendedKeyUsage;
use crate::memo::Memo;
use crate::signature::SignatureError;
use crate::verify_error::{CertificateId, RejectedAuthority, VerifyError};
use crate::{constraints, cost, policies};

/// Content octets of the object identifier of subject alternative names (2.5.29.17).
pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Content octets of the object identifier of name constraints (2.5.29.30).
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];

/// Maximum number of candidates in one search, as in Go (`maxChainSignatureChecks`). It also bounds the length of chains.
const MAX_CHECKS: u32 = 100;

/// Certificates among which issuers are searched. Exact duplicates are left out.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// All certificates in the order in which they were added.
    certificates: Vec<Arc<Certificate>>,
    by_subject: HashMap<Bytes, Namesakes>,
    known: HashSet<Bytes>,
}

/// Certificates with the same subject, in the order in which they were added.
#[derive(Clone, Debug, Default)]
struct Namesakes {
    all: Vec<Arc<Certificate>>,
    /// The same certificates by their subject key identifier; an empty identifier counts as none.
    by_key_id: HashMap<Bytes, Vec<Arc<Certificate>>>,
}

impl Pool {
    /// Creates a pool of these certificates.
    pub fn new(certificates: impl IntoIterator<Item = Arc<Certificate>>) -> Self {
        let mut pool = Self::default();
        for certificate in certificates {
            pool.add(certificate);
        }
        pool
    }

    /// Adds a certificate, unless the pool has it already.
    pub fn add(&mut self, certificate: Arc<Certificate>) {
        if self.known.insert(certificate.raw.clone()) {
            let namesakes = self.by_subject.entry(certificate.raw_subject.clone()).or_default();
            namesakes.all.push(certificate.clone());
            namesakes.by_key_id.entry(key_id(&certificate).clone()).or_default().push(certificate.clone());
            self.certificates.push(certificate);
        }
    }

    /// Whether the pool has exactly this certificate.
    pub fn contains(&self, certificate: &Certificate) -> bool {
        self.known.contains(&certificate.raw)
    }

    /// Returns all certificates, in the order in which they were added.
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// Returns the certificates that have the name of the child's issuer, the more plausible ones first (`findPotentialParents`):
    /// those with an equal key identifier, then those without one, then those with a different one. The iterator is lazy, because
    /// there may be thousands, of which a search considers a hundred.
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

/// Returns the subject key identifier; an empty one counts as none.
fn key_id(certificate: &Certificate) -> &Bytes {
    static NONE: Bytes = Bytes::new();
    certificate.extensions.subject_key_id.as_ref().unwrap_or(&NONE)
}

/// Purpose of a chain: the extended key usage, or `anyExtendedKeyUsage`, that each certificate in it must have if it lists any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Any purpose: extended key usages are not checked.
    Any,
    /// TLS servers. This is Go's default, and so Fabric's MSP requires it of its members.
    #[default]
    ServerAuth,
    /// TLS clients.
    ClientAuth,
}

/// Time at which a chain has to be valid, and its purpose (`VerifyOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Time in seconds since 1970.
    pub at: i64,
    /// Purpose of the chain.
    pub purpose: Purpose,
}

/// Returns all chains from `leaf` to one of `roots`, each starting with `leaf`, at this time (seconds since 1970): those that Go
/// finds with the options that Fabric's MSP sets.
///
/// # Errors
/// There is no chain. The error is the one that Go returns.
pub fn verify(
    leaf: &Arc<Certificate>,
    roots: &Pool,
    intermediates: &Pool,
    at: i64,
    memo: &mut Memo,
) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
    verify_with(leaf, roots, intermediates, &Options { at, ..Options::default() }, memo)
}

/// Returns all chains from `leaf` to one of `roots`, each starting with `leaf`, that satisfy these options.
///
/// A leaf that is among the roots is a chain by itself, regardless of its signature. The cost of a search is bounded as in Go: it
/// considers at most a hundred candidates, and verifies at most as many signatures. Signatures whose results are in `memo` are
/// not verified again, but count. A bounded memo also has a budget, which Go does not have.
///
/// # Errors
/// There is no chain, or the memo's budget is used up. The error is the one that Go returns, except for the budget.
pub fn verify_with(
    leaf: &Arc<Certificate>,
    roots: &Pool,
    intermediates: &Pool,
    options: &Options,
    memo: &mut Memo,
) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
    check_validity(leaf, Role::Leaf, &[], options)?;
    let candidates = if roots.contains(leaf) {
        Ok(vec![vec![leaf.clone()]])
    } else {
        let mut search = Search { roots, intermediates, options, checks: 0, memo };
        search.chains(std::slice::from_ref(leaf))
    };
    let chains = candidates.and_then(|candidates| filter(candidates, options.purpose, memo));
    // an incomplete search has no valid result, because checks were skipped
    if memo.is_exhausted() { Err(VerifyError::WorkLimit { certificate: CertificateId::of(leaf) }) } else { chains }
}

/// Removes chains that are invalid as a whole, and returns the reason if none is left.
fn filter(
    candidates: Vec<Vec<Arc<Certificate>>>,
    purpose: Purpose,
    memo: &mut Memo,
) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
    let (mut invalid_policies, mut incompatible_usage, mut constraint) = (0, 0, None);
    let leaf = candidates.first().and_then(|chain| chain.first()).cloned();
    let chains: Vec<_> = candidates
        .into_iter()
        .filter(|chain| {
            if !policies::are_valid(chain, memo) {
                invalid_policies += 1;
                return false;
            }
            if !usage_fits(chain, purpose) {
                incompatible_usage += 1;
                return false;
            }
            match constraints::check_chain(chain, memo) {
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

/// Implements `checkChainForKeyUsage` for one usage.
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

/// Position of a candidate in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Leaf,
    Intermediate,
    Root,
}

/// Implements `isValid`: checks a certificate's own conditions, and those on the `chain` below it.
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

/// State of a search for chains.
struct Search<'a> {
    roots: &'a Pool,
    intermediates: &'a Pool,
    options: &'a Options,
    /// Number of candidates considered so far.
    checks: u32,
    /// Results of verified signatures. Go verifies them again in each chain that contains them.
    memo: &'a mut Memo,
}

/// Result of considering a candidate.
enum Considered {
    Chains(Vec<Vec<Arc<Certificate>>>),
    /// The candidate is ignored.
    Skipped,
    /// The candidate is not the signer. Go keeps this for its hint only.
    NotSigner(SignatureError),
    /// The candidate is not valid in its position.
    Invalid(VerifyError),
    /// No chain leads from the candidate to a root.
    DeadEnd(VerifyError),
}

impl Search<'_> {
    /// Returns all chains that continue `chain` upward from its last certificate (`buildChains`).
    fn chains(&mut self, chain: &[Arc<Certificate>]) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
        let Some(child) = chain.last() else { return Ok(Vec::new()) };
        let mut chains = Vec::new();
        let mut hint = None;
        // error of the last candidate, except for candidates that are only the wrong signer
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

    /// Implements `considerCandidate`.
    fn consider(
        &mut self,
        role: Role,
        candidate: &Arc<Certificate>,
        child: &Arc<Certificate>,
        chain: &[Arc<Certificate>],
    ) -> Considered {
        self.memo.spend(cost::CANDIDATE);
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

/// Whether the chain has a certificate of the same holder (`alreadyInChain`), with equal subject, key and alternative names.
fn is_in_chain(candidate: &Certificate, chain: &[Arc<Certificate>]) -> bool {
    for certificate in chain {
        if candidate.raw_subject != certificate.raw_subject || candidate.raw_spki != certificate.raw_spki {
            continue;
        }
        match (candidate.extension(SUBJECT_ALT_NAME), certificate.extension(SUBJECT_ALT_NAME)) {
            (None, None) => return true,
            // Go stops the comparison here
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(names), Some(others)) if names == others => return true,
            (Some(_), Some(_)) => {}
        }
    }
    false
}

impl Certificate {
    /// Returns the body of the extension with these content octets of its object identifier.
    pub(crate) fn extension(&self, oid: &[u8]) -> Option<&Bytes> {
        self.extensions.find(oid).map(|extension| &extension.value)
    }

    pub(crate) fn has_extension(&self, oid: &[u8]) -> bool {
        self.extension(oid).is_some()
    }
}
