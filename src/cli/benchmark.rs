//! The node that `orderer benchmark` measures inside its own process.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use orderer_actors::channel::{ChannelEntry, ChannelState};
use orderer_benchmark::{InsideLink, Program};
use tower_service::Service as _;

use super::version;
use crate::node;
use crate::settings::Settings;

/// Time limit for all chains to start. A new chain of one block runs within milliseconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Description of this program for the benchmark.
pub(super) const PROGRAM: Program = Program { version: version::SHORT, run_inside };

fn run_inside(settings: &Settings, genesis: &[PathBuf], link: &mut InsideLink) -> anyhow::Result<()> {
    node::run_embedded(settings, genesis, async |service, context| {
        let all_run = async {
            for channel in link.channels() {
                let found = context.directory.get(channel);
                let Some(ChannelEntry::Open(found)) = found else { anyhow::bail!("no channel '{channel}'") };
                let mut states = found.subscribe_state();
                let running = states.wait_for(|state| *state == ChannelState::Running).await;
                running.with_context(|| format!("the chain of channel '{channel}'"))?;
            }
            Ok(())
        };
        tokio::time::timeout(START_LIMIT, all_run).await.context("the chains of its channels do not run")??;
        let serve = move |request| {
            let Ok(response) = service.clone().call(request).into_inner();
            response
        };
        link.serve(serve, context.blocking_runtime.clone()).await;
        Ok(())
    })
}
