//! Tests of the whole program, one module per file. They are one binary, because every binary links the client side
//! again. Every test file is listed here, in `loads.rs` or in `brokers.rs`; `tests/tidy` checks that.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod conformance_cases;
mod fabric_ledger;
mod world;

mod admission;
mod backup;
mod certificate_rotation;
mod channel_commands;
mod channel_isolation;
mod client_commands;
mod cluster_service;
mod command_line;
mod conformance;
mod crypto;
mod daemon;
mod debug_endpoint;
mod deliver;
mod deployment;
mod dev_cluster;
mod documentation;
mod drop_in;
mod fabric_tools;
mod genesis;
mod guides;
mod ledger_commands;
mod message_commands;
mod metrics;
mod operations;
mod own_part;
mod packaging;
mod page;
mod page_accessibility;
mod page_situations;
mod participation;
mod pkcs11;
mod pkcs11_raft;
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
