//! Plans the response to a Deliver request, in block numbers.

use fabric_proto::common::Status;
use fabric_proto::orderer::seek_info::{SeekBehavior, SeekContentType, SeekErrorResponse};
use fabric_proto::orderer::{SeekInfo, SeekPosition, seek_position::Type};

use crate::types::BlockNumber;

/// Reason why a request selects no blocks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeekError {
    /// Start or stop is missing.
    #[error("seek info without {0}")]
    Missing(&'static str),
    /// The last requested block is before the first.
    #[error("start {start} is after stop {stop}")]
    Backwards {
        /// First requested block.
        start: u64,
        /// Last requested block.
        stop: u64,
    },
    /// The first requested blocks were pruned.
    #[error("start {start} no longer exists: the blocks before {horizon} were pruned")]
    Pruned {
        /// First requested block.
        start: u64,
        /// First block that the ledger has.
        horizon: u64,
    },
    /// The first requested block is after the next block.
    #[error("start {start} is beyond the chain, whose height is {height}")]
    Beyond {
        /// First requested block.
        start: u64,
        /// Number of blocks in the chain.
        height: u64,
    },
}

impl SeekError {
    /// Returns the gRPC API's status.
    pub fn status(&self) -> Status {
        match self {
            Self::Missing(_) | Self::Backwards { .. } => Status::BadRequest,
            Self::Pruned { .. } | Self::Beyond { .. } => Status::NotFound,
        }
    }
}

/// Range of blocks that a Deliver request selects, and how they are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeekRange {
    /// First block.
    pub start: BlockNumber,
    /// Last block; it need not exist yet.
    pub stop: BlockNumber,
    /// Whether the response ends at a block that does not exist yet, instead of waiting for it.
    pub fail_if_not_ready: bool,
    /// Whether delivery continues while the consenter reports an error.
    pub best_effort: bool,
    /// Whether blocks are sent without their data.
    pub headers_only: bool,
}

impl SeekRange {
    /// Plans a request for a chain of `height` blocks, at least one, of which those before `horizon` are pruned. A
    /// request for a single pruned block is accepted, because the ledger may have kept it. Unknown enum values mean the
    /// same as zero.
    pub fn new(seek: &SeekInfo, horizon: BlockNumber, height: u64) -> Result<Self, SeekError> {
        let (start_at, stop_at) = (position(seek.start.as_ref(), "start")?, position(seek.stop.as_ref(), "stop")?);
        let newest = height.saturating_sub(1);
        let start = match start_at {
            Type::Oldest(_) => horizon.0,
            Type::Newest(_) => newest,
            Type::NextCommit(_) => height,
            Type::Specified(at) if at.number > height => {
                return Err(SeekError::Beyond { start: at.number, height });
            }
            Type::Specified(at) => at.number,
        };
        let stop = match stop_at {
            // of the chain's oldest block and the request's start, Fabric means the latter
            Type::Oldest(_) => start,
            Type::Newest(_) => newest.max(start),
            Type::NextCommit(_) => height,
            Type::Specified(at) if at.number < start => return Err(SeekError::Backwards { start, stop: at.number }),
            Type::Specified(at) => at.number,
        };
        if start < horizon.0 && start != stop {
            return Err(SeekError::Pruned { start, horizon: horizon.0 });
        }
        Ok(Self {
            start: BlockNumber(start),
            stop: BlockNumber(stop),
            fail_if_not_ready: seek.behavior == SeekBehavior::FailIfNotReady as i32,
            best_effort: seek.error_response == SeekErrorResponse::BestEffort as i32,
            headers_only: seek.content_type == SeekContentType::HeaderWithSig as i32,
        })
    }
}

fn position<'a>(position: Option<&'a SeekPosition>, which: &'static str) -> Result<&'a Type, SeekError> {
    position.and_then(|p| p.r#type.as_ref()).ok_or(SeekError::Missing(which))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric_proto::orderer::{SeekNewest, SeekNextCommit, SeekOldest, SeekSpecified};

    const OLDEST: Option<Type> = Some(Type::Oldest(SeekOldest {}));
    const NEWEST: Option<Type> = Some(Type::Newest(SeekNewest {}));
    const NEXT: Option<Type> = Some(Type::NextCommit(SeekNextCommit {}));

    #[expect(clippy::unnecessary_wraps, reason = "reads like the constants")]
    const fn block(number: u64) -> Option<Type> {
        Some(Type::Specified(SeekSpecified { number }))
    }

    fn plan(start: Option<Type>, stop: Option<Type>) -> Result<(u64, u64), SeekError> {
        let at = |t: Option<Type>| t.map(|t| SeekPosition { r#type: Some(t) });
        let seek = SeekInfo { start: at(start), stop: at(stop), ..SeekInfo::default() };
        SeekRange::new(&seek, BlockNumber::GENESIS, 6).map(|p| (p.start.0, p.stop.0))
    }

    #[test]
    fn positions_are_fixed_when_the_request_arrives() {
        assert_eq!(plan(OLDEST, OLDEST), Ok((0, 0)));
        assert_eq!(plan(OLDEST, NEWEST), Ok((0, 5)));
        assert_eq!(plan(NEWEST, NEWEST), Ok((5, 5)));
        assert_eq!(plan(NEWEST, OLDEST), Ok((5, 5)));
        assert_eq!(plan(block(2), block(9)), Ok((2, 9)));
        assert_eq!(plan(NEXT, NEXT), Ok((6, 6)));
        assert_eq!(plan(NEWEST, block(u64::MAX)), Ok((5, u64::MAX)));
        assert_eq!(plan(block(6), block(6)), Ok((6, 6)), "the next block is waited for");
    }

    #[test]
    fn a_pruned_chain_begins_at_its_horizon() {
        let at = |t: Option<Type>| t.map(|t| SeekPosition { r#type: Some(t) });
        let plan = |start, stop| {
            let seek = SeekInfo { start: at(start), stop: at(stop), ..SeekInfo::default() };
            SeekRange::new(&seek, BlockNumber(4), 6).map(|p| (p.start.0, p.stop.0))
        };
        assert_eq!(plan(OLDEST, NEWEST), Ok((4, 5)));
        assert_eq!(plan(OLDEST, OLDEST), Ok((4, 4)));
        assert_eq!(plan(block(3), NEWEST), Err(SeekError::Pruned { start: 3, horizon: 4 }));
        assert_eq!(plan(block(3), block(3)), Ok((3, 3)), "it may be a config block, which is kept");
    }

    #[test]
    fn what_names_no_blocks_is_refused() {
        assert_eq!(plan(block(2), block(1)), Err(SeekError::Backwards { start: 2, stop: 1 }));
        assert_eq!(plan(block(7), block(7)), Err(SeekError::Beyond { start: 7, height: 6 }));
        assert_eq!(plan(None, OLDEST), Err(SeekError::Missing("start")));
        assert_eq!(plan(OLDEST, None), Err(SeekError::Missing("stop")));
    }

    #[test]
    fn enum_numbers_that_are_not_known_mean_zero() {
        let at = |t: Option<Type>| t.map(|t| SeekPosition { r#type: Some(t) });
        let seek = SeekInfo { start: at(OLDEST), stop: at(OLDEST), behavior: 7, error_response: 7, content_type: 7 };
        let plan = SeekRange::new(&seek, BlockNumber::GENESIS, 6).expect("a plan");
        assert!(!plan.fail_if_not_ready && !plan.best_effort && !plan.headers_only);
    }
}
