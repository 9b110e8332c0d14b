//! The library's verdict on a case.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use orderer_core::block::{ChainVerifier, EncodedBlock};

use crate::case::Case;
use crate::processor::Stopwatch;
use crate::verdict::Outcome;

/// The library's verdict on one chain: the block that it rejects, if any, and the reason.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// `None` if the library panicked.
    pub outcome: Option<Outcome>,
    /// Why the block is rejected, or the message of the panic.
    pub reason: String,
    /// CPU time of the validation.
    pub took: Duration,
}

/// Validates the blocks of the case one by one, as for an imported ledger.
pub fn judge(case: &Case) -> Judgement {
    let watch = Stopwatch::start();
    let taken = catch_unwind(AssertUnwindSafe(|| take(case)));
    let took = watch.used();
    match taken {
        Ok(Ok(())) => Judgement { outcome: Some(Outcome::Accepted), reason: String::new(), took },
        Ok(Err((block, reason))) => Judgement { outcome: Some(Outcome::Refused { block }), reason, took },
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            Judgement { outcome: None, reason: text.to_owned(), took }
        }
    }
}

fn take(case: &Case) -> Result<(), (usize, String)> {
    let mut chain = ChainVerifier::new(None, Arc::default());
    for (number, bytes) in case.blocks.iter().enumerate() {
        let block = EncodedBlock::parse(bytes).map_err(|error| (number, with_causes(&error)))?;
        chain.verify_next(&block).map_err(|error| (number, with_causes(&error)))?;
    }
    Ok(())
}

/// Formats an error and its sources in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
