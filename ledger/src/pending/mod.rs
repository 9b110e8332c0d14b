//! Envelopes that were acknowledged but are not yet in a block.
//!
//! They are in a file of their own beside the database, because a client waits for each of them: one page written in
//! place and one sync, 0.08 ms, where a transaction of the database writes seven pages all over its file, 0.25 ms.

mod log;
mod record;

use std::fmt;

use bytes::Bytes;
use orderer_core::types::ConfigSequence;
use redb::WriteTransaction;

use crate::database::Reader;
use crate::error::{LedgerError, ReadError};
use crate::format::{FLOOR_KEY, PENDING, decode_number};
use crate::ledger::Ledger;

pub(crate) use log::PendingLog;

/// An envelope that was acknowledged and waits for its block.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingEnvelope {
    /// Its number in the order of the channel's pending envelopes; from 1, increasing, gaps allowed.
    pub sequence: u64,
    /// The configuration under which it was found valid.
    pub validated_at: ConfigSequence,
    /// Whether it is a `CONFIG` or `ORDERER_TRANSACTION` message, which gets a block of its own.
    pub is_config: bool,
    /// The serialized envelope.
    pub raw: Bytes,
}

impl fmt::Debug for PendingEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingEnvelope")
            .field("sequence", &self.sequence)
            .field("checked_at", &self.validated_at)
            .field("is_config", &self.is_config)
            .field("raw_bytes", &self.raw.len())
            .finish()
    }
}

impl Ledger {
    /// The envelopes that wait for a block, in order: to be fed to the chain again after a restart. Reads the disk:
    /// call it on a blocking thread.
    pub fn pending(&self) -> Result<Vec<PendingEnvelope>, ReadError> {
        let read = self.lock_writer().pending.read();
        read.map_err(|cause| ReadError::Pending { channel: self.channel().clone(), cause })
    }
}

/// Pending envelopes with a smaller sequence are in blocks: what the database says.
pub(crate) fn stored_floor(db: Reader<'_>) -> Result<u64, LedgerError> {
    let table = db.begin_read()?.open_table(PENDING)?;
    let floor = table.get(FLOOR_KEY)?;
    floor.map_or(Ok(0), |value| decode_number("the pending floor", value.value()))
}

/// Raises the floor, together with the block that takes what is below it.
pub(crate) fn store_floor(tx: &WriteTransaction, floor: u64) -> Result<(), LedgerError> {
    tx.open_table(PENDING)?.insert(FLOOR_KEY, &floor.to_be_bytes()[..])?;
    Ok(())
}
