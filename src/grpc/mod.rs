//! The gRPC side: connections, the services `AtomicBroadcast` and `Cluster`, health.
//!
//! The service is not generated. A generated one would parse each envelope into a message and encode each block again
//! for each subscriber; here envelopes stay the bytes they came in, and blocks leave as the bytes they are stored in.

mod broadcast;
mod deliver;
mod gate_entry;
mod message_reader;
mod offloaded_validation;
mod request_trace;
mod service;
mod step;
mod unary_metrics;
mod validate;
mod validation_threads;

pub use request_trace::RequestTraceWriter;
pub use service::{AtomicBroadcast, GrpcContext};
pub use step::{Cluster, RaftChannels, is_consenter};
pub use unary_metrics::{UNARY_MAX_BYTES, UnaryMetrics};
pub(crate) use validate::{ValidEnvelope, config_update_queue, validate_config_update};
pub use validation_threads::ValidationThreads;
