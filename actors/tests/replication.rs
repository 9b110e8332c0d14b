//! Catches up from orderers that serve a recorded chain, and from orderers that fail, lie, or cannot be reached.

#![allow(clippy::unwrap_used)]

mod recorded_chain;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use orderer_actors::replication::{
    Batch, BlockRange, CatchUpProgress, NoLatestConfig, ReceiverClosed, ReplicationContext, StartPoint, catch_up,
    fetch_latest_config,
};
use orderer_cluster::{BlockEndpoint, BlockSources, BlockStream, PullError};
use orderer_core::block::ChainTip;
use orderer_core::replication::{OrdererEndpoint, RetryDelays, VerifiedBlock, endpoints};
use orderer_core::types::BlockNumber;
use recorded_chain::Recorded;
use tokio::sync::{mpsc, watch};

const ONE: &str = "127.0.0.1:25010";
const TWO: &str = "127.0.0.1:25020";
const THREE: &str = "127.0.0.1:25030";
/// Time limit of a test.
const LIMIT: Duration = Duration::from_secs(150);

/// An orderer's answer to the request for its height.
type Height = Box<dyn Fn(usize) -> Result<u64, PullError> + Send + Sync>;
/// The block that an orderer sends under a number, the first of the stream being the second argument.
type Block = Arc<dyn Fn(u64, u64) -> Option<Result<Bytes, PullError>> + Send + Sync>;

/// The bytes that a lying orderer sends as a block.
type Sends = fn(&Recorded, u64) -> Bytes;

struct Orderer {
    height: Height,
    block: Block,
    asked: AtomicUsize,
    /// The first block and the last of each pull.
    pulls: Mutex<Vec<(u64, u64)>>,
}

/// Orderers, by address.
#[derive(Default)]
struct Orderers {
    by_address: BTreeMap<&'static str, Arc<Orderer>>,
    open: Arc<AtomicUsize>,
    /// Delay before each block.
    delay: Duration,
}

impl Orderers {
    fn with(
        mut self,
        address: &'static str,
        height: impl Fn(usize) -> Result<u64, PullError> + Send + Sync + 'static,
        block: impl Fn(u64, u64) -> Option<Result<Bytes, PullError>> + Send + Sync + 'static,
    ) -> Self {
        let orderer = Orderer {
            height: Box::new(height),
            block: Arc::new(block),
            asked: AtomicUsize::new(0),
            pulls: Mutex::default(),
        };
        self.by_address.insert(address, Arc::new(orderer));
        self
    }

    /// Serves the recorded chain up to a height.
    fn honest(self, address: &'static str, chain: &Arc<Recorded>, height: u64) -> Self {
        let chain = Arc::clone(chain);
        self.with(address, move |_| Ok(height), move |number, _| (number < height).then(|| Ok(sent(&chain, number))))
    }

    fn pulls(&self, address: &str) -> Vec<(u64, u64)> {
        self.by_address[address].pulls.lock().unwrap().clone()
    }
}

fn sent(chain: &Recorded, number: u64) -> Bytes {
    chain.blocks[usize::try_from(number).unwrap()].clone()
}

/// Returns the recorded block with one transaction changed.
fn forged(chain: &Recorded, number: u64) -> Bytes {
    use fabric_proto::Message as _;
    let mut block = chain.block(number).decode();
    let first = &mut block.data.as_mut().unwrap().data[0];
    let mut envelope = fabric_proto::common::Envelope::decode(first.clone()).unwrap();
    envelope.signature = Bytes::from_static(b"another");
    *first = envelope.encode_to_vec().into();
    block.encode_to_vec().into()
}

fn down() -> Result<u64, PullError> {
    Err(PullError::Connect("nobody is there".to_owned()))
}

impl BlockSources for Orderers {
    fn height(&self, channel: &str, endpoint: &BlockEndpoint) -> BoxFuture<'static, Result<u64, PullError>> {
        assert_eq!(channel, "ch");
        let orderer = self.by_address.get(endpoint.address.as_str());
        let height =
            orderer.map_or_else(down, |orderer| (orderer.height)(orderer.asked.fetch_add(1, Ordering::SeqCst)));
        Box::pin(std::future::ready(height))
    }

    fn pull(&self, channel: &str, endpoint: &BlockEndpoint, from: u64, to: u64) -> Box<dyn BlockStream> {
        assert_eq!(channel, "ch");
        let orderer = self.by_address.get(endpoint.address.as_str()).expect("it has said its height");
        orderer.pulls.lock().unwrap().push((from, to));
        self.open.fetch_add(1, Ordering::SeqCst);
        let (block, open, delay) = (Arc::clone(&orderer.block), Arc::clone(&self.open), self.delay);
        Box::new(Pulled { block, from, next: from, to, open, delay })
    }
}

struct Pulled {
    block: Block,
    from: u64,
    next: u64,
    to: u64,
    open: Arc<AtomicUsize>,
    delay: Duration,
}

impl BlockStream for Pulled {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, PullError>>> {
        if self.next > self.to {
            return Box::pin(std::future::ready(None));
        }
        let block = (self.block)(self.next, self.from);
        self.next += 1;
        let delay = self.delay;
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            match block {
                Some(block) => Some(block),
                // the orderer waits until there is such a block
                None => std::future::pending().await,
            }
        })
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn quick() -> RetryDelays {
    let (short, long) = (Duration::from_millis(2), Duration::from_millis(10));
    RetryDelays { retry: short, longest: long, poll: (short, long), ..RetryDelays::default() }
}

fn replication(orderers: &Arc<Orderers>) -> ReplicationContext {
    ReplicationContext::new(Arc::clone(orderers) as Arc<dyn BlockSources>, quick(), 200_000, 400_000)
}

fn after(tip: ChainTip, to: BlockNumber) -> BlockRange {
    BlockRange { start: StartPoint::After(tip), to, hash: None, also: Vec::new() }
}

/// Catches up, and returns the blocks and the progress.
async fn caught_up(replication: &ReplicationContext, goal: BlockRange) -> (Vec<VerifiedBlock>, CatchUpProgress) {
    let (give, mut batches) = mpsc::channel::<Batch>(1);
    let (tell, progress) = watch::channel(CatchUpProgress::default());
    let mut blocks = Vec::new();
    let catching_up = async {
        let outcome = catch_up(replication, goal, &give, &tell).await;
        drop(give);
        outcome
    };
    let taking = async {
        while let Some(batch) = batches.recv().await {
            assert!(!batch.blocks.is_empty());
            blocks.extend(batch.blocks.iter().cloned());
        }
    };
    let both = async { tokio::join!(catching_up, taking) };
    tokio::time::timeout(LIMIT, both).await.expect("it ends").0.unwrap();
    (blocks, progress.borrow().clone())
}

fn assert_recorded(chain: &Recorded, blocks: &[VerifiedBlock], from: u64) {
    assert_eq!(blocks.len() as u64, chain.newest().0 + 1 - from);
    for (number, block) in (from..).zip(blocks) {
        assert_eq!(block.block.block_bytes(), sent(chain, number), "block {number} is the one that was sent");
        assert_eq!(block.snapshot.is_some(), chain.configs.contains(&number), "block {number}");
    }
}

#[tokio::test]
async fn blocks_are_got_in_batches_and_the_configuration_follows() {
    let chain = Arc::new(Recorded::read());
    let orderers = Arc::new(Orderers::default().honest(ONE, &chain, 277).honest(TWO, &chain, 277));
    let (blocks, progress) = caught_up(&replication(&orderers), after(chain.tip(60), chain.newest())).await;
    assert_recorded(&chain, &blocks, 61);
    assert_eq!(progress, CatchUpProgress { next: 277, to: 276, ..CatchUpProgress::default() });
    let last = blocks.iter().rev().find_map(|block| block.snapshot.as_ref()).unwrap();
    assert_eq!(last.sequence(), chain.tip(276).snapshot.sequence());
    assert_eq!(orderers.pulls(ONE).len() + orderers.pulls(TWO).len(), 1, "from one of them, at one go");
    assert_eq!(orderers.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_chain_is_got_from_its_genesis_block_on_with_a_hash_from_elsewhere() {
    let chain = Arc::new(Recorded::read());
    let orderers = Arc::new(Orderers::default().honest(THREE, &chain, 277));
    let also: Vec<OrdererEndpoint> = endpoints(&chain.tip(0).snapshot);
    assert_eq!(also.iter().map(|endpoint| endpoint.address.as_str()).collect::<Vec<_>>(), [ONE, TWO, THREE]);
    assert!(also.iter().all(|endpoint| endpoint.authorities.len() == 1));
    let start = StartPoint::Genesis(Recorded::channel(), Arc::default());
    let hash = Some(*chain.block(139).header_hash());
    let goal = BlockRange { start, to: BlockNumber(139), hash, also };
    let (blocks, _) = caught_up(&replication(&orderers), goal).await;
    assert_eq!(blocks.len(), 140);
    assert_eq!(blocks[139].block.header_hash(), chain.block(139).header_hash());
}

#[tokio::test]
async fn one_that_lies_is_named_and_left_out() {
    let chain = Arc::new(Recorded::read());
    let lying = Arc::clone(&chain);
    let orderers = Orderers::default()
        .with(
            ONE,
            |_| Ok(277),
            move |number, _| Some(Ok(if number == 100 { forged(&lying, number) } else { sent(&lying, number) })),
        )
        .with(TWO, |_| Err(PullError::Forbidden), |_, _| None)
        // this orderer is asked last, and its chain is shorter
        .honest(THREE, &chain, 200);
    let orderers = Arc::new(orderers);
    let (blocks, progress) = caught_up(&replication(&orderers), after(chain.tip(60), BlockNumber(150))).await;
    assert_eq!(blocks.len(), 90);
    for (number, block) in (61..).zip(&blocks) {
        assert_eq!(block.block.block_bytes(), sent(&chain, number));
    }
    let pulls = [orderers.pulls(ONE), orderers.pulls(THREE)];
    assert_eq!(pulls, [vec![(61, 150)], vec![(100, 150)]], "what was good is not got again");
    assert_eq!(progress.last_error, Some(format!("{TWO}: forbidden pulling the channel")));
    assert!(progress.last_refusal.unwrap().starts_with(ONE));
}

#[tokio::test]
async fn why_one_is_left_out_is_told() {
    let chain = Arc::new(Recorded::read());
    let lying = Arc::clone(&chain);
    let orderers =
        Arc::new(Orderers::default().with(ONE, |_| Ok(277), move |number, _| Some(Ok(forged(&lying, number)))));
    let (give, _batches) = mpsc::channel(1);
    let (tell, mut progress) = watch::channel(CatchUpProgress::default());
    let replication = replication(&orderers);
    let told = async {
        let named = |progress: &CatchUpProgress| progress.last_refusal.is_some();
        progress.wait_for(named).await.unwrap().clone()
    };
    let progress = tokio::select! {
        _ = catch_up(&replication, after(chain.tip(60), chain.newest()), &give, &tell) => panic!("it cannot end"),
        told = told => told,
    };
    let error = progress.last_refusal.unwrap();
    assert!(
        error.starts_with(&format!("{ONE} sent a bad block, and is left out from now on: block 61: header says")),
        "{error}"
    );
}

#[tokio::test]
async fn it_goes_on_where_one_fails_and_comes_back() {
    let chain = Arc::new(Recorded::read());
    let failing = |chain: &Arc<Recorded>, blocks: u64| {
        let chain = Arc::clone(chain);
        move |number, from| {
            let broken = || Err(PullError::Ended("it closed the connection".to_owned()));
            Some(if number < from + blocks { Ok(sent(&chain, number)) } else { broken() })
        }
    };
    let orderers = Orderers::default()
        // the first two orderers cannot be reached at first
        .with(ONE, |asked| if asked < 3 { down() } else { Ok(277) }, failing(&chain, 40))
        .with(TWO, |asked| if asked < 2 { down() } else { Ok(277) }, failing(&chain, 0))
        .with(THREE, |_| Ok(0), |_, _| None);
    let orderers = Arc::new(orderers);
    let (blocks, progress) = caught_up(&replication(&orderers), after(chain.tip(60), chain.newest())).await;
    assert_recorded(&chain, &blocks, 61);
    assert_eq!(orderers.pulls(ONE).iter().map(|pull| pull.0).collect::<Vec<_>>(), [61, 101, 141, 181, 221, 261]);
    assert!(orderers.pulls(THREE).is_empty());
    assert!(progress.last_error.is_some());
}

#[tokio::test]
async fn what_is_no_block_of_the_channel_is_refused() {
    let chain = Arc::new(Recorded::read());
    let bad: [(&str, Sends); 5] = [
        ("got unexpected sequence: 62 instead of 61", |chain, number| sent(chain, number + 1)),
        ("got unexpected sequence: 60 instead of 61", |chain, number| sent(chain, number - 1)),
        ("error unmarshalling Block", |_, _| Bytes::from_static(b"no block")),
        ("block header is nil", |_, _| Bytes::new()),
        ("block header mismatch on sequence 61", sent),
    ];
    for (expected, block) in bad {
        let lying = Arc::clone(&chain);
        let orderers =
            Orderers::default().with(ONE, |_| Ok(u64::MAX), move |number, _| Some(Ok(block(&lying, number))));
        let orderers = Arc::new(orderers);
        let (give, mut batches) = mpsc::channel(1);
        let (tell, mut progress) = watch::channel(CatchUpProgress::default());
        let replication = replication(&orderers);
        let goal = BlockRange { hash: Some([7; 32]), ..after(chain.tip(60), BlockNumber(61)) };
        let told = async {
            let named = |progress: &CatchUpProgress| progress.last_refusal.is_some();
            progress.wait_for(named).await.unwrap().clone()
        };
        let progress = tokio::select! {
            _ = catch_up(&replication, goal, &give, &tell) => panic!("it cannot end"),
            told = told => told,
        };
        let error = progress.last_refusal.unwrap();
        assert!(error.contains(expected), "{error}");
        assert!(batches.try_recv().is_err(), "nothing is handed over");
        assert_eq!(orderers.open.load(Ordering::SeqCst), 0, "dropping it closes what is open");
    }
}

/// Requires that a future can be driven by any thread.
fn sent_to_threads<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test]
async fn it_ends_when_blocks_are_not_wanted_any_more() {
    let chain = Arc::new(Recorded::read());
    let orderers = Arc::new(Orderers::default().honest(ONE, &chain, 277));
    let replication = replication(&orderers);
    let (tell, _progress) = watch::channel(CatchUpProgress::default());
    let (give, mut batches) = mpsc::channel(1);
    let catching_up = sent_to_threads(catch_up(&replication, after(chain.tip(60), chain.newest()), &give, &tell));
    let taking = async {
        drop(batches.recv().await.unwrap());
        drop(batches);
    };
    assert_eq!(tokio::join!(catching_up, taking).0, Err(ReceiverClosed));
    assert_eq!(orderers.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_that_is_slow_is_left_for_another() {
    let chain = Arc::new(Recorded::read());
    let orderers = Orderers { delay: Duration::from_secs(1), ..Orderers::default() };
    let orderers = Arc::new(orderers.honest(ONE, &chain, 277).honest(TWO, &chain, 277));
    let pauses = RetryDelays { retry: LIMIT, longest: LIMIT, patience: Duration::from_millis(500), ..quick() };
    let replication = ReplicationContext::new(Arc::clone(&orderers) as Arc<dyn BlockSources>, pauses, 1_000, 400_000);
    let (give, mut batches) = mpsc::channel::<Batch>(1);
    let (tell, _progress) = watch::channel(CatchUpProgress::default());
    let catching_up = catch_up(&replication, after(chain.tip(60), chain.newest()), &give, &tell);
    // only its pace is a reason to leave the first orderer
    let from_both = async {
        while orderers.pulls(ONE).is_empty() || orderers.pulls(TWO).is_empty() {
            drop(batches.recv().await.unwrap());
        }
    };
    let outcome = async {
        tokio::select! {
            _ = catching_up => panic!("it is too slow"),
            () = from_both => {}
        }
    };
    tokio::time::timeout(LIMIT, outcome).await.unwrap();
    assert_eq!((orderers.pulls(ONE).len(), orderers.pulls(TWO).len()), (1, 1));
}

#[tokio::test]
async fn a_follower_gets_what_there_is_and_polls_for_more() {
    let chain = Arc::new(Recorded::read());
    let serving = Arc::clone(&chain);
    // the orderer has ten more blocks at every second request
    let height = |asked: usize| Ok(277.min(61 + asked as u64 / 2 * 10));
    let orderers = Orderers::default().with(ONE, height, move |number, _| Some(Ok(sent(&serving, number))));
    let (orderers, (give, mut batches)) = (Arc::new(orderers), mpsc::channel(1));
    let (tell, _progress) = watch::channel(CatchUpProgress::default());
    let replication = replication(&orderers);
    let following = catch_up(&replication, after(chain.tip(60), BlockNumber(u64::MAX)), &give, &tell);
    let taking = async {
        let mut blocks: Vec<VerifiedBlock> = Vec::new();
        while blocks.last().is_none_or(|last| last.block.number() < chain.newest()) {
            blocks.extend(batches.recv().await.unwrap().blocks);
        }
        drop(batches);
        blocks
    };
    let (outcome, blocks) = tokio::time::timeout(LIMIT, async { tokio::join!(following, taking) }).await.unwrap();
    assert_eq!(outcome, Err(ReceiverClosed));
    assert_recorded(&chain, &blocks, 61);
    assert!(orderers.pulls(ONE).len() >= 22, "ten at a time");
}

#[tokio::test]
async fn channels_share_the_room_for_batches() {
    let chain = Arc::new(Recorded::read());
    let orderers = Arc::new(Orderers::default().honest(ONE, &chain, 277));
    let replication = ReplicationContext::new(Arc::clone(&orderers) as Arc<dyn BlockSources>, quick(), 200_000, 1);
    let (tell, _progress) = watch::channel(CatchUpProgress::default());
    let (give, mut batches) = mpsc::channel(1);
    let (give_other, mut other) = mpsc::channel(1);
    let goal = || after(chain.tip(60), chain.newest());
    let first = catch_up(&replication, goal(), &give, &tell);
    let second = catch_up(&replication, goal(), &give_other, &tell);
    let taking = async {
        let held = batches.recv().await.unwrap();
        // the only permit is in use, so no batch can arrive for either
        for _ in 0..100 {
            tokio::task::yield_now().await;
            assert!(batches.try_recv().is_err() && other.try_recv().is_err());
        }
        drop(held);
        tokio::select! {
            batch = batches.recv() => drop(batch.unwrap()),
            batch = other.recv() => drop(batch.unwrap()),
        }
        drop((batches, other));
    };
    let (first, second, ()) = tokio::time::timeout(LIMIT, async { tokio::join!(first, second, taking) }).await.unwrap();
    assert_eq!((first, second), (Err(ReceiverClosed), Err(ReceiverClosed)));
}

#[tokio::test]
async fn the_newest_configuration_is_that_of_the_tallest_whose_blocks_count() {
    let chain = Arc::new(Recorded::read());
    let lying = Arc::clone(&chain);
    let orderers = Orderers::default()
        .with(ONE, |_| Ok(300), move |number, _| Some(Ok(forged(&lying, number.min(276)))))
        .honest(TWO, &chain, 265)
        .honest(THREE, &chain, 250);
    let orderers = Arc::new(orderers);
    let newest = sent_to_threads(fetch_latest_config(&replication(&orderers), &chain.tip(60))).await.unwrap();
    assert_eq!((newest.number.0, newest.height, newest.source.as_str()), (262, 265, TWO));
    assert_eq!(newest.block.unwrap().block_bytes(), sent(&chain, 262));
    assert_eq!(newest.snapshot.sequence(), chain.tip(262).snapshot.sequence());
    assert_eq!(orderers.pulls(TWO), [(264, 264), (262, 264)]);
    assert!(orderers.pulls(THREE).is_empty());
    // this node already has the block
    let newest = fetch_latest_config(&replication(&orderers), &chain.tip(264)).await.unwrap();
    assert_eq!((newest.number.0, newest.block.is_none()), (262, true));
}

#[tokio::test]
async fn who_lies_about_the_newest_configuration_is_passed_over() {
    let chain = Arc::new(Recorded::read());
    let lies: [(&str, Sends); 4] = [
        ("header says", |chain, number| if number == 276 { forged(chain, number) } else { sent(chain, number) }),
        ("header says", |chain, number| if number == 268 { forged(chain, number) } else { sent(chain, number) }),
        ("got unexpected sequence", |chain, number| sent(chain, if number == 268 { 267 } else { number })),
        ("header says", |chain, number| if number == 270 { forged(chain, number) } else { sent(chain, number) }),
    ];
    for (expected, block) in lies {
        let lying = Arc::clone(&chain);
        let orderers = Orderers::default().with(ONE, |_| Ok(277), move |number, _| Some(Ok(block(&lying, number))));
        let error =
            fetch_latest_config(&replication(&Arc::new(orderers)), &chain.tip(60)).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("retry attempts exhausted: {ONE}: ")) && error.contains(expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn why_the_newest_configuration_is_not_known_is_told() {
    let chain = Arc::new(Recorded::read());
    let refusing = |error: PullError| Orderers::default().with(TWO, move |_| Err(error.clone()), |_, _| None);
    let of = async |orderers| fetch_latest_config(&replication(&Arc::new(orderers)), &chain.tip(60)).await.unwrap_err();
    assert!(matches!(of(refusing(PullError::Forbidden)).await, NoLatestConfig::Forbidden));
    assert!(matches!(of(refusing(PullError::ServiceUnavailable)).await, NoLatestConfig::ServiceUnavailable));
    let nobody = of(Orderers::default()).await.to_string();
    assert!(nobody.ends_with(": failed connecting: nobody is there"), "{nobody}");
    let empty = of(Orderers::default().with(ONE, |_| Ok(0), |_, _| None)).await.to_string();
    assert!(empty.ends_with("the block did not arrive"), "{empty}");
}
