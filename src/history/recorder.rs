//! The history of the last 15 minutes, in steps: pure, without a clock.
//!
//! Memory: a channel with traffic in the last 15 minutes has 180 steps of 20 bytes and the latencies of the last
//! sample, about 4 KiB; a channel without traffic has an entry of some 100 bytes, or 400 if it had traffic before. At most
//! [`MAX_ACTIVE_CHANNELS`] channels have steps, which bounds them to 8 MiB. The node's own steps are 8 KiB.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use orderer_actors::observer::{ChannelTotals, LatencyCounts, TotalsReading};
use orderer_core::types::ChannelId;

/// Duration of a step.
pub(super) const STEP: Duration = Duration::from_secs(5);
/// Number of retained steps: 15 minutes.
pub(super) const STEPS: usize = 180;
/// Maximum number of channels whose steps are retained.
pub(super) const MAX_ACTIVE_CHANNELS: usize = 2000;

/// Figures of the node at the time of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct NodeReading {
    /// End of the step, in milliseconds since 1970.
    pub(super) end_ms: u64,
    /// Duration of the step, in milliseconds.
    pub(super) took_ms: u32,
    /// Number of rejected envelopes since the start, those of unknown channels included.
    pub(super) rejected: u64,
    /// CPU time that the process has used since the start, in milliseconds.
    pub(super) cpu_ms: u64,
    /// Resident memory of the process, in bytes.
    pub(super) rss_bytes: u64,
    /// Free bytes on the disk of the ledgers, if they can be read.
    pub(super) disk_free_bytes: Option<u64>,
    /// Number of open streams.
    pub(super) streams: u32,
}

/// The events of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) envelopes: u32,
    pub(super) blocks: u32,
    pub(super) rejected: u32,
    /// Latencies in microseconds; 0 if no envelope was acknowledged.
    pub(super) p50_us: u32,
    pub(super) p99_us: u32,
}

/// One step of the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeStep {
    pub(super) reading: NodeReading,
    pub(super) step: Step,
    /// CPU time used in this step, as a share of one core.
    pub(super) cores: f32,
}

/// The history of the node and of its channels.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// Number of samples so far.
    samples: u64,
    rejected: u64,
    cpu_ms: u64,
    node: VecDeque<NodeStep>,
    channels: HashMap<ChannelId, ChannelHistory>,
    /// Number of channels that have steps.
    active: usize,
}

/// The history of one channel.
#[derive(Debug)]
struct ChannelHistory {
    /// The first sample that covers the channel.
    since: u64,
    /// The last sample that found the channel.
    seen_at: u64,
    seen: TotalsReading,
    /// The latencies at the last sample; `None` before the first acknowledged envelope.
    latencies: Option<Box<LatencyCounts>>,
    active: Option<Box<ActiveChannel>>,
}

/// Steps of a channel with traffic. The last one belongs to the last sample.
#[derive(Debug)]
struct ActiveChannel {
    last_event: u64,
    steps: VecDeque<Step>,
}

/// The steps of a channel, the oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChannelSteps<'a> {
    /// The channel had traffic.
    Active(&'a VecDeque<Step>),
    /// Nothing happened in this number of steps.
    Idle(usize),
}

impl Recorder {
    /// Ends a step. `channels` are all channels that can be read.
    pub(super) fn sample<'a>(
        &mut self,
        reading: NodeReading,
        channels: impl IntoIterator<Item = (&'a ChannelId, &'a ChannelTotals)>,
    ) {
        self.samples += 1;
        let now = self.samples;
        let (mut sum, mut latencies) = (Step::default(), LatencyCounts::default());
        for (id, totals) in channels {
            if !self.channels.contains_key(id) {
                self.channels.insert(id.clone(), ChannelHistory::new(now));
            }
            let Some(channel) = self.channels.get_mut(id) else { continue };
            let may_start = self.active < MAX_ACTIVE_CHANNELS;
            let before = channel.active.is_some();
            let (step, took) = channel.sample(now, totals, may_start);
            match (before, channel.active.is_some()) {
                (false, true) => self.active += 1,
                (true, false) => self.active -= 1,
                _ => {}
            }
            sum.envelopes = sum.envelopes.saturating_add(step.envelopes);
            sum.blocks = sum.blocks.saturating_add(step.blocks);
            if let Some(took) = took {
                latencies.add(&took);
            }
        }
        // channels that were removed
        let active = &mut self.active;
        self.channels.retain(|_, channel| {
            let stays = channel.seen_at == now;
            if !stays && channel.active.is_some() {
                *active -= 1;
            }
            stays
        });
        sum.rejected = difference(reading.rejected, self.rejected);
        (sum.p50_us, sum.p99_us) = percentiles(&latencies);
        let cpu_ms = reading.cpu_ms.saturating_sub(self.cpu_ms);
        #[expect(clippy::cast_precision_loss, reason = "a share of milliseconds within a step")]
        let cores = if reading.took_ms == 0 { 0.0 } else { cpu_ms as f32 / reading.took_ms as f32 };
        (self.rejected, self.cpu_ms) = (reading.rejected, reading.cpu_ms);
        if self.node.len() == STEPS {
            self.node.pop_front();
        }
        self.node.push_back(NodeStep { reading, step: sum, cores });
    }

    /// Sets the CPU time that the process had used before the first step.
    pub(super) fn begin(&mut self, cpu_ms: u64) {
        self.cpu_ms = cpu_ms;
    }

    /// Returns the node's steps, the oldest first.
    pub(super) fn node(&self) -> &VecDeque<NodeStep> {
        &self.node
    }

    /// Returns the channels with traffic in the retained steps, in no particular order.
    pub(super) fn active_channels(&self) -> impl Iterator<Item = (&ChannelId, &VecDeque<Step>)> {
        self.channels.iter().filter_map(|(id, channel)| Some((id, &channel.active.as_ref()?.steps)))
    }

    /// Returns a channel's steps, which end with the node's last one; `None` if the channel is unknown, or if it has
    /// traffic but too many others have, too.
    pub(super) fn channel(&self, id: &ChannelId) -> Option<ChannelSteps<'_>> {
        let channel = self.channels.get(id)?;
        match &channel.active {
            Some(active) => Some(ChannelSteps::Active(&active.steps)),
            None if channel.seen == TotalsReading::default() || self.active < MAX_ACTIVE_CHANNELS => {
                Some(ChannelSteps::Idle(steps_since(channel.since, self.samples)))
            }
            None => None,
        }
    }

    /// Returns the milliseconds after which the ledgers' disk is full if its free space goes on shrinking as in the
    /// retained steps; `None` if it does not shrink, or if they are fewer than a minute's.
    pub(super) fn disk_lasts_ms(&self) -> Option<u64> {
        let with_space = |step: &&NodeStep| step.reading.disk_free_bytes.is_some();
        let (first, last) =
            (self.node.iter().find(with_space)?.reading, self.node.iter().rev().find(with_space)?.reading);
        let (before, now) = (first.disk_free_bytes?, last.disk_free_bytes?);
        let took_ms = last.end_ms.checked_sub(first.end_ms).filter(|took| *took >= 60_000)?;
        let used = before.checked_sub(now).filter(|used| *used > 0)?;
        u64::try_from(u128::from(now) * u128::from(took_ms) / u128::from(used)).ok()
    }
}

impl ChannelHistory {
    fn new(now: u64) -> Self {
        Self { since: now, seen_at: now, seen: TotalsReading::default(), latencies: None, active: None }
    }

    /// Ends the channel's step; returns its events and the latencies of its envelopes.
    fn sample(&mut self, now: u64, totals: &ChannelTotals, may_start: bool) -> (Step, Option<LatencyCounts>) {
        let read = totals.read();
        if read.blocks < self.seen.blocks || read.rejected < self.seen.rejected {
            // the channel was removed and joined again
            *self = Self::new(now);
        }
        self.seen_at = now;
        let mut step = Step {
            envelopes: difference(read.envelopes, self.seen.envelopes),
            blocks: difference(read.blocks, self.seen.blocks),
            rejected: difference(read.rejected, self.seen.rejected),
            ..Step::default()
        };
        let happened = read != self.seen;
        let took = self.latencies_since(read.acknowledged, totals);
        if let Some(took) = &took {
            (step.p50_us, step.p99_us) = percentiles(took);
        }
        self.seen = read;
        if self.active.is_none() && happened && may_start {
            let mut steps = VecDeque::with_capacity(STEPS);
            steps.resize((steps_since(self.since, now) - 1).min(STEPS - 1), Step::default());
            self.active = Some(Box::new(ActiveChannel { last_event: now, steps }));
        }
        if let Some(active) = &mut self.active {
            if active.steps.len() == STEPS {
                active.steps.pop_front();
            }
            active.steps.push_back(step);
            if happened {
                active.last_event = now;
            } else if now - active.last_event >= STEPS as u64 {
                // all of its steps are empty
                self.active = None;
            }
        }
        (step, took)
    }

    /// Returns the latencies since the last sample, if any envelope was acknowledged since.
    fn latencies_since(&mut self, acknowledged: u64, totals: &ChannelTotals) -> Option<LatencyCounts> {
        let now = totals.latencies().filter(|_| acknowledged != self.seen.acknowledged)?;
        let before = self.latencies.get_or_insert_default();
        let took = now.since(before);
        **before = now;
        Some(took)
    }
}

fn steps_since(since: u64, now: u64) -> usize {
    usize::try_from(now.saturating_sub(since) + 1).unwrap_or(STEPS).min(STEPS)
}

fn difference(now: u64, before: u64) -> u32 {
    u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX)
}

fn percentiles(latencies: &LatencyCounts) -> (u32, u32) {
    let of = |share| latencies.percentile_us(share).map_or(0, |micros| micros.max(1));
    (of(0.5), of(0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn id(name: &str) -> ChannelId {
        ChannelId::parse(name).unwrap()
    }

    fn at(step: u64) -> NodeReading {
        NodeReading { end_ms: 1_000_000 + step * 5000, took_ms: 5000, ..NodeReading::default() }
    }

    fn envelopes(steps: &ChannelSteps<'_>) -> Vec<u32> {
        match steps {
            ChannelSteps::Active(steps) => steps.iter().map(|step| step.envelopes).collect(),
            ChannelSteps::Idle(steps) => vec![0; *steps],
        }
    }

    #[test]
    fn a_channel_has_its_steps_and_the_node_their_sum() {
        let (mut recorder, a, b) = (Recorder::default(), ChannelTotals::default(), ChannelTotals::default());
        let (one, two) = (id("one"), id("two"));
        recorder.begin(1000);
        a.written(1, 10);
        a.acknowledged(Duration::from_millis(20));
        recorder.sample(NodeReading { cpu_ms: 3500, ..at(1) }, [(&one, &a)]);
        a.rejected();
        b.written(2, 7);
        b.acknowledged(Duration::from_millis(500));
        recorder.sample(NodeReading { rejected: 4, cpu_ms: 3500, ..at(2) }, [(&one, &a), (&two, &b)]);

        assert_eq!(envelopes(&recorder.channel(&one).unwrap()), [10, 0]);
        assert_eq!(envelopes(&recorder.channel(&two).unwrap()), [7], "it begins with the channel");
        let Some(ChannelSteps::Active(steps)) = recorder.channel(&one) else { panic!("it has steps") };
        assert!(steps[0].p99_us.abs_diff(20_000) < 2500, "{:?}", steps[0]);
        assert_eq!((steps[1].rejected, steps[1].p99_us), (1, 0));
        let node = recorder.node();
        assert_eq!((node[0].step.envelopes, node[1].step.envelopes, node[1].step.blocks), (10, 7, 2));
        assert_eq!(node[1].step.rejected, 4, "those of no channel count, too");
        assert!(node[1].step.p99_us.abs_diff(500_000) < 63_000);
        assert!((node[0].cores - 0.5).abs() < 1e-6 && node[1].cores.abs() < 1e-6);
        assert_eq!(recorder.channel(&id("three")), None);
    }

    #[test]
    fn fifteen_minutes_are_retained() {
        let (mut recorder, totals, one) = (Recorder::default(), ChannelTotals::default(), id("one"));
        for step in 1..=400 {
            totals.written(1, usize::try_from(step).unwrap());
            recorder.sample(at(step), [(&one, &totals)]);
        }
        let kept = envelopes(&recorder.channel(&one).unwrap());
        assert_eq!((kept.len(), kept[0], kept[STEPS - 1]), (STEPS, 221, 400));
        assert_eq!((recorder.node().len(), recorder.node()[0].reading.end_ms), (STEPS, at(221).end_ms));
    }

    #[test]
    fn an_idle_channel_has_no_steps_in_memory() {
        let (mut recorder, totals, one) = (Recorder::default(), ChannelTotals::default(), id("one"));
        recorder.sample(at(1), [(&one, &totals)]);
        recorder.sample(at(2), [(&one, &totals)]);
        assert_eq!(recorder.channel(&one), Some(ChannelSteps::Idle(2)));
        totals.written(1, 5);
        recorder.sample(at(3), [(&one, &totals)]);
        assert_eq!(envelopes(&recorder.channel(&one).unwrap()), [0, 0, 5]);
        assert_eq!(recorder.active, 1);
        (4..4 + STEPS as u64 - 1).for_each(|step| recorder.sample(at(step), [(&one, &totals)]));
        assert_eq!(envelopes(&recorder.channel(&one).unwrap())[0], 5);
        recorder.sample(at(3 + STEPS as u64), [(&one, &totals)]);
        assert_eq!((recorder.channel(&one), recorder.active), (Some(ChannelSteps::Idle(STEPS)), 0));
    }

    #[test]
    fn a_channel_that_was_removed_is_forgotten_and_begins_anew() {
        let (mut recorder, one) = (Recorder::default(), id("one"));
        let totals = ChannelTotals::default();
        totals.written(9, 90);
        recorder.sample(at(1), [(&one, &totals)]);
        recorder.sample(at(2), []);
        assert_eq!((recorder.channel(&one), recorder.active), (None, 0));

        recorder.sample(at(3), [(&one, &totals)]);
        let rejoined = ChannelTotals::default();
        rejoined.written(1, 1);
        recorder.sample(at(4), [(&one, &rejoined)]);
        assert_eq!(envelopes(&recorder.channel(&one).unwrap()), [1]);
    }

    #[test]
    fn steps_are_bounded_however_many_channels_have_traffic() {
        let mut recorder = Recorder::default();
        let ids: Vec<_> = (0..MAX_ACTIVE_CHANNELS + 10).map(|n| id(&format!("channel{n}"))).collect();
        let totals: Vec<_> = ids.iter().map(|_| ChannelTotals::default()).collect();
        for totals in &totals {
            totals.written(1, 1);
        }
        recorder.sample(at(1), ids.iter().zip(&totals));
        assert_eq!((recorder.active, recorder.active_channels().count()), (MAX_ACTIVE_CHANNELS, MAX_ACTIVE_CHANNELS));
        assert_eq!(recorder.node()[0].step.envelopes, u32::try_from(ids.len()).unwrap(), "all count for the node");
        assert_eq!(recorder.channel(ids.last().unwrap()), None, "an unknown past is not drawn as zeros");
        let step = std::mem::size_of::<Step>();
        let channel = STEPS * step + std::mem::size_of::<(ActiveChannel, ChannelHistory, LatencyCounts)>();
        assert!(channel < 4200, "{channel} bytes a channel");
    }

    #[test]
    fn the_disk_lasts_as_long_as_it_goes_on_shrinking() {
        let mut recorder = Recorder::default();
        let with = |step, free| NodeReading { disk_free_bytes: Some(free), ..at(step) };
        recorder.sample(with(0, 100 * GIB), []);
        recorder.sample(with(11, 99 * GIB), []);
        assert_eq!(recorder.disk_lasts_ms(), None, "less than a minute is no measure");
        recorder.sample(with(12, 99 * GIB), []);
        assert_eq!(recorder.disk_lasts_ms(), Some(99 * 60_000));
        recorder.sample(with(13, 100 * GIB), []);
        assert_eq!(recorder.disk_lasts_ms(), None);
    }
}
