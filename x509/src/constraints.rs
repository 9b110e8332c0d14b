//! Name constraints: whether the names below an authority are ones that it may sign (`checkChainConstraints` of Go's
//! `crypto/x509`, in the form that it has since Go 1.26).
//!
//! Lists of constraints are sorted, entries within others are dropped, and one neighbour of the name's place is asked. That is
//! not the same as to ask each entry: addresses with bits behind their mask may hide others. Go's way decides, so it is kept.

mod addresses;
mod domains;
mod names;

use std::sync::Arc;

use self::addresses::Addresses;
use self::domains::Domains;
use self::names::Mailboxes;
use crate::certificate::Certificate;
use crate::domain::{Mailbox, is_domain};
use crate::extension::{NameConstraints, SubjectAltName};
use crate::verify::{NAME_CONSTRAINTS, SUBJECT_ALT_NAME};

/// Why a name in a chain is one that no certificate below an authority with name constraints may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// No permitted subtree contains it.
    #[error("{kind} {name:?} is not permitted by any constraint")]
    NotPermitted {
        /// Kind of the name.
        kind: NameKind,
        /// The name.
        name: String,
    },
    /// An excluded subtree contains it.
    #[error("{kind} {name:?} is excluded by a constraint")]
    Excluded {
        /// Kind of the name.
        kind: NameKind,
        /// The name.
        name: String,
    },
    /// It has no form that could be compared with a constraint.
    #[error("{kind} {name:?} cannot be matched against constraints")]
    NotComparable {
        /// Kind of the name.
        kind: NameKind,
        /// The name.
        name: String,
    },
}

/// Kinds of names that constraints are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameKind {
    /// IP addresses.
    Ip,
    /// DNS names.
    Dns,
    /// URIs.
    Uri,
    /// E-mail addresses.
    Email,
}

impl std::fmt::Display for NameKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ip => "IP address",
            Self::Dns => "DNS name",
            Self::Uri => "URI",
            Self::Email => "email address",
        })
    }
}

/// Constraints on one kind of names; a side without an entry does not constrain.
struct Sides<T> {
    permitted: Option<T>,
    excluded: Option<T>,
}

impl<T> Sides<T> {
    fn check<N: ?Sized>(
        &self,
        kind: NameKind,
        name: &N,
        shown: &str,
        contains: impl Fn(&T, &N) -> bool,
    ) -> Result<(), ConstraintError> {
        if self.permitted.as_ref().is_some_and(|permitted| !contains(permitted, name)) {
            return Err(ConstraintError::NotPermitted { kind, name: shown.to_owned() });
        }
        if self.excluded.as_ref().is_some_and(|excluded| contains(excluded, name)) {
            return Err(ConstraintError::Excluded { kind, name: shown.to_owned() });
        }
        Ok(())
    }
}

/// What one authority's certificate says.
struct Constraints {
    ips: Sides<Addresses>,
    dns: Sides<Domains>,
    uris: Sides<Domains>,
    emails: Sides<Mailboxes>,
    /// Position of the certificate in the chain.
    position: usize,
}

impl Constraints {
    fn new(position: usize, constraints: &NameConstraints) -> Self {
        let NameConstraints { permitted, excluded } = constraints;
        Self {
            ips: Sides { permitted: Addresses::new(&permitted.ips), excluded: Addresses::new(&excluded.ips) },
            dns: Sides {
                permitted: Domains::new(permitted.dns.iter().map(String::as_str), true),
                excluded: Domains::new(excluded.dns.iter().map(String::as_str), false),
            },
            uris: Sides {
                permitted: Domains::new(permitted.uris.iter().map(String::as_str), true),
                excluded: Domains::new(excluded.uris.iter().map(String::as_str), false),
            },
            emails: Sides {
                permitted: Mailboxes::new(&permitted.emails, true),
                excluded: Mailboxes::new(&excluded.emails, false),
            },
            position,
        }
    }

    /// Names of one certificate below, in Go's order.
    fn check(&self, names: &Names<'_>) -> Result<(), ConstraintError> {
        for ip in &names.alternatives.ips {
            self.ips.check(NameKind::Ip, ip, &ip.to_string(), Addresses::contain)?;
        }
        for name in &names.alternatives.dns {
            if !is_domain(name.as_bytes()) {
                return Err(not_comparable(NameKind::Dns, name));
            }
            self.dns.check(NameKind::Dns, name.as_str(), name, Domains::contain)?;
        }
        for (host, uri) in names.hosts.iter().zip(&names.alternatives.uris) {
            if !is_domain(host.as_bytes()) {
                return Err(not_comparable(NameKind::Uri, uri));
            }
            self.uris.check(NameKind::Uri, host.as_str(), uri, Domains::contain)?;
        }
        for (mailbox, email) in names.mailboxes.iter().zip(&names.alternatives.emails) {
            if !is_domain(mailbox.domain.as_bytes()) {
                return Err(not_comparable(NameKind::Email, email));
            }
            self.emails.check(NameKind::Email, mailbox, email, Mailboxes::contain)?;
        }
        Ok(())
    }
}

/// Names of one certificate, as constraints are compared with them.
struct Names<'a> {
    alternatives: &'a SubjectAltName,
    /// Hosts of the URIs.
    hosts: Vec<String>,
    mailboxes: Vec<Mailbox>,
}

impl<'a> Names<'a> {
    /// A name that cannot be compared is refused whatever the constraints are about.
    fn new(alternatives: &'a SubjectAltName) -> Result<Self, ConstraintError> {
        let hosts = alternatives
            .uris
            .iter()
            .map(|uri| names::uri_host(uri).ok_or_else(|| not_comparable(NameKind::Uri, uri)))
            .collect::<Result<_, _>>()?;
        let mailboxes = alternatives
            .emails
            .iter()
            .map(|email| Mailbox::parse(email).ok_or_else(|| not_comparable(NameKind::Email, email)))
            .collect::<Result<_, _>>()?;
        Ok(Self { alternatives, hosts, mailboxes })
    }
}

fn not_comparable(kind: NameKind, name: &str) -> ConstraintError {
    ConstraintError::NotComparable { kind, name: name.to_owned() }
}

/// Whether every alternative name in the chain, from the leaf to the root, is one that all authorities above may sign.
pub(crate) fn check_chain(chain: &[Arc<Certificate>]) -> Result<(), ConstraintError> {
    let constraints: Vec<Constraints> = chain
        .iter()
        .enumerate()
        .filter(|(_, certificate)| certificate.has_extension(NAME_CONSTRAINTS))
        .map(|(position, certificate)| match &certificate.extensions.name_constraints {
            Some(constraints) => Constraints::new(position, constraints),
            None => Constraints::new(position, &NameConstraints::default()),
        })
        .collect();
    let none = SubjectAltName::default();
    for (position, certificate) in chain.iter().enumerate() {
        let above = &constraints[constraints.partition_point(|constraints| constraints.position <= position)..];
        if above.is_empty() {
            break;
        }
        if !certificate.has_extension(SUBJECT_ALT_NAME) {
            continue;
        }
        let names = Names::new(certificate.extensions.subject_alt_name.as_ref().unwrap_or(&none))?;
        for constraints in above {
            constraints.check(&names)?;
        }
    }
    Ok(())
}
