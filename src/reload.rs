//! Reloads the part of the configuration file that may change while the node runs, the log spec, on SIGHUP.

use crate::settings::{ConfigSource, examine};
use crate::telemetry::LogControl;

/// Reloads the log spec from the configuration file.
pub struct Reloader {
    /// The source of the settings.
    pub origin: ConfigSource,
    /// Controls what is logged.
    pub logs: LogControl,
}

impl Reloader {
    /// Reads the file again. If it has a log spec, that replaces the current one, however that was set; a file with
    /// errors changes nothing. Performs blocking I/O.
    pub fn now(&self) {
        let examined = examine(&self.origin);
        for mistake in &examined.mistakes {
            tracing::error!(target: "orderer.node", %mistake, "the configuration has an error; the log levels are unchanged");
        }
        let settings = examined.settings.filter(|_| examined.mistakes.is_empty());
        let Some(settings) = settings.filter(|settings| settings.log_spec.is_some()) else { return };
        let spec = settings.logged(None);
        match self.logs.set(&spec) {
            Ok(()) => tracing::info!(target: "orderer.node", %spec, "General.LogSpec was reloaded"),
            Err(error) => tracing::error!(target: "orderer.node", %error, "General.LogSpec cannot be used"),
        }
    }
}
