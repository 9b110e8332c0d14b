//! Tests with real Kafka brokers, which all of these tests share. `tests/kafka/fetch` downloads the jars.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../kafka/tests/broker/mod.rs"]
mod broker;
mod kafka_support;
#[path = "../kafka/tests/support/raw.rs"]
mod raw_grpc;
mod world;

mod kafka_check;
mod kafka_faults;
mod kafka_guides;
mod kafka_ordering;
mod kafka_token;
