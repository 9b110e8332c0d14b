//! The number of allocations, from the statistics of the allocator (jemalloc).

use std::io;

use serde::Deserialize;
use tikv_jemalloc_ctl::stats_print::{Options, stats_print};

/// Reason for which the number is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum CountError {
    /// The allocator's statistics could not be read.
    #[error("read the allocator's statistics: {0}")]
    Unread(#[from] io::Error),
    /// They do not have the expected form.
    #[error("the allocator's statistics lack the number of requests: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// The parts of the statistics that are needed here.
#[derive(Deserialize)]
struct Statistics {
    jemalloc: Sections,
}

#[derive(Deserialize)]
struct Sections {
    #[serde(rename = "stats.arenas")]
    arenas: Arenas,
}

#[derive(Deserialize)]
struct Arenas {
    merged: Merged,
}

#[derive(Deserialize)]
struct Merged {
    small: Requests,
    large: Requests,
}

#[derive(Deserialize)]
struct Requests {
    nrequests: u64,
}

/// Returns the number of allocations since the start. Each thread reports its small allocations when it exchanges memory
/// with the allocator, so the number may lag behind by some hundred for each thread. Takes about a millisecond.
pub(super) fn read() -> Result<u64, CountError> {
    let mut text = Vec::new();
    let mut options = Options::default();
    options.json_format = true;
    options.skip_constants = true;
    options.skip_per_arena = true;
    options.skip_bin_size_classes = true;
    options.skip_large_size_classes = true;
    options.skip_mutex_statistics = true;
    stats_print(&mut text, options)?;
    let Statistics { jemalloc } = serde_json::from_slice(&text)?;
    Ok(jemalloc.arenas.merged.small.nrequests + jemalloc.arenas.merged.large.nrequests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_counted() {
        let before = read().expect("statistics");
        // large ones are counted at once
        let kept: Vec<Vec<u8>> = (0..1000).map(|_| Vec::with_capacity(1 << 20)).collect();
        let after = read().expect("statistics");
        assert_eq!(kept.len(), 1000);
        assert!(after >= before + 1000, "{before} {after}");
    }
}
