//! The gRPC side: connections, the services `AtomicBroadcast` and `Cluster`, health.
//!
//! The service is not generated. A generated one would parse each envelope into a message and encode each block again
//! for each subscriber; here envelopes stay the bytes they came in, and blocks leave as the bytes they are stored in.

mod broadcast;
mod deliver;
mod frames;
mod judge;
mod judges;
mod request_files;
mod service;
mod step;
mod unary;

pub(crate) use judge::{Accepted, judge_config_update, line_of};
pub use judges::Judges;
pub use request_files::RequestFiles;
pub use service::{AtomicBroadcast, Shared};
pub use step::{Cluster, RaftChannels, is_consenter};
pub use unary::{CountedUnary, UNARY_MAX_BYTES};
