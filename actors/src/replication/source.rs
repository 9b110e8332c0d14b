//! Sources of blocks, and reading batches from them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use orderer_cluster::{BlockEndpoint, BlockStream, PullError, Roots};
use orderer_core::replication::{OrdererEndpoint, SequenceError};
use orderer_core::text::truncate_at_char_boundary;
use orderer_core::types::BlockNumber;

/// Maximum duration of filling a batch, so that a slow source does not delay blocks that have arrived.
const GATHERING: Duration = Duration::from_secs(1);
/// Maximum number of blocks in a batch.
const MAX_BATCH_BLOCKS: usize = 1000;

/// Maximum length in bytes of an error's description.
const MAX_ERROR_TEXT_BYTES: usize = 800;

/// A batch of blocks, and how the stream ended.
pub(super) struct PulledBatch {
    pub(super) blocks: Vec<Bytes>,
    /// `None` if the stream may have more blocks.
    pub(super) end: Option<Result<(), PullError>>,
}

/// Reads blocks until they have `batch_bytes` bytes, or another limit of a batch is reached, or the stream ends.
pub(super) async fn gather(stream: &mut dyn BlockStream, batch_bytes: usize) -> PulledBatch {
    let (began, mut bytes) = (Instant::now(), 0usize);
    let mut blocks = Vec::new();
    loop {
        match stream.next().await {
            Some(Ok(block)) => {
                bytes = bytes.saturating_add(block.len());
                blocks.push(block);
            }
            Some(Err(error)) => return PulledBatch { blocks, end: Some(Err(error)) },
            None => return PulledBatch { blocks, end: Some(Ok(())) },
        }
        if bytes >= batch_bytes || blocks.len() >= MAX_BATCH_BLOCKS || began.elapsed() >= GATHERING {
            return PulledBatch { blocks, end: None };
        }
    }
}

/// Converts an endpoint of a configuration for the transport.
pub(super) fn to_connect(endpoint: &OrdererEndpoint) -> BlockEndpoint {
    let roots = Roots::new(endpoint.authorities.iter().cloned());
    BlockEndpoint { address: endpoint.address.clone(), roots }
}

/// Rejects a block whose number is not the requested one.
pub(super) fn check_number(expected: BlockNumber, got: BlockNumber) -> Result<(), SequenceError> {
    if got == expected { Ok(()) } else { Err(SequenceError::Number { expected, got }) }
}

/// Describes an error and its causes in one line of limited length, because parts of it come from the source.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    truncate_at_char_boundary(&mut text, MAX_ERROR_TEXT_BYTES);
    text
}
