//! Name constraints: whether an authority may sign the names in the certificates below it (`checkChainConstraints` of Go's
//! `crypto/x509`, in the form that it has since Go 1.26).
//!
//! As in Go, lists of constraints are sorted, entries contained in others are dropped, and a name is compared only with its
//! neighbors in the list. The result can differ from comparing the name with each entry: addresses with bits outside their
//! mask may hide others. This module keeps Go's results.

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
use crate::memo::Memo;
use crate::verify::{NAME_CONSTRAINTS, SUBJECT_ALT_NAME};

/// A name in a chain violates the name constraints of an authority above it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// No permitted subtree contains the name.
    #[error("{kind} {name:?} is not permitted by any constraint")]
    NotPermitted {
        /// Kind of the name.
        kind: NameKind,
        /// The name.
        name: String,
    },
    /// An excluded subtree contains the name.
    #[error("{kind} {name:?} is excluded by a constraint")]
    Excluded {
        /// Kind of the name.
        kind: NameKind,
        /// The name.
        name: String,
    },
    /// The name has a form that cannot be compared with constraints.
    #[error("{kind} {name:?} cannot be matched against constraints")]
    NotComparable {
        /// Kind of the name.
        kind: NameKind,
        /// The name.
        name: String,
    },
}

/// Kinds of names that constraints apply to.
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

/// Constraints on one kind of name; a side that is `None` does not constrain.
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

/// Name constraints of one authority's certificate.
pub(crate) struct Constraints {
    ips: Sides<Addresses>,
    dns: Sides<Domains>,
    uris: Sides<Domains>,
    emails: Sides<Mailboxes>,
}

impl std::fmt::Debug for Constraints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraints").finish_non_exhaustive()
    }
}

impl Constraints {
    /// Returns the constraints of an authority's certificate.
    pub(crate) fn of(authority: &Certificate) -> Self {
        let none = NameConstraints::default();
        let NameConstraints { permitted, excluded } = authority.extensions.name_constraints.as_ref().unwrap_or(&none);
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
        }
    }

    /// Checks the names of one certificate below the authority, in Go's order.
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

/// Names of one certificate, in the form in which constraints are compared with them.
struct Names<'a> {
    alternatives: &'a SubjectAltName,
    /// Hosts of the URIs.
    hosts: Vec<String>,
    mailboxes: Vec<Mailbox>,
}

impl<'a> Names<'a> {
    /// Prepares the names. Rejects a name that cannot be compared, whatever kinds the constraints apply to.
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

/// Checks that every alternative name in the chain, from the leaf to the root, satisfies the constraints of all authorities
/// above it.
pub(crate) fn check_chain(chain: &[Arc<Certificate>], memo: &mut Memo) -> Result<(), ConstraintError> {
    let constraining: Vec<_> =
        chain.iter().enumerate().filter(|(_, certificate)| certificate.has_extension(NAME_CONSTRAINTS)).collect();
    let none = SubjectAltName::default();
    for (position, certificate) in chain.iter().enumerate() {
        let above = &constraining[constraining.partition_point(|(above, _)| *above <= position)..];
        if above.is_empty() {
            break;
        }
        if !certificate.has_extension(SUBJECT_ALT_NAME) {
            continue;
        }
        let mut names = None;
        for (_, authority) in above {
            memo.names_allowed(certificate, authority, |constraints| {
                let names = match &names {
                    Some(names) => names,
                    None => {
                        names.insert(Names::new(certificate.extensions.subject_alt_name.as_ref().unwrap_or(&none))?)
                    }
                };
                constraints.check(names)
            })?;
        }
    }
    Ok(())
}
