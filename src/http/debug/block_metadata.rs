//! A block's metadata, decoded: its signers, and whether the signatures satisfy the policy BlockValidation.

use std::sync::Arc;

use orderer_actors::chain_state::error_chain;
use orderer_actors::observer::SignerInfo;
use orderer_core::block::{BLOCK_VALIDATION, EncodedBlock, block_signers, verify_block_signatures};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::types::BlockNumber;
use orderer_ledger::Ledger;
use serde::Serialize;

use crate::http::block_lookup::find;

/// The decoded metadata of a block.
#[derive(Debug, Serialize)]
pub(super) struct MetadataView {
    /// The signers, in the order of their signatures; `None` for one whose identity cannot be read.
    signers: Vec<Option<SignerInfo>>,
    /// Number of the newest config block up to this block.
    last_config_block: u64,
    validation: ValidationView,
}

/// The result of the policy BlockValidation.
#[derive(Debug, Serialize)]
struct ValidationView {
    policy: &'static str,
    /// `None` if it cannot be evaluated.
    satisfied: Option<bool>,
    /// Number of the block whose configuration has the policy.
    config_block: Option<u64>,
    /// The reason why the policy is not satisfied, or cannot be evaluated.
    why: Option<String>,
}

impl MetadataView {
    /// Decodes the metadata, and verifies the signatures. Performs blocking I/O: reads the block before, and the
    /// configuration that was in force then.
    pub(super) fn of(block: &EncodedBlock, ledger: &Ledger, catalog: &Arc<ConfigCache>) -> Self {
        let validation = match snapshot_before(block, ledger, catalog) {
            Err(why) => ValidationView::unknown(why),
            Ok((number, snapshot)) => {
                let why = verify_block_signatures(block, &snapshot).err().map(|e| error_chain(&e));
                let config_block = Some(number.0);
                ValidationView { policy: BLOCK_VALIDATION, satisfied: Some(why.is_none()), config_block, why }
            }
        };
        Self {
            signers: block_signers(block).unwrap_or_default().iter().map(|creator| SignerInfo::of(creator)).collect(),
            last_config_block: block.last_config().0,
            validation,
        }
    }
}

impl ValidationView {
    fn unknown(why: String) -> Self {
        Self { policy: BLOCK_VALIDATION, satisfied: None, config_block: None, why: Some(why) }
    }
}

/// Returns the configuration that was in force before a block, with the number of its block; or why there is none.
fn snapshot_before(
    block: &EncodedBlock,
    ledger: &Ledger,
    catalog: &Arc<ConfigCache>,
) -> Result<(BlockNumber, ChannelSnapshot), String> {
    let Some(previous) = block.number().0.checked_sub(1).map(BlockNumber) else {
        return Err("the first block of a channel is not signed".to_owned());
    };
    let read = |number: BlockNumber| {
        let found = find(ledger, number).map_err(|_| format!("block {number} cannot be read"))?;
        found.ok_or_else(|| format!("block {number}, which has the configuration or names it, was pruned"))
    };
    let number = read(previous)?.last_config();
    let snapshot = ChannelSnapshot::from_config_block(&read(number)?.decode(), catalog);
    Ok((number, snapshot.map_err(|e| format!("the configuration in block {number}: {}", error_chain(&e)))?))
}
