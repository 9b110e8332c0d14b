//! Imports blocks from elsewhere into a new ledger. It is created in a directory beside the channels' and gets its place when
//! it is whole; each block is verified before it is written. A chain that was pruned comes in as it was exported: the config
//! blocks that were kept, then all blocks from the horizon on.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orderer_core::block::{ChainVerifier, ChainVerifyError, EncodedBlock};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::types::{BlockNumber, ChannelId};

use super::error::TransferError;
use crate::commit::CommitBatch;
use crate::ledger::{Ledger, Options};
use crate::open::remove_unfinished;
use crate::write_permit::WritePermit;

/// Maximum size of a transaction in bytes of blocks, and in blocks.
const WRITTEN_AT_ONCE_BYTES: usize = 4 << 20;
const WRITTEN_AT_ONCE: usize = 128;

/// A ledger that is not whole yet.
#[derive(Debug)]
pub struct Import {
    /// The directory in which it is created.
    folder: PathBuf,
    file_name: &'static str,
    source: PathBuf,
    channel: ChannelId,
    options: Options,
    check: ChainVerifier,
    ledger: Option<(Ledger, WritePermit)>,
    waiting: Vec<EncodedBlock>,
    waiting_bytes: usize,
    blocks: u64,
    last: Option<BlockNumber>,
}

/// A ledger that was made.
#[derive(Debug)]
pub struct Imported {
    /// Number of its blocks.
    pub blocks: u64,
    /// Number of its config blocks.
    pub config_blocks: u64,
    /// The first of those that are all there.
    pub horizon: BlockNumber,
    /// The last one.
    pub last: EncodedBlock,
    /// The configuration in force.
    pub snapshot: ChannelSnapshot,
}

impl Import {
    /// Begins in the directory `folder`, in a file of this name. What an interrupted import has left there is removed. `source`
    /// names the source of the blocks in messages.
    pub fn begin(
        folder: &Path,
        file_name: &'static str,
        source: &Path,
        channel: &ChannelId,
        catalog: &Arc<ConfigCache>,
        options: Options,
    ) -> Result<Self, TransferError> {
        let prepared = || -> io::Result<()> {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir(folder)
        };
        prepared().map_err(|cause| failed(folder, "make the folder", cause))?;
        Ok(Self {
            folder: folder.to_owned(),
            file_name,
            source: source.to_owned(),
            channel: channel.clone(),
            options,
            check: ChainVerifier::new(Some(channel.clone()), Arc::clone(catalog)),
            ledger: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            blocks: 0,
            last: None,
        })
    }

    /// Verifies the next block, and writes it, alone or with some that follow. Performs blocking I/O.
    pub fn push(&mut self, block: EncodedBlock) -> Result<(), TransferError> {
        let taken = self.check.verify_next(&block);
        self.taken(taken)?;
        self.add(block)
    }

    /// Verifies and writes as [`push`](Self::push) does, for a chain that may have been pruned.
    pub fn push_kept(&mut self, block: EncodedBlock) -> Result<(), TransferError> {
        let taken = self.check.verify_next_pruned(&block);
        self.taken(taken)?;
        if self.last.is_none_or(|last| block.number() == last.next()) {
            return self.add(block);
        }
        self.write()?;
        let number = block.number();
        if let Some((ledger, _)) = &mut self.ledger {
            ledger.advance_to(block)?;
        }
        self.last = Some(number);
        Ok(())
    }

    fn taken(&mut self, taken: Result<(), ChainVerifyError>) -> Result<(), TransferError> {
        taken.map_err(|cause| TransferError::Chain { path: self.source.clone(), cause: Box::new(cause) })?;
        self.blocks += 1;
        Ok(())
    }

    fn add(&mut self, block: EncodedBlock) -> Result<(), TransferError> {
        self.last = Some(block.number());
        if self.ledger.is_none() {
            let path = self.folder.join(self.file_name);
            let ledger = Ledger::create(&path, &self.channel, &block, self.options.clone())?;
            // just made: nobody else knows it
            let permit = ledger
                .try_write_permit()
                .ok_or_else(|| failed(&path, "get the permit to write", io::ErrorKind::ResourceBusy.into()))?;
            self.ledger = Some((ledger, permit));
            return Ok(());
        }
        self.waiting_bytes += block.size_bytes();
        self.waiting.push(block);
        if self.waiting_bytes >= WRITTEN_AT_ONCE_BYTES || self.waiting.len() >= WRITTEN_AT_ONCE {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), TransferError> {
        if let Some((ledger, permit)) = &mut self.ledger {
            let blocks = std::mem::take(&mut self.waiting);
            ledger.commit(permit, CommitBatch { blocks, ..CommitBatch::default() })?;
            self.waiting_bytes = 0;
        }
        Ok(())
    }

    /// Makes the directory the channel's. Performs blocking I/O.
    ///
    /// # Errors
    /// The channel is there already, or there were no blocks, or the disk failed. What was created is removed by the next
    /// import, or the next start of the node.
    pub fn finish(mut self, target: &Path) -> Result<Imported, TransferError> {
        self.write()?;
        let (Some((ledger, _right)), Some(snapshot)) = (self.ledger, self.check.snapshot()) else {
            return Err(TransferError::Empty { path: self.source });
        };
        let (last, horizon) = (ledger.last_block(), ledger.horizon());
        ledger.close()?;
        let place = target.join(self.file_name);
        if !place.exists() {
            remove_unfinished(&place)?;
        }
        let named = || -> io::Result<()> {
            File::open(&self.folder)?.sync_all()?;
            // fails if there is anything in a folder of this name
            fs::rename(&self.folder, target)?;
            File::open(target.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        named().map_err(|cause| failed(target, "give its place to the ledger", cause))?;
        let snapshot = snapshot.clone();
        let config_blocks = self.check.config_blocks();
        Ok(Imported { blocks: self.blocks, config_blocks, horizon, last, snapshot })
    }
}

fn failed(path: &Path, action: &'static str, cause: io::Error) -> TransferError {
    TransferError::Io { path: path.to_owned(), action, cause }
}
