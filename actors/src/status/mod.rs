//! Status is published, not requested.
//!
//! Every actor owns a [`StatusCell`] and writes to it whenever its state changes; observers read the cell. They send no
//! message, so a stuck or flooded actor is visible, too.

mod activity;
mod board;
mod cell;
mod chain;
mod level;

use std::time::SystemTime;

pub use activity::{Activity, ActivityKind, STUCK_AFTER};
pub use board::{ArbiterHeartbeat, StatusBoard};
pub use cell::{ActivityGuard, ActorStatus, MailboxDepth, RecordedError, RecordedPanic, StatusCell};
pub use chain::{ChainGauges, RECENT_BLOCKS, RecentBlock};
pub use level::HealthLevel;

/// Milliseconds since 1970; 0 for a clock before that.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
