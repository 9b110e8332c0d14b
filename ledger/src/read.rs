//! Reading what is stored.

use bytes::{BufMut, Bytes};
use orderer_core::block::EncodedBlock;
use orderer_core::types::BlockNumber;
use redb::ReadableTable;

use crate::database::Reader;
use crate::error::{LedgerError, ReadError};
use crate::format::{BLOCKS, Blocks, HISTORY, LENGTH_BYTES, VALUES, chunk_lengths, decode_number};
use crate::ledger::Ledger;
use crate::verify::check_link;

impl Ledger {
    /// The block, or nothing if it is not there yet, or not any more; config blocks stay. From memory if it is new (0.1 µs), else from the disk (about 2 ms a
    /// MiB): then it blocks, call it on a blocking thread. Any number of readers at once, also beside a commit.
    pub fn block(&self, number: BlockNumber) -> Result<Option<EncodedBlock>, ReadError> {
        if let Some(block) = self.cached_block(number) {
            return Ok(Some(block));
        }
        // a block of a commit that is just being made durable must not be seen
        if number.0 >= self.height() {
            return Ok(None);
        }
        let failed = |cause| ReadError::Block { channel: self.channel().clone(), number, cause };
        if number < self.horizon() {
            return self.read_stored(number).map_err(failed);
        }
        let read = || self.read(|db| read_block(db, BLOCKS, number));
        self.cached.get_or_read(number, read).map(Some).map_err(failed)
    }

    /// Reads a block as [`block`](Self::block) does, and leaves it out of the cache: for a reader that keeps what it needs of it.
    pub fn block_uncached(&self, number: BlockNumber) -> Result<Option<EncodedBlock>, ReadError> {
        match self.cached_block(number) {
            Some(block) => Ok(Some(block)),
            None if number.0 >= self.height() => Ok(None),
            None => self.read_stored(number).map_err(|cause| self.fault(number, cause)),
        }
    }

    /// The block from the disk: one from before the horizon may be missing, no other.
    fn read_stored(&self, number: BlockNumber) -> Result<Option<EncodedBlock>, LedgerError> {
        if number < self.horizon() {
            return self.read(|db| read_history(db, number));
        }
        self.read(|db| read_block(db, BLOCKS, number)).map(Some)
    }

    /// The first block of those that are all there: 0, unless the ledger was pruned.
    pub fn horizon(&self) -> BlockNumber {
        self.horizon.as_ref().map_or(BlockNumber::GENESIS, |horizon| horizon.number)
    }

    /// Returns the numbers of the config blocks before the horizon, which are kept when others are removed. Performs blocking
    /// I/O.
    pub fn history(&self) -> Result<Vec<BlockNumber>, ReadError> {
        let Some(horizon) = self.horizon.map(|horizon| horizon.number.0) else { return Ok(Vec::new()) };
        let read = |db: Reader<'_>| {
            let mut numbers = Vec::new();
            for pair in db.begin_read()?.open_table(HISTORY)?.range::<(u64, u32)>(..)? {
                let (number, chunk) = pair?.0.value();
                if chunk == 0 && number < horizon {
                    numbers.push(BlockNumber(number));
                }
            }
            Ok(numbers)
        };
        self.read(read).map_err(|cause| ReadError::Block {
            channel: self.channel().clone(),
            number: BlockNumber::GENESIS,
            cause,
        })
    }

    /// Hands over the blocks from the horizon on, one after the other, each linked to the one before it. Performs blocking I/O.
    pub fn for_each<E: From<ReadError>>(&self, work: &mut dyn FnMut(&EncodedBlock) -> Result<(), E>) -> Result<(), E> {
        let mut previous: Option<EncodedBlock> = None;
        for number in (self.horizon().0..self.height()).map(BlockNumber) {
            let block = self.require(number)?;
            if let Some(previous) = &previous {
                check_link(previous, &block).map_err(|cause| self.fault(number, cause))?;
            }
            work(&block)?;
            previous = Some(block);
        }
        Ok(())
    }

    /// Hands over all blocks that are there: the config blocks that are kept from before the horizon, then all from there on.
    /// Performs blocking I/O.
    pub fn for_all<E: From<ReadError>>(&self, work: &mut dyn FnMut(&EncodedBlock) -> Result<(), E>) -> Result<(), E> {
        for number in self.history()? {
            work(&self.require(number)?)?;
        }
        self.for_each(work)
    }

    /// A block that must be there.
    pub(crate) fn require(&self, number: BlockNumber) -> Result<EncodedBlock, ReadError> {
        self.block(number)?.ok_or_else(|| self.fault(number, LedgerError::Layout("is missing".to_owned())))
    }

    pub(crate) fn fault(&self, number: BlockNumber, cause: LedgerError) -> ReadError {
        ReadError::Block { channel: self.channel().clone(), number, cause }
    }

    /// Returns the value that a commit stored last under this name. Performs blocking I/O.
    pub fn value(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        let read = |db: Reader<'_>| {
            let table = db.begin_read()?.open_table(VALUES)?;
            Ok(table.get(name)?.map(|v| Bytes::copy_from_slice(v.value())))
        };
        self.read(read).map_err(|cause| ReadError::Value {
            channel: self.channel().clone(),
            name: name.to_owned(),
            cause,
        })
    }
}

/// Number of the last block, if there is any.
pub(crate) fn last_number(db: Reader<'_>) -> Result<Option<BlockNumber>, LedgerError> {
    let table = db.begin_read()?.open_table(BLOCKS)?;
    match table.last()?.map(|(key, _)| key.value().0) {
        Some(u64::MAX) => Err(LedgerError::Layout("the last block has the largest of all numbers".to_owned())),
        number => Ok(number.map(BlockNumber)),
    }
}

/// A config block before the horizon, if there is one of this number.
fn read_history(db: Reader<'_>, number: BlockNumber) -> Result<Option<EncodedBlock>, LedgerError> {
    if db.begin_read()?.open_table(HISTORY)?.get((number.0, 0))?.is_none() {
        return Ok(None);
    }
    read_block(db, HISTORY, number).map(Some)
}

/// The last chunk of a block of this length, if it has more than one.
fn last_chunk(length: usize) -> Option<u32> {
    let chunks = chunk_lengths(LENGTH_BYTES.saturating_add(length)).count();
    chunks.checked_sub(1).filter(|&last| last > 0).and_then(|last| u32::try_from(last).ok())
}

/// Puts a block together from its chunks, in one buffer, and checks that it is what it should be.
pub(crate) fn read_block(db: Reader<'_>, table: Blocks, number: BlockNumber) -> Result<EncodedBlock, LedgerError> {
    let broken = |what: &str| LedgerError::Layout(format!("block {number} {what}"));
    let table = db.begin_read()?.open_table(table)?;
    let mut chunks = table.range((number.0, 0)..=(number.0, u32::MAX))?;
    let (_, first) = chunks.next().ok_or_else(|| broken("is missing"))??;
    let (length, first_bytes) = first.value().split_at_checked(LENGTH_BYTES).ok_or_else(|| broken("has no length"))?;
    let length = decode_number("a block's length", length)?;
    let length = usize::try_from(length).map_err(|_| broken("is longer than memory"))?;
    // before there is room made for it
    if let Some(last) = last_chunk(length)
        && table.get((number.0, last))?.is_none()
    {
        return Err(broken(&format!(
            "lacks chunks: there is none of number {last}, as its length of {length} bytes asks"
        )));
    }

    let block = EncodedBlock::read_from::<LedgerError>(length, |buffer| {
        let begin = buffer.len();
        buffer.put_slice(first_bytes);
        for (expected, chunk) in (1..).zip(chunks) {
            let (key, bytes) = chunk?;
            if key.value().1 != expected {
                return Err(broken("lacks a chunk"));
            }
            buffer.put_slice(bytes.value());
        }
        if buffer.len() - begin == length { Ok(()) } else { Err(broken("does not have the length it should have")) }
    })?;
    if block.number() != number {
        return Err(broken(&format!("says it is block {}", block.number())));
    }
    Ok(block)
}
