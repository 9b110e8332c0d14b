//! What this node is to a channel: whether blocks that it signs count there, whether the channel is its own to order, and
//! whether others may think the same of themselves.

mod consenter;
mod orderers;
mod signer;

pub use consenter::{NotOrderedHere, engine, public_key_of};
pub use orderers::{WARNING_SOLO, orderer_addresses, others_of_solo};
pub use signer::{NotAccepted, OwnSigner};
