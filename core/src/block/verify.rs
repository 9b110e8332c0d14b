//! Verifies a block's signatures against the channel's policy.

use bytes::Bytes;
use fabric_proto::common::{BlockMetadataIndex, Metadata, SignatureHeader};
use fabric_proto::lenient;

use super::encoded::{BlockError, EncodedBlock};
use super::header::header_bytes;
use crate::config::ChannelSnapshot;
use crate::policy::{PolicyDenied, SignedData, Signers};

/// Path of the policy that a block's signatures have to satisfy.
pub const BLOCK_VALIDATION: &str = "/Channel/Orderer/BlockValidation";

/// A block's signatures are not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockSignatureError {
    /// The metadata cannot be decoded.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The signatures do not satisfy the channel's policy.
    #[error("block {number}: not signed as BlockValidation requires: {denied}")]
    Denied {
        /// Number of the block.
        number: crate::types::BlockNumber,
        /// Reason of the policy's denial.
        denied: Box<PolicyDenied>,
    },
}

/// Verifies the signatures of `block` against the policy BlockValidation of the configuration that was in force
/// before it, as a peer does.
pub fn verify_block_signatures(block: &EncodedBlock, snapshot: &ChannelSnapshot) -> Result<(), BlockSignatureError> {
    let signers = Signers::verify(&signed_data(block)?, snapshot.msps());
    snapshot
        .policies()
        .evaluate(BLOCK_VALIDATION, &signers)
        .map_err(|denied| BlockSignatureError::Denied { number: block.number(), denied: Box::new(denied) })
}

/// Returns the creators that the block's signatures name, without verifying the signatures.
pub fn block_signers(block: &EncodedBlock) -> Result<Vec<Bytes>, BlockError> {
    Ok(signed_data(block)?.into_iter().map(|data| data.creator).collect())
}

/// Returns each signature of the block with its creator and the bytes that are signed.
fn signed_data(block: &EncodedBlock) -> Result<Vec<SignedData>, BlockError> {
    let number = block.number();
    let parts = block.decode();
    let header = parts.header.unwrap_or_default();
    let slot = BlockMetadataIndex::Signatures as usize;
    let malformed = |cause| BlockError::Metadata { number, slot, cause };
    let bytes = parts.metadata.unwrap_or_default().metadata.get(slot).cloned().unwrap_or_default();
    let metadata: Metadata = lenient::decode(bytes).map_err(malformed)?;
    let header = header_bytes(header.number, &header.previous_hash, &header.data_hash);
    let mut data = Vec::with_capacity(metadata.signatures.len());
    for signature in metadata.signatures {
        let signer: SignatureHeader = lenient::decode(signature.signature_header.clone()).map_err(malformed)?;
        let message = Bytes::from([&metadata.value[..], &signature.signature_header, &header].concat());
        data.push(SignedData { message, creator: signer.creator, signature: signature.signature });
    }
    Ok(data)
}
