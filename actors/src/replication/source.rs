//! Sources of blocks, and reading batches from them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use orderer_cluster::{BlockEndpoint, BlockStream, PullError, Roots};
use orderer_core::channel::BlockNumber;
use orderer_core::replication::{OrdererEndpoint, SequenceError};
use orderer_core::shorten::shorten;

/// A batch is handed over after this time, even if it could be larger: what has come is not held back by a slow source.
const GATHERING: Duration = Duration::from_secs(1);
/// A batch has no more blocks than this.
const BLOCKS_MAX: usize = 1000;

/// A text about an error is not longer.
const WORDS_MAX_BYTES: usize = 800;

/// Some blocks, and why there are no more.
pub(super) struct Gathered {
    pub(super) blocks: Vec<Bytes>,
    /// `None`: there may be more.
    pub(super) end: Option<Result<(), PullError>>,
}

/// Reads blocks up to `batch_bytes` bytes.
pub(super) async fn gather(stream: &mut dyn BlockStream, batch_bytes: usize) -> Gathered {
    let (began, mut bytes) = (Instant::now(), 0usize);
    let mut blocks = Vec::new();
    loop {
        match stream.next().await {
            Some(Ok(block)) => {
                bytes = bytes.saturating_add(block.len());
                blocks.push(block);
            }
            Some(Err(error)) => return Gathered { blocks, end: Some(Err(error)) },
            None => return Gathered { blocks, end: Some(Ok(())) },
        }
        if bytes >= batch_bytes || blocks.len() >= BLOCKS_MAX || began.elapsed() >= GATHERING {
            return Gathered { blocks, end: None };
        }
    }
}

/// An endpoint of a configuration, to connect to.
pub(super) fn to_connect(endpoint: &OrdererEndpoint) -> BlockEndpoint {
    let roots = Roots::new(endpoint.authorities.iter().cloned());
    BlockEndpoint { address: endpoint.address.clone(), roots }
}

/// Rejects a block with a number that was not asked for.
pub(super) fn check_number(expected: BlockNumber, got: BlockNumber) -> Result<(), SequenceError> {
    if got == expected { Ok(()) } else { Err(SequenceError::Number { expected, got }) }
}

/// An error and its causes in one line that is not too long: parts of it come from the source.
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
    shorten(&mut text, WORDS_MAX_BYTES);
    text
}
