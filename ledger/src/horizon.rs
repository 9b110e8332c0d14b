//! The end of what was pruned: what is before it is gone, but for the config blocks.

use orderer_core::block::Hash;
use orderer_core::channel::BlockNumber;
use redb::{Database, ReadableDatabase, TableError, WriteTransaction};

use crate::error::Fault;
use crate::format::{FORMAT, FORMAT_KEY, HORIZON, HORIZON_HASH_KEY, HORIZON_KEY, IDENTITY, decode_number};

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// The first block that is there.
    pub(crate) number: BlockNumber,
    /// Hash of the header before it, which this block names.
    pub(crate) previous_hash: Hash,
}

impl Horizon {
    /// None if no block was ever removed.
    pub(crate) fn load(db: &Database) -> Result<Option<Self>, Fault> {
        let table = match db.begin_read()?.open_table(HORIZON) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            opened => opened?,
        };
        let missing = |what: &str| Fault::Layout(format!("{what} is missing"));
        let number = table.get(HORIZON_KEY)?.ok_or_else(|| missing("the horizon"))?;
        let hash = table.get(HORIZON_HASH_KEY)?.and_then(|hash| hash.value().try_into().ok());
        Ok(Some(Self {
            number: BlockNumber(decode_number("the horizon", number.value())?),
            previous_hash: hash.ok_or_else(|| missing("the hash at the horizon"))?,
        }))
    }

    /// Also makes the file one that programs refuse which know no horizon.
    pub(crate) fn store(&self, tx: &WriteTransaction) -> Result<(), Fault> {
        let mut table = tx.open_table(HORIZON)?;
        table.insert(HORIZON_KEY, &self.number.0.to_be_bytes()[..])?;
        table.insert(HORIZON_HASH_KEY, &self.previous_hash[..])?;
        tx.open_table(IDENTITY)?.insert(FORMAT_KEY, &FORMAT.to_be_bytes()[..])?;
        Ok(())
    }
}
