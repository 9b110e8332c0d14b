//! A channel's blocks, by number or by what they are: `oldest`, `newest`, `config`.

use axum::http::StatusCode;
use orderer_actors::chain_state::chain_text;
use orderer_core::block::EncodedBlock;
use orderer_core::channel::BlockNumber;
use orderer_ledger::Ledger;

use super::answer::Refused;

/// No number has more digits.
const DIGITS_MAX: usize = 20;

/// Which block is asked for.
pub(super) fn number_of(ledger: &Ledger, written: &str) -> Result<BlockNumber, Refused> {
    match written {
        "oldest" => Ok(ledger.horizon()),
        "newest" => Ok(ledger.last_block().number()),
        "config" => Ok(ledger.last_config()),
        number => {
            let is_number = number.len() <= DIGITS_MAX && number.bytes().all(|digit| digit.is_ascii_digit());
            let parsed = number.parse().ok().filter(|_| is_number).map(BlockNumber);
            let text = || format!("invalid block ID: '{number}' is neither newest, oldest, config nor a number");
            parsed.ok_or_else(|| Refused::bad(text()))
        }
    }
}

/// Reads it; `None` if it is not there. Waits for the disk.
pub(super) fn find(ledger: &Ledger, number: BlockNumber) -> Result<Option<EncodedBlock>, Refused> {
    ledger.block(number).map_err(|e| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, chain_text(&e)))
}

/// Reads it, or says why it is not there. Waits for the disk.
pub(super) fn read(ledger: &Ledger, number: BlockNumber) -> Result<EncodedBlock, Refused> {
    find(ledger, number)?.ok_or_else(|| {
        let is_gone = number < ledger.horizon();
        let why = if is_gone { "was pruned" } else { "does not exist" };
        Refused::new(StatusCode::NOT_FOUND, format!("block {number} {why}"))
    })
}
