//! Tests that keep the processors busy (kills, floods, limits, measurements), apart from tests that wait for something.

#![allow(clippy::unwrap_used, missing_docs)]

mod fabric_ledger;
mod world;

mod benchmark;
mod bounded_memory;
mod cpu_cost;
mod crash_consistency;
mod ledger_crash_recovery;
mod peers;
mod raft_partitions;
mod strangers;
mod throttling;
mod validation;
