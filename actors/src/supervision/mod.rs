//! Reports a child's end to its parent.
//!
//! actix restarts nothing after a panic, and after a stop it restarts the old state; so neither is used. A child's last
//! field is an [`ExitGuard`]. Whatever ends the child drops the guard, after all that the child held, and the guard
//! reports to the parent. The parent builds a new child from durable state, with the next generation number; reports of an
//! older generation are ignored.

mod guard;
mod lifecycle;
mod panics;
mod watchdog;

pub use guard::{ChildGone, Exit, ExitGuard};
#[cfg(test)]
pub use lifecycle::Crash;
pub use lifecycle::{Abandon, Halt};
pub(crate) use panics::payload_text;
pub use panics::{panics, report_panics};
pub use watchdog::Watchdog;
