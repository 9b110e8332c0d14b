//! The creator that a message claims.

use std::sync::Arc;

use bytes::Bytes;

use crate::envelope::{EnvelopeError, ParsedEnvelope, SignedEnvelope};
use crate::identity::{Identity, IdentityError, MspManager, expires_at};
use crate::policy::SignatureClaim;
use crate::types::UnixSeconds;

/// A message's creator, identified once for all its users: the filters and the rate limiter. The signature is not
/// verified, so the creator is only a claim.
#[derive(Debug)]
pub struct Creator(Result<ResolvedCreator, EnvelopeError>);

/// The creator in the signature header, and the identity that the MSPs found for it.
#[derive(Debug)]
struct ResolvedCreator {
    serialized: Bytes,
    identity: Result<Arc<Identity>, Arc<IdentityError>>,
}

impl Creator {
    /// Identifies the creator of `message` by these MSPs of a channel.
    pub fn of(message: &ParsedEnvelope, msps: &MspManager) -> Self {
        let name = |serialized: Bytes| ResolvedCreator { identity: msps.deserialize_identity(&serialized), serialized };
        Self(message.read_signature_header().map(|header| name(header.creator)))
    }

    /// Returns the identity; `None` if the channel's MSPs do not accept it, or the signature header cannot be parsed.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.0.as_ref().ok()?.identity.as_ref().ok()
    }

    /// Returns the time at which the certificate expires, if it can be read.
    pub(super) fn not_after(&self) -> Option<UnixSeconds> {
        let named = self.0.as_ref().ok()?;
        match &named.identity {
            Ok(identity) => Some(identity.not_after()),
            Err(_) => expires_at(&named.serialized),
        }
    }

    /// Returns the claim that the creator signed `envelope`. The outer error is a malformed signature header, the inner
    /// one an identity that the MSPs do not accept.
    pub(super) fn signed<'a>(
        &'a self,
        envelope: &'a SignedEnvelope,
    ) -> Result<Result<SignatureClaim<'a>, &'a Arc<IdentityError>>, &'a EnvelopeError> {
        let named = self.0.as_ref()?;
        let claim =
            |identity| SignatureClaim { identity, message: envelope.payload(), signature: envelope.signature() };
        Ok(named.identity.as_ref().map(claim))
    }
}
