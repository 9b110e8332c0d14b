//! Exports traces: sends spans of `orderer.trace` by OTLP to a collector, many at a time, from threads of their own.
//! Spans that the collector does not accept in time are dropped, and nothing waits for it.

mod parent;

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use orderer_actors::trace::TARGET;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::runtime::{self, Runtime};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};

pub use parent::RemoteParent;

use crate::settings::TracingSettings;

/// Maximum number of spans that wait for the collector; more are dropped.
const QUEUE_SPANS: usize = 8192;
/// Maximum number of spans in one request.
const BATCH_SPANS: usize = 512;
/// Interval after which waiting spans are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// Time limit of a request.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// Time limit for the remaining spans when the node ends.
const LAST_LIMIT: Duration = Duration::from_secs(2);

/// The connection to the collector. Ends with [`finish`](Self::finish).
pub struct OtlpExporter {
    provider: SdkTracerProvider,
    /// Runs the connection, apart from everything that serves.
    runtime: Runtime,
}

/// Receives the spans, beside the log.
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

impl OtlpExporter {
    /// Starts exporting; the collector need not be reachable.
    pub fn start(settings: &TracingSettings, address: &str) -> anyhow::Result<(Self, SpanLayer)> {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).thread_name("traces").enable_all().build();
        let runtime = runtime.context("start a thread")?;
        let mut endpoint = Endpoint::from_shared(settings.endpoint.clone()).context("Tracing.Endpoint")?;
        endpoint = endpoint.timeout(SEND_LIMIT).connect_timeout(SEND_LIMIT);
        if endpoint.uri().scheme_str() == Some("https") {
            let mut tls = ClientTlsConfig::new();
            for file in &settings.roots {
                let pem = std::fs::read(file).with_context(|| format!("Tracing.RootCAs {}", file.display()))?;
                let first = CertificateDer::pem_slice_iter(&pem).next();
                anyhow::ensure!(
                    matches!(first, Some(Ok(_))),
                    "Tracing.RootCAs {}: no certificate in PEM found",
                    file.display()
                );
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint.tls_config(tls).context("Tracing.RootCAs")?;
        }
        let entered = runtime.enter();
        let exporter = SpanExporter::builder().with_tonic().with_channel(endpoint.connect_lazy()).build();
        let exporter = exporter.context("Tracing.Endpoint")?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS)
            .with_max_export_batch_size(BATCH_SPANS)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        drop(entered);
        let share = f64::from(settings.sample_percent) / 100.0;
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", address.to_owned()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_resource(resource)
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("orderer"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::DEBUG));
        Ok((Self { provider, runtime }, Box::new(layer)))
    }

    /// Sends the remaining spans, if the collector accepts them in time. Performs blocking I/O.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_LIMIT) {
            tracing::warn!(target: "orderer.node", %error, "failed to export the last spans");
        }
        self.runtime.shutdown_background();
    }
}
