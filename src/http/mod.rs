//! HTTP endpoints for operators and their tools: operations (health, metrics, log levels) and administration (channel
//! participation), each on a listener of its own.

#[cfg(feature = "profiles")]
mod allocation_count;
mod audit;
mod block_lookup;
mod debug;
mod exposure;
#[cfg(feature = "profiles")]
mod heap_profile;
mod operations;
mod origin_check;
mod outgoing_body;
mod page;
mod participation;
#[cfg(feature = "profiles")]
mod pprof_format;
#[cfg(feature = "profiles")]
mod profile;
#[cfg(not(feature = "profiles"))]
#[path = "no_profile.rs"]
mod profile;
mod response;
mod server;

#[cfg(feature = "profiles")]
pub(crate) use heap_profile::begin as begin_heap_profile;
pub use operations::{OperationsApi, operations};
pub use participation::{ParticipationApi, participation};
#[cfg(not(feature = "profiles"))]
pub(crate) use profile::begin_heap_profile;
pub use profile::profile;
pub use server::serve;

/// Error for General.Profile in a program without profiles.
pub(crate) const NO_PROFILES: &str = "General.Profile: this program was built without profiles; packages have them, or build it with --features profiles";
