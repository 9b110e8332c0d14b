//! Status is published, not requested.
//!
//! Every actor owns a [`StatusCell`] and writes to it whenever its state changes; observers read the cell. They send no
//! message,
//! so a stuck or flooded actor is visible, too.

mod board;
mod cell;
mod chain;
mod level;
mod task;

use std::time::SystemTime;

pub use board::{ArbiterPulse, StatusBoard};
pub use cell::{MailboxDepth, Panicked, Report, StatusCell, Taken, Trouble};
pub use chain::{BlockNote, ChainGauges, RECENT_BLOCKS};
pub use level::Level;
pub use task::{InHand, STUCK_AFTER, Task};

/// Milliseconds since 1970; 0 for a clock before that.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
