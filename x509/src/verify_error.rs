//! Errors of verifying a certificate.

use std::fmt;

use bytes::Bytes;

use crate::certificate::Certificate;
use crate::constraints::ConstraintError;
use crate::name::Name;
use crate::signature::SignatureError;

/// Identifies the certificate that an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateId(Box<(Name, Bytes)>);

impl CertificateId {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        Self(Box::new((certificate.subject.clone(), certificate.serial.clone())))
    }

    /// Returns the certificate's subject.
    pub fn subject(&self) -> &Name {
        &self.0.0
    }

    /// Returns the content octets of the serial number.
    pub fn serial(&self) -> &Bytes {
        &self.0.1
    }
}

impl fmt::Display for CertificateId {
    /// Formats for instance `certificate "CN=ca.example.com" with serial number 01af`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate \"{}\" with serial number ", self.subject())?;
        self.serial().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An authority that has the issuer's name but was rejected as the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedAuthority(Box<(CertificateId, VerifyError)>);

impl RejectedAuthority {
    pub(crate) fn new(authority: &Certificate, reason: VerifyError) -> Self {
        Self(Box::new((CertificateId::of(authority), reason)))
    }

    /// Returns the rejected authority.
    pub fn authority(&self) -> &CertificateId {
        &self.0.0
    }

    /// Returns the reason of the rejection.
    pub fn reason(&self) -> &VerifyError {
        &self.0.1
    }
}

/// Reason why there is no chain (the errors of Go's `Certificate.Verify`, in its order of
/// precedence).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No chain leads to a root.
    #[error("certificate signed by unknown authority: {certificate}{}", hint_text(.hint.as_ref()))]
    UnknownAuthority {
        /// The last certificate of a chain, whose issuer is unknown.
        certificate: CertificateId,
        /// The first authority with the issuer's name that was rejected.
        hint: Option<RejectedAuthority>,
    },
    /// The certificate has a critical extension that is not supported.
    #[error("unhandled critical extension {extensions}: {certificate}")]
    UnhandledCriticalExtension {
        /// The certificate.
        certificate: CertificateId,
        /// Object identifiers in dotted form, separated by commas.
        extensions: String,
    },
    /// The certificate's validity starts later.
    #[error(
        "certificate has expired or is not yet valid: current time {at} is before {not_before} (seconds since 1970): {certificate}"
    )]
    NotYetValid {
        /// The certificate.
        certificate: CertificateId,
        /// Time of the verification, in seconds since 1970.
        at: i64,
        /// Start of the validity, in seconds since 1970.
        not_before: i64,
    },
    /// The certificate's validity has ended.
    #[error(
        "certificate has expired or is not yet valid: current time {at} is after {not_after} (seconds since 1970): {certificate}"
    )]
    Expired {
        /// The certificate.
        certificate: CertificateId,
        /// Time of the verification, in seconds since 1970.
        at: i64,
        /// End of the validity, in seconds since 1970.
        not_after: i64,
    },
    /// The certificate is not an authority's.
    #[error("certificate is not authorized to sign other certificates: {certificate}")]
    NotAuthorizedToSign {
        /// The certificate.
        certificate: CertificateId,
    },
    /// More certificates are between the certificate and the leaf than it allows.
    #[error("too many intermediates for path length constraint: {certificate}")]
    TooManyIntermediates {
        /// The certificate.
        certificate: CertificateId,
    },
    /// A signature is invalid. This occurs only as the reason of a [`RejectedAuthority`].
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The search ended after the maximum number of candidates, as in Go.
    #[error("signature check attempts limit reached while verifying certificate chain: {certificate}")]
    SignatureLimit {
        /// The leaf.
        certificate: CertificateId,
    },
    /// The work exceeds the budget of a [`Memo`](crate::Memo); Go has no such limit.
    #[error(
        "too much work to verify certificates: leave out authorities and revocation lists that no member of the organization needs: \
         {certificate}"
    )]
    WorkLimit {
        /// The leaf of the chain at which the budget was used up.
        certificate: CertificateId,
    },
    /// The name constraints of an authority do not allow a name.
    #[error("a root or intermediate certificate is not authorized to sign for this name: {source}: {certificate}")]
    NotAuthorizedForThisName {
        /// The leaf.
        certificate: CertificateId,
        /// The name and the constraint.
        source: ConstraintError,
    },
    /// The extended key usages of the leaf or an authority do not allow the purpose.
    #[error("certificate specifies an incompatible key usage: {certificate}")]
    IncompatibleUsage {
        /// The leaf.
        certificate: CertificateId,
    },
    /// Chains have invalid policies; others may have incompatible extended key usages.
    #[error(
        "no valid chains built: {incompatible_usage} candidate chains with incompatible key usage, {invalid_policies} candidate chains with invalid policies: {certificate}"
    )]
    NoValidChains {
        /// The leaf.
        certificate: CertificateId,
        /// Number of chains with incompatible extended key usages.
        incompatible_usage: usize,
        /// Number of chains with invalid policies.
        invalid_policies: usize,
    },
    /// The leaf violates Fabric's own rule
    /// ([`verify_legacy_name_constraints`](crate::verify_legacy_name_constraints)).
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
