//! Tests reading etcd's write-ahead logs and snapshots as Fabric v2.5.16 left them, compared with the recorded chains,
//! and that written logs read the same.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use fabric_proto::common::Block;
use fabric_proto::raftpb::Entry;
use flate2::read::GzDecoder;
use orderer_core::block::EncodedBlock;
use orderer_core::types::ChannelId;
use orderer_ledger::raft_log::{DiskDirectory, RaftLog};
use orderer_ledger::transfer::etcd::{EtcdError, EtcdLog, EtcdTorn, read_etcd, write_etcd};
use prost::Message as _;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/raft").join(name)
}

/// The directories of a stopped node.
struct Node {
    _folder: TempDir,
    log: PathBuf,
    snapshots: PathBuf,
}

impl Node {
    /// Unpacks an archive whose directory `below` contains the log and the snapshots.
    fn of(archive: &str, below: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(fixture(archive)).unwrap()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            if path.extension().is_some_and(|extension| extension == "wal" || extension == "snap") {
                entry.unpack_in(folder.path()).unwrap();
            }
        }
        let below = folder.path().join(below);
        Self { log: below.join("wal/ch"), snapshots: below.join("snapshot/ch"), _folder: folder }
    }

    fn read(&self) -> Result<EtcdLog, EtcdError> {
        read_etcd(&self.log, &self.snapshots)
    }

    fn segment(&self) -> PathBuf {
        self.log.join("0000000000000000-0000000000000000.wal")
    }

    fn change(&self, at: u64, change: impl FnOnce(&mut u8)) {
        let mut file = OpenOptions::new().read(true).write(true).open(self.segment()).unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        change(&mut byte[0]);
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&byte).unwrap();
    }
}

/// Returns the header hashes of the chain in hex, by block number.
fn recorded_hashes() -> Vec<String> {
    let mut lines = String::new();
    GzDecoder::new(File::open(fixture("node2.blocks.jsonl.gz")).unwrap()).read_to_string(&mut lines).unwrap();
    let hash = |line: &str| line.split("\"hash\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    lines.lines().map(hash).collect()
}

/// Returns the numbers of the blocks in entries. Asserts that each block is that of the chain.
fn check_blocks(entries: &[Entry], hashes: &[String]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for entry in entries.iter().filter(|entry| entry.r#type == 0) {
        let Some(data) = entry.data.as_ref().filter(|data| !data.is_empty()) else { continue };
        let block = EncodedBlock::parse(data).unwrap();
        let hash = block.header_hash().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let number = block.number().0;
        assert_eq!(Some(&hash), hashes.get(usize::try_from(number).unwrap()), "block {number}");
        numbers.push(number);
    }
    numbers
}

#[test]
fn what_go_orderers_left_is_their_chain() {
    let hashes = recorded_hashes();
    assert_eq!(hashes.len(), 277);
    for node in ["node1", "node2", "node3", "node4"] {
        let read = Node::of(&format!("{node}.etcdraft.tar.gz"), "etcdraft").read().unwrap();
        let contents = &read.contents;
        let snapshot = contents.snapshot.as_ref().unwrap();
        let last = contents.entries.last().unwrap();
        // the newest block's metadata has this index; a lone commit index may still have been in the program's buffer
        assert_eq!(last.index, 287, "{node}");
        assert!((286..=287).contains(&contents.hard_state.commit), "{node}");
        assert_eq!(contents.hard_state.term, last.term, "{node}");
        assert!(contents.entries.iter().map(|entry| entry.index).eq(snapshot.metadata.index + 1..=287), "{node}");
        assert!(read.torn.is_none() && read.broken_snapshots.is_empty() && read.metadata.is_empty(), "{node}");
        let numbers = check_blocks(&contents.entries, &hashes);
        let in_snapshot = Block::decode(snapshot.data.clone().unwrap()).unwrap().header.unwrap().number;
        assert!(numbers.iter().copied().eq(in_snapshot + 1..277), "{node}: {in_snapshot}, then {numbers:?}");
    }
}

#[test]
fn a_killed_leader_left_all_that_it_had() {
    let node = Node::of("node2.killed-as-leader.data.tar.gz", "etcdraft");
    let read = node.read().unwrap();
    let hashes = recorded_hashes();
    let numbers = check_blocks(&read.contents.entries, &hashes[..]);
    assert!(read.contents.snapshot.is_none() && read.torn.is_none());
    // the genesis block is in no entry
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    assert_eq!((read.contents.hard_state.term, read.contents.hard_state.vote), (2, 2));
}

#[test]
fn a_torn_log_is_read_up_to_its_last_whole_record() {
    let node = Node::of("torn-wal.tar.gz", "");
    let read = node.read().unwrap();
    assert_eq!(read.torn, Some(EtcdTorn { path: node.segment(), offset: 19_685_888 }));
    let contents = &read.contents;
    let snapshot = contents.snapshot.as_ref().unwrap();
    assert_eq!((snapshot.metadata.term, snapshot.metadata.index), (3, 0x442));
    assert!(contents.hard_state.commit <= contents.entries.last().unwrap().index);
}

#[test]
fn what_is_written_reads_the_same() {
    let target = tempfile::tempdir().unwrap();
    for archive in ["node2.etcdraft.tar.gz", "node4.etcdraft.tar.gz"] {
        let read = Node::of(archive, "etcdraft").read().unwrap();
        let (log, snapshots) = (target.path().join(archive).join("wal"), target.path().join(archive).join("snapshot"));
        fs::create_dir(target.path().join(archive)).unwrap();
        write_etcd(&log, &snapshots, &read.contents).unwrap();
        assert_eq!(read_etcd(&log, &snapshots).unwrap(), read);
        assert!(matches!(write_etcd(&log, &snapshots, &read.contents), Err(EtcdError::Exists { .. })));
    }
}

#[test]
fn an_imported_log_goes_on_as_ours() {
    let read = Node::of("node2.etcdraft.tar.gz", "etcdraft").read().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (on_disk, channel) = (DiskDirectory(folder.path().to_owned()), ChannelId::parse("ch").unwrap());
    let log = RaftLog::create(on_disk.clone(), "ch.raft", &channel, 2, &read.contents).unwrap();
    drop(log);
    let (_, contents) = RaftLog::open(on_disk, "ch.raft", &channel, 2).unwrap();
    assert_eq!(contents, read.contents);
}

#[test]
fn a_changed_record_is_noticed() {
    let node = Node::of("node4.etcdraft.tar.gz", "etcdraft");
    // within the data of the first snapshot record or of an entry
    for at in [200, 3000, 9000] {
        node.change(at, |byte| *byte ^= 0x10);
        assert!(matches!(node.read(), Err(EtcdError::Damaged { .. })), "{at}");
        node.change(at, |byte| *byte ^= 0x10);
    }
    node.read().unwrap();
}

#[test]
fn without_its_snapshot_a_log_that_began_with_one_is_refused() {
    let node = Node::of("node4.etcdraft.tar.gz", "etcdraft");
    for file in fs::read_dir(&node.snapshots).unwrap() {
        fs::write(file.unwrap().path(), b"nothing").unwrap();
    }
    assert!(node.read().is_err());
}
