//! Envelopes that were acknowledged but are not yet in a block.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use orderer_core::channel::ConfigSequence;
use redb::{ReadableDatabase, ReadableTable, WriteTransaction};

use crate::error::{Fault, ReadError};
use crate::format::{FLOOR_KEY, PENDING, decode_number, decode_row, encode_row};
use crate::ledger::Ledger;

/// An envelope that was acknowledged and waits for its block.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingEnvelope {
    /// Its place in the order of the channel's pending envelopes; from 1, increasing, gaps allowed.
    pub sequence: u64,
    /// The configuration under which it was found valid.
    pub checked_at: ConfigSequence,
    /// Whether it is a `CONFIG` or `ORDERER_TRANSACTION` message, which gets a block of its own.
    pub is_config: bool,
    /// The serialized envelope.
    pub raw: Bytes,
}

impl fmt::Debug for PendingEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingEnvelope")
            .field("sequence", &self.sequence)
            .field("checked_at", &self.checked_at)
            .field("is_config", &self.is_config)
            .field("raw_bytes", &self.raw.len())
            .finish()
    }
}

impl Ledger {
    /// The envelopes that wait for a block, in order: to be fed to the chain again after a restart. Reads the disk:
    /// call it on a blocking thread.
    pub fn pending(&self) -> Result<Vec<PendingEnvelope>, ReadError> {
        let read = |db: &redb::Database| {
            let table = db.begin_read()?.open_table(PENDING)?;
            read_rows(&table).map(|log| log.envelopes)
        };
        self.read(read).map_err(|cause| ReadError::Pending { channel: self.channel().clone(), cause })
    }
}

/// The pending table as it was read.
#[derive(Debug, Default)]
pub(crate) struct PendingLog {
    pub(crate) index: PendingIndex,
    pub(crate) envelopes: Vec<PendingEnvelope>,
}

/// Reads the floor and all rows.
pub(crate) fn read_rows(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<PendingLog, Fault> {
    let mut log = PendingLog::default();
    for row in table.iter()? {
        let (key, value) = row?;
        let (key, value) = (key.value(), value.value());
        if key == FLOOR_KEY {
            log.index.floor = decode_number("the pending floor", value)?;
            continue;
        }
        let envelopes = decode_row(key, Bytes::copy_from_slice(value))?;
        let last = envelopes.last().map_or(key, |e| e.sequence);
        if log.index.rows.back().is_some_and(|&(_, before)| before >= key) {
            return Err(Fault::Layout(format!("pending row {key} overlaps the one before it")));
        }
        log.index.rows.push_back((key, last));
        log.envelopes.extend(envelopes.into_iter().filter(|e| e.sequence >= log.index.floor));
    }
    Ok(log)
}

/// Which rows there are, so that no commit has to look for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingIndex {
    /// Sequences below are in blocks.
    floor: u64,
    /// First and last sequence of each row.
    rows: VecDeque<(u64, u64)>,
}

impl PendingIndex {
    /// The smallest sequence that a new envelope may have.
    pub(crate) fn next(&self) -> u64 {
        let after_last = self.rows.back().map_or(1, |&(_, last)| last.saturating_add(1));
        after_last.max(self.floor).max(FLOOR_KEY + 1)
    }

    /// Whether `drop_below` changes anything.
    pub(crate) fn reaches(&self, drop_below: u64) -> bool {
        drop_below > self.floor && self.rows.front().is_some_and(|&(first, _)| first < drop_below)
    }

    /// Raises the floor and removes the rows below it.
    pub(crate) fn drop_below(&mut self, tx: &WriteTransaction, drop_below: u64) -> Result<(), Fault> {
        if !self.reaches(drop_below) {
            self.floor = self.floor.max(drop_below);
            return Ok(());
        }
        self.floor = drop_below;
        let mut table = tx.open_table(PENDING)?;
        while let Some(&(first, last)) = self.rows.front()
            && last < self.floor
        {
            table.remove(first)?;
            self.rows.pop_front();
        }
        table.insert(FLOOR_KEY, &self.floor.to_be_bytes()[..])?;
        Ok(())
    }

    /// Writes one row; the caller has checked sequences and sizes.
    pub(crate) fn add(&mut self, tx: &WriteTransaction, envelopes: &[PendingEnvelope]) -> Result<(), Fault> {
        let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return Ok(()) };
        tx.open_table(PENDING)?.insert(first.sequence, &encode_row(envelopes)[..])?;
        self.rows.push_back((first.sequence, last.sequence));
        Ok(())
    }
}
