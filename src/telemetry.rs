//! Logging: `FABRIC_LOGGING_SPEC` selects what is logged, [`LogFormat`] how a line looks.
//!
//! Loggers are named `orderer.grpc`, `orderer.chain`, `orderer.ledger`, `orderer.registrar`, `orderer.supervision`,
//! `orderer.node`; a spec for `orderer` covers all of them.

mod limit;
mod log_buffer;

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use orderer_localconfig::log_spec::parse_spec;
pub use orderer_localconfig::log_spec::{SpecError, check_spec};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt, reload};

use crate::traces::SpanLayer;

use limit::LineLimit;
pub use limit::report_left_out;
use log_buffer::LogBuffer;
pub use log_buffer::{LogLine, LogQuery};

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For humans; with colours on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Reads and changes what is logged while the process runs.
#[derive(Clone)]
pub struct LogControl(Arc<Control>);

struct Control {
    spec: Mutex<String>,
    /// Applies other levels.
    change: Box<dyn Fn(Targets) + Send + Sync>,
    tail: LogBuffer,
}

impl LogControl {
    /// Returns the spec in force.
    pub fn spec(&self) -> String {
        self.0.spec.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the latest lines.
    pub fn newest(&self, wanted: &LogQuery) -> Vec<LogLine> {
        self.0.tail.newest(wanted)
    }

    /// Applies another spec, from the next line on.
    pub fn set(&self, spec: &str) -> Result<(), SpecError> {
        let targets = parse_spec(spec)?;
        let mut current = self.0.spec.lock().unwrap_or_else(PoisonError::into_inner);
        (self.0.change)(targets);
        spec.clone_into(&mut current);
        Ok(())
    }
}

/// Starts logging to standard error, and hands spans to `spans`.
pub fn start(spec: &str, format: LogFormat, spans: Option<SpanLayer>) -> Result<LogControl, SpecError> {
    let (filter, handle) = reload::Layer::new(parse_spec(spec)?);
    let filter = filter.and(LineLimit::default());
    let tail = LogBuffer::default();
    let writer = fmt::layer().with_writer(std::io::stderr);
    // behind one filter: the tail retains exactly what was logged
    let log: SpanLayer = match format {
        LogFormat::Human => {
            let writer = writer.with_ansi(std::io::stderr().is_terminal());
            writer.and_then(LineCounter).and_then(tail.clone()).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            writer.json().flatten_event(true).and_then(LineCounter).and_then(tail.clone()).with_filter(filter).boxed()
        }
    };
    let mut layers = vec![log];
    layers.extend(spans);
    // a second start, as in tests, keeps the first
    let _ = tracing_subscriber::registry().with(layers).try_init();
    // an error: the subscriber is gone, and there is no log to change
    let change = move |targets| drop(handle.reload(targets));
    Ok(LogControl(Arc::new(Control { spec: Mutex::new(spec.to_owned()), change: Box::new(change), tail })))
}

/// Lines that were written, by level.
static LINES: [AtomicU64; LEVELS.len()] = [const { AtomicU64::new(0) }; LEVELS.len()];
/// In Fabric's words; it knows nothing below debug.
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

/// Counts the lines that are written.
struct LineCounter;

impl<S: Subscriber> Layer<S> for LineCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 2,
            Level::INFO => 1,
            _ => 0,
        };
        LINES[level].fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the number of lines written so far, by level.
pub fn lines() -> impl Iterator<Item = (&'static str, u64)> {
    LEVELS.into_iter().zip(LINES.iter().map(|lines| lines.load(Ordering::Relaxed)))
}
