//! From a certificate up to trusted roots: all ways (`Certificate.Verify` with the options that Fabric sets).

use std::sync::Arc;

use crate::certificate::Certificate;

/// Certificates among which issuers are looked for. Exact duplicates are left out.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    _certificates: Vec<Arc<Certificate>>,
}

impl Pool {
    /// One with these certificates.
    pub fn new(_certificates: impl IntoIterator<Item = Arc<Certificate>>) -> Self {
        todo!()
    }
}

/// Why no chain was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No way leads to a root.
    #[error("certificate signed by unknown authority")]
    UnknownAuthority,
}

/// All chains from `leaf` to one of `roots`, each from `leaf` to the root, at this time (seconds since 1970).
///
/// # Errors
/// There is none.
pub fn verify(
    _leaf: &Arc<Certificate>,
    _roots: &Pool,
    _intermediates: &Pool,
    _at: i64,
) -> Result<Vec<Vec<Arc<Certificate>>>, VerifyError> {
    todo!()
}
