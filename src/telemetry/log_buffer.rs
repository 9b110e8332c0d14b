//! The latest log lines, retained for the debug endpoint: what is logged is also here, whatever becomes of standard
//! error.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use orderer_actors::status::now_ms;
use orderer_core::text::truncate_at_char_boundary;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Maximum number of retained lines.
const LINES_MAX: usize = 1000;
/// Maximum number of bytes retained of each text.
const TEXT_MAX_BYTES: usize = 1024;

/// A line of the log.
#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    /// Time of the line, in milliseconds since 1970.
    pub at_ms: u64,
    #[serde(serialize_with = "lower_case")]
    level: Level,
    logger: &'static str,
    message: String,
    fields: BTreeMap<&'static str, String>,
}

/// Filter for log lines.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// The least severe level.
    pub least: Option<Level>,
    /// Prefix of the logger's name.
    pub logger: Option<String>,
    /// A text within message or fields.
    pub contains: Option<String>,
    /// Maximum number of lines, the latest ones.
    pub limit: usize,
}

/// Ring buffer of log lines. It is behind the filter, so that it holds exactly what was logged.
#[derive(Clone, Default)]
pub(super) struct LogBuffer(Arc<Mutex<VecDeque<LogLine>>>);

impl LogBuffer {
    /// Returns the latest lines that match, the oldest first.
    pub(super) fn newest(&self, wanted: &LogQuery) -> Vec<LogLine> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lines.iter().rev().filter(|line| line.is(wanted)).take(wanted.limit);
        let mut found: Vec<_> = found.cloned().collect();
        found.reverse();
        found
    }
}

impl<S: Subscriber> Layer<S> for LogBuffer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = LogLine {
            at_ms: now_ms(),
            level: *event.metadata().level(),
            logger: event.metadata().target(),
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut line);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl LogLine {
    fn is(&self, wanted: &LogQuery) -> bool {
        let holds = |text: &String| {
            let in_fields = || self.fields.iter().any(|(name, value)| format!("{name}={value}").contains(text));
            self.message.contains(text) || in_fields()
        };
        wanted.least.is_none_or(|least| self.level <= least)
            && wanted.logger.as_ref().is_none_or(|logger| self.logger.starts_with(logger.as_str()))
            && wanted.contains.as_ref().is_none_or(holds)
    }

    fn put(&mut self, field: &Field, mut text: String) {
        truncate_at_char_boundary(&mut text, TEXT_MAX_BYTES);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.insert(field.name(), text);
        }
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn lower_case<S: serde::Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match *level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    })
}
