//! The durable state of an etcdraft consenter: its term and vote, the newest snapshot, and the entries behind it.
//!
//! One file a channel, `*.raft`, of sealed rows as the pending log has them. Everything that is staged by the time of a
//! sync goes into one row, with one write and one sync. The file is never written over in place: space of trimmed entries is
//! released by writing what remains into a new file that takes the old one's name.
//!
//! Drawn in `docs/ledger-format.md`.

mod directory;
mod error;
mod head;
mod log;
mod record;
mod rewrite;
mod scan;
mod tail;
mod view;

pub use directory::{DiskDirectory, LogDirectory};
pub use error::{RaftLogError, Unfit};
pub use log::{RaftLog, Sizes, Synced, TornTail};
pub use record::{Contents, Position, Write};
