//! `orderer benchmark`: measures a node's throughput, its latency, and the CPU time of an envelope.
//!
//! Everything is signed before the first run. All targets receive the same envelopes, run by run in turn, so that
//! other load on the machine affects all alike. What a run measures:
//!
//! ```text
//!            sent                      answered                            seen
//!  client ────┼───────── node ──────────┼─── ... block is cut, stored ──────┼──► subscriber
//!             ├──── latency to ack ─────┤                                   │
//!             └──────────────── latency to block ───────────────────────────┘
//! ```
//!
//! With a rate, an envelope counts as sent when it was due, not when the client came to send it: a node that stops
//! for a second is charged with that second for every envelope that was due meanwhile.

mod child_node;
pub mod command;
mod cpu_time;
mod flame_graph;
mod host;
mod html;
mod in_process;
mod load_generator;
mod profile;
mod report;
mod target;
mod text;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;

pub use host::{Host, file_system};
pub use html::html;
pub use in_process::{InsideLink, RunInside};
pub use report::{Latency, Pair, Report, Run, Settings, TargetReport};
pub use target::{BenchmarkTarget, OwnNetwork, ProfileOptions, RequestOptions};
pub use text::text;
pub use workload::{LoadMode, Payload, Workload, public_key};

/// Name of the clients' threads, whose CPU time is not the node's.
const CLIENT_THREADS: &str = "bench-client";

/// The program that has the benchmark as a command.
#[derive(Clone, Copy)]
pub struct Program {
    /// Its version, for the report.
    pub version: &'static str,
    /// Runs a node inside this process.
    pub run_inside: RunInside,
}

/// Progress, for a progress bar.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Number of signed envelopes, and their total number.
    Signing(usize, usize),
    /// A run begins: its name, and the number of its envelopes.
    Running(String, usize),
    /// Number of answered envelopes of the run.
    Answered(usize),
    /// A profile is not complete yet.
    Profile(String),
}

/// Creates the runtime of the clients.
pub fn client_runtime() -> anyhow::Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(CLIENT_THREADS)
        // CPU time of a thread that has ended could not be distinguished from the node's
        .thread_keep_alive(Duration::from_secs(24 * 3600))
        .enable_all()
        .build()
        .context("start the clients' threads")
}

/// Runs the load on each target in turn, `settings.runs` times, after a warm-up of each.
pub async fn measure(
    subjects: &[BenchmarkTarget],
    load: &Arc<Workload>,
    settings: Settings,
    program: &str,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Report> {
    let mut reports: Vec<TargetReport> = subjects.iter().map(|s| TargetReport::new(s.name(), s.what())).collect();
    let began = host::load_average();
    if settings.warm_up > 0 {
        for subject in subjects {
            progress(Progress::Running(format!("{}: warm-up", subject.name()), settings.warm_up));
            subject.drive(load, settings.warm_up, &settings, &mut progress).await?;
        }
    }
    let profiles: Vec<_> = subjects.iter().map(BenchmarkTarget::begin_profile).collect();
    for round in 0..settings.runs {
        // every second round is reversed, so that none is always the first after a pause
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let subject = &subjects[at];
            let what = format!("{}: run {} of {}", subject.name(), round + 1, settings.runs);
            progress(Progress::Running(what, load.len()));
            let run = subject.run(load, load.len(), &settings, &mut progress).await?;
            reports[at].runs.push(run);
        }
    }
    for (subject, profile) in subjects.iter().zip(profiles) {
        if let Some(taken) = profile {
            progress(Progress::Profile(format!("{}: waiting for the profile", subject.name())));
            subject.end_profile(taken).await?;
        }
    }
    Ok(Report::new(host::Host::inspect(began, program), settings, reports))
}
