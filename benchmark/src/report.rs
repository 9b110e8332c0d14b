//! The report, for humans and programs.

use std::collections::BTreeMap;
use std::time::Duration;

use fabric_proto::common::Status as FabricStatus;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::host::Host;
use super::load_generator::Observations;
use super::workload::LoadMode;

/// Percentiles of latencies in the report.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// The settings of the benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The channel, or the first of several.
    pub channel: String,
    /// Number of channels, over which envelopes are distributed evenly.
    pub channels: usize,
    /// Number of envelopes in a run.
    pub envelopes: usize,
    /// Payload bytes in each envelope.
    pub payload_bytes: usize,
    /// Size of each envelope in bytes.
    pub envelope_bytes: usize,
    /// Algorithm of the signatures.
    pub signatures: String,
    /// Number of Broadcast streams, each on a connection of its own.
    pub streams: usize,
    /// Maximum number of unanswered envelopes per stream.
    pub window: usize,
    /// Envelopes per second over all streams; without it, each response triggers the next.
    pub rate: Option<f64>,
    /// Number of subscribers, each on a connection of its own with a Deliver stream a channel; the first watches for what was sent.
    pub subscribers: usize,
    /// Number of envelopes sent before the first run.
    pub warm_up: usize,
    /// Number of runs of each target.
    pub runs: usize,
    /// When own nodes acknowledge.
    pub durability: String,
    /// Directory and file system of own nodes' ledgers.
    pub storage: String,
    /// Maximum time that a run waits for blocks after the last response.
    #[serde(skip)]
    pub wait: Duration,
}

impl Settings {
    pub(super) fn pace(&self) -> LoadMode {
        self.rate.map_or(LoadMode::Closed, LoadMode::Rate)
    }
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Number of envelopes that were sent.
    pub sent: usize,
    /// Number of responses by status or error.
    pub answers: BTreeMap<String, usize>,
    /// Number of envelopes that were sent and never answered.
    pub unanswered: usize,
    /// Number of sent envelopes that arrived in blocks in time.
    pub ordered: usize,
    /// Number of arrivals in blocks beyond the first, over all envelopes.
    pub twice: usize,
    /// Time from the first envelope to the last response.
    pub seconds: f64,
    /// SUCCESS responses per second.
    pub acknowledged_per_second: f64,
    /// Envelopes in blocks per second, from the first sent to the last received.
    pub ordered_per_second: f64,
    /// Number of blocks that arrived during the run.
    pub blocks: usize,
    /// Size of these blocks in bytes.
    pub block_bytes: usize,
    /// Milliseconds from sending to the response.
    pub to_answer_ms: Latency,
    /// Milliseconds from sending to the block's arrival.
    pub to_block_ms: Latency,
    /// CPU time of the node for each envelope that was sent, in microseconds.
    pub cpu_micros: Option<f64>,
    /// CPU time for verifying one of the load's signatures and nothing else, measured right behind this run.
    pub verification_micros: f64,
    /// The same CPU time, in numbers of such verifications.
    pub cpu_in_verifications: Option<f64>,
    /// Number of the node's memory allocations for each envelope that was sent; known if a profile is taken.
    pub allocations: Option<f64>,
}

/// A distribution of latencies in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Number of samples.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Percentiles, and the maximum.
    #[serde(flatten)]
    pub at: BTreeMap<&'static str, f64>,
    /// Points of a chart: percentile and value.
    pub curve: Vec<(f64, f64)>,
}

impl Latency {
    #[expect(clippy::cast_precision_loss, reason = "microseconds to be read by people")]
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |micros: u64| micros as f64 / 1000.0;
        let at = |percentile: f64| ms(histogram.value_at_percentile(percentile));
        // each step halves the distance to 100 %, so that rare values have space
        let steps = (0..40).map(|step| 100.0 - 100.0 * 0.5_f64.powf(f64::from(step) / 4.0));
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1000.0,
            at: PERCENTILES.iter().map(|(name, percentile)| (*name, at(*percentile))).collect(),
            curve: steps.map(|percentile| (percentile, at(percentile))).collect(),
        }
    }

    /// Returns a percentile by its name, or NaN.
    pub fn get(&self, name: &str) -> f64 {
        self.at.get(name).copied().unwrap_or(f64::NAN)
    }
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "rates")]
    pub(super) fn new(
        seen: Observations,
        used: Option<Duration>,
        verification: Duration,
        allocations: Option<u64>,
    ) -> Self {
        let per_second =
            |count: usize, time: Duration| if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() };
        let is_answer = |name: &str| FabricStatus::from_str_name(name).is_some();
        let answered: usize = seen.answers.iter().filter(|(name, _)| is_answer(name)).map(|(_, count)| count).sum();
        let acknowledged = seen.answers.get(FabricStatus::Success.as_str_name()).copied().unwrap_or(0);
        let cpu_micros = used.map(|used| used.as_secs_f64() * 1e6 / seen.sent.max(1) as f64);
        let verification_micros = verification.as_secs_f64() * 1e6;
        Self {
            sent: seen.sent,
            unanswered: seen.sent.saturating_sub(answered),
            answers: seen.answers,
            ordered: seen.ordered,
            twice: seen.twice,
            seconds: seen.answered_in.as_secs_f64(),
            acknowledged_per_second: per_second(acknowledged, seen.answered_in),
            ordered_per_second: per_second(seen.ordered, seen.ordered_in),
            blocks: seen.blocks,
            block_bytes: seen.block_bytes,
            to_answer_ms: Latency::of(&seen.to_answer),
            to_block_ms: Latency::of(&seen.to_block),
            cpu_micros,
            verification_micros,
            cpu_in_verifications: cpu_micros.map(|cpu| cpu / verification_micros),
            allocations: allocations.map(|count| count as f64 / seen.sent.max(1) as f64),
        }
    }

    /// Returns whether every envelope was acknowledged and arrived exactly once.
    pub fn is_clean(&self) -> bool {
        let acknowledged = self.answers.get(FabricStatus::Success.as_str_name()).copied().unwrap_or(0);
        acknowledged == self.sent && self.ordered == self.sent && self.twice == 0
    }
}

/// The runs of one target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// The target's name.
    pub name: String,
    /// The target's description.
    pub what: String,
    /// The runs in their order.
    pub runs: Vec<Run>,
}

impl TargetReport {
    pub(super) fn new(name: &str, what: &str) -> Self {
        Self { name: name.to_owned(), what: what.to_owned(), runs: Vec::new() }
    }

    /// Returns the median of a figure over the runs.
    pub fn median(&self, figure: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(figure).collect())
    }

    /// Returns the smallest and the largest value of a figure.
    pub fn range(&self, figure: impl Fn(&Run) -> f64) -> (f64, f64) {
        let figures = self.runs.iter().map(figure);
        figures.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), figure| (low.min(figure), high.max(figure)))
    }
}

/// Ratios of one target to another, run by run.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The numerator.
    pub of: String,
    /// The denominator.
    pub against: String,
    /// Ratios of acknowledged envelopes per second.
    pub acknowledged_per_second: Vec<f64>,
    /// Ratios of the median latency to the block.
    pub to_block_p50: Vec<f64>,
    /// Ratios of CPU time per envelope, where both are known.
    pub cpu: Vec<f64>,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Host,
    /// Reasons to doubt the figures.
    pub doubts: Vec<String>,
    /// The settings.
    pub settings: Settings,
    /// Descriptions of what is measured.
    pub measured: Vec<String>,
    /// The results of each target.
    pub subjects: Vec<TargetReport>,
    /// Ratios of each target but the last to the last, run by run.
    pub pairs: Vec<Pair>,
}

impl Report {
    pub(super) fn new(machine: Host, settings: Settings, subjects: Vec<TargetReport>) -> Self {
        let mut doubts = machine.caveats();
        for subject in &subjects {
            let unclean = subject.runs.iter().filter(|run| !run.is_clean()).count();
            if unclean > 0 {
                doubts
                    .push(format!("{}: in {unclean} runs not everything was acknowledged and seen once", subject.name));
            }
        }
        let pairs = match subjects.split_last() {
            Some((last, others)) => others.iter().map(|subject| Pair::of(subject, last)).collect(),
            None => Vec::new(),
        };
        Self { machine, doubts, measured: measured(&settings), settings, subjects, pairs }
    }

    /// Returns whether every run was clean.
    pub fn is_clean(&self) -> bool {
        self.subjects.iter().all(|subject| subject.runs.iter().all(Run::is_clean))
    }
}

impl Pair {
    fn of(of: &TargetReport, against: &TargetReport) -> Self {
        let ratios = |figure: &dyn Fn(&Run) -> f64| {
            of.runs.iter().zip(&against.runs).map(|(of, against)| figure(of) / figure(against)).collect()
        };
        let cpu =
            of.runs.iter().zip(&against.runs).filter_map(|(of, against)| Some(of.cpu_micros? / against.cpu_micros?));
        Self {
            of: of.name.clone(),
            against: against.name.clone(),
            acknowledged_per_second: ratios(&|run| run.acknowledged_per_second),
            to_block_p50: ratios(&|run| run.to_block_ms.get("p50")),
            cpu: cpu.collect(),
        }
    }
}

fn measured(settings: &Settings) -> Vec<String> {
    let verifications = format!(
        "verifications: CPU an envelope over the time of one {} signature verification alone, measured behind each run",
        settings.signatures
    );
    let mut measured = vec![
        "acknowledged: SUCCESS answers, from the first envelope sent to the last answer",
        "to answer: until the client reads the node's answer; to block: until a follower has read the block",
        "CPU: user and system time of the node from before the first envelope to behind the last block, all its threads",
        &verifications,
    ];
    measured.push(if settings.rate.is_some() {
        "an envelope counts as sent when its turn was: waiting for a stalled node is part of the latency"
    } else {
        "closed loop: the next envelope is sent when one is answered, so latency and rate depend on each other"
    });
    if settings.channels > 1 {
        measured.push(
            "channels: each stream sends to all channels in turn; a follower reads a Deliver stream of each channel, and \
             blocks are those of all channels",
        );
    }
    measured.into_iter().map(str::to_owned).collect()
}

/// Returns the median; of an even number of values, the mean of the middle two.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn percentiles_rise() {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds");
        (1..=10_000_u64).for_each(|micros| histogram.saturating_record(micros * 7));
        let latency = Latency::of(&histogram);
        let named = PERCENTILES.map(|(name, _)| latency.get(name));
        assert!(named.is_sorted() && latency.curve.is_sorted_by(|(_, a), (_, b)| a <= b));
        assert!((latency.get("p50") - 35.0).abs() < 0.1 && (latency.get("max") - 70.0).abs() < 0.1);
    }
}
