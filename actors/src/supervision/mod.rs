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

pub use guard::{ChildExited, ExitGuard, ExitReason};
#[cfg(test)]
pub use lifecycle::PanicNow;
pub use lifecycle::{Halt, StopNow};
pub(crate) use panics::panic_message;
pub use panics::{install_panic_hook, panic_count};
pub use watchdog::Watchdog;
