//! Runs the guides that need a Kafka broker, which `tests/guides/run` starts for each of them, stops, and deprives of its disk.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::broker::free_port;
use crate::world::scripts::Script;

/// Prepares the run of a guide in a network that Kafka orders.
fn guide(name: &str, profile: &str) -> Script {
    let ports = [free_port(), free_port(), free_port()].map(|port| port.to_string()).join(" ");
    Script::guide(name).variable("PROFILE", profile).variable("KAFKA_PORTS", &ports)
}

#[test]
fn kafka_ledgers_go_to_fabric_and_back() {
    guide("migrate", "SysKafka").holds();
}

#[test]
fn a_topic_that_is_gone_is_restored_or_replaced() {
    guide("disasters", "AppKafka").argument("The topic is gone").holds();
}
