//! Where things are in the folder of a development network, and how many orderers one has.

use std::fmt;
use std::path::{Path, PathBuf};

pub(super) const SYSTEM_CHANNEL: &str = "system-channel";
/// Of its node, or of the first of them.
pub const CONFIG_FILE: &str = "orderer.yaml";

/// How many orderers a development network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One, which orders alone by solo.
    Single,
    /// This number of orderers, which order by Raft.
    Cluster(u8),
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("an orderer of type solo"),
            Self::Cluster(1) => f.write_str("1 orderer of type etcdraft"),
            Self::Cluster(number) => write!(f, "{number} orderers of type etcdraft"),
        }
    }
}

impl Size {
    /// That of the network in a folder which has one.
    pub(super) fn found(folder: &Path) -> Self {
        if genesis_path(folder, SYSTEM_CHANNEL).exists() {
            return Self::Single;
        }
        let others = (1..u8::MAX).take_while(|place| folder.join(config_file(u16::from(*place))).exists());
        Self::Cluster(others.last().unwrap_or(0) + 1)
    }
}

/// Block 0 of a channel.
pub(super) fn genesis_path(folder: &Path, channel: &str) -> PathBuf {
    folder.join("genesis").join(format!("{channel}.block"))
}

/// What the orderer in this place has; that of the first has no number.
pub(super) fn numbered(word: &str, place: u16) -> String {
    if place == 0 { word.to_owned() } else { format!("{word}{}", place + 1) }
}

/// Of the orderer in this place, in its organization.
pub(super) fn name(place: u16) -> String {
    numbered("orderer", place)
}

/// The settings of the orderer in this place.
pub(super) fn config_file(place: u16) -> String {
    format!("{}.yaml", name(place))
}
