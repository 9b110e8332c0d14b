//! The end of what was pruned: blocks before it are gone, except config blocks.

use std::sync::PoisonError;

use orderer_core::block::{EncodedBlock, Hash};
use orderer_core::types::BlockNumber;
use redb::{ReadableTable, TableError, WriteTransaction};

use crate::commit::{begin, write_blocks};
use crate::database::Reader;
use crate::error::{CommitError, LedgerError};
use crate::format::{
    BLOCKS, FORMAT, FORMAT_KEY, HISTORY, HORIZON, HORIZON_HASH_KEY, HORIZON_KEY, IDENTITY, decode_number,
};
use crate::ledger::Ledger;
use crate::recent_blocks::RecentBlocks;

/// The end of what was pruned: blocks before it are gone, except config blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// The first block that is there.
    pub(crate) number: BlockNumber,
    /// Hash of the header before it, which this block names.
    pub(crate) previous_hash: Hash,
}

impl Horizon {
    /// Reads the horizon; `None` if no block was ever removed.
    pub(crate) fn load(db: Reader<'_>) -> Result<Option<Self>, LedgerError> {
        let table = match db.begin_read()?.open_table(HORIZON) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            opened => opened?,
        };
        let missing = |what: &str| LedgerError::Layout(format!("{what} is missing"));
        let number = table.get(HORIZON_KEY)?.ok_or_else(|| missing("the horizon"))?;
        let hash = table.get(HORIZON_HASH_KEY)?.and_then(|hash| hash.value().try_into().ok());
        Ok(Some(Self {
            number: BlockNumber(decode_number("the horizon", number.value())?),
            previous_hash: hash.ok_or_else(|| missing("the hash at the horizon"))?,
        }))
    }

    /// Stores the horizon. Also gives the file a format that programs reject which know no horizon.
    pub(crate) fn store(&self, tx: &WriteTransaction) -> Result<(), LedgerError> {
        let mut table = tx.open_table(HORIZON)?;
        table.insert(HORIZON_KEY, &self.number.0.to_be_bytes()[..])?;
        table.insert(HORIZON_HASH_KEY, &self.previous_hash[..])?;
        tx.open_table(IDENTITY)?.insert(FORMAT_KEY, &FORMAT.to_be_bytes()[..])?;
        Ok(())
    }
}

impl Ledger {
    /// Goes on with a block that does not follow the last one, and is the horizon then; the blocks that are there are the
    /// config blocks before it. For a ledger that is being created from the blocks of one that was pruned. One transaction.
    /// Performs blocking I/O.
    ///
    /// # Errors
    /// The errors of [`commit`](Self::commit).
    #[expect(clippy::needless_pass_by_value, reason = "the ledger goes on from it")]
    pub(crate) fn advance_to(&mut self, block: EncodedBlock) -> Result<(), CommitError> {
        let number = block.number();
        let leapt = || -> Result<Horizon, LedgerError> {
            let previous_hash = block.previous_hash()[..].try_into();
            let no_hash = |_| LedgerError::Layout(format!("block {number} names no hash"));
            let horizon = Horizon { number, previous_hash: previous_hash.map_err(no_hash)? };
            self.change(|db| {
                let tx = begin(db)?;
                {
                    let (mut blocks, mut history) = (tx.open_table(BLOCKS)?, tx.open_table(HISTORY)?);
                    for row in blocks.range::<(u64, u32)>(..)? {
                        let (key, chunk) = row?;
                        history.insert(key.value(), chunk.value())?;
                    }
                    blocks.retain(|_, _| false)?;
                }
                write_blocks(&tx, BLOCKS, std::slice::from_ref(&block))?;
                horizon.store(&tx)?;
                Ok(tx.commit()?)
            })?;
            Ok(horizon)
        };
        let channel = self.channel.clone();
        self.horizon = Some(leapt().map_err(|cause| CommitError::Append { channel, number, cause })?);
        self.lock_writer().settled = false;
        *self.newest.get_mut().unwrap_or_else(PoisonError::into_inner) = RecentBlocks::new(&block);
        self.heights.send_replace(number.0 + 1);
        Ok(())
    }
}
