//! Who a message says it is of.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::UnixSeconds;
use crate::envelope::{EnvelopeError, Message, SignedEnvelope};
use crate::identity::{Identity, IdentityError, Msps, expires_at};
use crate::policy::Claim;

/// A message's creator, found once for all who ask: the filters, and who counts what is sent. Whether the signature is the
/// creator's is not known by it.
#[derive(Debug)]
pub struct Creator(Result<Named, EnvelopeError>);

/// Whom the signature header names.
#[derive(Debug)]
struct Named {
    serialized: Bytes,
    identity: Result<Arc<Identity>, Arc<IdentityError>>,
}

impl Creator {
    /// The creator of `message`, as a channel with these MSPs knows it.
    pub fn of(message: &Message, msps: &Msps) -> Self {
        let name = |serialized: Bytes| Named { identity: msps.identify(&serialized), serialized };
        Self(message.read_signature_header().map(|header| name(header.creator)))
    }

    /// `None` if the channel does not know it, or there is none.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.0.as_ref().ok()?.identity.as_ref().ok()
    }

    /// When its certificate expires, if that can be read.
    pub(super) fn not_after(&self) -> Option<UnixSeconds> {
        let named = self.0.as_ref().ok()?;
        match &named.identity {
            Ok(identity) => Some(identity.not_after()),
            Err(_) => expires_at(&named.serialized),
        }
    }

    /// What it claims to have signed by `envelope`: `Err` without a signature header, and within if it is nobody.
    pub(super) fn signed<'a>(
        &'a self,
        envelope: &'a SignedEnvelope,
    ) -> Result<Result<Claim<'a>, &'a Arc<IdentityError>>, &'a EnvelopeError> {
        let named = self.0.as_ref()?;
        let claim = |identity| Claim { identity, message: envelope.payload(), signature: envelope.signature() };
        Ok(named.identity.as_ref().map(claim))
    }
}
