//! Prints a channel's blocks as a table. On a terminal, the last line shows height and rates and is updated in place.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crate::commands::terminal::printable;
use orderer_client::BlockSummary;

/// Period over which rates are computed.
const WINDOW: Duration = Duration::from_secs(10);
/// Maximum number of blocks kept for the rates. Above 1,000 blocks per second the rates cover less than [`WINDOW`].
const REMEMBERED: usize = 10_000;
/// Escape sequence that moves the cursor to the start of the line and clears the line.
const CLEAR: &str = "\r\x1b[2K";

/// A table on standard output.
pub(super) struct Table {
    channel: String,
    /// Whether there is a last line, which requires a terminal.
    live: bool,
    /// Time of arrival and number of envelopes of each recent block.
    recent: std::collections::VecDeque<(Instant, usize)>,
    newest: Option<u64>,
}

impl Table {
    pub(super) fn new(channel: &str, live: bool) -> Self {
        Self { channel: channel.to_owned(), live, recent: std::collections::VecDeque::new(), newest: None }
    }

    pub(super) fn head() -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{:>8}  {:<19}  {:>5}  {:>9}  {:<26}  {:<12}  HASH",
            "BLOCK", "TIME", "ENVS", "BYTES", "TYPES", "FIRST TX"
        )?;
        out.flush()
    }

    pub(super) fn block(&mut self, block: &BlockSummary) -> io::Result<()> {
        self.newest = Some(block.number);
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), block.envelopes));
        let types: Vec<String> = block.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let time: String = block.time.as_deref().unwrap_or("-").chars().take(19).collect();
        let (tx, hash) = (short(&printable(block.tx_ids.first().map_or("-", String::as_str))), short(&block.hash));
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{}{:>8}  {time:<19}  {:>5}  {:>9}  {:<26}  {tx:<12}  {hash}",
            if self.live { CLEAR } else { "" },
            block.number,
            block.envelopes,
            block.bytes,
            types.join(", "),
        )?;
        drop(out);
        self.tick()
    }

    /// Updates the last line.
    pub(super) fn tick(&mut self) -> io::Result<()> {
        if !self.live {
            return io::stdout().flush();
        }
        let now = Instant::now();
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.recent.pop_front();
        }
        // the oldest arrival is the start of the period, so its own block is not counted
        let since = self.recent.front().map_or(Duration::ZERO, |(at, _)| now.duration_since(*at));
        let seconds = since.max(Duration::from_secs(1)).as_secs_f64();
        let counted = self.recent.iter().skip(1);
        let (blocks, envelopes) =
            counted.fold((0_u32, 0), |(blocks, envelopes), (_, more)| (blocks + 1, envelopes + more));
        let height = self
            .newest
            .map_or_else(|| "no block yet".to_owned(), |newest| format!("height {}", newest.saturating_add(1)));
        let mut out = io::stdout().lock();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rates = (f64::from(blocks) / seconds, envelopes as f64 / seconds);
        write!(out, "{CLEAR}{}: {height}, {:.1} blocks/s, {:.1} envelopes/s", self.channel, rates.0, rates.1)?;
        out.flush()
    }

    /// Clears the last line.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.live {
            write!(out, "{CLEAR}")?;
        }
        out.flush()
    }
}

/// Returns the first twelve characters.
fn short(text: &str) -> String {
    text.chars().take(12).collect()
}
