//! Certificate policies: whether a chain has a policy where one is demanded.
