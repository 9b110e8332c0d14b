//! The identity with which this node signs blocks, and whether a channel accepts its blocks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::config::ChannelSnapshot;
use crate::crypto::{SignError, Signer};
use crate::policy::{PolicyDenied, SignedData, Signers};
use crate::types::ChannelId;

/// Message that is signed to have a signature to evaluate. No block and no envelope has this form.
const SAMPLE: &[u8] = b"sample of an orderer's signature; it vouches for nothing";

/// Policy that a block's signature must satisfy.
const BLOCK_VALIDATION: &str = "/Channel/Orderer/BlockValidation";

/// No peer would accept a block that this node signs.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerNotAccepted {
    /// The node's key cannot sign.
    #[error("this node's key cannot sign")]
    Sign(#[from] SignError),
    /// The node's signature does not satisfy the channel's policy.
    #[error(
        "no peer would accept blocks that this node signs: they do not satisfy BlockValidation of channel {channel}: {denied}"
    )]
    Denied {
        /// ID of the channel.
        channel: ChannelId,
        /// The failed rule and the signer.
        denied: Box<PolicyDenied>,
    },
}

/// The identity with which this node signs. It signs one sample, which is evaluated by every channel's policy as a block's
/// signature is.
pub struct OwnSigner {
    signer: Arc<dyn Signer>,
    sample: OnceLock<SignedData>,
}

impl OwnSigner {
    /// Wraps a signer; signs nothing yet.
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        Self { signer, sample: OnceLock::new() }
    }

    /// Returns the identity that signs blocks, with its key.
    pub fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }

    /// Returns the signed sample; signs it if that was not done before.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sample(&self) -> Result<&SignedData, SignError> {
        if let Some(sample) = self.sample.get() {
            return Ok(sample);
        }
        let message = Bytes::from_static(SAMPLE);
        let signature = self.signer.sign(&message)?;
        let signed = SignedData { message, creator: self.signer.creator().clone(), signature };
        // of two threads that sign at the same time, the first wins
        Ok(self.sample.get_or_init(|| signed))
    }

    /// Checks that blocks signed by this node satisfy BlockValidation under this configuration. The result depends only on
    /// the identity and the configuration. Costs one signature verification.
    ///
    /// # Errors
    /// The key cannot sign, or the signature does not satisfy the policy.
    pub fn check(&self, snapshot: &ChannelSnapshot) -> Result<(), SignerNotAccepted> {
        let sample = self.sample()?;
        let signers = Signers::verify(std::slice::from_ref(sample), snapshot.msps());
        let evaluated = snapshot.policies().evaluate(BLOCK_VALIDATION, &signers);
        evaluated.map_err(|denied| SignerNotAccepted::Denied {
            channel: snapshot.channel().clone(),
            denied: Box::new(denied),
        })
    }
}

impl fmt::Debug for OwnSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSigner")
    }
}
