//! Why a certificate does not verify.

use std::fmt;

use bytes::Bytes;

use crate::certificate::Certificate;
use crate::constraints::ConstraintError;
use crate::name::Name;
use crate::signature::SignatureError;

/// Which certificate an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateId(Box<(Name, Bytes)>);

impl CertificateId {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        Self(Box::new((certificate.subject.clone(), certificate.serial.clone())))
    }

    /// Whose it is.
    pub fn subject(&self) -> &Name {
        &self.0.0
    }

    /// Content octets of its serial number.
    pub fn serial(&self) -> &Bytes {
        &self.0.1
    }
}

impl fmt::Display for CertificateId {
    /// Such as `certificate "CN=ca.example.com" with serial number 01af`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate \"{}\" with serial number ", self.subject())?;
        self.serial().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An authority that has the issuer's name and yet is not the issuer of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedAuthority(Box<(CertificateId, VerifyError)>);

impl RejectedAuthority {
    pub(crate) fn new(authority: &Certificate, reason: VerifyError) -> Self {
        Self(Box::new((CertificateId::of(authority), reason)))
    }

    /// Which.
    pub fn authority(&self) -> &CertificateId {
        &self.0.0
    }

    /// Why not.
    pub fn reason(&self) -> &VerifyError {
        &self.0.1
    }
}

/// Why no chain was found (the errors of Go's `Certificate.Verify`, in its order of precedence).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No way leads to a root.
    #[error("certificate signed by unknown authority: {certificate}{}", hint_text(.hint.as_ref()))]
    UnknownAuthority {
        /// Whose issuer is not known: the last one of a chain that could not be continued.
        certificate: CertificateId,
        /// The first one with the issuer's name that was rejected.
        hint: Option<RejectedAuthority>,
    },
    /// It has a critical extension that is not understood.
    #[error("unhandled critical extension {extensions}: {certificate}")]
    UnhandledCriticalExtension {
        /// Which.
        certificate: CertificateId,
        /// Object identifiers in dotted form, separated by commas.
        extensions: String,
    },
    /// Its validity begins later.
    #[error(
        "certificate has expired or is not yet valid: current time {at} is before {not_before} (seconds since 1970): {certificate}"
    )]
    NotYetValid {
        /// Which.
        certificate: CertificateId,
        /// Time of the verification, in seconds since 1970.
        at: i64,
        /// Beginning of its validity, in seconds since 1970.
        not_before: i64,
    },
    /// Its validity has ended.
    #[error(
        "certificate has expired or is not yet valid: current time {at} is after {not_after} (seconds since 1970): {certificate}"
    )]
    Expired {
        /// Which.
        certificate: CertificateId,
        /// Time of the verification, in seconds since 1970.
        at: i64,
        /// End of its validity, in seconds since 1970.
        not_after: i64,
    },
    /// It is no authority's.
    #[error("certificate is not authorized to sign other certificates: {certificate}")]
    NotAuthorizedToSign {
        /// Which.
        certificate: CertificateId,
    },
    /// More certificates stand between it and the leaf than it allows.
    #[error("too many intermediates for path length constraint: {certificate}")]
    TooManyIntermediates {
        /// Which.
        certificate: CertificateId,
    },
    /// A signature does not count. It only occurs as the reason of a [`RejectedAuthority`].
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The search was given up after as many candidates as Go considers.
    #[error("signature check attempts limit reached while verifying certificate chain: {certificate}")]
    SignatureLimit {
        /// The leaf.
        certificate: CertificateId,
    },
    /// Name constraints of an authority above.
    #[error("a root or intermediate certificate is not authorized to sign for this name: {source}: {certificate}")]
    NotAuthorizedForThisName {
        /// The leaf.
        certificate: CertificateId,
        /// Which name, and why.
        source: ConstraintError,
    },
    /// Extended key usages of the leaf or an authority above.
    #[error("certificate specifies an incompatible key usage: {certificate}")]
    IncompatibleUsage {
        /// The leaf.
        certificate: CertificateId,
    },
    /// Policies, or policies here and extended key usages there.
    #[error(
        "no valid chains built: {incompatible_usage} candidate chains with incompatible key usage, {invalid_policies} candidate chains with invalid policies: {certificate}"
    )]
    NoValidChains {
        /// The leaf.
        certificate: CertificateId,
        /// How many chains failed by extended key usages.
        incompatible_usage: usize,
        /// How many chains failed by policies.
        invalid_policies: usize,
    },
    /// Fabric's own rule ([`verify_legacy_name_constraints`](crate::verify_legacy_name_constraints)).
    #[error("issuer has name constraints but leaf doesn't have a SAN extension: {certificate}")]
    NameConstraintsWithoutSans {
        /// The leaf.
        certificate: CertificateId,
    },
}

fn hint_text(hint: Option<&RejectedAuthority>) -> String {
    hint.map(|hint| {
        format!(
            " (possibly because of \"{}\" while trying to verify candidate authority {})",
            hint.reason(),
            hint.authority()
        )
    })
    .unwrap_or_default()
}
