//! The folders of a stopped node, read by etcd's rules.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fabric_proto::raftpb::{Entry, HardState, Snapshot};
use prost::Message;

use super::error::EtcdError;
use super::frames::{CRC, ENTRY, Frames, METADATA, Next, Record, SNAPSHOT, STATE, SnapshotMark};
use super::snapshots;
use crate::raft_log::{Contents, Position};

/// The contents of a node's directories. They do not say which consenter it is: the channel's blocks do.
#[derive(Clone, Debug, PartialEq)]
pub struct EtcdLog {
    /// Term, vote, commit index, newest snapshot, and the entries behind it.
    pub contents: Contents,
    /// Metadata of the program that made the log; Fabric writes none.
    pub metadata: Bytes,
    /// The record that was being written when the node was killed; it was left out.
    pub torn: Option<EtcdTorn>,
    /// Snapshot files that are not whole and newer than the one that was taken.
    pub broken_snapshots: Vec<PathBuf>,
}

/// The position at which a log breaks off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTorn {
    /// The segment.
    pub path: PathBuf,
    /// End of its last whole record, in bytes from the beginning of the segment.
    pub offset: u64,
}

/// A segment that has a name as etcd gives it.
struct Segment {
    path: PathBuf,
    sequence: u64,
    index: u64,
}

/// Reads the write-ahead log in `log` and the snapshots in `snapshots`, of a node that does not run. A record that was torn
/// by a kill is left out, as etcd's repair does: it was never reported as durable. Performs blocking I/O.
///
/// # Errors
/// `Damaged`: something is wrong that a kill does not explain. The node must not vote with this log.
pub fn read_etcd(log: &Path, snapshots: &Path) -> Result<EtcdLog, EtcdError> {
    let (snapshot, broken_snapshots) = snapshots::newest(snapshots)?;
    let start = snapshot.as_ref().map_or_else(Position::default, |snapshot| Position {
        index: snapshot.metadata.index,
        term: snapshot.metadata.term,
    });
    let segments = segments(log, start.index)?;
    let mut replay =
        Replay { start, matched: false, metadata: Bytes::new(), state: HardState::default(), entries: Vec::new() };
    let mut torn = None;
    let mut crc = 0;
    for (nth, segment) in segments.iter().enumerate() {
        let path = &segment.path;
        let io = |cause| EtcdError::Io { path: path.clone(), action: "read", cause };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut frames = Frames::new(BufReader::new(file), length, crc, nth + 1 == segments.len());
        loop {
            let offset = frames.offset;
            let damaged = |problem| EtcdError::Damaged { path: path.clone(), offset, problem };
            match frames.next().map_err(io)? {
                Next::Record(record) => replay.take(record).map_err(damaged)?,
                Next::End => break,
                Next::Torn => {
                    torn = Some(EtcdTorn { path: path.clone(), offset });
                    break;
                }
                Next::Damaged(problem) => return Err(damaged(problem)),
            }
        }
        crc = frames.crc;
    }
    let metadata = std::mem::take(&mut replay.metadata);
    let contents = replay.finish(snapshot).map_err(|problem| EtcdError::Contents { path: log.to_owned(), problem })?;
    Ok(EtcdLog { contents, metadata, torn, broken_snapshots })
}

/// Returns the segments from the one on that holds the entries behind a snapshot at `index`.
fn segments(folder: &Path, index: u64) -> Result<Vec<Segment>, EtcdError> {
    let io = |cause| EtcdError::Io { path: folder.to_owned(), action: "list", cause };
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".wal"));
        let numbers = name.and_then(|name| name.split_once('-')).and_then(|(sequence, index)| {
            Some((u64::from_str_radix(sequence, 16).ok()?, u64::from_str_radix(index, 16).ok()?))
        });
        if let Some((sequence, index)) = numbers {
            segments.push(Segment { path, sequence, index });
        }
    }
    segments.sort_by_key(|segment| segment.sequence);
    if segments.is_empty() {
        return Err(EtcdError::Empty { path: folder.to_owned() });
    }
    let first = segments.iter().rposition(|segment| segment.index <= index);
    let first = first.ok_or_else(|| EtcdError::Unreached { path: folder.to_owned(), index })?;
    segments.drain(..first);
    for (before, after) in segments.iter().zip(segments.iter().skip(1)) {
        if before.sequence.checked_add(1) != Some(after.sequence) {
            return Err(EtcdError::Gap { path: after.path.clone() });
        }
    }
    Ok(segments)
}

/// The state that results from the records.
struct Replay {
    /// The position of the snapshot.
    start: Position,
    /// Whether the log knows of it.
    matched: bool,
    metadata: Bytes,
    state: HardState,
    /// The entries behind the snapshot.
    entries: Vec<Entry>,
}

impl Replay {
    fn take(&mut self, record: Record) -> Result<(), String> {
        let data = record.data;
        match record.kind {
            ENTRY => self.entry(message(data)?)?,
            STATE => self.state = message(data)?,
            METADATA => {
                let data = data.unwrap_or_default();
                if !self.metadata.is_empty() && self.metadata != data {
                    return Err("another log's segment is among these".to_owned());
                }
                self.metadata = data;
            }
            SNAPSHOT => {
                let mark: SnapshotMark = message(data)?;
                if mark.index == self.start.index {
                    if mark.term != self.start.term {
                        return Err(format!("the snapshot at {} has term {}", mark.index, mark.term));
                    }
                    self.matched = true;
                }
            }
            CRC => {}
            other => return Err(format!("a record of unknown type {other}")),
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        let Some(nth) = entry.index.checked_sub(self.start.index.saturating_add(1)) else { return Ok(()) };
        let nth = usize::try_from(nth).ok().filter(|&nth| nth <= self.entries.len());
        let nth = nth.ok_or_else(|| format!("entry {} does not follow", entry.index))?;
        self.entries.truncate(nth);
        self.entries.push(entry);
        Ok(())
    }

    fn finish(self, snapshot: Option<Snapshot>) -> Result<Contents, String> {
        let Self { start, matched, mut state, entries, .. } = self;
        if !matched {
            return Err(format!("the log does not know of the snapshot at index {}", start.index));
        }
        state.commit = state.commit.max(start.index);
        let last = start.index.saturating_add(entries.len() as u64);
        if state.commit > last {
            return Err(format!("entries up to {} are committed, but the log ends with {last}", state.commit));
        }
        Ok(Contents { hard_state: state, snapshot, trimmed: start, entries })
    }
}

fn message<M: Message + Default>(data: Option<Bytes>) -> Result<M, String> {
    M::decode(data.unwrap_or_default()).map_err(|error| format!("a record is unreadable: {error}"))
}
