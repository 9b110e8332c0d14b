//! Adds to actix's mailboxes a bound, and a yield between messages.

mod cooperative;
mod counted;
mod gate;
mod gathering;
mod order;

pub use cooperative::CooperativeYield;
pub use counted::CountedAddr;
pub use gate::{Announcement, ENVELOPE_OVERHEAD_BYTES, Gate, Unavailable, WaitingBytes};
pub use order::{IngressPermit, Order, OrderBatch, OrderError, OrderResult, Reply, ValidatedEnvelope};
