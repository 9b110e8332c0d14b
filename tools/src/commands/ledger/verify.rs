//! `orderer ledger verify`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::chain_state::error_chain;
use orderer_actors::ledger_provider::LedgerProvider;
use orderer_core::block::ChainVerifyError;
use orderer_core::config::ConfigCache;
use orderer_core::types::ChannelId;
use orderer_ledger::{OpenError, VerifyReport};
use serde::Serialize;

use super::node::{NodeArguments, RemoteNode, RemoteReport};
use super::{LedgerLocation, Ledgers, channels, pruned, size, store};
use crate::commands::progress::Progress;
use orderer_core::counted::counted;

#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub place: LedgerLocation,
    #[command(flatten)]
    pub node: NodeArguments,
    /// Only these channels; otherwise all
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result for one channel.
#[derive(Serialize)]
struct Finding {
    channel: String,
    good: bool,
    height: Option<u64>,
    horizon: Option<u64>,
    /// Number of blocks that were verified.
    blocks: Option<u64>,
    config_blocks: Option<u64>,
    bytes: Option<u64>,
    /// Number of the first bad block, if the error is that of one block.
    first_bad_block: Option<u64>,
    problem: Option<String>,
}

/// Prints a result for each channel. Returns 0 if all are good.
pub(super) fn verify(arguments: &VerifyArguments, place: &Ledgers) -> anyhow::Result<ExitCode> {
    let store = store(place)?;
    let catalog = Arc::<ConfigCache>::default();
    let mut findings = Vec::new();
    for id in channels(&store, &arguments.channel)? {
        let finding = verify_channel(&store, &id, &catalog)?;
        if !arguments.json {
            say!("{}", finding.text());
        }
        findings.push(finding);
    }
    conclude(&findings, arguments.json, || format!("no channel has a ledger in {}", place.location.display()))
}

/// Prints the results as JSON, or `none` if there are none. Returns 0 if all are good.
fn conclude(findings: &[Finding], json: bool, none: impl Fn() -> String) -> anyhow::Result<ExitCode> {
    if json {
        say!("{}", serde_json::to_string_pretty(findings).context("print")?);
    } else if findings.is_empty() {
        say!("{}", none());
    }
    let all_good = findings.iter().all(|finding| finding.good);
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Verifies the chains of a running node, and prints a result for each. Returns 0 if all are good.
pub(super) fn verify_node(arguments: &VerifyArguments) -> anyhow::Result<ExitCode> {
    let address = arguments.node.from_node.as_deref().unwrap_or_default();
    let mut node = RemoteNode::connect(address, &arguments.node.tls)?;
    let mut findings = Vec::new();
    for chain in node.chains(&arguments.channel)? {
        let finding = match node.read(&chain, "verifying", &mut |_| Ok(())) {
            Ok(RemoteReport { blocks, config_blocks, bytes }) => {
                Finding::good(&chain.channel, VerifyReport { blocks, config_blocks, bytes })
            }
            Err(error) => match error.downcast_ref::<ChainVerifyError>() {
                Some(bad) => Finding::bad(&chain.channel, Some(bad.number().0), error_chain(bad)),
                // no statement about the blocks
                None => return Err(error),
            },
        };
        let finding = Finding { height: Some(chain.height), horizon: Some(chain.horizon), ..finding };
        if !arguments.json {
            say!("{}", finding.text());
        }
        findings.push(finding);
    }
    conclude(&findings, arguments.json, || "the node has no channels".to_owned())
}

fn verify_channel(store: &LedgerProvider, id: &ChannelId, catalog: &Arc<ConfigCache>) -> anyhow::Result<Finding> {
    let ledger = match store.open(id) {
        Ok(ledger) => ledger,
        // no statement about the blocks
        Err(error @ (OpenError::AlreadyOpen { .. } | OpenError::Io { .. })) => return Err(error.into()),
        Err(error) => return Ok(Finding::bad(id, None, error_chain(&error))),
    };
    let (height, horizon) = (ledger.height(), ledger.horizon().0);
    let mut progress = Progress::of(format!("verifying {id}"), height - horizon);
    let finding = match ledger.verify_chain(catalog, &mut |done| progress.at(done)) {
        Ok(verified) => Finding::good(id, verified),
        Err(error) => Finding::bad(id, error.number().map(|number| number.0), error_chain(&error)),
    };
    Ok(Finding { height: Some(height), horizon: Some(horizon), ..finding })
}

impl Finding {
    fn good(id: &ChannelId, verified: VerifyReport) -> Self {
        Self {
            good: true,
            blocks: Some(verified.blocks),
            config_blocks: Some(verified.config_blocks),
            bytes: Some(verified.bytes),
            problem: None,
            ..Self::bad(id, None, String::new())
        }
    }

    fn bad(id: &ChannelId, first_bad_block: Option<u64>, problem: String) -> Self {
        Self {
            channel: id.to_string(),
            good: false,
            height: None,
            horizon: None,
            blocks: None,
            config_blocks: None,
            bytes: None,
            first_bad_block,
            problem: Some(problem),
        }
    }

    fn text(&self) -> String {
        let channel = &self.channel;
        if let (Some(blocks), Some(config), Some(bytes)) = (self.blocks, self.config_blocks, self.bytes) {
            let pruned = pruned(self.horizon.unwrap_or(0));
            let blocks = counted(blocks, "block");
            return format!("{channel}: good: {blocks}, {config} with a configuration, {}{pruned}", size(bytes));
        }
        let problem = self.problem.as_deref().unwrap_or_default();
        match self.first_bad_block {
            Some(number) => {
                let problem = problem.strip_prefix(&format!("block {number}: ")).unwrap_or(problem);
                format!("{channel}: BAD at block {number}: {problem}")
            }
            None => format!("{channel}: BAD: {problem}"),
        }
    }
}
