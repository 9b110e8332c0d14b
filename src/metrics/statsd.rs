//! Sends metrics to a StatsD server, as Fabric does: a dotted name, followed by the values of the labels.
//!
//! Only changes since the last time are sent: counters as the difference, gauges as they are. Of a histogram, each
//! bucket that grew is one line with the middle of the bucket and a sample rate, so that the number of lines does not
//! grow with the load.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use orderer_actors::observer::METRICS;
use prometheus::proto::{Bucket, Metric, MetricFamily, MetricType};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::settings::{StatsdNetwork, StatsdSettings};

/// Maximum size in bytes of a datagram, which no network fragments.
const DATAGRAM_BYTES: usize = 1432;
/// Time limit for sending; after it the attempt is abandoned until the next interval.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends metrics at each interval until `stopping`.
pub async fn send(metrics: Arc<Metrics>, settings: StatsdSettings, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(settings.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut failing) = (Arc::new(SentValues::default()), false);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        let (of_thread, prefix) = (Arc::clone(&metrics), settings.prefix.clone());
        let sent_before = Arc::clone(&seen);
        let gathered = tokio::task::spawn_blocking(move || sent_before.lines(&of_thread.gather(), &prefix));
        let Ok((now, lines)) = gathered.await else {
            tracing::error!(target: "orderer.node", "metrics are no longer sent: reading them panicked");
            return;
        };
        let sent = tokio::time::timeout(PATIENCE, deliver(&settings, &lines)).await;
        let error = match sent {
            Ok(Ok(())) => {
                // what was not accepted is part of the next difference
                seen = Arc::new(now);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("nothing was taken within {PATIENCE:?}")),
        };
        if let Some(error) = &error
            && !failing
        {
            tracing::warn!(target: "orderer.node", address = %settings.address, %error,
                "failed to send metrics to StatsD; retrying at each interval");
        }
        failing = error.is_some();
    }
}

async fn deliver(settings: &StatsdSettings, lines: &[String]) -> std::io::Result<()> {
    let address = settings.address.as_str();
    match settings.network {
        StatsdNetwork::Udp => {
            let socket = UdpSocket::bind(("::", 0)).await;
            let socket = match socket {
                Ok(socket) if socket.connect(address).await.is_ok() => socket,
                _ => {
                    let socket = UdpSocket::bind(("0.0.0.0", 0)).await?;
                    socket.connect(address).await?;
                    socket
                }
            };
            for datagram in datagrams(lines) {
                socket.send(datagram.as_bytes()).await?;
            }
            Ok(())
        }
        StatsdNetwork::Tcp => {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(lines.concat().as_bytes()).await?;
            stream.shutdown().await
        }
    }
}

fn datagrams(lines: &[String]) -> Vec<String> {
    let mut datagrams: Vec<String> = Vec::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if last.len() + line.len() <= DATAGRAM_BYTES => last.push_str(line),
            _ => datagrams.push(line.clone()),
        }
    }
    datagrams
}

/// Values that were sent before, by name: of a counter its value, of a histogram its buckets.
#[derive(Default)]
struct SentValues(HashMap<String, Vec<f64>>);

impl SentValues {
    /// Returns the values that will have been sent, and the lines to send.
    fn lines(&self, families: &[MetricFamily], prefix: &str) -> (Self, Vec<String>) {
        let mut lines = Vec::new();
        let mut now = HashMap::new();
        for family in families {
            let definition = METRICS.iter().find(|definition| definition.prometheus_name() == family.name());
            let Some(definition) = definition else { continue };
            for metric in family.get_metric() {
                let name = series_name(prefix, &definition.statsd_name(), definition.labels, metric);
                match family.get_field_type() {
                    MetricType::COUNTER => {
                        let value = metric.get_counter().get_value();
                        let grown = value - self.0.get(&name).and_then(|seen| seen.first()).copied().unwrap_or(0.0);
                        if grown > 0.0 {
                            lines.push(format!("{name}:{grown:.6}|c\n"));
                        }
                        now.insert(name, vec![value]);
                    }
                    MetricType::HISTOGRAM => {
                        let buckets = self.timings(&name, metric, &mut lines);
                        now.insert(name, buckets);
                    }
                    _ => lines.push(format!("{name}:{:.6}|g\n", metric.get_gauge().get_value())),
                }
            }
        }
        // series that are gone are dropped: one of the same name would begin at zero
        (Self(now), lines)
    }

    /// Appends a line for each bucket that grew. Returns the buckets' cumulative counts.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 are not reached")]
    fn timings(&self, name: &str, metric: &Metric, lines: &mut Vec<String>) -> Vec<f64> {
        let histogram = metric.get_histogram();
        let bounds: Vec<f64> =
            histogram.get_bucket().iter().map(Bucket::upper_bound).filter(|b| b.is_finite()).collect();
        let mut counts: Vec<f64> = histogram.get_bucket().iter().map(|b| b.cumulative_count() as f64).collect();
        counts.truncate(bounds.len());
        counts.push(histogram.get_sample_count() as f64);
        let seen = self.0.get(name);
        let mut below = 0.0;
        for (at, count) in counts.iter().enumerate() {
            let grown = count - seen.and_then(|seen| seen.get(at)).copied().unwrap_or(0.0);
            let here = grown - below;
            below = grown;
            if here > 0.0 {
                let lower = if at == 0 { 0.0 } else { bounds[at - 1] };
                let middle = bounds.get(at).map_or(lower, |upper| f64::midpoint(lower, *upper));
                let rate = if here > 1.0 { format!("|@{:.12}", 1.0 / here) } else { String::new() };
                lines.push(format!("{name}:{middle:.6}|ms{rate}\n"));
            }
        }
        counts
    }
}

fn series_name(prefix: &str, name: &str, labels: &[&str], metric: &Metric) -> String {
    let mut full = prefix.to_owned();
    if !prefix.is_empty() && !prefix.ends_with('.') {
        full.push('.');
    }
    full.push_str(name);
    for label in labels {
        let value = metric.get_label().iter().find(|pair| pair.name() == *label).map_or("unknown", |pair| pair.value());
        full.push('.');
        full.extend(value.chars().map(|c| if c.is_whitespace() || ".|:".contains(c) { '_' } else { c }));
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    #[test]
    fn a_series_is_named_by_dots_and_the_values_of_its_labels() {
        let registry = Registry::new();
        let processed = Opts::new("broadcast_processed_count", "x");
        let processed = IntCounterVec::new(processed, &["channel", "type", "status"]).expect("is one");
        let fill = HistogramOpts::new("blockcutter_block_fill_duration", "x").buckets(vec![0.1, 0.3]);
        let fill = HistogramVec::new(fill, &["channel"]).expect("is one");
        registry.register(Box::new(processed.clone())).expect("is new");
        registry.register(Box::new(fill.clone())).expect("is new");
        let of_channel = processed.with_label_values(&["my.channel", "MESSAGE", "SUCCESS"]);
        of_channel.inc_by(3);
        for took in [0.05, 0.2, 0.25, 9.0] {
            fill.with_label_values(&["a"]).observe(took);
        }
        let expected = [
            "org1.blockcutter.block_fill_duration.a:0.050000|ms\n",
            "org1.blockcutter.block_fill_duration.a:0.200000|ms|@0.500000000000\n",
            "org1.blockcutter.block_fill_duration.a:0.300000|ms\n",
            "org1.broadcast.processed_count.my_channel.MESSAGE.SUCCESS:3.000000|c\n",
        ];
        let nothing = SentValues::default();
        let (seen, lines) = nothing.lines(&registry.gather(), "org1");
        assert_eq!(lines, expected);
        assert_eq!(nothing.lines(&registry.gather(), "org1").1, expected, "what was not taken is told again");
        assert_eq!(seen.lines(&registry.gather(), "org1").1, Vec::<String>::new(), "nothing has changed");
        of_channel.inc();
        let grown = ["org1.broadcast.processed_count.my_channel.MESSAGE.SUCCESS:1.000000|c\n"];
        assert_eq!(seen.lines(&registry.gather(), "org1.").1, grown);
    }

    #[test]
    fn datagrams_hold_whole_lines() {
        let lines: Vec<String> = (0..100).map(|n| format!("{n}{}\n", "x".repeat(n * 5))).collect();
        let datagrams = datagrams(&lines);
        assert!(datagrams.iter().all(|d| d.len() <= DATAGRAM_BYTES && d.ends_with('\n')));
        assert_eq!(datagrams.concat(), lines.concat());
    }
}
