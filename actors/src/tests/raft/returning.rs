//! Nodes that return in another state: without their channel, with another Raft ID, or with old files. Each ends with a
//! channel that works or one that reports its error, and no chain forks.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::consensus::Consenter as _;
use crate::consensus::raft::RaftConsenter;

impl Cluster {
    /// Returns the directory of a node's channel.
    fn folder(&self, place: usize) -> PathBuf {
        LedgerProvider::new(self.folders[place].path(), BlockCacheConfig { bytes: 1 << 20 })
            .unwrap()
            .join_block(&ChannelId::parse(APP).unwrap())
            .parent()
            .unwrap()
            .to_owned()
    }

    /// Copies a stopped node's files of the channel.
    fn back_up(&self, place: usize) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.folder(place)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    /// Replaces files by those of a copy.
    fn restore(&self, place: usize, copy: &tempfile::TempDir, wanted: impl Fn(&str) -> bool) {
        let folder = self.folder(place);
        let names = |folder: &Path| -> Vec<String> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        for name in names(&folder).iter().filter(|name| wanted(name)) {
            fs::remove_file(folder.join(name)).unwrap();
        }
        let mut restored = 0;
        for name in names(copy.path()).iter().filter(|name| wanted(name)) {
            fs::copy(copy.path().join(name), folder.join(name)).unwrap();
            restored += 1;
        }
        assert!(restored > 0, "{:?}", names(copy.path()));
    }

    /// Waits until the channel fails, and returns the cause.
    async fn failed(&self, place: usize) -> String {
        self.failed_with_action(place).await.0
    }

    /// Waits until the channel fails, and returns the cause and the recommended action.
    async fn failed_with_action(&self, place: usize) -> (String, String) {
        let mut states = self.channel(place).subscribe_state();
        let failed = states.wait_for(|state| matches!(state, ChannelState::Failed { .. }));
        let failed = tokio::time::timeout(Duration::from_secs(60), failed).await.expect("it fails").unwrap();
        let ChannelState::Failed { cause, action } = &*failed else { unreachable!() };
        (cause.clone(), action.clone())
    }

    /// Orders some envelopes at a node, and waits until the nodes `at` have them.
    async fn order_all(&self, place: usize, name: &str, at: &[usize], all: &mut Vec<String>) {
        for text in texts(name, 12) {
            assert!(self.order(place, &text).await);
            all.push(text);
        }
        for other in at {
            self.ordered(*other, all).await;
        }
    }

    /// Whether the chain of one node is a prefix of the other's.
    fn is_beginning_of(&self, place: usize, other: usize) -> bool {
        self.chain(other).starts_with(&self.chain(place))
    }
}

fn is_log(name: &str) -> bool {
    name.starts_with("consensus.raft")
}

/// Starts three nodes that order some envelopes. Returns the positions of a follower, the leader and the other
/// follower.
async fn three(all: &mut Vec<String>) -> (Cluster, [usize; 3]) {
    let cluster = Cluster::start(3).await;
    cluster.led().await;
    let leader = cluster.leader().await;
    let places = [(leader + 1) % 3, leader, (leader + 2) % 3];
    cluster.order_all(leader, "first", &[0, 1, 2], all).await;
    (cluster, places)
}

#[actix::test]
async fn a_channel_that_was_removed_is_joined_again_as_another_consenter() {
    let mut all = Vec::new();
    let (cluster, [away, leader, third]) = three(&mut all).await;
    let without: Vec<Consenter> =
        (0..3).filter(|place| *place != away).map(|place| cluster.consenters[place].clone()).collect();
    cluster.context(away).membership.remove(ChannelId::parse(APP).unwrap()).await.unwrap();
    cluster.order_all(leader, "without it", &[leader, third], &mut all).await;

    // under its old ID it would have lost its votes and acknowledged entries
    cluster.join(away, leader).await;
    let cause = cluster.failed(away).await;
    assert!(cause.contains("Raft log"), "{cause}");
    assert!(cluster.is_beginning_of(away, leader));
    cluster.context(away).membership.remove(ChannelId::parse(APP).unwrap()).await.unwrap();

    cluster.have_consent(leader, &without).await;
    cluster.join(away, leader).await;
    cluster.until(away, ChannelState::Following).await;
    cluster.have_consent(leader, &cluster.consenters[..3]).await;
    cluster.until(away, ChannelState::Running).await;
    cluster.order_all(away, "again", &[0, 1, 2], &mut all).await;
    cluster.agree(&all).await;
}

#[actix::test]
async fn a_node_that_was_evicted_and_added_again_while_it_was_down_goes_on_under_its_new_id() {
    let mut all = Vec::new();
    let (mut cluster, [away, leader, third]) = three(&mut all).await;
    let without: Vec<Consenter> =
        (0..3).filter(|place| *place != away).map(|place| cluster.consenters[place].clone()).collect();
    cluster.stop_node(away).await;
    cluster.order_all(leader, "while it is down", &[leader, third], &mut all).await;
    cluster.have_consent(leader, &without).await;
    cluster.have_consent(leader, &cluster.consenters[..3]).await;
    cluster.order_all(leader, "and added again", &[leader, third], &mut all).await;
    cluster.start_node(away).await;
    cluster.until(away, ChannelState::Running).await;
    cluster.order_all(away, "at the new one", &[0, 1, 2], &mut all).await;
    cluster.agree(&all).await;
}

#[actix::test]
async fn old_copies_of_ledger_and_log_end_the_channel_of_that_node_alone() {
    let mut all = Vec::new();
    let (mut cluster, [away, leader, third]) = three(&mut all).await;
    cluster.stop_node(away).await;
    let old = cluster.back_up(away);
    cluster.start_node(away).await;
    cluster.led().await;
    cluster.order_all(leader, "confirmed", &[0, 1, 2], &mut all).await;
    cluster.stop_node(away).await;
    let new = cluster.back_up(away);

    // the log alone is old, or both are: entries that this node acknowledged are missing
    for wanted in [is_log as fn(&str) -> bool, |_: &str| true] {
        cluster.restore(away, &old, wanted);
        cluster.start_node(away).await;
        let cause = cluster.failed(away).await;
        assert!(cause.contains("Raft log"), "{cause}");
        assert!(cluster.is_beginning_of(away, leader));
        cluster.order_all(leader, &format!("without it {}", all.len()), &[leader, third], &mut all).await;
        cluster.stop_node(away).await;
        cluster.restore(away, &new, |_| true);
    }

    // the ledger alone is old: the log contains the missing blocks
    cluster.restore(away, &old, |name| !is_log(name));
    cluster.start_node(away).await;
    cluster.until(away, ChannelState::Running).await;
    cluster.order_all(away, "with an old ledger", &[0, 1, 2], &mut all).await;
    cluster.agree(&all).await;
}

/// The texts never recommend what would let a consenter vote twice: to start without its log, or with an older copy, or to join again
/// under its old ID.
#[actix::test]
async fn a_log_that_is_lost_or_damaged_ends_the_channel_with_one_advice() {
    let mut all = Vec::new();
    let (mut cluster, [away, leader, third]) = three(&mut all).await;
    cluster.stop_node(away).await;
    let whole = cluster.back_up(away);
    let log = cluster.folder(away).join("consensus.raft");
    let mut damaged = fs::read(&log).unwrap();
    // a bit of the first row, which is behind the first page
    damaged[4100] ^= 1;
    let garbage = b"no log at all. ".repeat(1000);

    for (contents, wanted, returns) in
        [(None, "is missing", true), (Some(garbage), "not a raft log", true), (Some(damaged), "damaged at byte", false)]
    {
        fs::remove_file(&log).unwrap();
        if let Some(contents) = contents {
            fs::write(&log, contents).unwrap();
        }
        cluster.start_node(away).await;
        let (cause, action) = cluster.failed_with_action(away).await;
        assert!(cause.contains(wanted) && !cause.contains("move"), "{cause}");
        assert_eq!(action.starts_with("put the log back"), returns, "{action}");
        assert!(action.contains("remove this orderer from the channel's consenters and the channel"), "{action}");
        cluster.order_all(leader, wanted, &[leader, third], &mut all).await;
        cluster.stop_node(away).await;
        cluster.restore(away, &whole, |_| true);
    }

    // the log that is put back is the newest one
    cluster.start_node(away).await;
    cluster.until(away, ChannelState::Running).await;
    cluster.order_all(away, "with its log", &[0, 1, 2], &mut all).await;
    cluster.agree(&all).await;
}

/// A node that was no consenter becomes one when it gets the certificate that the configuration names, without a restart.
#[actix::test]
async fn a_follower_becomes_a_consenter_when_it_gets_the_certificate() {
    let cluster = Cluster::among(3, 4).await;
    let led = (0..3).map(|place| cluster.until(place, ChannelState::Running));
    futures_util::future::join_all(led).await;
    let key = cluster.keys[3].clone();
    cluster.context(3).tls_keys.store(Arc::new(vec![Bytes::from_static(b"another key")]));
    cluster.have_consent(0, &cluster.consenters).await;
    cluster.join(3, 0).await;
    cluster.until(3, ChannelState::Following).await;
    cluster.context(3).tls_keys.store(Arc::new(vec![key]));
    cluster.until(3, ChannelState::Running).await;
    assert!(cluster.order(3, "as a consenter").await);
    cluster.agree(&["as a consenter".to_owned()]).await;
}

#[actix::test]
async fn the_cause_is_stated_if_no_orderer_gives_the_first_block() {
    let cluster = Cluster::among(2, 3).await;
    let led = (0..2).map(|place| cluster.until(place, ChannelState::Running));
    futures_util::future::join_all(led).await;
    cluster.network.forbidding.lock().unwrap().insert(1);
    cluster.network.nodes.lock().unwrap().remove(&2);
    let snapshot = cluster.channel(0).snapshot();
    let first = RaftConsenter::new(cluster.parts(3)).first_block(&snapshot, Duration::from_millis(300));
    let cause = first.expect("Raft gets blocks from others").await.unwrap_err();
    assert!(cause.contains(": forbidden pulling the channel"), "{cause}");
    assert!(cause.contains(": failed connecting: stopped"), "{cause}");
}
