//! Heap profiles: samples of allocations that are not freed yet. The allocator (jemalloc) takes a sample for every 512
//! KiB allocated on average, once sampling is started. Sampling has a negligible cost, and none before it is started.

use jemalloc_pprof::PROF_CTL;

use super::pprof_format::without_frames;

/// Names of the allocator's frames, which are on top of every stack and hidden, so that its callers are visible.
const OF_THE_ALLOCATOR: &str = "(__rustc::)?__rust_(alloc|alloc_zeroed|realloc)|.*tikv_jemallocator.*|_rjem_.*";

/// Reason for which there is no heap profile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeapProfileError {
    /// The allocator was built without sampling, which `.cargo/config.toml` configures.
    #[error("this program was built without samples of allocations (JEMALLOC_SYS_WITH_MALLOC_CONF)")]
    NotBuilt,
    /// Another request is in progress.
    #[error("a heap profile is being taken already")]
    Busy,
    /// The allocator failed to start sampling.
    #[error("the allocator does not sample: {0}")]
    Refused(String),
    /// The allocator's file could not be written or read.
    #[error("write and read the samples in the folder for temporary files: {0}")]
    Taken(String),
}

/// Starts sampling allocations.
pub(crate) fn begin() -> Result<(), HeapProfileError> {
    let mut control =
        PROF_CTL.as_ref().ok_or(HeapProfileError::NotBuilt)?.try_lock().map_err(|_| HeapProfileError::Busy)?;
    control.activate().map_err(|error| HeapProfileError::Refused(error.to_string()))
}

/// Returns the samples so far, in pprof's format, gzipped. Performs blocking I/O, and looks up names: some hundred
/// milliseconds.
pub(super) fn take() -> Result<Vec<u8>, HeapProfileError> {
    let mut control =
        PROF_CTL.as_ref().ok_or(HeapProfileError::NotBuilt)?.try_lock().map_err(|_| HeapProfileError::Busy)?;
    let profile = control.dump_pprof();
    // the symbol tables, some hundred megabytes, would stay until the process ends
    backtrace::clear_symbol_cache();
    let profile = profile.map_err(|error| HeapProfileError::Taken(format!("{error:#}")))?;
    without_frames(profile, OF_THE_ALLOCATOR).map_err(|error| HeapProfileError::Taken(error.to_string()))
}
