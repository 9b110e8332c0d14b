//! Checking a whole chain, for commands and tests; a node in service checks what it opens, writes and reads.

use orderer_core::block::EncodedBlock;
use orderer_core::channel::BlockNumber;

use crate::error::{Fault, ReadError, hex};
use crate::ledger::Ledger;

impl Ledger {
    /// Reads every block and checks numbers, data hashes and links; gives back how many there are. Blocks, for about
    /// 2 s a GiB. Signatures are not checked: that takes the channel's configuration.
    pub fn verify(&self) -> Result<u64, ReadError> {
        let height = self.height();
        let mut previous: Option<EncodedBlock> = None;
        for number in (0..height).map(BlockNumber) {
            let fail = |cause| ReadError::Block { channel: self.channel().clone(), number, cause };
            let block = self.block(number)?.ok_or_else(|| fail(Fault::Layout("is missing".to_owned())))?;
            if let Some(previous) = &previous {
                check_link(previous, &block).map_err(fail)?;
            }
            previous = Some(block);
        }
        Ok(height)
    }
}

/// Whether `block` is built on `previous`.
pub(crate) fn check_link(previous: &EncodedBlock, block: &EncodedBlock) -> Result<(), Fault> {
    if block.previous_hash()[..] == previous.header_hash()[..] {
        return Ok(());
    }
    let (number, before) = (block.number(), previous.number());
    let (got, expected) = (hex(block.previous_hash()), hex(previous.header_hash()));
    Err(Fault::Layout(format!("block {number} names previous hash {got}, but block {before} has {expected}")))
}
