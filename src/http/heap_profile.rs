//! What memory is used for: samples of allocations that are not freed yet. The allocator (jemalloc) takes them, one in half a
//! megabyte, from when it is told to; that costs nothing before, and about nothing then.

use jemalloc_pprof::PROF_CTL;

use super::pprof_format::without_frames;

/// On top of every stack; who reads wants to know who called.
const OF_THE_ALLOCATOR: &str = "(__rustc::)?__rust_(alloc|alloc_zeroed|realloc)|.*tikv_jemallocator.*|_rjem_.*";

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeapProfileError {
    /// `.cargo/config.toml` says so to the allocator's build.
    #[error("this program was built without samples of allocations (JEMALLOC_SYS_WITH_MALLOC_CONF)")]
    NotBuilt,
    /// Somebody else is being answered.
    #[error("a heap profile is being taken already")]
    Busy,
    /// The allocator refused.
    #[error("the allocator does not sample: {0}")]
    Refused(String),
    /// It writes to a file first.
    #[error("write and read the samples in the folder for temporary files: {0}")]
    Taken(String),
}

/// From now on allocations are sampled.
pub(crate) fn begin() -> Result<(), HeapProfileError> {
    let mut control =
        PROF_CTL.as_ref().ok_or(HeapProfileError::NotBuilt)?.try_lock().map_err(|_| HeapProfileError::Busy)?;
    control.activate().map_err(|error| HeapProfileError::Refused(error.to_string()))
}

/// The samples so far, in pprof's format, gzipped. Blocks for the disk, and for looking up names: some hundred milliseconds.
pub(super) fn take() -> Result<Vec<u8>, HeapProfileError> {
    let mut control =
        PROF_CTL.as_ref().ok_or(HeapProfileError::NotBuilt)?.try_lock().map_err(|_| HeapProfileError::Busy)?;
    let profile = control.dump_pprof();
    // the tables of names, some hundred megabytes, would stay until the process ends
    backtrace::clear_symbol_cache();
    let profile = profile.map_err(|error| HeapProfileError::Taken(format!("{error:#}")))?;
    without_frames(profile, OF_THE_ALLOCATOR).map_err(|error| HeapProfileError::Taken(error.to_string()))
}
