//! What of the configuration file is put in force while the node runs: what is logged. SIGHUP asks for it.

use crate::settings::{Origin, examine};
use crate::telemetry::LogControl;

/// See the module's description.
pub struct Reread {
    /// Where the settings came from.
    pub origin: Origin,
    /// What is logged.
    pub logs: LogControl,
}

impl Reread {
    /// Reads the file again. If it says what is logged, that is in force from now on, whatever was said before; a file with
    /// mistakes changes nothing. Blocks.
    pub fn now(&self) {
        let examined = examine(&self.origin);
        for mistake in &examined.mistakes {
            tracing::error!(target: "orderer.node", %mistake, "the configuration has a mistake, what is logged stays as it is");
        }
        let settings = examined.settings.filter(|_| examined.mistakes.is_empty());
        let Some(settings) = settings.filter(|settings| settings.log_spec.is_some()) else { return };
        let spec = settings.logged(None);
        match self.logs.set(&spec) {
            Ok(()) => tracing::info!(target: "orderer.node", %spec, "General.LogSpec was read again"),
            Err(error) => tracing::error!(target: "orderer.node", %error, "General.LogSpec cannot be used"),
        }
    }
}
