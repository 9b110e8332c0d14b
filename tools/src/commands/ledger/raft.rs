//! Imports the Raft log of a channel from Fabric's form, and exports it back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::consensus::raft::transfer;
use orderer_actors::ledger_provider::LedgerProvider;
use orderer_core::config::{ChannelSnapshot, ConfigCache, ConsenterKind};
use orderer_core::counted::counted;
use orderer_core::types::ChannelId;
use orderer_ledger::Ledger;
use orderer_ledger::transfer::etcd::{EtcdLog, read_etcd, write_etcd};

use super::Ledgers;
use super::import::ImportArguments;

/// Paths in the ledger directory of Fabric's orderer, by the defaults of its orderer.yaml.
const WAL: &str = "etcdraft/wal";
const SNAPSHOTS: &str = "etcdraft/snapshot";

/// Directories with the write-ahead logs and the snapshots of a Fabric orderer.
pub(super) struct FabricLogs {
    wal: PathBuf,
    snapshots: PathBuf,
}

impl FabricLogs {
    pub(super) fn of(folder: &Path, arguments: &ImportArguments) -> Self {
        let wal = arguments.wal.clone().unwrap_or_else(|| folder.join(WAL));
        let snapshots = arguments.snapshots.clone().unwrap_or_else(|| folder.join(SNAPSHOTS));
        Self { wal, snapshots }
    }
}

/// Imports the Raft log of an imported channel, if this node is one of its consenters and has none yet.
pub(super) fn import_log(
    store: &LedgerProvider,
    channel: &ChannelId,
    logs: Option<&FabricLogs>,
    place: &Ledgers,
    catalog: &Arc<ConfigCache>,
) -> anyhow::Result<()> {
    let ledger = store.open(channel)?;
    let config = ledger.block(ledger.last_config())?.with_context(|| format!("{channel}: no config block"))?;
    let snapshot = ChannelSnapshot::from_config_block(&config.decode(), catalog)?;
    if place.consensus_mapping.engine(&snapshot).ok() != Some(ConsenterKind::Raft) || transfer::has_log(&ledger) {
        return Ok(());
    }
    let Some(keys) = &place.tls_keys else {
        say!(
            "  its Raft log is not imported: --config has to name the orderer.yaml whose TLS certificate identifies this consenter"
        );
        return Ok(());
    };
    let Some(id) = transfer::own_consenter(&snapshot, &ledger.last_block(), keys)? else {
        say!("  will be followed: the node's TLS certificate is that of no consenter");
        return Ok(());
    };
    let Some(FabricLogs { wal, snapshots }) = logs else {
        say!("  cannot vote as consenter {id}: a file of blocks has no Raft log; {REMOVE_AND_ADD}");
        return Ok(());
    };
    let (wal, snapshots) = (wal.join(channel.as_str()), snapshots.join(channel.as_str()));
    if !wal.is_dir() {
        say!(
            "  cannot vote as consenter {id}: there is no {}; name the folder by --wal, as of Consensus.WALDir, or {REMOVE_AND_ADD}",
            wal.display()
        );
        return Ok(());
    }
    let EtcdLog { contents, torn, broken_snapshots, .. } = read_etcd(&wal, &snapshots)?;
    let behind = contents.snapshot.as_ref().map_or(0, |snapshot| snapshot.metadata.index);
    let (term, last) = (contents.hard_state.term, contents.entries.last().map_or(behind, |entry| entry.index));
    let imported = transfer::import_log(&ledger, &snapshot, keys, contents);
    if imported.with_context(|| format!("{channel}: {}", wal.display()))?.is_none() {
        return Ok(());
    }
    say!("  continues as consenter {id} in term {term}, with its Raft log up to index {last}");
    if let Some(torn) = torn {
        say!("  {} ends within a record that was not wholly written, as after a crash: left out", torn.path.display());
    }
    for path in broken_snapshots {
        say!("  {} is no whole snapshot: left out", path.display());
    }
    Ok(())
}

const REMOVE_AND_ADD: &str = "remove it from the channel's consenters and add it again, which gives it a new ID";

/// Writes the Raft log of a channel, if it has one, to where Fabric's orderer reads it.
pub(super) fn export_log(ledger: &Ledger, folder: &Path) -> anyhow::Result<()> {
    let channel = ledger.channel();
    let Some((id, contents)) = transfer::export_log(ledger).with_context(|| channel.to_string())? else {
        return Ok(());
    };
    let waiting = transfer::waiting(ledger)?;
    if waiting > 0 {
        say!(
            "  {} that this orderer acknowledged and that no block has yet stay behind: start it again until none waits, then \
             export into another folder",
            counted(waiting, "envelope")
        );
    }
    let (wal, snapshots) = (folder.join(WAL), folder.join(SNAPSHOTS));
    write_etcd(&wal.join(channel.as_str()), &snapshots.join(channel.as_str()), &contents)?;
    say!(
        "  with the Raft log of consenter {id}: name {} as Consensus.WALDir and {} as Consensus.SnapDir",
        wal.display(),
        snapshots.display()
    );
    Ok(())
}
