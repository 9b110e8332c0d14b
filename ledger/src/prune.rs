//! Removes old blocks. Config blocks stay, that of the configuration in force among them, and the hash of the last header
//! that goes, so that what is left can be verified on its own: every config block is signed under the configuration before it,
//! and the first block that is all there names the hash and the newest config block.
//!
//! In three steps, each of which may be the last before a crash: config blocks are copied to where they stay; one
//! transaction sets the horizon; the blocks before it are removed, some at a time. After a crash before the second
//! nothing has happened, after it the rest is removed by the next [`prune`](Ledger::prune) or
//! [`compact`](Ledger::compact).

use orderer_core::block::EncodedBlock;
use orderer_core::types::{BlockNumber, ChannelId};
use redb::{Database, ReadableDatabase, ReadableTable};

use crate::commit::{begin, encode_chunks};
use crate::error::{LedgerError, ReadError};
use crate::format::{BLOCKS, HISTORY};
use crate::horizon::Horizon;
use crate::ledger::Ledger;
use crate::verify::check_link;

/// Blocks removed by one transaction. More are not faster, and a transaction keeps a record of every page that it frees.
const REMOVED_AT_ONCE: u64 = 512;
/// Config blocks are copied in transactions of about this size.
const COPIED_AT_ONCE_BYTES: usize = 8 << 20;

/// The reason why blocks were not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The last block would go, from which the chain goes on. Nothing was changed.
    #[error("channel {channel}: the last block is {last}, which has to stay: blocks before {last} at most can go")]
    BeyondLast {
        /// The channel.
        channel: ChannelId,
        /// The last block.
        last: BlockNumber,
    },
    /// More than that is gone. Nothing was changed.
    #[error("channel {channel}: the blocks before {horizon} are already pruned")]
    Gone {
        /// The channel.
        channel: ChannelId,
        /// The first block that is there.
        horizon: BlockNumber,
    },
    /// A block that was to go is not whole. Nothing was changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error("channel {channel}: remove blocks before {horizon}")]
    Write {
        /// The channel.
        channel: ChannelId,
        /// The horizon that was to be set.
        horizon: BlockNumber,
        /// The error below.
        #[source]
        cause: LedgerError,
    },
}

/// Progress of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneStep {
    /// Number of blocks to remove that were read and found whole so far.
    Checked(u64),
    /// Number of blocks that were removed so far.
    Removed(u64),
}

impl Ledger {
    /// Removes the blocks before `horizon`, except config blocks. Each is read once more before anything is changed. Returns
    /// how many were removed, config blocks among them, which are kept elsewhere. Also finishes a removal that was interrupted.
    /// Performs blocking I/O, for about 3 s a GiB.
    pub fn prune(&mut self, horizon: BlockNumber, progress: &mut dyn FnMut(PruneStep)) -> Result<u64, PruneError> {
        let (channel, last) = (self.channel.clone(), self.last_block().number());
        if horizon > last {
            return Err(PruneError::BeyondLast { channel, last });
        }
        if horizon < self.horizon() {
            return Err(PruneError::Gone { channel, horizon: self.horizon() });
        }
        let write = |cause| PruneError::Write { channel: channel.clone(), horizon, cause };
        if horizon > self.horizon() {
            let last = self.copy_history(horizon, progress)?;
            let next = Horizon { number: horizon, previous_hash: *last.header_hash() };
            let set = |db: &Database| {
                let tx = begin(db)?;
                next.store(&tx)?;
                Ok(tx.commit()?)
            };
            self.change(set).map_err(write)?;
            self.horizon = Some(next);
        }
        self.remove_pruned(&mut |removed| progress(PruneStep::Removed(removed))).map_err(write)
    }

    /// Reads the blocks that are to be removed and copies those with a configuration. Returns the last.
    fn copy_history(
        &self,
        horizon: BlockNumber,
        progress: &mut dyn FnMut(PruneStep),
    ) -> Result<EncodedBlock, PruneError> {
        let fault = |number| move |cause| ReadError::Block { channel: self.channel.clone(), number, cause };
        let mut previous: Option<EncodedBlock> = None;
        let (mut kept, mut kept_bytes) = (Vec::new(), 0);
        // the one at the horizon, too: it must name the hash that is kept
        for number in (self.horizon().0..=horizon.0).map(BlockNumber) {
            let missing = || fault(number)(LedgerError::Layout("is missing".to_owned()));
            let block = self.block(number)?.ok_or_else(missing)?;
            if let Some(previous) = &previous {
                check_link(previous, &block).map_err(fault(number))?;
            }
            if number == horizon {
                break;
            }
            if block.last_config() == number {
                kept_bytes += block.size_bytes();
                kept.push(block.clone());
            }
            if kept_bytes >= COPIED_AT_ONCE_BYTES {
                self.write_history(horizon, &kept)?;
                (kept, kept_bytes) = (Vec::new(), 0);
            }
            progress(PruneStep::Checked(number.0 + 1 - self.horizon().0));
            previous = Some(block);
        }
        self.write_history(horizon, &kept)?;
        previous.ok_or_else(|| PruneError::Gone { channel: self.channel.clone(), horizon: self.horizon() })
    }

    /// Writes the config blocks that are kept. What an interrupted removal left there is overwritten.
    fn write_history(&self, horizon: BlockNumber, blocks: &[EncodedBlock]) -> Result<(), PruneError> {
        let write = |db: &Database| {
            let tx = begin(db)?;
            {
                let mut table = tx.open_table(HISTORY)?;
                for block in blocks {
                    encode_chunks(block, |key, bytes| Ok(table.insert(key, bytes).map(|_| ())?))?;
                }
            }
            Ok(tx.commit()?)
        };
        self.change(write).map_err(|cause| PruneError::Write { channel: self.channel.clone(), horizon, cause })
    }

    /// Removes the blocks before the horizon that are still there, and reports progress after each transaction. Returns their
    /// number.
    pub(crate) fn remove_pruned(&self, progress: &mut dyn FnMut(u64)) -> Result<u64, LedgerError> {
        let horizon = self.horizon().0;
        let mut removed = 0;
        loop {
            let first = |db: &Database| {
                let table = db.begin_read()?.open_table(BLOCKS)?;
                Ok(table.first()?.map(|(key, _)| key.value().0))
            };
            let Some(first) = self.change(first)?.filter(|&first| first < horizon) else { return Ok(removed) };
            let end = horizon.min(first.saturating_add(REMOVED_AT_ONCE));
            self.change(|db| {
                let tx = begin(db)?;
                tx.open_table(BLOCKS)?.retain_in((first, 0)..(end, 0), |_, _| false)?;
                Ok(tx.commit()?)
            })?;
            removed += end - first;
            progress(removed);
        }
    }
}
