//! Statistics of a ledger.

use std::io;

use orderer_core::types::BlockNumber;
use redb::{Database, ReadableDatabase as _};

use crate::compact::space_taken;
use crate::error::{LedgerError, ReadError};
use crate::format::{BLOCKS, Blocks, HISTORY, LENGTH_BYTES, decode_number};
use crate::ledger::Ledger;

/// Numbers and sizes of a ledger's blocks and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Number of blocks in the chain, those that are gone among them.
    pub height: u64,
    /// The first block of those that are all there.
    pub horizon: BlockNumber,
    /// Number of blocks from the horizon on.
    pub blocks: u64,
    /// Their size, together.
    pub block_bytes: u64,
    /// Number of config blocks that are there, also before the horizon.
    pub config_blocks: u64,
    /// Size of those before the horizon.
    pub history_bytes: u64,
    /// Number of blocks before the horizon that an interrupted removal has left.
    pub leftover_blocks: u64,
    /// Envelopes that wait for a block.
    pub pending: u64,
    /// Size of the database on the disk.
    pub file_bytes: u64,
    /// Size of the pending log on the disk.
    pub pending_file_bytes: u64,
}

/// Number and total size of some blocks.
#[derive(Clone, Copy, Default)]
struct Sizes {
    blocks: u64,
    bytes: u64,
}

impl Stats {
    /// Returns the bytes that the files take beyond the blocks in them.
    pub fn wasted_bytes(&self) -> u64 {
        (self.file_bytes + self.pending_file_bytes).saturating_sub(self.block_bytes + self.history_bytes)
    }
}

/// The size of a ledger on the disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The database.
    pub file_bytes: u64,
    /// The pending log.
    pub pending_file_bytes: u64,
}

impl Ledger {
    /// Returns the size of the ledger's files on the disk, which may be less than their length. Performs blocking I/O.
    pub fn space(&self) -> io::Result<Space> {
        let file_bytes = space_taken(&self.path)?;
        Ok(Space { file_bytes, pending_file_bytes: space_taken(&self.path.with_extension("pending"))? })
    }

    /// Counts. Says after each block how many it has seen. Blocks, for as long as it takes to read the file.
    pub fn stats(&self, progress: &mut dyn FnMut(u64)) -> Result<Stats, ReadError> {
        let number = self.horizon();
        let failed = |cause| ReadError::Block { channel: self.channel.clone(), number, cause };
        let (horizon, height) = (self.horizon(), self.height());
        let history = self.history()?;
        let mut history_bytes = 0;
        if !history.is_empty() {
            history_bytes = self.sizes(HISTORY, horizon.0, &mut |_| {}).map_err(failed)?.0.bytes;
        }
        let (leftover, there) = self.sizes(BLOCKS, horizon.0, progress).map_err(failed)?;
        let pending = self.pending()?.len() as u64;
        let io = |cause| failed(LedgerError::Database(Box::new(redb::Error::Io(cause))));
        let space = self.space().map_err(io)?;
        Ok(Stats {
            height,
            horizon,
            blocks: there.blocks,
            block_bytes: there.bytes,
            config_blocks: history.len() as u64 + self.config_blocks()?,
            history_bytes,
            leftover_blocks: leftover.blocks,
            pending,
            file_bytes: space.file_bytes,
            pending_file_bytes: space.pending_file_bytes,
        })
    }

    /// The blocks before `from`, and those from there on; `progress` is of the latter.
    fn sizes(&self, table: Blocks, from: u64, progress: &mut dyn FnMut(u64)) -> Result<(Sizes, Sizes), LedgerError> {
        let (mut before, mut there) = (Sizes::default(), Sizes::default());
        self.change(|db: &Database| {
            for pair in db.begin_read()?.open_table(table)?.range::<(u64, u32)>(..)? {
                let (key, value) = pair?;
                let (number, chunk) = key.value();
                if chunk != 0 {
                    continue;
                }
                let length = value.value().get(..LENGTH_BYTES).unwrap_or_default();
                let sizes = if number < from { &mut before } else { &mut there };
                sizes.blocks += 1;
                sizes.bytes += decode_number("a block's length", length)?;
                if number >= from {
                    progress(there.blocks);
                }
            }
            Ok(())
        })?;
        Ok((before, there))
    }

    /// Counts the blocks from the horizon on that have a configuration: each names the one before it through its predecessor.
    fn config_blocks(&self) -> Result<u64, ReadError> {
        let (mut count, mut newest) = (0, self.last_config());
        while newest >= self.horizon() {
            count += 1;
            let Some(before) = newest.0.checked_sub(1).map(BlockNumber).filter(|&n| n >= self.horizon()) else { break };
            let Some(block) = self.block(before)? else { break };
            if block.last_config() >= newest {
                break;
            }
            newest = block.last_config();
        }
        Ok(count)
    }
}
