//! The solo consenter: one node decides the order alone.

pub mod chain;
