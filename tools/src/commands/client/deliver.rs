//! `orderer client deliver`.

mod table;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use fabric_proto::common::Status;
use futures_util::StreamExt as _;

use self::table::Table;
use super::fetch::refusal;
use super::{ConnectArguments, ConnectionConfig, say};
use orderer_client::{BlockPosition, BlockSummary, DeliverItem, seek, seek_info};

/// Interval between updates of the table's last line.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct DeliverArguments {
    /// Channel [default: the development network's]
    #[arg(short = 'c', long = "channelID", value_name = "CHANNEL")]
    channel: Option<String>,
    /// First block: oldest, newest, next, or a number
    #[arg(long, value_name = "BLOCK", default_value = "newest")]
    from: BlockPosition,
    /// Last block: newest, or a number [default: wait for new blocks without end]
    #[arg(long, value_name = "BLOCK")]
    to: Option<BlockPosition>,
    /// Output format [default: table on a terminal, otherwise json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    connect: ConnectArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line of JSON per block
    Json,
    /// A table for humans
    Table,
}

pub(super) async fn run(arguments: DeliverArguments) -> anyhow::Result<ExitCode> {
    let connecting = arguments.connect.resolve()?;
    let channel = connecting.channel(arguments.channel.as_deref())?;
    let orderer = connecting.connect().await?;
    let ConnectionConfig { signer, target, msp_id, .. } = &connecting;
    let info = seek_info(arguments.from, arguments.to.unwrap_or(BlockPosition::Number(u64::MAX)), true, false);
    let mut answers = orderer.deliver(seek(&**signer, &channel, &info, target.certificate_hash())?);
    let on_terminal = std::io::stdout().is_terminal();
    let format = arguments.format.unwrap_or(if on_terminal { Format::Table } else { Format::Json });
    let mut table = (format == Format::Table).then(|| Table::new(&channel, on_terminal));
    if table.is_some() {
        Table::head()?;
    }
    let mut next = None;
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let answer = tokio::select! {
            answer = answers.next() => answer,
            _ = ticks.tick() => {
                if let Some(table) = &mut table {
                    table.tick()?;
                }
                continue;
            }
        };
        let go_on = || next.map_or_else(String::new, |next: u64| format!("; continue with --from {next}"));
        let answer = answer.with_context(|| format!("the orderer ended the stream{}", go_on()))?;
        match answer.with_context(|| format!("following {channel}{}", go_on()))? {
            DeliverItem::Block(block) => {
                let summary = BlockSummary::of(&block);
                next = Some(summary.number.saturating_add(1));
                match &mut table {
                    Some(table) => table.block(&summary)?,
                    None => say(format_args!("{}", serde_json::to_string(&summary)?))?,
                }
            }
            DeliverItem::Status(status) => {
                if let Some(table) = &mut table {
                    table.end()?;
                }
                if status == Status::Success {
                    return Ok(ExitCode::SUCCESS);
                }
                anyhow::bail!("{}{}", refusal(status, "blocks", &channel, msp_id), go_on());
            }
        }
    }
}
