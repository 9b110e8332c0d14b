//! The tests of the whole program, one module a file; one binary, since each links the whole client side anew. A new file is listed
//! here, or in `loads.rs` or `brokers.rs`, which `tests/tidy` checks.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod conformance_cases;
mod fabric_ledger;
mod world;

mod admission;
mod channel_commands;
mod client_commands;
mod cluster_service;
mod command_line;
mod conformance;
mod crypto;
mod daemon;
mod debug_endpoint;
mod dev_cluster;
mod drop_in;
mod enrollment;
mod follow;
mod genesis;
mod ledger_commands;
mod message_commands;
mod metrics;
mod one_bad_channel;
mod operations;
mod own_part;
mod packaging;
mod page;
mod participation;
mod raft_certificates;
mod raft_logs;
mod raft_members;
mod readme_tour;
mod repair;
mod secrets;
mod shutdown;
mod supervision;
mod tidy;
mod tls;
mod tracing;
