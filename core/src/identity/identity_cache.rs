//! Cache of an MSP's recently parsed identities.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quick_cache::sync::Cache;

use super::member_identity::Identity;
use super::msp_manager::IdentityError;

/// Maximum number of cached identities of an MSP. At about 3 KiB each that is 3 MiB; if more clients of an organization
/// are active at once, some certificates are parsed again.
const CACHE_CAPACITY: usize = 1024;
/// Maximum size in bytes of a cached certificate. A longer one is parsed each time, so that unknown clients cannot fill
/// the memory with large ones.
const MAX_CACHED_IDENTITY_BYTES: usize = 8 * 1024;

type CachedIdentity = Result<Arc<Identity>, Arc<IdentityError>>;

/// Cache of an MSP's recently parsed identities. It belongs to one definition: an MSP that a configuration redefines
/// starts with an empty cache, and channels that share a definition share its cache.
#[derive(Default)]
pub(super) struct IdentityCache(OnceLock<Cache<Bytes, CachedIdentity>>);

impl IdentityCache {
    /// Returns the cached result for the certificate, else the result of `read`. Failures are cached, too: an unknown
    /// client that keeps sending costs no more than a member.
    pub(super) fn recall(&self, pem: &Bytes, read: impl FnOnce() -> Result<Identity, IdentityError>) -> CachedIdentity {
        // most definitions identify no one, so the table is allocated on first use
        let seen = self.0.get_or_init(|| Cache::new(CACHE_CAPACITY));
        if let Some(known) = seen.get(pem) {
            return known;
        }
        let outcome = read().map(Arc::new).map_err(Arc::new);
        if pem.len() <= MAX_CACHED_IDENTITY_BYTES {
            // a copy of the bytes: the caller's are a slice of a whole envelope, which must not live as long
            seen.insert(Bytes::copy_from_slice(pem), outcome.clone());
        }
        outcome
    }
}

impl fmt::Debug for IdentityCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({})", self.0.get().map_or(0, Cache::len))
    }
}
