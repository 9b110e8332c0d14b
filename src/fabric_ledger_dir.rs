//! Detects the ledger directory of a Fabric orderer where this node keeps its own: both have Fabric's path as their
//! default.

use std::fs;
use std::io;
use std::path::Path;

use orderer_core::types::ChannelId;

/// Fabric's directory of channels, and that of the channels that it was about to remove.
const CHAINS: &str = "chains";
const REMOVED: &str = "pendingops/remove";
/// Prefix of the names of block files; a number follows.
const BLOCK_FILE: &str = "blockfile_";

/// Chains of a Fabric orderer that this node would begin again from their genesis blocks.
#[derive(Debug, thiserror::Error)]
#[error(
    "{location} holds the ledgers of a Fabric orderer ({}), and their chains would begin anew; to go on with them, with \
     the configuration of this start: orderer ledger import --from-fabric {location}; to do without them, move {location}/{CHAINS} away",
    channels.join(", ")
)]
pub(crate) struct FabricLedgers {
    location: String,
    channels: Vec<String>,
}

/// Rejects a directory with chains of a Fabric orderer that are none of `known`. Performs blocking I/O.
///
/// # Errors
/// Fails with the error of the file system.
pub(crate) fn inspect(location: &Path, known: &[ChannelId]) -> io::Result<Result<(), FabricLedgers>> {
    let entries = match fs::read_dir(location.join(CHAINS)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Ok(()));
        }
        entries => entries?,
    };
    let mut channels = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_known = known.iter().any(|id| id.as_str() == name);
        let was_removed = location.join(REMOVED).join(format!("{name}.remove")).exists();
        if !is_known && !was_removed && has_blocks(&entry.path())? {
            channels.push(name);
        }
    }
    if channels.is_empty() {
        return Ok(Ok(()));
    }
    channels.sort();
    Ok(Err(FabricLedgers { location: location.display().to_string(), channels }))
}

fn has_blocks(chain: &Path) -> io::Result<bool> {
    if !chain.is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(chain)? {
        let entry = entry?;
        let is_block_file = entry.file_name().to_string_lossy().starts_with(BLOCK_FILE);
        if is_block_file && entry.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_were_imported_removed_or_never_begun_are_in_nobodys_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |known: &[&str]| {
            let known: Vec<_> = known.iter().map(|name| ChannelId::parse(name).expect("a name")).collect();
            inspect(folder.path(), &known).expect("is read").err().map(|refused| refused.to_string())
        };
        assert_eq!(refused(&[]), None, "nothing is there");
        for (name, bytes) in [("app", 100), ("other", 100), ("gone", 100), ("begun", 0)] {
            let chain = folder.path().join(CHAINS).join(name);
            fs::create_dir_all(&chain).expect("a folder");
            fs::write(chain.join("blockfile_000000"), vec![0; bytes]).expect("written");
        }
        fs::create_dir_all(folder.path().join(REMOVED)).expect("a folder");
        fs::write(folder.path().join(REMOVED).join("gone.remove"), "").expect("written");
        let text = refused(&[]).expect("refused");
        assert!(text.contains("(app, other)") && text.contains("orderer ledger import --from-fabric"), "{text}");
        assert!(refused(&["app"]).is_some_and(|text| text.contains("(other)")));
        assert_eq!(refused(&["app", "other"]), None);
    }
}
