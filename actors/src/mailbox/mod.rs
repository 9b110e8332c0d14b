//! Adds to actix's mailboxes a bound, and a yield between messages.

mod counted;
mod gate;
mod order;
mod pace;

pub use counted::Counted;
pub use gate::{ENVELOPE_OVERHEAD_BYTES, Gate, Outside, Unavailable};
pub use order::{Order, OrderAnswer, OrderRefusal, Reply, Room, Submission};
pub use pace::Pace;
