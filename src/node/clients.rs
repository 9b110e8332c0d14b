//! Limits on a node's clients, and the state that their streams share.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use orderer_actors::NodeContext;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::grpc::{GrpcContext, RequestTraceWriter, ValidationThreads};
use crate::settings::Settings;
use crate::tls::Clients;

/// Bound on the number of connections, beside that by memory.
#[derive(Clone, Copy)]
pub(super) enum Connections {
    /// By the maximum number of open file descriptors.
    Within(u64),
    Unbounded,
}

/// Creates the limits on clients. A quarter of the file descriptors is left to ledgers, brokers and operators.
pub(super) fn admission(settings: &Settings, connections: Connections) -> Admission {
    let limits = settings.limits;
    let max = match connections {
        Connections::Within(descriptors) => {
            limits.connections.min(usize::try_from(descriptors / 4 * 3).unwrap_or(usize::MAX))
        }
        Connections::Unbounded => limits.connections,
    };
    Admission::new(&limits, max)
}

/// Creates the state that every stream shares.
pub(super) fn shared(
    settings: &Settings,
    context: &Arc<NodeContext>,
    admission: &Admission,
    stopping: CancellationToken,
) -> anyhow::Result<GrpcContext> {
    let files = |folder: Option<&PathBuf>, key: &str, service| {
        let start =
            |folder: &PathBuf| RequestTraceWriter::start(folder, service).with_context(|| format!("Debug.{key}"));
        folder.map(start).transpose()
    };
    Ok(GrpcContext {
        broadcast_files: files(settings.broadcast_trace_dir.as_ref(), "BroadcastTraceDir", "Broadcast")?,
        deliver_files: files(settings.deliver_trace_dir.as_ref(), "DeliverTraceDir", "Deliver")?,
        stopping,
        open_streams: TaskTracker::new(),
        admission: admission.clone(),
        validation_threads: ValidationThreads::new(&context.blocking_runtime),
        stream_bytes: settings.limits.stream_bytes,
        max_receive_bytes: settings.max_receive_bytes,
        time_window: settings.time_window,
        client_certificate_required: matches!(&settings.tls, Some(tls) if tls.clients != Clients::Anybody),
        context: Arc::clone(context),
    })
}
