//! The history, serialized for operators: rates per second and latencies, as columns.

use orderer_actors::status::{HealthLevel, now_ms};
use orderer_core::types::ChannelId;
use serde::Serialize;

use super::recorder::{ChannelSteps, NodeStep, Recorder, Step};
use crate::disk_monitor::DiskSpace;

/// Number of steps in one point of a channel's summary: 30 seconds.
const STEPS_PER_POINT: usize = 6;

/// Series over the same steps, the oldest first.
#[derive(Debug, Default, Serialize)]
struct Series {
    envelopes_per_second: Vec<f32>,
    blocks_per_second: Vec<f32>,
    rejected_per_second: Vec<f32>,
    /// Latency in milliseconds; null where no envelope was acknowledged.
    p50_ms: Vec<Option<f32>>,
    p99_ms: Vec<Option<f32>>,
}

/// The history of the node, and a summary of each channel with traffic.
#[derive(Debug, Serialize)]
pub(crate) struct NodeHistoryView {
    now_ms: u64,
    /// The start of the first step, in milliseconds since 1970; `None` before the first sample.
    from_ms: Option<u64>,
    /// The end of each step, in milliseconds since 1970.
    ends_ms: Vec<u64>,
    #[serde(flatten)]
    series: Series,
    /// CPU time used, in cores.
    cores: Vec<f32>,
    rss_bytes: Vec<u64>,
    streams: Vec<u32>,
    disk_free_bytes: Vec<Option<u64>>,
    /// Number of cores that the process may use.
    available_cores: usize,
    disk: Option<DiskView>,
    channels: Vec<ChannelSummaryView>,
}

/// The disk of the ledgers.
#[derive(Debug, Serialize)]
struct DiskView {
    free_bytes: u64,
    size_bytes: u64,
    level: HealthLevel,
    /// Milliseconds until the disk is full at the rate of the history.
    lasts_ms: Option<u64>,
}

/// A summary of a channel with traffic.
#[derive(Debug, Serialize)]
struct ChannelSummaryView {
    name: String,
    /// The rates and the latency in the last step.
    envelopes_per_second: f32,
    rejected_per_second: f32,
    p99_ms: Option<f32>,
    /// Envelopes per second in each half minute, the oldest first; the last ends now.
    points: Vec<f32>,
}

/// The history of one channel.
#[derive(Debug, Serialize)]
pub(crate) struct ChannelHistoryView {
    now_ms: u64,
    /// Whether the channel's history is retained; it is not while too many channels have traffic.
    retained: bool,
    from_ms: Option<u64>,
    ends_ms: Vec<u64>,
    #[serde(flatten)]
    series: Series,
}

impl Series {
    fn of<'a>(steps: impl Iterator<Item = (u32, &'a Step)>) -> Self {
        let mut series = Self::default();
        for (took_ms, step) in steps {
            series.envelopes_per_second.push(per_second(step.envelopes, took_ms));
            series.blocks_per_second.push(per_second(step.blocks, took_ms));
            series.rejected_per_second.push(per_second(step.rejected, took_ms));
            series.p50_ms.push(millis(step.p50_us));
            series.p99_ms.push(millis(step.p99_us));
        }
        series
    }
}

impl NodeHistoryView {
    pub(super) fn of(recorder: &Recorder, space: Option<(DiskSpace, HealthLevel)>) -> Self {
        let node = recorder.node();
        let mut channels: Vec<_> = recorder
            .active_channels()
            .map(|(id, steps)| {
                ChannelSummaryView::of(id, &took_of(node, steps.len()), &steps.iter().collect::<Vec<_>>())
            })
            .collect();
        channels.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            now_ms: now_ms(),
            from_ms: node.front().map(start_ms),
            ends_ms: node.iter().map(|step| step.reading.end_ms).collect(),
            series: Series::of(node.iter().map(|step| (step.reading.took_ms, &step.step))),
            cores: node.iter().map(|step| rounded(step.cores)).collect(),
            rss_bytes: node.iter().map(|step| step.reading.rss_bytes).collect(),
            streams: node.iter().map(|step| step.reading.streams).collect(),
            disk_free_bytes: node.iter().map(|step| step.reading.disk_free_bytes).collect(),
            available_cores: std::thread::available_parallelism().map_or(1, usize::from),
            disk: space.map(|(space, level)| DiskView {
                free_bytes: space.free,
                size_bytes: space.whole,
                level,
                lasts_ms: recorder.disk_lasts_ms(),
            }),
            channels,
        }
    }
}

impl ChannelSummaryView {
    fn of(id: &ChannelId, took_ms: &[u32], steps: &[&Step]) -> Self {
        let (last, last_took) =
            (steps.last().copied().copied().unwrap_or_default(), took_ms.last().copied().unwrap_or(0));
        let of_point = |(steps, took): (&[&Step], &[u32])| {
            let sum = steps.iter().fold(0_u32, |sum, step| sum.saturating_add(step.envelopes));
            per_second(sum, took.iter().fold(0_u32, |sum, took| sum.saturating_add(*took)))
        };
        let mut points: Vec<f32> =
            steps.rchunks(STEPS_PER_POINT).zip(took_ms.rchunks(STEPS_PER_POINT)).map(of_point).collect();
        points.reverse();
        Self {
            name: id.to_string(),
            envelopes_per_second: per_second(last.envelopes, last_took),
            rejected_per_second: per_second(last.rejected, last_took),
            p99_ms: millis(last.p99_us),
            points,
        }
    }
}

impl ChannelHistoryView {
    pub(super) fn of(recorder: &Recorder, id: &ChannelId) -> Self {
        let (node, steps) = (recorder.node(), recorder.channel(id));
        let retained = steps.is_some();
        let steps: Vec<Step> = match steps {
            Some(ChannelSteps::Active(steps)) => steps.iter().copied().collect(),
            Some(ChannelSteps::Idle(count)) => vec![Step::default(); count],
            None => Vec::new(),
        };
        let covered = node.iter().skip(node.len().saturating_sub(steps.len()));
        Self {
            now_ms: now_ms(),
            retained,
            from_ms: covered.clone().next().map(start_ms),
            ends_ms: covered.clone().map(|step| step.reading.end_ms).collect(),
            series: Series::of(covered.map(|step| step.reading.took_ms).zip(&steps)),
        }
    }
}

/// Returns the durations of the last steps.
fn took_of(node: &std::collections::VecDeque<NodeStep>, count: usize) -> Vec<u32> {
    node.iter().skip(node.len().saturating_sub(count)).map(|step| step.reading.took_ms).collect()
}

fn start_ms(step: &NodeStep) -> u64 {
    step.reading.end_ms.saturating_sub(u64::from(step.reading.took_ms))
}

#[expect(clippy::cast_precision_loss, reason = "a rate with two decimals")]
fn per_second(count: u32, took_ms: u32) -> f32 {
    if took_ms == 0 { 0.0 } else { rounded(count as f32 * 1000.0 / took_ms as f32) }
}

fn rounded(figure: f32) -> f32 {
    (figure * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn millis(micros: u32) -> Option<f32> {
    (micros > 0).then(|| rounded(micros as f32 / 1000.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use orderer_actors::observer::ChannelTotals;

    use super::super::recorder::{NodeReading, STEPS};
    use super::*;

    /// Returns the history of a channel that began with the third of this number of steps, with one envelope more in
    /// each step.
    fn recorded(steps: u64) -> (Recorder, ChannelId) {
        let (mut recorder, id, totals) =
            (Recorder::default(), ChannelId::parse("app").unwrap(), ChannelTotals::default());
        for step in 1..=steps {
            let reading = NodeReading { end_ms: step * 5000, took_ms: 5000, ..NodeReading::default() };
            if step < 3 {
                recorder.sample(reading, []);
                continue;
            }
            totals.written(1, usize::try_from(step).unwrap());
            totals.acknowledged(Duration::from_millis(10));
            recorder.sample(reading, [(&id, &totals)]);
        }
        (recorder, id)
    }

    #[test]
    fn a_channel_is_shown_from_its_first_step_on() {
        let (recorder, id) = recorded(5);
        let view = ChannelHistoryView::of(&recorder, &id);
        assert_eq!((view.from_ms, view.ends_ms), (Some(10_000), vec![15_000, 20_000, 25_000]));
        assert_eq!(view.series.envelopes_per_second, [0.6, 0.8, 1.0]);
        assert!(view.retained && view.series.p99_ms.iter().all(Option::is_some));
        let unknown = ChannelHistoryView::of(&recorder, &ChannelId::parse("other").unwrap());
        assert!(!unknown.retained && unknown.ends_ms.is_empty());
    }

    #[test]
    fn the_node_has_a_point_for_each_half_minute_of_a_channel() {
        let (recorder, _) = recorded(9);
        let view = NodeHistoryView::of(&recorder, None);
        assert_eq!((view.ends_ms.len(), view.from_ms), (9, Some(0)));
        let [channel] = &view.channels[..] else { panic!("one channel") };
        assert_eq!((channel.name.as_str(), channel.envelopes_per_second), ("app", 1.8));
        assert_eq!(channel.points, [0.6, 1.3], "the last point ends now, the first may be shorter");
        let (recorder, _) = recorded(STEPS as u64 + 50);
        assert_eq!(NodeHistoryView::of(&recorder, None).channels[0].points.len(), STEPS / STEPS_PER_POINT);
    }
}
