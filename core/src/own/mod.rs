//! This node's part in a channel: whether the blocks that it signs are accepted, whether it orders the channel, and
//! whether other nodes may order it as well.

mod consenter;
mod orderers;
mod replacement;
mod signer;

pub use consenter::{ChannelNotServed, engine, is_consenter, place_of, public_key_of};
pub use orderers::{WARNING_SOLO, orderer_addresses, other_orderers_of_solo};
pub use replacement::{CertificateReplacement, ClusterCertificate};
pub use signer::{OwnSigner, SignerNotAccepted};
