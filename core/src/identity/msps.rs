//! All MSPs of a channel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::lenient::decode;
use fabric_proto::msp::SerializedIdentity;

use super::authorities::ChainError;
use super::certificate::{CertificateError, from_pem};
use super::identified::Identity;
use super::msp::Msp;
use super::setup::MspError;
use crate::channel::UnixSeconds;
use crate::crypto::KeyError;

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
    /// Its certificate is signed with ECDSA, and does not lead to a root of the MSP. (What is signed otherwise is somebody, whom
    /// the MSP does not vouch for: Fabric tells the two apart.)
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// The MSPs of a channel, by name.
pub struct Msps(BTreeMap<String, Arc<Msp>>);

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
        Ok(Self(by_id))
    }

    /// The MSP of this name.
    pub fn get(&self, msp_id: &str) -> Option<&Arc<Msp>> {
        self.0.get(msp_id)
    }

    /// All MSPs, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Msp>> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who the serialized identity is. About 0.3 µs for one that its MSP has seen before, 150 µs for a new one.
    pub fn identify(&self, serialized: &Bytes) -> Result<Arc<Identity>, Arc<IdentityError>> {
        if serialized.is_empty() {
            return Err(Arc::new(IdentityError::Empty));
        }
        let identity = decode::<SerializedIdentity>(serialized.clone()).map_err(|_| IdentityError::Malformed)?;
        match self.0.get(&identity.mspid) {
            Some(msp) => msp.identify(&identity.id_bytes),
            None => Err(Arc::new(IdentityError::UnknownMsp(identity.mspid))),
        }
    }
}

impl fmt::Debug for Msps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// When the certificate of a serialized identity expires, whoever issued it. `None` if that cannot be read: such an
/// identity does not fail for being expired, as in Fabric.
pub fn expires_at(serialized: &[u8]) -> Option<UnixSeconds> {
    let identity = decode::<SerializedIdentity>(Bytes::copy_from_slice(serialized)).ok()?;
    Some(UnixSeconds(from_pem(&identity.id_bytes).ok()?.not_after()))
}
