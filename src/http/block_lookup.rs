//! Looks up a channel's blocks by number or by `oldest`, `newest`, `config`.

use axum::http::StatusCode;
use orderer_actors::chain_state::error_chain;
use orderer_core::block::EncodedBlock;
use orderer_core::types::BlockNumber;
use orderer_ledger::Ledger;

use super::response::ApiError;

/// Maximum number of digits of a block number.
const DIGITS_MAX: usize = 20;

/// Returns the number of the requested block.
pub(super) fn number_of(ledger: &Ledger, written: &str) -> Result<BlockNumber, ApiError> {
    match written {
        "oldest" => Ok(ledger.horizon()),
        "newest" => Ok(ledger.last_block().number()),
        "config" => Ok(ledger.last_config()),
        number => {
            let is_number = number.len() <= DIGITS_MAX && number.bytes().all(|digit| digit.is_ascii_digit());
            let parsed = number.parse().ok().filter(|_| is_number).map(BlockNumber);
            let text = || format!("invalid block ID: '{number}' is neither newest, oldest, config nor a number");
            parsed.ok_or_else(|| ApiError::bad_request(text()))
        }
    }
}

/// Reads a block; `None` if it does not exist. Performs blocking I/O.
pub(super) fn find(ledger: &Ledger, number: BlockNumber) -> Result<Option<EncodedBlock>, ApiError> {
    ledger.block(number).map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error_chain(&e)))
}

/// Reads a block, or responds why it does not exist. Performs blocking I/O.
pub(super) fn read(ledger: &Ledger, number: BlockNumber) -> Result<EncodedBlock, ApiError> {
    find(ledger, number)?.ok_or_else(|| {
        let is_gone = number < ledger.horizon();
        let why = if is_gone { "was pruned" } else { "does not exist" };
        ApiError::new(StatusCode::NOT_FOUND, format!("block {number} {why}"))
    })
}
