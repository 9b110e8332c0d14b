//! The limit of open files and connections of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, which any process may. Returns the maximum number of file descriptors.
pub(super) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(target: "orderer.node", %error, "failed to raise the limit of open files");
    }
    // no limit is the most there can be
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
