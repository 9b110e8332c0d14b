//! This node's part in a channel: whether the blocks that it signs are accepted, whether it orders the channel, and
//! whether other nodes may order it as well.

mod consenter;
mod orderers;
mod signer;

pub use consenter::{NotOrderedHere, engine, is_consenter, place_of, public_key_of};
pub use orderers::{WARNING_SOLO, orderer_addresses, others_of_solo};
pub use signer::{NotAccepted, OwnSigner};
