//! Fabric's verdicts on configurations, certificates and signatures, and whether this project's are the same.
//!
//! A [`Case`] is a chain of a few blocks that somebody might have ordered. Fabric's own code has judged it
//! ([`FabricVerdicts`]), and [`judge`](judge::judge) asks the library the same question, through the same
//! function that an imported ledger passes. [`replay`](replay::replay) compares the two over many cases.
//! [`membership`] does so for organizations, with an envelope that one of their members sends.
//!
//! No part of the node depends on this crate.

pub mod archive;
pub mod case;
pub mod judge;
pub mod membership;
pub mod processor;
pub mod replay;
pub mod verdict;

pub use case::Case;
pub use verdict::{FabricVerdicts, Outcome, Release};
