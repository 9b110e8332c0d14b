//! The ordering service node of Hyperledger Fabric, as a tree of actors.
//!
//! This crate is the daemon around the tree: settings and commands, the gRPC services, endpoints for operators, files and sockets. What decides
//! is in `orderer-core`, what stores in `orderer-ledger`, what acts in `orderer-actors`.

pub mod admission;
pub mod benchmark;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod config_check;
pub mod configtx;
pub mod connection;
mod counted;
pub mod crypto;
pub mod dev;
mod disk;
pub mod document;
mod fabric_folder;
pub mod grpc;
pub mod http;
pub mod local_msp;
pub mod metrics;
pub mod node;
pub mod reread;
mod service_manager;
pub mod settings;
mod signals;
pub mod start_record;
pub mod telemetry;
pub mod tls;
pub mod traces;
pub mod yaml;
