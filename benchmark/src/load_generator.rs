//! One run: streams that send, and subscribers that watch for what was sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_stream::stream;
use bytes::Bytes;
use fabric_proto::common::{Block, Status as FabricStatus};
use fabric_proto::orderer::BroadcastResponse;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{Stream, StreamExt as _};
use hdrhistogram::Histogram;
use prost::Message as _;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::Progress;
use super::in_process::InProcess;
use super::report::Settings;
use super::workload::{LoadMode, Workload};
use orderer_client::{ClientError, OrdererClient, RawDeliverResponse, ResponseStream};

/// Latencies are recorded in microseconds, up to an hour, to three significant digits.
const LONGEST_MICROS: u64 = 3_600_000_000;
const DIGITS: u8 = 3;
/// Interval between updates of the progress bar.
const TELL: Duration = Duration::from_millis(200);

/// Deliver streams of several channels. Each response has the index of its channel; `None` marks the end of a stream.
type DeliverStreams = SelectAll<BoxStream<'static, (usize, Option<Result<RawDeliverResponse, ClientError>>)>>;

/// A connection to the target.
#[derive(Clone)]
pub(super) enum Transport {
    Grpc(OrdererClient<Channel>),
    Inside(OrdererClient<InProcess>),
}

impl Transport {
    fn broadcast(&self, envelopes: impl Stream<Item = Bytes> + Send + 'static) -> ResponseStream<BroadcastResponse> {
        match self {
            Self::Grpc(orderer) => orderer.broadcast(envelopes),
            Self::Inside(orderer) => orderer.broadcast(envelopes),
        }
    }

    /// Opens a Deliver stream for each of the requests, on the same connection.
    fn deliver_all(&self, requests: &[Bytes]) -> DeliverStreams {
        let streams = requests.iter().enumerate().map(|(channel, request)| {
            let end = futures_util::stream::iter([None]);
            let answers = self.deliver(request.clone()).map(Some).chain(end);
            answers.map(move |answer| (channel, answer)).boxed()
        });
        futures_util::stream::select_all(streams)
    }

    pub(super) fn deliver(&self, request: Bytes) -> ResponseStream<RawDeliverResponse> {
        match self {
            Self::Grpc(orderer) => orderer.deliver_raw(request),
            Self::Inside(orderer) => orderer.deliver_raw(request),
        }
    }
}

/// The raw observations of a run.
pub(super) struct Observations {
    pub(super) sent: usize,
    /// Number of responses by status or error.
    pub(super) answers: BTreeMap<String, usize>,
    /// Time from the first envelope to the last response.
    pub(super) answered_in: Duration,
    /// Time from the first envelope to the last that arrived in a block.
    pub(super) ordered_in: Duration,
    pub(super) to_answer: Histogram<u64>,
    pub(super) to_block: Histogram<u64>,
    pub(super) ordered: usize,
    pub(super) twice: usize,
    pub(super) blocks: usize,
    pub(super) block_bytes: usize,
}

/// State shared by streams and subscribers.
struct Shared {
    load: Arc<Workload>,
    count: usize,
    began: Instant,
    pace: LoadMode,
    /// When each envelope was sent, or should have been, in nanoseconds since `began`.
    sent_at: Vec<AtomicU64>,
    sent: AtomicUsize,
    answered: AtomicUsize,
    ordered: AtomicUsize,
    progressed: Notify,
    /// Whether sending has ended.
    done: AtomicBool,
    /// Cancelled when subscribers may stop.
    enough: CancellationToken,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the microseconds since an envelope was sent.
    fn micros_since(&self, number: usize) -> u64 {
        self.now().saturating_sub(self.sent_at[number].load(Ordering::Relaxed)) / 1000
    }
}

/// Returns when an envelope is due, in nanoseconds after the first one.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a clock")]
fn turn(number: usize, rate: f64) -> u64 {
    (number as f64 / rate * 1e9) as u64
}

/// Sends the first `count` envelopes of the load over the `lines`, one stream each, and subscribes with `seeks`, one
/// for each channel, over each of the `followers`. Waits until what was acknowledged has arrived in blocks, for `settings.wait` at most.
pub(super) async fn run(
    lines: Vec<Transport>,
    followers: Vec<Transport>,
    seeks: &[Bytes],
    load: &Arc<Workload>,
    count: usize,
    settings: &Settings,
    progress: &mut (impl FnMut(Progress) + ?Sized),
) -> anyhow::Result<Observations> {
    let streams = lines.len();
    let shared = Arc::new(Shared {
        load: Arc::clone(load),
        count,
        began: Instant::now(),
        pace: settings.pace(),
        sent_at: (0..count).map(|_| AtomicU64::new(0)).collect(),
        sent: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        ordered: AtomicUsize::new(0),
        progressed: Notify::new(),
        done: AtomicBool::new(false),
        enough: CancellationToken::new(),
    });
    // in any case, subscribers and pace end with this run
    let _enough = shared.enough.clone().drop_guard();
    let mut watching = Vec::new();
    for (at, line) in followers.into_iter().enumerate() {
        let (ready, is_ready) = oneshot::channel();
        let follower = Subscriber::new(Arc::clone(&shared), at == 0)?;
        watching.push(tokio::spawn(follower.follow(line.deliver_all(seeks), seeks.len(), ready)));
        let is_ready =
            tokio::time::timeout(settings.wait, is_ready).await.context("a follower heard no block in time")?;
        if is_ready.is_err() {
            let ended = watching.remove(at).await.context("a follower")?;
            ended?;
            anyhow::bail!("a follower heard no block");
        }
    }
    // the clock starts now
    let first = shared.now();
    let turns: Arc<Vec<Semaphore>> = Arc::new((0..streams).map(|_| Semaphore::new(0)).collect());
    if let LoadMode::Rate(rate) = shared.pace {
        keep_pace(Arc::clone(&shared), Arc::clone(&turns), rate, first);
    }
    let sending: Vec<JoinHandle<anyhow::Result<ResponseLog>>> = lines
        .into_iter()
        .enumerate()
        .map(|(at, line)| {
            let stream = Sender { shared: Arc::clone(&shared), turns: Arc::clone(&turns), at, streams, first };
            tokio::spawn(stream.run(line, settings.window))
        })
        .collect();
    let (mut answers, mut to_answer) = (BTreeMap::new(), histogram()?);
    let all = futures_util::future::join_all(sending);
    tokio::pin!(all);
    let (mut before, mut since) = (0, Instant::now());
    let ended = loop {
        tokio::select! {
            ended = &mut all => break ended,
            () = tokio::time::sleep(TELL) => {}
        }
        let (sent, answered) = (shared.sent.load(Ordering::Relaxed), shared.answered.load(Ordering::Relaxed));
        progress(Progress::Answered(answered));
        if answered > before || answered == sent {
            (before, since) = (answered, Instant::now());
        }
        let wait = settings.wait;
        anyhow::ensure!(
            since.elapsed() <= wait,
            "{answered} of {sent} envelopes were answered, then none for {wait:?}"
        );
    };
    let answered_at = shared.now();
    shared.done.store(true, Ordering::Relaxed);
    for stream in ended {
        let stream = stream.context("a stream")??;
        to_answer.add(&stream.latencies).context("latencies")?;
        for (answer, times) in stream.answers {
            *answers.entry(answer).or_default() += times;
        }
    }
    let acknowledged = answers.get(FabricStatus::Success.as_str_name()).copied().unwrap_or(0);
    let all_ordered = async {
        while shared.ordered.load(Ordering::Relaxed) < acknowledged {
            shared.progressed.notified().await;
        }
    };
    let _ = tokio::time::timeout(settings.wait, all_ordered).await;
    shared.enough.cancel();
    let mut seen = None;
    for (at, watching) in watching.into_iter().enumerate() {
        let watched = watching.await.context("a follower")??;
        if at == 0 {
            seen = Some(watched);
        }
    }
    let follower = seen.context("no follower")?;
    Ok(Observations {
        sent: shared.sent.load(Ordering::Relaxed),
        answers,
        answered_in: Duration::from_nanos(answered_at.saturating_sub(first)),
        ordered_in: Duration::from_nanos(follower.last.saturating_sub(first)),
        to_answer,
        to_block: follower.latencies,
        ordered: shared.ordered.load(Ordering::Relaxed),
        twice: follower.twice,
        blocks: follower.blocks,
        block_bytes: follower.bytes,
    })
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).context("a histogram")
}

/// Gives each stream its turns. Runs on a thread of its own, because a runtime's timers have a resolution of a
/// millisecond.
fn keep_pace(shared: Arc<Shared>, turns: Arc<Vec<Semaphore>>, rate: f64, first: u64) {
    tokio::task::spawn_blocking(move || {
        for number in 0..shared.count {
            if shared.done.load(Ordering::Relaxed) || shared.enough.is_cancelled() {
                return;
            }
            let due = first.saturating_add(turn(number, rate));
            let early = due.saturating_sub(shared.now());
            if early > 0 {
                std::thread::sleep(Duration::from_nanos(early));
            }
            turns[number % turns.len()].add_permits(1);
        }
    });
}

/// The responses of one stream.
struct ResponseLog {
    answers: BTreeMap<String, usize>,
    latencies: Histogram<u64>,
}

struct Sender {
    shared: Arc<Shared>,
    turns: Arc<Vec<Semaphore>>,
    at: usize,
    streams: usize,
    first: u64,
}

impl Sender {
    async fn run(self, line: Transport, window: usize) -> anyhow::Result<ResponseLog> {
        let room = Arc::new(Semaphore::new(window));
        let mut heard = ResponseLog { answers: BTreeMap::new(), latencies: histogram()? };
        let (shared, at, streams) = (Arc::clone(&self.shared), self.at, self.streams);
        let mut answers = line.broadcast(self.envelopes(Arc::clone(&room)));
        let mut next = at;
        while let Some(answer) = answers.next().await {
            let status = match answer {
                Ok(answer) => FabricStatus::try_from(answer.status).unwrap_or(FabricStatus::Unknown),
                Err(ClientError::Stream(status)) => {
                    *heard.answers.entry(format!("stream ended: {:?}", status.code())).or_default() += 1;
                    break;
                }
                Err(other) => return Err(other.into()),
            };
            anyhow::ensure!(next < shared.count, "more answers than envelopes");
            heard.latencies.saturating_record(shared.micros_since(next).max(1));
            *heard.answers.entry(status.as_str_name().to_owned()).or_default() += 1;
            shared.answered.fetch_add(1, Ordering::Relaxed);
            room.add_permits(1);
            next += streams;
        }
        Ok(heard)
    }

    /// Yields this stream's share of the load, each envelope when it may be sent.
    fn envelopes(self, room: Arc<Semaphore>) -> impl Stream<Item = Bytes> + Send + 'static {
        stream! {
            let Self { shared, turns, at, streams, first } = self;
            for number in (at..shared.count).step_by(streams) {
                if let LoadMode::Rate(_) = shared.pace {
                    let Ok(turn) = turns[at].acquire().await else { return };
                    turn.forget();
                }
                let Ok(place) = room.acquire().await else { return };
                place.forget();
                let at = match shared.pace {
                    LoadMode::Closed => shared.now(),
                    LoadMode::Rate(rate) => first.saturating_add(turn(number, rate)),
                };
                shared.sent_at[number].store(at, Ordering::Relaxed);
                shared.sent.fetch_add(1, Ordering::Relaxed);
                yield shared.load.envelope(number);
            }
        }
    }
}

/// Watches for what was sent; all subscribers but the first only receive the blocks.
struct Subscriber {
    shared: Arc<Shared>,
    counts: bool,
    seen: Vec<bool>,
    watched: SubscriberLog,
}

struct SubscriberLog {
    latencies: Histogram<u64>,
    last: u64,
    twice: usize,
    blocks: usize,
    bytes: usize,
}

impl Subscriber {
    fn new(shared: Arc<Shared>, counts: bool) -> anyhow::Result<Self> {
        let seen = vec![false; if counts { shared.count } else { 0 }];
        Ok(Self {
            shared,
            counts,
            seen,
            watched: SubscriberLog { latencies: histogram()?, last: 0, twice: 0, blocks: 0, bytes: 0 },
        })
    }

    async fn follow(
        mut self,
        mut blocks: DeliverStreams,
        channels: usize,
        ready: oneshot::Sender<()>,
    ) -> anyhow::Result<SubscriberLog> {
        let (mut ready, mut silent) = (Some(ready), channels);
        let mut has_begun = vec![false; channels];
        loop {
            let (channel, answer) = tokio::select! {
                answer = blocks.next() => answer.context("a follower has no streams")?,
                () = self.shared.enough.cancelled() => return Ok(self.watched),
            };
            let answer = answer.context("the orderer ended a follower's stream")??;
            let Some(block) = answer.block else {
                let status = answer.status.and_then(|status| FabricStatus::try_from(status).ok());
                anyhow::bail!("the orderer ended a follower's stream with {status:?}");
            };
            // the channel's block that existed before
            if !std::mem::replace(&mut has_begun[channel], true) {
                silent -= 1;
                if let Some(ready) = ready.take_if(|_| silent == 0) {
                    let _ = ready.send(());
                }
                continue;
            }
            if self.counts {
                self.receive_block(channel, block)?;
            }
        }
    }

    fn receive_block(&mut self, channel: usize, bytes: Bytes) -> anyhow::Result<()> {
        let now = self.shared.now();
        self.watched.blocks += 1;
        self.watched.bytes += bytes.len();
        for entry in Block::decode(bytes).context("a block")?.data.unwrap_or_default().data {
            let load = &self.shared.load;
            let expected = |number: &usize| *number < self.seen.len() && load.channel_of(*number) == channel;
            let Some(number) = load.recognize(entry).filter(expected) else { continue };
            if std::mem::replace(&mut self.seen[number], true) {
                self.watched.twice += 1;
                continue;
            }
            self.watched.last = now;
            let micros = now.saturating_sub(self.shared.sent_at[number].load(Ordering::Relaxed)) / 1000;
            self.watched.latencies.saturating_record(micros.max(1));
            self.shared.ordered.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.progressed.notify_one();
        Ok(())
    }
}
