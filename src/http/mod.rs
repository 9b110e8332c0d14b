//! HTTP endpoints for operators and their tools: operations (health, metrics, log levels) and administration (channel
//! participation), each on a listener of its own.

mod answer;
mod audit;
mod blocks;
mod debug;
mod exposure;
#[cfg(feature = "profiles")]
mod heap_profile;
mod operations;
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
mod same_site;
mod server;

#[cfg(feature = "profiles")]
pub(crate) use heap_profile::begin as begin_heap_profile;
pub use operations::{Operations, operations};
pub use participation::{Administration, participation};
#[cfg(not(feature = "profiles"))]
pub(crate) use profile::begin_heap_profile;
pub use profile::profile;
pub use server::serve;

/// Error for General.Profile in a program without profiles.
pub(crate) const NO_PROFILES: &str = "General.Profile: this program was built without profiles; packages have them, or build it with --features profiles";
