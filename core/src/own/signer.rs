//! The identity that this node signs blocks with, and whether a channel takes its blocks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::channel::ChannelId;
use crate::config::ChannelSnapshot;
use crate::crypto::{SignError, Signer};
use crate::policy::{Denied, SignedDatum, Signers};

/// What is signed to have a signature to judge. No block and no envelope looks like it.
const SAMPLE: &[u8] = b"sample of an orderer's signature; it vouches for nothing";

/// The policy that a block's signature must satisfy.
const BLOCK_VALIDATION: &str = "/Channel/Orderer/BlockValidation";

/// Why no peer would take a block that this node signs.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAccepted {
    /// It cannot sign at all.
    #[error("this node's key cannot sign")]
    Sign(#[from] SignError),
    /// Its signature does not satisfy the channel's policy.
    #[error(
        "no peer would take blocks that this node signs: they do not satisfy BlockValidation of channel {channel}: {denied}"
    )]
    Denied {
        /// The channel.
        channel: ChannelId,
        /// Which rule failed, and who signs.
        denied: Box<Denied>,
    },
}

/// The identity that this node signs with. It signs one sample, which is judged by every channel's policy, as a block's
/// signature is.
pub struct OwnSigner {
    signer: Arc<dyn Signer>,
    sample: OnceLock<Result<SignedDatum, SignError>>,
}

impl OwnSigner {
    /// Signs nothing yet.
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        Self { signer, sample: OnceLock::new() }
    }

    /// The identity that signs blocks, with its key.
    pub fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }

    /// Whether blocks that it signs satisfy BlockValidation under this configuration. The outcome stays the same for as long
    /// as identity and configuration do. Costs one verified signature.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    pub fn check(&self, snapshot: &ChannelSnapshot) -> Result<(), NotAccepted> {
        let sample = self.sample.get_or_init(|| {
            let message = Bytes::from_static(SAMPLE);
            let signature = self.signer.sign(&message)?;
            Ok(SignedDatum { message, creator: self.signer.creator().clone(), signature })
        });
        let sample = sample.as_ref().map_err(|error| NotAccepted::Sign(error.clone()))?;
        let signers = Signers::verify(std::slice::from_ref(sample), snapshot.msps());
        let evaluated = snapshot.policies().evaluate(BLOCK_VALIDATION, &signers);
        evaluated
            .map_err(|denied| NotAccepted::Denied { channel: snapshot.channel().clone(), denied: Box::new(denied) })
    }
}

impl fmt::Debug for OwnSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSigner")
    }
}
