//! Who may change a ledger.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// The right to commit to one ledger. There is one at a time for each ledger
/// ([`Ledger::write_right`](crate::Ledger::write_right)), it is owned by whoever decides what is written, and it is free again
/// when it is dropped. Who reads where a chain stands while it holds this right, and keeps it until its own commits, is
/// overtaken by nobody.
pub struct WriteRight(OwnedMutexGuard<()>);

impl WriteRight {
    pub(crate) fn new(held: OwnedMutexGuard<()>) -> Self {
        Self(held)
    }

    /// Whether it is the right to the ledger with this lock.
    pub(crate) fn is_of(&self, lock: &Arc<Mutex<()>>) -> bool {
        Arc::ptr_eq(OwnedMutexGuard::mutex(&self.0), lock)
    }
}

impl fmt::Debug for WriteRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteRight")
    }
}
