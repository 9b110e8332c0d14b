//! Counts the traffic with each broker, for views and metrics.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// The id of a broker that is not known yet.
const UNKNOWN: i32 = -1;

/// Counters of all connections that share it. Locked when a connection is opened, when a broker's id becomes known, and for a
/// snapshot.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<String, Arc<Counters>>>);

/// Counters of one broker.
#[derive(Debug)]
pub(crate) struct Counters {
    id: AtomicI32,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    requests: AtomicU64,
    answers: AtomicU64,
    waited_micros: AtomicU64,
}

/// The traffic with a broker since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerTraffic {
    /// Its id; -1 as long as none is known.
    pub broker: i32,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Bytes that went.
    pub sent_bytes: u64,
    /// Requests that went.
    pub requests: u64,
    /// Answers that came.
    pub answers: u64,
    /// The sum of the times until they came.
    pub waited: Duration,
}

impl Traffic {
    pub(crate) fn with(&self, address: &str) -> Arc<Counters> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let zero = || AtomicU64::new(0);
            Arc::new(Counters {
                id: AtomicI32::new(UNKNOWN),
                received_bytes: zero(),
                sent_bytes: zero(),
                requests: zero(),
                answers: zero(),
                waited_micros: zero(),
            })
        };
        Arc::clone(all.entry(address.to_owned()).or_insert_with(new))
    }

    /// A broker with this id is at this address.
    pub(crate) fn learn(&self, address: &str, id: i32) {
        if let Some(counters) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(address) {
            counters.id.store(id, Ordering::Relaxed);
        }
    }

    /// Every broker that was connected to, by id. One that is known by two addresses is one.
    pub fn by_broker(&self) -> Vec<BrokerTraffic> {
        let mut brokers: BTreeMap<i32, BrokerTraffic> = BTreeMap::new();
        for counters in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let broker = counters.id.load(Ordering::Relaxed);
            let nothing = BrokerTraffic {
                broker,
                received_bytes: 0,
                sent_bytes: 0,
                requests: 0,
                answers: 0,
                waited: Duration::ZERO,
            };
            let sum = brokers.entry(broker).or_insert(nothing);
            sum.received_bytes += read(&counters.received_bytes);
            sum.sent_bytes += read(&counters.sent_bytes);
            sum.requests += read(&counters.requests);
            sum.answers += read(&counters.answers);
            sum.waited += Duration::from_micros(read(&counters.waited_micros));
        }
        brokers.into_values().collect()
    }
}

impl Counters {
    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, after: Duration) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A connection's bytes, counted inside TLS.
#[derive(Debug)]
pub(crate) struct CountedStream {
    stream: Stream,
    counters: Arc<Counters>,
}

impl CountedStream {
    pub(crate) fn new(stream: Stream, counters: Arc<Counters>) -> Self {
        Self { stream, counters }
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.counters.received_bytes.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.counters.sent_bytes.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_with_two_addresses_is_one() {
        let traffic = Traffic::default();
        for (address, count) in [("a:1", 1), ("b:1", 2), ("c:1", 4)] {
            let counters = traffic.with(address);
            (0..count).for_each(|_| counters.asked());
            counters.answered(Duration::from_millis(count));
        }
        traffic.learn("a:1", 3);
        traffic.learn("b:1", 3);
        traffic.learn("nobody:1", 9);
        let seen: Vec<_> = traffic.by_broker().iter().map(|b| (b.broker, b.requests, b.answers, b.waited)).collect();
        assert_eq!(seen, [(UNKNOWN, 4, 1, Duration::from_millis(4)), (3, 3, 2, Duration::from_millis(3))]);
    }
}
