//! The folders of a node, as a Go orderer reads them when it starts.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::error::EtcdError;
use super::frames::{CRC, ENTRY, METADATA, SNAPSHOT, STATE, SnapshotMark, put};
use super::snapshots;
use crate::raft_log::Contents;
use crate::sealed::sync_folder;

/// Size at which etcd begins another segment, in bytes; each segment has this length from the beginning.
const SEGMENT_BYTES: u64 = 64 * 1000 * 1000;
/// Written at once.
const PIECE_BYTES: usize = 1 << 20;

/// Writes a log as etcd's: the directory `log`, which must not exist, and a file in the directory `snapshots`, which is created
/// if it does not exist. Only what is behind the snapshot is written: etcd reads nothing else. A crash leaves the whole
/// directory `log` or none. Performs blocking I/O.
pub fn write_etcd(log: &Path, snapshots: &Path, contents: &Contents) -> Result<(), EtcdError> {
    let io = |path: &Path, action| {
        let path = path.to_owned();
        move |cause| EtcdError::Io { path, action, cause }
    };
    if log.try_exists().map_err(io(log, "look for"))? {
        return Err(EtcdError::Exists { path: log.to_owned() });
    }
    let start = contents.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
    if contents.trimmed.index > start {
        let problem = format!("entries up to {} are missing, and the snapshot is at {start}", contents.trimmed.index);
        return Err(EtcdError::Contents { path: log.to_owned(), problem });
    }
    make_folder(snapshots).map_err(io(snapshots, "make"))?;
    let (found, _) = snapshots::newest(snapshots)?;
    if found.is_some() {
        return Err(EtcdError::Exists { path: snapshots.to_owned() });
    }
    if let Some(snapshot) = &contents.snapshot {
        snapshots::write(snapshots, snapshot).map_err(io(snapshots, "write a snapshot in"))?;
    }
    let mut unfinished = log.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    if unfinished.try_exists().map_err(io(&unfinished, "look for"))? {
        fs::remove_dir_all(&unfinished).map_err(io(&unfinished, "remove"))?;
    }
    make_folder(&unfinished).map_err(io(&unfinished, "make"))?;
    write_segments(&unfinished, contents).map_err(io(&unfinished, "write a segment in"))?;
    fs::rename(&unfinished, log).map_err(io(log, "give its name to"))?;
    sync_folder(log.parent()).map_err(io(log, "sync the folder of"))
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_segments(folder: &Path, contents: &Contents) -> io::Result<()> {
    let mut segment = Segment::begin(folder, 0, 0, 0)?;
    segment.put(SNAPSHOT, &SnapshotMark::default())?;
    let mut after = 0;
    if let Some(snapshot) = &contents.snapshot {
        let at = &snapshot.metadata;
        after = at.index;
        let conf_state = Some(at.conf_state.clone());
        segment.put(SNAPSHOT, &SnapshotMark { index: at.index, term: at.term, conf_state })?;
    }
    for entry in contents.entries.iter().filter(|entry| entry.index > after) {
        segment.put(ENTRY, entry)?;
        if segment.bytes + segment.waits.len() as u64 >= SEGMENT_BYTES {
            let (sequence, crc) = (segment.sequence + 1, segment.crc);
            segment.finish(None)?;
            segment = Segment::begin(folder, sequence, entry.index + 1, crc)?;
        }
    }
    segment.put(STATE, &contents.hard_state)?;
    segment.finish(Some(SEGMENT_BYTES))?;
    sync_folder(Some(folder))
}

/// A segment that is being written.
struct Segment {
    file: File,
    sequence: u64,
    crc: u32,
    bytes: u64,
    waits: Vec<u8>,
}

impl Segment {
    fn begin(folder: &Path, sequence: u64, index: u64, crc: u32) -> io::Result<Self> {
        let file = File::create_new(folder.join(format!("{sequence:016x}-{index:016x}.wal")))?;
        let mut segment = Self { file, sequence, crc, bytes: 0, waits: Vec::new() };
        put(&mut segment.waits, &mut segment.crc, CRC, None);
        put(&mut segment.waits, &mut segment.crc, METADATA, None);
        Ok(segment)
    }

    fn put(&mut self, kind: i64, message: &impl Message) -> io::Result<()> {
        put(&mut self.waits, &mut self.crc, kind, Some(Bytes::from(message.encode_to_vec())));
        if self.waits.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.waits)?;
        self.bytes += self.waits.len() as u64;
        self.waits.clear();
        Ok(())
    }

    /// Makes it durable, with zeros up to this length.
    fn finish(mut self, length: Option<u64>) -> io::Result<()> {
        self.flush()?;
        if let Some(length) = length.filter(|&length| length > self.bytes) {
            self.file.set_len(length)?;
        }
        self.file.sync_all()
    }
}
