//! `orderer kafka check`: checks whether brokers and topics meet the requirements of the node.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use orderer_core::config::{ChannelSnapshot, ConfigCache, ConsenterKind};
use orderer_core::ordering::kafka::LastBlock;
use orderer_kafka::KafkaCluster;
use orderer_kafka::check::{Finding, Requirements, Severity, evaluate, examine};

use orderer_localconfig::environment::{find_settings, variables};
use orderer_localconfig::settings::{self, ConfigError, Settings};

use super::output::print_errors;
use super::subjects;

/// Bytes that a topic's largest message must have beyond the channel's largest envelope.
const MESSAGE_OVERHEAD_BYTES: u32 = 64 << 10;

/// Arguments of `orderer kafka check`.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// Configuration file, as for `orderer start`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read this config block instead of the ledgers; also possible while the node runs
    #[arg(long, value_name = "FILE")]
    pub block: Option<PathBuf>,
    /// Check only this channel; with --brokers, the channel need not exist yet
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Brokers to check instead of those in the configuration: HOST:PORT,HOST:PORT
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    brokers: Vec<String>,
}

/// The requirements of a channel, and the brokers to check.
struct Subject {
    need: Requirements,
    brokers: Vec<String>,
}

/// Reads the configuration and checks the Kafka clusters of its channels.
pub fn run(arguments: &CheckArguments) -> ExitCode {
    let examined = match find_settings(arguments.config.clone(), &variables()) {
        Ok(origin) => settings::examine(&origin),
        Err(mistake) => return print_errors([mistake.to_string()]),
    };
    // with --block no identity is needed, so errors in the MSP directory do not matter
    let counts = |mistake: &&ConfigError| !(arguments.block.is_some() && mistake.is_about("General.LocalMSPDir"));
    let mistakes: Vec<String> = examined.mistakes.iter().filter(counts).map(ToString::to_string).collect();
    let Some(settings) = examined.settings.filter(|_| mistakes.is_empty()) else { return print_errors(mistakes) };
    check(arguments, &settings).unwrap_or_else(|error| print_errors([format!("{error:#}")]))
}

/// Prints each finding. Returns 0 if none is an error.
pub fn check(arguments: &CheckArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let subjects = subjects(arguments, settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let mut worst = Severity::Fine;
    for Subject { need, brokers } in subjects {
        say!("channel {}, brokers {}", need.channel, brokers.join(", "));
        let mut reach = orderer_localconfig::settings::kafka_settings(&settings.kafka);
        reach.brokers = brokers;
        let cluster = KafkaCluster::new(reach).context("Kafka")?;
        let (facts, mut findings) = runtime.block_on(examine(&cluster, &need));
        findings.extend(facts.iter().flat_map(|facts| evaluate(facts, &need)));
        for Finding { level, found, fix } in findings {
            say!("  {level:<8} {found}");
            if let Some(fix) = fix {
                say!("           fix: {fix}");
            }
            worst = worst.max(level);
        }
    }
    Ok(if worst == Severity::Error { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn subjects(arguments: &CheckArguments, settings: &Settings) -> anyhow::Result<Vec<Subject>> {
    let catalog = Arc::<ConfigCache>::default();
    let mut found = Vec::new();
    if let Some(file) = &arguments.block {
        let snapshot = subjects::read_block(file, &catalog).with_context(|| format!("block {}", file.display()))?;
        found.push((snapshot, None));
    } else if arguments.brokers.is_empty() || arguments.channel.is_none() {
        found = read_ledgers(arguments, settings, &catalog)?;
    }
    let mut subjects = Vec::new();
    for (snapshot, next_offset) in found {
        let brokers = match settings.consensus_mapping.engine(&snapshot) {
            Ok(ConsenterKind::Kafka { brokers }) => brokers,
            Ok(ConsenterKind::Solo | ConsenterKind::Raft) => continue,
            Err(not_served) => anyhow::bail!("channel {}: {not_served}", snapshot.channel()),
        };
        let largest = snapshot.orderer().batch_size.absolute_max_bytes.saturating_add(MESSAGE_OVERHEAD_BYTES);
        let need = need(snapshot.channel().as_str(), Some(largest), next_offset, settings);
        let brokers = if arguments.brokers.is_empty() { brokers } else { arguments.brokers.clone() };
        subjects.push(Subject { need, brokers });
    }
    if let (true, Some(channel), false) = (subjects.is_empty(), &arguments.channel, arguments.brokers.is_empty()) {
        subjects.push(Subject { need: need(channel, None, None, settings), brokers: arguments.brokers.clone() });
    }
    anyhow::ensure!(
        !subjects.is_empty(),
        "no channel is ordered by Kafka here; give --block, or --channel and --brokers"
    );
    Ok(subjects)
}

fn need(channel: &str, largest_record: Option<u32>, next_offset: Option<i64>, settings: &Settings) -> Requirements {
    let replication_factor = settings.kafka.replication_factor;
    Requirements { channel: channel.to_owned(), largest_record, replication_factor, next_offset }
}

/// Reads the requested channels from the ledgers, each with the offset of the record that it needs next. The offset is
/// `None` for a channel with the genesis block only.
fn read_ledgers(
    arguments: &CheckArguments,
    settings: &Settings,
    catalog: &Arc<ConfigCache>,
) -> anyhow::Result<Vec<(ChannelSnapshot, Option<i64>)>> {
    let hint = "give --block, or --channel and --brokers";
    subjects::of_ledgers(settings, arguments.channel.as_deref(), hint, catalog, |ledger, snapshot| {
        let taken = LastBlock::parse(&ledger.last_block())?.metadata.last_offset_persisted;
        Ok((snapshot, (ledger.height() > 1).then(|| taken.next().0)))
    })
}
