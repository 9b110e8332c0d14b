//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, which any process may. Gives back how many file descriptors there may be.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(target: "orderer.node", %error, "cannot raise the limit of open files");
    }
    // no limit is the most there can be
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
