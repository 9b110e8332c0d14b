//! The node's listeners, each with its TLS.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Kind};
use crate::http;
use crate::settings::{HttpListener, Settings};
use crate::tls::{ClientTrust, ListenerTls, TlsFiles};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The bound sockets of a node.
pub(super) struct Sockets {
    pub(super) grpc: Socket,
    /// For other orderers only.
    pub(super) cluster: Option<Socket>,
    pub(super) operations: Option<Socket>,
    pub(super) admin: Option<Socket>,
    pub(super) profile: Option<Socket>,
}

/// One bound socket.
pub(super) struct Socket {
    pub(super) listener: TcpListener,
    /// The host that it was to listen on, as the configuration has it.
    host: Arc<str>,
    pub(super) tls: Option<Arc<ListenerTls>>,
}

impl Sockets {
    /// Returns the TLS of the secured sockets.
    pub(super) fn tls(&self) -> Vec<Arc<ListenerTls>> {
        let all = [Some(&self.grpc), self.cluster.as_ref(), self.operations.as_ref(), self.admin.as_ref()];
        all.into_iter().flatten().filter_map(|socket| socket.tls.clone()).collect()
    }
}

impl Socket {
    /// Reads the section's TLS files and binds its address.
    pub(super) fn open(
        section: &str,
        address: SocketAddr,
        tls: Option<&TlsFiles>,
        audience: ClientTrust,
    ) -> anyhow::Result<Self> {
        let keys =
            if matches!(audience, ClientTrust::Orderers(_)) { section.to_owned() } else { format!("{section}.TLS") };
        let tls = tls.map(|files| ListenerTls::new(files.clone(), audience).map(Arc::new)).transpose().context(keys)?;
        let listener = bind(address).with_context(|| format!("{section}: listen on {address}"))?;
        Ok(Self { listener, host: address.ip().to_string().into(), tls })
    }

    pub(super) fn open_for_operators(section: &str, listener: Option<&HttpListener>) -> anyhow::Result<Option<Self>> {
        let open = |settings: &HttpListener| {
            let socket = Self::open(section, settings.address, settings.tls.as_ref(), ClientTrust::Operators)?;
            Ok(Self { host: settings.host.as_str().into(), ..socket })
        };
        listener.map(open).transpose()
    }

    /// Serves HTTP on the socket until `stopping`. Returns its name, address and security for the log.
    pub(super) fn serve(
        self,
        name: &'static str,
        router: Router,
        (settings, admission): (&Settings, &Admission),
        thread: &runtime::Runtime,
        stopping: &CancellationToken,
    ) -> anyhow::Result<(&'static str, SocketAddr, &'static str)> {
        let address = self.listener.local_addr().context("read the listener's address")?;
        let secured = if self.tls.is_some() { "TLS" } else { "plaintext" };
        let (handshake_limit, stopping) = (settings.connection_timeout, stopping.clone());
        let table = (admission.table(Kind::Operators), admission.clone());
        thread.spawn(async move {
            let served = http::serve(self.listener, self.host, self.tls, handshake_limit, table, router, stopping);
            if let Err(error) = served.await {
                tracing::error!(target: "orderer.http", error = format!("{error:#}"), "{name} endpoint has closed");
            }
        });
        Ok((name, address, secured))
    }
}

/// Binds a socket with `SO_REUSEADDR`, because a restarted node must get its port back although old connections
/// linger.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
