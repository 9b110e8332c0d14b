//! What actix leaves out of a mailbox: a bound, and a breath between messages.

mod counted;
mod gate;
mod order;
mod pace;

pub use counted::Counted;
pub use gate::{ENVELOPE_OVERHEAD_BYTES, Gate, Outside, Unavailable};
pub use order::{Order, OrderAnswer, OrderRefusal, Reply, Room, Submission};
pub use pace::Pace;
