//! Verdicts on a case: all blocks are accepted, or a first one is rejected.

use std::collections::HashMap;
use std::fmt;

use anyhow::Context as _;

/// A release of Fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// v2.5.16
    V2_5,
    /// v3.1.5. Its verdict applies to chains with a channel capability V3_0.
    V3_1,
}

impl Release {
    /// Returns the number in files of cases: 25 or 31.
    pub fn number(self) -> u64 {
        match self {
            Self::V2_5 => 25,
            Self::V3_1 => 31,
        }
    }
}

/// The outcome of validating a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every block is accepted.
    Accepted,
    /// This block is rejected, and those before it are accepted.
    Refused {
        /// Its index in the chain, from 0.
        block: usize,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused { block } => write!(f, "block {block} refused"),
        }
    }
}

/// The verdict of a release of Fabric on a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FabricVerdict {
    /// The outcome.
    pub outcome: Outcome,
    /// The step of Fabric that rejects: `notconfig`, `bundle`, `resources`, `blocksig`, `validate`, `validatenew`, or
    /// `panic` if Fabric panics.
    pub stage: String,
    /// Fabric's error text.
    pub reason: String,
}

/// The verdicts of both releases by case.
#[derive(Debug, Default)]
pub struct FabricVerdicts(HashMap<(Release, String), FabricVerdict>);

impl FabricVerdicts {
    /// Adds a tab-separated table with one line per case: name, `accepted` or `refused`, block, stage and reason.
    ///
    /// # Errors A line has another format.
    pub fn add(&mut self, release: Release, table: &[u8]) -> anyhow::Result<()> {
        let table = String::from_utf8_lossy(table);
        for (number, line) in table.split('\n').filter(|line| !line.is_empty()).enumerate() {
            let mut fields = line.split('\t');
            let mut next = || fields.next().with_context(|| format!("line {}: a field is missing", number + 1));
            let (name, verdict, block, stage, reason) = (next()?, next()?, next()?, next()?, next()?);
            let outcome = match verdict {
                "accepted" => Outcome::Accepted,
                "refused" => Outcome::Refused { block: block.parse().with_context(|| format!("{name}: block"))? },
                other => anyhow::bail!("{name}: {other} is no verdict"),
            };
            let verdict = FabricVerdict { outcome, stage: stage.to_owned(), reason: reason.to_owned() };
            self.0.insert((release, name.to_owned()), verdict);
        }
        Ok(())
    }

    /// Returns the verdict of a release on the case of this name.
    pub fn get(&self, release: Release, name: &str) -> Option<&FabricVerdict> {
        self.0.get(&(release, name.to_owned()))
    }
}
