//! The commands beside the node: what administrators and developers do to channels, blocks, ledgers, identities and brokers, and what
//! those commands are made of. Nothing here starts a node.

pub mod commands;
pub mod configtx;
pub mod crypto;
pub mod dev;
pub mod document;
