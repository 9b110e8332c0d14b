//! The permit to change a ledger.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// The permit to commit to one ledger. There is one at a time for each ledger
/// ([`Ledger::write_permit`](crate::Ledger::write_permit)), it is owned by the code that decides what is written, and it is
/// released when it is dropped. No other commit comes between a holder's read of the chain's end and its own commit if it keeps
/// this permit from the one to the other.
pub struct WritePermit(OwnedMutexGuard<()>);

impl WritePermit {
    pub(crate) fn new(held: OwnedMutexGuard<()>) -> Self {
        Self(held)
    }

    /// Returns whether it is the permit of the ledger with this lock.
    pub(crate) fn is_of(&self, lock: &Arc<Mutex<()>>) -> bool {
        Arc::ptr_eq(OwnedMutexGuard::mutex(&self.0), lock)
    }
}

impl fmt::Debug for WritePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteRight")
    }
}
