//! Compares Fabric's verdicts on configurations, certificates and signatures with those of this project.
//!
//! A [`Case`] is a chain of a few blocks. Fabric's own code has validated it ([`FabricVerdicts`]), and
//! [`judge`](judge::judge) validates it with this project's library, by the function that validates an imported ledger.
//! [`replay`](replay::replay) compares both verdicts over many cases. [`membership`] does so for organizations, with an
//! envelope that one of their members sends.
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
