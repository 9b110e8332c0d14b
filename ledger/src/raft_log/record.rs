//! The contents of a row: records, each with a kind, its length, and a message of raftpb.

use bytes::{Buf, BufMut, Bytes};
use fabric_proto::raftpb::{Entry, HardState, Snapshot};
use prost::Message;

use super::error::Unfit;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The index of an entry; the first has index 1.
    pub index: u64,
    /// The term of the leader that made the entry.
    pub term: u64,
}

/// All that a raft log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Term, vote and commit index. The commit index may be an earlier one than the node knew.
    pub hard_state: HardState,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The last entry that was trimmed; index 0 if none was.
    pub trimmed: Position,
    /// The entries behind it, without a gap.
    pub entries: Vec<Entry>,
}

/// Contents that are written together. The snapshot comes first, then the entries, then the state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Write {
    /// A snapshot that was taken or received. One that the log does not reach, or has another term for, replaces all
    /// entries.
    pub snapshot: Option<Snapshot>,
    /// Successive entries. Those that are there from the first one's index on are replaced.
    pub entries: Vec<Entry>,
    /// The state from now on.
    pub hard_state: Option<HardState>,
    /// Whether it has to be durable even if only the commit index moves.
    pub must_sync: bool,
}

const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const SNAPSHOT: u8 = 3;
const TRIMMED: u8 = 4;
/// Kind and length.
pub(super) const RECORD_HEADER_BYTES: usize = 1 + 4;

#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Entry(Entry),
    HardState(HardState),
    Snapshot(Snapshot),
    Trimmed(Position),
}

fn put(out: &mut Vec<u8>, kind: u8, message: &impl Message) -> Result<(), Unfit> {
    let bytes = message.encoded_len();
    let length = u32::try_from(bytes).map_err(|_| Unfit::TooLarge { bytes })?;
    out.put_u8(kind);
    out.put_u32(length);
    // a Vec grows as needed: encoding into it cannot fail
    let _ = message.encode(out);
    Ok(())
}

pub(super) fn put_entry(out: &mut Vec<u8>, entry: &Entry) -> Result<(), Unfit> {
    put(out, ENTRY, entry)
}

pub(super) fn put_hard_state(out: &mut Vec<u8>, state: &HardState) -> Result<(), Unfit> {
    put(out, HARD_STATE, state)
}

pub(super) fn put_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot) -> Result<(), Unfit> {
    put(out, SNAPSHOT, snapshot)
}

pub(super) fn put_trimmed(out: &mut Vec<u8>, trimmed: Position) {
    out.put_u8(TRIMMED);
    out.put_u32(16);
    out.put_u64(trimmed.index);
    out.put_u64(trimmed.term);
}

/// The records of a row, which share its memory.
pub(super) fn decode(mut content: Bytes) -> Result<Vec<Record>, &'static str> {
    let mut records = Vec::new();
    while content.has_remaining() {
        if content.remaining() < RECORD_HEADER_BYTES {
            return Err("the row ends within a record's header");
        }
        let kind = content.get_u8();
        let length = content.get_u32() as usize;
        if content.remaining() < length {
            return Err("the row ends within a record");
        }
        let mut body = content.split_to(length);
        let unreadable = |_| "a record in the row is unreadable";
        records.push(match kind {
            ENTRY => Record::Entry(Entry::decode(body).map_err(unreadable)?),
            HARD_STATE => Record::HardState(HardState::decode(body).map_err(unreadable)?),
            SNAPSHOT => Record::Snapshot(Snapshot::decode(body).map_err(unreadable)?),
            TRIMMED if length == 16 => Record::Trimmed(Position { index: body.get_u64(), term: body.get_u64() }),
            _ => return Err("the row has a record that this program does not know"),
        });
    }
    Ok(records)
}
