//! All MSPs of a channel, and the identities that were seen of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::msp::SerializedIdentity;
use prost::Message as _;
use quick_cache::sync::Cache;

use super::certificate::{Certificate, CertificateError};
use super::identified::Identity;
use super::msp::{Msp, MspError};
use crate::channel::UnixSeconds;
use crate::crypto::KeyError;

/// So many identities of a channel are remembered. At about 3 KiB each that is 3 MiB; a channel with more clients than
/// that at work at once parses some certificates again.
const IDENTITIES_REMEMBERED: usize = 1024;
/// A longer creator is read each time: strangers cannot fill the memory with large ones.
const CREATOR_REMEMBERED_MAX_BYTES: usize = 8 * 1024;

/// Why a creator is nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no creator.
    #[error("the creator is empty")]
    Empty,
    /// The creator is not a `SerializedIdentity`.
    #[error("the creator is not a serialized identity")]
    Malformed,
    /// The channel does not know the MSP.
    #[error("MSP '{0}' is not defined on this channel")]
    UnknownMsp(String),
    /// Its certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// See the module's description. Definitions never change; what is remembered does, behind the cache's own shards.
pub struct Msps {
    by_id: BTreeMap<String, Arc<Msp>>,
    seen: Cache<Bytes, Result<Arc<Identity>, Arc<IdentityError>>>,
}

impl Msps {
    /// Takes the MSPs of a configuration. One that is named twice must be defined the same way twice.
    pub fn new(msps: Vec<Arc<Msp>>) -> Result<Self, MspError> {
        let mut by_id = BTreeMap::<String, Arc<Msp>>::new();
        for msp in msps {
            let known = by_id.entry(msp.id().to_owned()).or_insert_with(|| Arc::clone(&msp));
            if known.definition() != msp.definition() {
                return Err(MspError::Conflict { msp_id: msp.id().to_owned() });
            }
        }
        Ok(Self { by_id, seen: Cache::new(IDENTITIES_REMEMBERED) })
    }

    /// The MSP of this name.
    pub fn get(&self, msp_id: &str) -> Option<&Arc<Msp>> {
        self.by_id.get(msp_id)
    }

    /// All MSPs, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Msp>> {
        self.by_id.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Who the serialized identity is. About 0.2 µs for one seen before, 150 µs for a new one. Failures are remembered
    /// too: a stranger who keeps sending costs no more than a member.
    pub fn identify(&self, serialized: &Bytes) -> Result<Arc<Identity>, Arc<IdentityError>> {
        if let Some(known) = self.seen.get(serialized) {
            return known;
        }
        let outcome = self.read(serialized).map(Arc::new).map_err(Arc::new);
        if serialized.len() > CREATOR_REMEMBERED_MAX_BYTES {
            return outcome;
        }
        // a copy of the bytes: the caller's are a slice of a whole envelope, which must not live as long
        self.seen.insert(Bytes::copy_from_slice(serialized), outcome.clone());
        outcome
    }

    fn read(&self, serialized: &Bytes) -> Result<Identity, IdentityError> {
        if serialized.is_empty() {
            return Err(IdentityError::Empty);
        }
        let identity = SerializedIdentity::decode(serialized.clone()).map_err(|_| IdentityError::Malformed)?;
        let msp = self.by_id.get(&identity.mspid).ok_or(IdentityError::UnknownMsp(identity.mspid))?;
        msp.identify(&identity.id_bytes)
    }
}

impl fmt::Debug for Msps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_id.keys()).finish()
    }
}

/// When the certificate of a serialized identity expires, whoever issued it. `None` if that cannot be read: such an
/// identity does not fail for being expired, as in the reference.
pub fn expires_at(serialized: &[u8]) -> Option<UnixSeconds> {
    let identity = SerializedIdentity::decode(serialized).ok()?;
    Some(Certificate::from_pem(&identity.id_bytes).ok()?.not_after)
}
