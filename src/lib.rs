//! The ordering service node of Hyperledger Fabric, as a tree of actors.
//!
//! This crate is the daemon around the tree: the gRPC services, endpoints for operators, files and sockets; and the
//! program that composes the daemon with the commands of `orderer-tools` and `orderer-benchmark`. The rules of
//! ordering are in `orderer-core`, storage is in `orderer-ledger`, the actors are in `orderer-actors`; the settings
//! are in `orderer-localconfig`.

pub mod admission;
pub mod certificates;
pub mod cli;
pub mod config_check;
pub mod connection;
pub mod crash_guard;
mod disk_monitor;
mod fabric_ledger_dir;
pub mod grpc;
mod history;
pub mod http;
pub mod metrics;
pub mod node;
pub mod reload;
mod signals;
mod systemd;
pub mod telemetry;
pub mod tls;
#[cfg(feature = "otlp")]
pub mod traces;
#[cfg(not(feature = "otlp"))]
#[path = "traces/not_built.rs"]
pub mod traces;

pub(crate) use orderer_localconfig::{local_msp, settings};
