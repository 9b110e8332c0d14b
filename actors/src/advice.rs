//! Recommended actions if a consenter of Raft cannot continue with its log or its ledger.
//!
//! Such an orderer must not continue under its Raft ID: without its log, or with an older copy of it, it has forgotten votes, and could
//! vote twice. To join the channel again is not enough, because the configuration still names it as the same consenter.

macro_rules! replace_consenter {
    () => {
        "remove this orderer from the channel's consenters and the channel from this orderer, then join and add it again, \
         which gives it a new ID"
    };
}

/// The log is unusable, or is not the newest one.
pub(crate) const REPLACE_CONSENTER: &str = replace_consenter!();
/// The log is not in its place.
pub(crate) const RETURN_LOG: &str = concat!(
    "put the log back if it was moved, or mount its disk, but do not use an older copy, which lacks votes; otherwise ",
    replace_consenter!()
);
/// The ledger contradicts what the consenters have agreed on.
pub(crate) const COMPARE_LEDGERS: &str = concat!(
    "compare the ledger with those of the other orderers; if the ledger of this node differs, ",
    replace_consenter!()
);
