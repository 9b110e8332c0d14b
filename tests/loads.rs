//! Tests that keep the processors busy, away from those that wait for something: kills, floods, limits, measurements.

#![allow(clippy::unwrap_used, missing_docs)]

mod fabric_ledger;
mod world;

mod benchmark;
mod bounded_memory;
mod crash_consistency;
mod judging;
mod ledger_kills;
mod peers;
mod strangers;
mod throttling;
