//! The consenters.

pub mod kafka;
pub mod solo;
