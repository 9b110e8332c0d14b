//! The file of pending envelopes: rows one after the other, from the beginning again when all are in blocks.
//!
//! A row is written over what blocks have taken, into room that the file has already, so that a sync has one page to
//! write and no length to record. Where the rows end is not written anywhere: sequences only rise, so a row left from
//! before has a smaller one than the row it follows.

use std::collections::VecDeque;
use std::io;

use super::PendingEnvelope;
use super::record;
use crate::error::LedgerError;
use crate::format::FLOOR_KEY;
use crate::sealed::{LogFile, SealKey, SealedFile};

/// Size of the file in bytes above which it is shrunk when the log is empty.
const KEEPS_BYTES: u64 = 1 << 20;

/// The pending log of an open ledger.
#[derive(Debug)]
pub(crate) struct PendingLog {
    file: SealedFile,
    /// Envelopes with a smaller sequence are in blocks.
    floor: u64,
    /// First and last sequence of each row that is not.
    rows: VecDeque<(u64, u64)>,
    /// Position of the next row.
    end: u64,
}

impl PendingLog {
    /// Reads what is there.
    ///
    /// # Errors
    /// The file cannot be read, or something in its middle was lost: what follows it is whole. Or a newer version wrote it.
    pub(crate) fn open(file: LogFile, key: SealKey, floor: u64) -> Result<Self, LedgerError> {
        let file = SealedFile::new(file, key).map_err(LedgerError::PendingLog)?;
        let mut log = Self { file, floor, rows: VecDeque::new(), end: 0 };
        let mut rows = VecDeque::new();
        log.end = log.scan(|envelopes| {
            let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return };
            if last.sequence >= floor {
                rows.push_back((first.sequence, last.sequence));
            }
        })?;
        log.rows = rows;
        log.check_nothing_follows()?;
        if log.rows.is_empty() {
            log.end = 0;
        }
        log.file.make_durable(log.end).map_err(LedgerError::PendingLog)?;
        Ok(log)
    }

    /// Closes the file, so that it can be opened again.
    pub(crate) fn close(&mut self) {
        self.file.close();
    }

    /// Reads all envelopes that are pending, in order.
    pub(crate) fn read(&self) -> Result<Vec<PendingEnvelope>, LedgerError> {
        let mut pending = Vec::new();
        if !self.rows.is_empty() {
            if !self.file.is_open() {
                return Err(LedgerError::PendingLog(io::Error::other("the file is closed")));
            }
            self.scan(|envelopes| pending.extend(envelopes.into_iter().filter(|e| e.sequence >= self.floor)))?;
        }
        Ok(pending)
    }

    /// The smallest sequence that a new envelope may have.
    pub(crate) fn next(&self) -> u64 {
        let after_last = self.rows.back().map_or(1, |&(_, last)| last.saturating_add(1));
        after_last.max(self.floor).max(FLOOR_KEY + 1)
    }

    /// Returns whether raising the floor to this sequence drops any envelope.
    pub(crate) fn reaches(&self, drop_below: u64) -> bool {
        drop_below > self.floor && self.rows.front().is_some_and(|&(first, _)| first < drop_below)
    }

    /// Drops the rows below. The database must have stored that by now: these rows may be written over from here on.
    pub(crate) fn drop_below(&mut self, drop_below: u64) -> Result<(), LedgerError> {
        self.floor = self.floor.max(drop_below);
        while self.rows.front().is_some_and(|&(_, last)| last < self.floor) {
            self.rows.pop_front();
        }
        if self.rows.is_empty() {
            self.end = 0;
            self.file.shrink(KEEPS_BYTES).map_err(LedgerError::PendingLog)?;
        }
        Ok(())
    }

    /// Writes one row and makes it durable; the caller has checked sequences and sizes.
    pub(crate) fn append(&mut self, envelopes: &[PendingEnvelope]) -> Result<(), LedgerError> {
        let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return Ok(()) };
        let (first, last) = (first.sequence, last.sequence);
        let mut row = record::encode(&self.file.key, envelopes);
        let end = self.end + row.len() as u64;
        self.file.write(self.end, &mut row).map_err(LedgerError::PendingLog)?;
        self.end = end;
        self.rows.push_back((first, last));
        Ok(())
    }

    /// Reads the rows from the beginning, as long as one follows the other. Returns the position of their end.
    fn scan(&self, mut found: impl FnMut(Vec<PendingEnvelope>)) -> Result<u64, LedgerError> {
        let (mut at, mut next) = (0, 0);
        while let Some((header, encoded)) = self.file.header_at(at).map_err(LedgerError::PendingLog)? {
            if header.sequence < next {
                break;
            }
            let content = self.file.content_at(at, header, &encoded).map_err(LedgerError::PendingLog)?;
            let Some(content) = content else { break };
            let envelopes = record::decode(header.sequence, content)
                .map_err(|problem| LedgerError::Layout(format!("the row at byte {at} of the pending log {problem}")))?;
            next = envelopes.last().map_or(next, |last| last.sequence.saturating_add(1));
            found(envelopes);
            at += header.record_bytes();
        }
        Ok(at)
    }

    /// If a later row is whole, envelopes that were acknowledged are lost, and that must be said.
    fn check_nothing_follows(&self) -> Result<(), LedgerError> {
        let next = self.next();
        match self.file.find_behind(self.end, next).map_err(LedgerError::PendingLog)? {
            None => Ok(()),
            Some((at, header)) => Err(LedgerError::Layout(format!(
                "the pending log is damaged at byte {}: envelopes from {next} on are missing, {} is there at byte {at}",
                self.end, header.sequence
            ))),
        }
    }
}
