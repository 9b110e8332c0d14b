//! The keys under `Tracing`, and OpenTelemetry's own variables that replace them.

use std::fmt;
use std::path::PathBuf;

use super::secrets::without_secrets;
use super::validate::Validator;

/// Variables that name a collector, in order of precedence.
const ENDPOINT_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const CERTIFICATE_VARIABLE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const SERVICE_NAME_VARIABLE: &str = "OTEL_SERVICE_NAME";

/// The export of spans.
#[derive(Clone)]
pub struct TracingSettings {
    /// The collector, `http://host:port` or `https://host:port`.
    pub endpoint: String,
    /// Files with the authorities of its certificate.
    pub roots: Vec<PathBuf>,
    /// Percentage of sampled envelopes and requests, of those that are in no trace yet.
    pub sample_percent: u8,
    /// Name of the node in traces.
    pub service_name: String,
}

// an address may contain a password
impl fmt::Debug for TracingSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TracingSettings");
        shown.field("endpoint", &without_secrets(&self.endpoint)).field("roots", &self.roots);
        shown.field("sample_percent", &self.sample_percent).field("service_name", &self.service_name).finish()
    }
}

impl Validator {
    /// Returns the export of spans; `None` if no collector is configured.
    pub(super) fn tracing(&mut self) -> Option<TracingSettings> {
        let percent: u32 = self.number("Tracing.SamplePercent");
        if percent > 100 {
            let source = self.source("Tracing.SamplePercent");
            self.mistake(source, "Tracing.SamplePercent must be from 0 to 100");
        }
        let mut roots = self.paths("Tracing.RootCAs");
        if roots.is_empty() {
            roots.extend(self.variable(CERTIFICATE_VARIABLE).map(PathBuf::from));
        }
        for root in &roots {
            if !root.is_file() {
                self.missing("Tracing.RootCAs", root, "no such file");
            }
        }
        let (mut named_by, mut endpoint) = ("Tracing.Endpoint", self.text("Tracing.Endpoint"));
        if endpoint.is_empty() {
            let variable = ENDPOINT_VARIABLES.into_iter().find_map(|name| Some((name, self.variable(name)?)));
            (named_by, endpoint) = variable?;
        }
        let host = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
        if !host.is_some_and(|host| !host.is_empty() && !host.starts_with([':', '/'])) {
            let source = self.source("Tracing.Endpoint");
            self.mistake(source, format!("{named_by}: '{endpoint}' is not http://host:port or https://host:port"));
        }
        if endpoint.starts_with("https://") && roots.is_empty() {
            let source = self.source("Tracing.RootCAs");
            self.mistake(source, format!("Tracing.RootCAs must list a file when {named_by} begins with https"));
        }
        Some(TracingSettings {
            endpoint,
            roots,
            sample_percent: u8::try_from(percent).unwrap_or(100),
            service_name: self.variable(SERVICE_NAME_VARIABLE).unwrap_or_else(|| "orderer".to_owned()),
        })
    }
}
