//! Records of a segment.

use std::io::{self, Read};

use bytes::Bytes;
use fabric_proto::raftpb::ConfState;
use prost::Message;

pub(super) const METADATA: i64 = 1;
pub(super) const ENTRY: i64 = 2;
pub(super) const STATE: i64 = 3;
pub(super) const CRC: i64 = 4;
pub(super) const SNAPSHOT: i64 = 5;

/// A longer record is none: an entry holds one block, and Fabric's are 100 MB at most.
const RECORD_MAX_BYTES: u64 = 512 << 20;
const LENGTH_BYTES: u64 = size_of::<u64>() as u64;
const SECTOR_BYTES: u64 = SECTOR_LENGTH as u64;
const SECTOR_LENGTH: usize = 512;

/// Package `walpb` of etcd.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(int64, required, tag = "1")]
    pub(super) kind: i64,
    #[prost(uint32, required, tag = "2")]
    pub(super) crc: u32,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) data: Option<Bytes>,
}

/// The record that a snapshot leaves in the log.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SnapshotMark {
    #[prost(uint64, required, tag = "1")]
    pub(super) index: u64,
    #[prost(uint64, required, tag = "2")]
    pub(super) term: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) conf_state: Option<ConfState>,
}

/// The next contents of a segment.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Record(Record),
    /// Zeros, or the end of the file.
    End,
    /// A record that was not wholly written.
    Torn,
    Damaged(String),
}

/// Reads one segment.
pub(super) struct Frames<R> {
    from: R,
    length: u64,
    /// Position of the next record.
    pub(super) offset: u64,
    /// Over the data of all records so far.
    pub(super) crc: u32,
    is_last: bool,
}

impl<R: Read> Frames<R> {
    /// `crc` is that of the segment before. Only the last segment can have a torn record.
    pub(super) fn new(from: R, length: u64, crc: u32, is_last: bool) -> Self {
        Self { from, length, offset: 0, crc, is_last }
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        let left = self.length.saturating_sub(self.offset);
        if left < LENGTH_BYTES {
            return Ok(if left == 0 { Next::End } else { self.breaks_off() });
        }
        let mut length = [0; size_of::<u64>()];
        self.from.read_exact(&mut length)?;
        let [.., top] = length;
        let frame = u64::from_le_bytes(length);
        if frame == 0 {
            return Ok(Next::End);
        }
        let bytes = frame & (u64::MAX >> 8);
        let padding = if top & 0x80 == 0 { 0 } else { u64::from(top & 7) };
        let total = bytes + padding;
        if total > left - LENGTH_BYTES {
            return Ok(self.breaks_off());
        }
        if bytes > RECORD_MAX_BYTES {
            return Ok(Next::Damaged(format!("a record of {bytes} bytes")));
        }
        let mut data = vec![0; usize::try_from(total).map_err(io::Error::other)?];
        self.from.read_exact(&mut data)?;
        let data = Bytes::from(data);
        let Ok(record) = Record::decode(data.slice(..data.len() - usize::from(top & 7) * usize::from(padding > 0)))
        else {
            return Ok(self.torn_or(&data, "no record"));
        };
        if record.kind != CRC {
            let crc = crc32c::crc32c_append(self.crc, record.data.as_deref().unwrap_or_default());
            if crc != record.crc {
                return Ok(self.torn_or(&data, "the checksum of the record does not match"));
            }
            self.crc = crc;
        } else if self.crc != 0 && record.crc != self.crc {
            return Ok(Next::Damaged("the checksum of the segment before does not match".to_owned()));
        } else {
            self.crc = record.crc;
        }
        self.offset += LENGTH_BYTES + total;
        Ok(Next::Record(record))
    }

    fn breaks_off(&self) -> Next {
        if self.is_last { Next::Torn } else { Next::Damaged("the segment breaks off, though others follow".to_owned()) }
    }

    /// A record was torn if a sector of it, as the disk writes them, is still zero.
    fn torn_or(&self, data: &[u8], problem: &str) -> Next {
        let first = SECTOR_BYTES - (self.offset + LENGTH_BYTES) % SECTOR_BYTES;
        let (first, rest) = data.split_at(data.len().min(usize::try_from(first).unwrap_or(usize::MAX)));
        let is_zero = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|&byte| byte == 0);
        if self.is_last && (is_zero(first) || rest.chunks(SECTOR_LENGTH).any(is_zero)) {
            Next::Torn
        } else {
            Next::Damaged(problem.to_owned())
        }
    }
}

/// Appends a record and its frame; `crc` goes on.
pub(super) fn put(out: &mut Vec<u8>, crc: &mut u32, kind: i64, data: Option<Bytes>) {
    *crc = crc32c::crc32c_append(*crc, data.as_deref().unwrap_or_default());
    let record = Record { kind, crc: *crc, data }.encode_to_vec();
    let padding = record.len().wrapping_neg() % 8;
    let mut length = (record.len() as u64).to_le_bytes();
    if padding > 0 {
        // less than eight
        length[7] = 0x80 | (padding as u64).to_le_bytes()[0];
    }
    out.extend_from_slice(&length);
    out.extend_from_slice(&record);
    out.resize(out.len() + padding, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> (Vec<Record>, Next) {
        let mut frames = Frames::new(bytes, bytes.len() as u64, 0, true);
        let mut records = Vec::new();
        loop {
            match frames.next().expect("is in memory") {
                Next::Record(record) => records.push(record),
                other => return (records, other),
            }
        }
    }

    proptest! {
        #[test]
        fn records_come_back(data in proptest::collection::vec(proptest::collection::vec(1u8.., 0..900), 0..9), cut: prop::sample::Index) {
            let (mut bytes, mut crc) = (Vec::new(), 0);
            let mut ends = vec![0];
            for one in &data {
                put(&mut bytes, &mut crc, ENTRY, Some(one.clone().into()));
                ends.push(bytes.len());
            }
            let (records, end) = read(&bytes);
            prop_assert_eq!(end, Next::End);
            prop_assert_eq!(records.into_iter().map(|r| r.data.unwrap_or_default().to_vec()).collect::<Vec<_>>(), data);
            let cut = cut.index(bytes.len() + 1);
            let (records, end) = read(&bytes[..cut]);
            let whole = ends.iter().filter(|&&end| end <= cut).count() - 1;
            prop_assert_eq!(records.len(), whole);
            prop_assert_eq!(end, if ends.contains(&cut) { Next::End } else { Next::Torn });
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), length in any::<u16>()) {
            let _ = read(&bytes);
            let _ = read(&[&u64::from(length).to_le_bytes(), &bytes[..]].concat());
        }
    }
}
