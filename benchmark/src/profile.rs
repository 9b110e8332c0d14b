//! The CPU profile of a node that the benchmark starts, and the number of its allocations.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use flate2::read::GzDecoder;
use http::Method;
use orderer_client::HttpEndpoint;
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::flame_graph::flame_graph;

/// Maximum size in bytes of a decompressed profile.
const PROFILE_MAX_BYTES: u64 = 256 << 20;

/// The endpoint of a node for profiles (General.Profile).
#[derive(Clone)]
pub(super) struct Profiler(HttpEndpoint);

impl Profiler {
    pub(super) fn at(address: &str) -> Self {
        Self(HttpEndpoint::plain(address))
    }

    /// Begins a profile that takes this long.
    pub(super) fn begin(&self, duration: Duration) -> JoinHandle<anyhow::Result<Vec<u8>>> {
        let (profiler, path) = (self.clone(), format!("/debug/pprof/profile?seconds={}", duration.as_secs().max(1)));
        tokio::spawn(async move { profiler.get(&path).await })
    }

    /// Returns the number of allocations so far.
    pub(super) async fn allocations(&self) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Allocations {
            allocations: u64,
        }
        let response = self.get("/debug/pprof/allocations").await?;
        let Allocations { allocations } = serde_json::from_slice(&response).context("the number of allocations")?;
        Ok(allocations)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let response = self.0.request(Method::GET, path, None).await?;
        let body = response.body.to_vec();
        anyhow::ensure!(
            response.status == 200,
            "{path}: the node responded {}: {}",
            response.status,
            String::from_utf8_lossy(&body).trim()
        );
        Ok(body)
    }
}

/// Writes a profile: as a flame graph if the file's name ends in `.svg`, otherwise for `go tool pprof`.
pub(super) fn write_profile(gzipped: &[u8], file: &Path, title: &str) -> anyhow::Result<()> {
    let mut profile = Vec::new();
    GzDecoder::new(gzipped).take(PROFILE_MAX_BYTES).read_to_end(&mut profile).context("decompress the profile")?;
    let svg = flame_graph(&profile, title).context("read the profile")?;
    let is_picture = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg"));
    let written = if is_picture { std::fs::write(file, svg) } else { std::fs::write(file, gzipped) };
    written.with_context(|| format!("write {}", file.display()))
}
