//! Tests that the Raft log of a Fabric orderer is imported with its ledger and exported again.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use fabric_proto::etcdraft::ConfigMetadata;
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_core::config::{ChannelSnapshot, ConfigCache, consensus_metadata};
use orderer_core::types::{ChannelId, ConfigSequence};
use orderer_ledger::transfer::BlockReader;
use orderer_ledger::transfer::etcd::read_etcd;
use orderer_ledger::{CommitBatch, PendingEnvelope};
use world::Setup;
use world::node::{ProcessOutput, orderer_folder};

/// The consenter whose directories the fixture contains. It was killed while it was the leader.
const NODE: usize = 2;

fn unpack(archive: &str, into: &Path) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/raft").join(archive);
    fs::create_dir(into).unwrap();
    assert!(Command::new("tar").arg("xzf").arg(file).arg("-C").arg(into).status().unwrap().success());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The directories of the Fabric orderer, and a node that continues with them.
struct Desk {
    setup: Setup,
    from: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let setup = Setup::without_channels();
        let from = setup.folder().join("fabric");
        unpack("node2.killed-as-leader.data.tar.gz", &from);
        let first = BlockReader::fabric(&from.join("ledger/chains/ch")).unwrap().next().unwrap().unwrap();
        let snapshot = ChannelSnapshot::from_config_block(&first.decode(), &ConfigCache::default().into()).unwrap();
        let ConfigMetadata { consenters, .. } = consensus_metadata(&snapshot).unwrap();
        let certificate = setup.folder().join("server.crt");
        fs::write(&certificate, &consenters[NODE - 1].server_tls_cert).unwrap();
        let ledger = setup.folder().join("ledger");
        let setup = setup
            .set("GENERAL_LOCALMSPDIR", orderer_folder().join("msp").display())
            .set("GENERAL_LOCALMSPID", "OrdererMSP")
            .set("GENERAL_BOOTSTRAPMETHOD", "none")
            .set("GENERAL_TLS_ENABLED", true)
            .set("GENERAL_TLS_CERTIFICATE", certificate.display())
            .set("GENERAL_TLS_PRIVATEKEY", orderer_folder().join("tls/server.key").display())
            .set("FILELEDGER_LOCATION", ledger.display());
        Self { setup, from }
    }

    fn run(&self, arguments: &[&str]) -> ProcessOutput {
        self.setup.again(&[&["ledger"], arguments].concat()).run()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    fn import(&self, more: &[&str]) -> ProcessOutput {
        let ledger = self.from.join("ledger");
        self.run(&[&["import", "--from-fabric", text(&ledger)], more].concat())
    }
}

#[test]
fn a_node_goes_on_as_the_same_consenter_and_back() {
    let desk = Desk::new();
    let (wal, snapshots) = (desk.from.join("etcdraft/wal"), desk.from.join("etcdraft/snapshot"));
    let said = desk.import(&[]).stdout;
    assert!(said.contains("ch: ") && said.contains("cannot vote as consenter 2: there is no "), "{said}");
    assert!(said.contains("name the folder by --wal"), "{said}");
    // the ledger is imported already, but its log is still missing
    let said = desk.import(&["--wal", text(&wal), "--snapshots", text(&snapshots)]).stdout;
    assert!(said.contains("is here already") && said.contains("continues as consenter 2 in term 2"), "{said}");
    let said = desk.import(&["--wal", text(&wal), "--snapshots", text(&snapshots)]).stdout;
    assert!(said.contains("is here already") && !said.contains("consenter"), "{said}");

    let out = desk.setup.folder().join("out");
    let said = desk.done(&["export", "--to-fabric", text(&out)]);
    assert!(said.contains("with the Raft log of consenter 2") && !said.contains("WITHOUT"), "{said}");
    let theirs = read_etcd(&wal.join("ch"), &snapshots.join("ch")).unwrap().contents;
    let ours = read_etcd(&out.join("etcdraft/wal/ch"), &out.join("etcdraft/snapshot/ch")).unwrap().contents;
    assert!(!theirs.entries.is_empty() && theirs.hard_state.vote == 2, "{:?}", theirs.hard_state);
    assert_eq!(ours, theirs);
}

#[test]
fn an_export_names_acknowledged_envelopes_that_it_lacks() {
    let desk = Desk::new();
    let (wal, snapshots) = (desk.from.join("etcdraft/wal"), desk.from.join("etcdraft/snapshot"));
    desk.import(&["--wal", text(&wal), "--snapshots", text(&snapshots)]);
    {
        let ledgers = LedgerProvider::new(&desk.setup.folder().join("ledger"), BlockCacheConfig { bytes: 0 }).unwrap();
        let ledger = ledgers.open(&ChannelId::parse("ch").unwrap()).unwrap();
        let raw = Bytes::from_static(b"acknowledged");
        let first = ledger.next_pending_sequence();
        let pending_add = [first, first + 1].map(|sequence| PendingEnvelope {
            sequence,
            validated_at: ConfigSequence(1),
            is_config: false,
            raw: raw.clone(),
        });
        let commit = CommitBatch { pending_add: pending_add.into(), ..CommitBatch::default() };
        ledger.commit(&mut ledger.try_write_permit().unwrap(), commit).unwrap();
    }
    let said = desk.done(&["export", "--to-fabric", text(&desk.setup.folder().join("out"))]);
    assert!(said.contains("WITHOUT 2 envelopes that this orderer acknowledged"), "{said}");
}

#[test]
fn the_log_of_another_ledger_is_refused() {
    let desk = Desk::new();
    let other = desk.setup.folder().join("other");
    unpack("torn-wal.tar.gz", &other);
    let (wal, none) = (other.join("wal"), other.join("none"));
    let ended = desk.import(&["--wal", text(&wal), "--snapshots", text(&none)]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("it is not the log of this ledger"), "{ended:?}");
    // without the log the channel does not start
    let ended = desk.import(&[]);
    assert!(ended.stdout.contains("cannot vote as consenter 2"), "{ended:?}");
}
