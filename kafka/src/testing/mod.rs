//! A cluster in memory, for tests of code that uses the traits: no brokers, no time lost, and faults on demand.

mod cluster;
mod state;

pub use cluster::FakeCluster;
pub use state::Fault;
