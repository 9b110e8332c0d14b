//! The members of an MSP that were seen lately.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quick_cache::sync::Cache;

use super::identified::Identity;
use super::msps::IdentityError;

/// So many identities of an MSP are remembered. At about 3 KiB each that is 3 MiB; an organization with more clients than
/// that at work at once has some certificates read again.
const REMEMBERED: usize = 1024;
/// A longer certificate is read each time: strangers cannot fill the memory with large ones.
const REMEMBERED_MAX_BYTES: usize = 8 * 1024;

type Outcome = Result<Arc<Identity>, Arc<IdentityError>>;

/// See the module's description. It belongs to one definition: an MSP that a configuration defines anew starts with
/// nobody, and channels that share a definition share what was read under it.
#[derive(Default)]
pub(super) struct Members(OnceLock<Cache<Bytes, Outcome>>);

impl Members {
    /// What is remembered of the certificate, else what `read` finds out. Failures are remembered, too: a stranger who
    /// keeps sending costs no more than a member.
    pub(super) fn recall(&self, pem: &Bytes, read: impl FnOnce() -> Result<Identity, IdentityError>) -> Outcome {
        // most definitions are never asked: the table is made for those that are
        let seen = self.0.get_or_init(|| Cache::new(REMEMBERED));
        if let Some(known) = seen.get(pem) {
            return known;
        }
        let outcome = read().map(Arc::new).map_err(Arc::new);
        if pem.len() <= REMEMBERED_MAX_BYTES {
            // a copy of the bytes: the caller's are a slice of a whole envelope, which must not live as long
            seen.insert(Bytes::copy_from_slice(pem), outcome.clone());
        }
        outcome
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({})", self.0.get().map_or(0, Cache::len))
    }
}
