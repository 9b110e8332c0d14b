//! The commands beside the node: tools of administrators and developers for channels, blocks, ledgers, identities and
//! brokers, and the modules that those commands use. Nothing here starts a node.

pub mod commands;
pub mod configtx;
pub mod cryptogen;
pub mod dev_network;
pub mod fabric_tools;
pub mod yaml_document;
