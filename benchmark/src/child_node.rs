//! A node in a process of its own, of the same program.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use orderer_actors::ledger_provider::{BlockCacheConfig, LedgerProvider};
use orderer_core::block::EncodedBlock;
use orderer_core::types::ChannelId;
use tokio::sync::oneshot;

/// Time limit for the start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The log message of a running chain.
const RUNNING: &str = "chain is running";

/// A node in another process, killed when dropped.
pub(super) struct ChildNode {
    child: Child,
    pub(super) address: String,
    /// Address of the endpoint for profiles, if there is one.
    pub(super) profiler: Option<String>,
}

impl ChildNode {
    /// Starts the node over new ledgers in `ledger`, one for each genesis block, and waits until the chains of `channels`
    /// run.
    pub(super) async fn start(
        config: &Path,
        genesis: &[PathBuf],
        ledger: &Path,
        durability: &str,
        channels: &[String],
        profiled: bool,
    ) -> anyhow::Result<Self> {
        tokio::task::block_in_place(|| create_ledgers(ledger, channels, genesis))?;
        let port = || free_port().context("there is no free port from 10000 to 29999");
        let profiler = profiled.then(port).transpose()?.map(|port| format!("127.0.0.1:{port}"));
        let port = port()?;
        let program = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("ORDERER_") || name.starts_with("FABRIC_") {
                command.env_remove(&*name);
            }
        }
        if let Some(address) = &profiler {
            command.env("ORDERER_GENERAL_PROFILE_ENABLED", "true").env("ORDERER_GENERAL_PROFILE_ADDRESS", address);
        }
        let mut child = command
            .args(["start", "--config"])
            .arg(config)
            .env("ORDERER_GENERAL_LISTENADDRESS", "127.0.0.1")
            .env("ORDERER_GENERAL_LISTENPORT", port.to_string())
            .env("ORDERER_GENERAL_TLS_ENABLED", "false")
            .env("ORDERER_GENERAL_BOOTSTRAPMETHOD", "none")
            .env("ORDERER_FILELEDGER_LOCATION", ledger)
            .env("ORDERER_SOLO_DURABILITY", durability)
            .env("ORDERER_OPERATIONS_LISTENADDRESS", "127.0.0.1:0")
            .env("ORDERER_ADMIN_LISTENADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start a node")?;
        let log = child.stderr.take();
        let node = Self { child, address: format!("127.0.0.1:{port}"), profiler };
        let (tell, told) = oneshot::channel();
        let mut awaited: Vec<String> = channels.iter().map(|channel| format!("channel={channel}")).collect();
        std::thread::spawn(move || {
            let (mut tell, mut last) = (Some(tell), String::new());
            for line in log.into_iter().flat_map(|log| BufReader::new(log).lines()).map_while(Result::ok) {
                if tell.is_some() && line.contains(RUNNING) {
                    awaited.retain(|channel| !line.split_whitespace().any(|word| word == channel));
                    tell.take_if(|_| awaited.is_empty()).map(|tell| tell.send(Ok(())));
                }
                last = line;
            }
            tell.map(|tell| tell.send(Err(last)));
        });
        match tokio::time::timeout(START_LIMIT, told).await {
            Ok(Ok(Ok(()))) => Ok(node),
            Ok(Ok(Err(last))) => anyhow::bail!("the node did not start: {last}"),
            _ => anyhow::bail!("the node did not start within {} s", START_LIMIT.as_secs()),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates the ledgers of the channels from their genesis blocks.
fn create_ledgers(folder: &Path, channels: &[String], genesis: &[PathBuf]) -> anyhow::Result<()> {
    // nothing is read from these ledgers here
    let ledgers = LedgerProvider::new(folder, BlockCacheConfig { bytes: 0 })?;
    for (channel, file) in channels.iter().zip(genesis) {
        let create = || {
            let block = EncodedBlock::parse(&std::fs::read(file)?)?;
            ledgers.create(&ChannelId::parse(channel)?, &block)?;
            anyhow::Ok(())
        };
        create().with_context(|| format!("create channel {channel} from {}", file.display()))?;
    }
    Ok(())
}

/// Returns a port that was free a moment ago, outside the range that the system assigns by itself. If another process
/// binds it in between, the node fails to start and reports that.
fn free_port() -> Option<u16> {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = rand::random_range(0..20_000);
    (0..20_000).map(|step| 10_000 + (first + step) % 20_000).find(is_free)
}
