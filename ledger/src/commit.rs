//! The one way to change a ledger.

use std::sync::{MutexGuard, PoisonError};

use bytes::{BufMut, Bytes};
use orderer_core::block::EncodedBlock;
use orderer_core::types::{BlockNumber, ChannelId};
use redb::{Database, Durability, WriteTransaction};

use crate::error::{CommitError, LedgerError, hex, is_disk_full};
use crate::format::{BLOCKS, Blocks, LENGTH_BYTES, VALUES, chunk_lengths};
use crate::ledger::{Ledger, WriteFailure, Writer};
use crate::pending::{PendingEnvelope, PendingLog, store_floor};
use crate::write_permit::WritePermit;

/// The changes of one commit. Blocks, the end of what was pending before, and values happen together or not at all; after them
/// what is pending now, also all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct CommitBatch {
    /// The next blocks, in order.
    pub blocks: Vec<EncodedBlock>,
    /// Envelopes acknowledged and not in `blocks`, in order of their sequence.
    pub pending_add: Vec<PendingEnvelope>,
    /// Pending envelopes with a smaller sequence are in a block now; 0 if none are. It applies to what was stored
    /// before, not to `pending_add`.
    pub pending_drop_below: u64,
    /// Named values the node wants to find again.
    pub values: Vec<(&'static str, Bytes)>,
}

impl Ledger {
    /// Makes `commit` durable, then visible: 0.1 ms for pending envelopes alone, 0.35 ms plus 5 ms a MiB with blocks.
    /// Performs blocking I/O; call it on a blocking thread. It needs the permit to write, which has one holder at a time.
    ///
    /// # Errors
    /// `OtherLedger`: the permit is another ledger's, nothing was written.
    /// `Gap`, `Fork`, `Sequence`, `TooLarge`: nothing was written, the ledger goes on. `Append`: the disk failed; all
    /// later writes are `Refused` until the ledger is opened again, which also shows whether this commit happened.
    ///
    /// # Cancel safety
    /// Not a future: a caller that stops waiting does not undo it.
    pub fn commit(&self, permit: &mut WritePermit, commit: CommitBatch) -> Result<(), CommitError> {
        self.commit_then(permit, commit, || ())
    }

    /// Commits as [`commit`](Self::commit) does. Calls `before_published` when the blocks are durable and no reader can know of
    /// them yet: the configuration under which readers of the blocks are authorized is put in force there. It must not commit,
    /// nor wait for anything.
    ///
    /// # Errors
    /// The errors of [`commit`](Self::commit); `before_published` is not called then.
    pub fn commit_then(
        &self,
        permit: &mut WritePermit,
        commit: CommitBatch,
        before_published: impl FnOnce(),
    ) -> Result<(), CommitError> {
        if !permit.is_of(&self.write_lock) {
            return Err(CommitError::OtherLedger { channel: self.channel.clone() });
        }
        let mut writer = self.writer()?;
        let last = self.last_block();
        check_blocks(&self.channel, &last, &commit.blocks)?;
        check_pending(&self.channel, &writer.pending, &commit)?;
        let next = last.number().next();
        let floor_rises = writer.pending.reaches(commit.pending_drop_below);
        if floor_rises || !commit.blocks.is_empty() || !commit.values.is_empty() {
            let written = self.change(|db| {
                let tx = begin(db)?;
                write_blocks(&tx, BLOCKS, &commit.blocks)?;
                if floor_rises {
                    store_floor(&tx, commit.pending_drop_below)?;
                }
                write_values(&tx, &commit.values)?;
                Ok(tx.commit()?)
            });
            written.map_err(|cause| self.fail(&mut writer, next, cause))?;
            writer.settled = false;
        }
        // what blocks took is written over now: the database had to know first
        let logged = writer.pending.drop_below(commit.pending_drop_below);
        let logged = logged.and_then(|()| writer.pending.append(&commit.pending_add));
        logged.map_err(|cause| self.fail(&mut writer, next, cause))?;
        before_published();
        // while `writer` is held: heights are published in the order of the commits
        self.publish(commit.blocks);
        Ok(())
    }

    /// Has redb store its map of free pages, which spares the next start from reading the whole file if the process
    /// dies before it writes again. For quiet moments: 1 ms, more in files of many GiB. Performs blocking I/O. Does nothing if
    /// nothing was written since.
    ///
    /// # Errors
    /// The errors of [`commit`](Self::commit).
    pub fn checkpoint(&self) -> Result<(), CommitError> {
        let mut writer = self.writer()?;
        if writer.settled || !self.database.is_writable() {
            return Ok(());
        }
        let written = self.change(|db| {
            let mut tx = begin(db)?;
            tx.set_quick_repair(true);
            Ok(tx.commit()?)
        });
        written.map_err(|cause| self.fail(&mut writer, BlockNumber(self.height()), cause))?;
        writer.settled = true;
        Ok(())
    }

    /// Ends a burst of commits: does what [`checkpoint`](Self::checkpoint) does, then closes idle databases, if more are open than
    /// may stay open while they are idle. Performs blocking I/O.
    ///
    /// # Errors
    /// The errors of [`commit`](Self::commit).
    pub fn rest(&self) -> Result<(), CommitError> {
        self.checkpoint()?;
        self.database.close_surplus();
        Ok(())
    }

    /// The sequence number that the next pending envelope gets, or any above it.
    pub fn next_pending_sequence(&self) -> u64 {
        self.lock_writer().pending.next()
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, CommitError> {
        let writer = self.lock_writer();
        match &writer.failed {
            None => Ok(writer),
            Some(WriteFailure { reason, is_disk_full }) => Err(CommitError::Refused {
                channel: self.channel.clone(),
                reason: reason.clone(),
                is_disk_full: *is_disk_full,
            }),
        }
    }

    fn fail(&self, writer: &mut Writer, number: BlockNumber, cause: LedgerError) -> CommitError {
        writer.failed = Some(WriteFailure { reason: cause.chain(), is_disk_full: is_disk_full(&cause) });
        CommitError::Append { channel: self.channel.clone(), number, cause }
    }
}

/// A durable transaction, in two phases; the format's description gives the reasons.
pub(crate) fn begin(db: &Database) -> Result<WriteTransaction, LedgerError> {
    let mut tx = db.begin_write()?;
    tx.set_durability(Durability::Immediate)?;
    tx.set_two_phase_commit(true);
    Ok(tx)
}

fn check_blocks(channel: &ChannelId, last: &EncodedBlock, blocks: &[EncodedBlock]) -> Result<(), CommitError> {
    let mut previous = last;
    for block in blocks {
        let (number, expected) = (block.number(), previous.number().next());
        if number != expected {
            return Err(CommitError::Gap { channel: channel.clone(), expected, got: number });
        }
        if block.previous_hash()[..] != previous.header_hash()[..] {
            return Err(CommitError::Fork {
                channel: channel.clone(),
                number,
                expected: hex(previous.header_hash()),
                got: hex(block.previous_hash()),
            });
        }
        previous = block;
    }
    Ok(())
}

fn check_pending(channel: &ChannelId, pending: &PendingLog, commit: &CommitBatch) -> Result<(), CommitError> {
    let mut next = pending.next().max(commit.pending_drop_below);
    for envelope in &commit.pending_add {
        let (sequence, bytes) = (envelope.sequence, envelope.raw.len());
        if sequence < next {
            return Err(CommitError::Sequence { channel: channel.clone(), sequence, next });
        }
        if u32::try_from(bytes).is_err() {
            return Err(CommitError::TooLarge { channel: channel.clone(), bytes });
        }
        next = sequence.saturating_add(1);
    }
    Ok(())
}

/// Appends blocks to a table.
pub(crate) fn write_blocks(tx: &WriteTransaction, table: Blocks, blocks: &[EncodedBlock]) -> Result<(), LedgerError> {
    if blocks.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(table)?;
    let mut end = table.upper_bound_mut(std::ops::Bound::<(u64, u32)>::Unbounded)?;
    for block in blocks {
        encode_chunks(block, |key, bytes| Ok(end.insert_before(key, bytes)?))?;
    }
    end.close()?;
    Ok(())
}

/// Cuts a block into chunks that fill their pages; the first begins with the block's length.
pub(crate) fn encode_chunks(
    block: &EncodedBlock,
    mut write: impl FnMut((u64, u32), &[u8]) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let number = block.number();
    let mut rest = block.block_bytes();
    let length = u32::try_from(rest.len())
        .map_err(|_| LedgerError::Layout(format!("block {number} has {} bytes, too many", rest.len())))?;
    for (chunk, bytes) in (0..).zip(chunk_lengths(LENGTH_BYTES + rest.len())) {
        if chunk == 0 {
            let mut first = Vec::with_capacity(bytes);
            first.put_u32(length);
            first.put_slice(&rest.split_to(bytes.saturating_sub(LENGTH_BYTES)));
            write((number.0, chunk), &first)?;
        } else {
            write((number.0, chunk), &rest.split_to(bytes))?;
        }
    }
    Ok(())
}

fn write_values(tx: &WriteTransaction, values: &[(&'static str, Bytes)]) -> Result<(), LedgerError> {
    if values.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(VALUES)?;
    for (name, value) in values {
        table.insert(*name, &value[..])?;
    }
    Ok(())
}
