//! Endpoints for people and their tools: operations (health, metrics, log levels) and administration (channel
//! participation), each on a listener of its own.

mod answer;
mod audit;
mod blocks;
mod debug;
mod exposure;
mod heap_profile;
mod operations;
mod outgoing_body;
mod page;
mod participation;
mod pprof_format;
mod profile;
mod same_site;
mod server;

pub(crate) use heap_profile::begin as begin_heap_profile;
pub use operations::{Operations, operations};
pub use participation::{Administration, participation};
pub use profile::profile;
pub use server::serve;
