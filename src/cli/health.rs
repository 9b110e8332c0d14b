//! `orderer health`: asks a node how it is, for the probes of containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::complain;
use crate::settings::Settings;
use crate::tls::{Trust, client_config};

/// An answer has a line for each channel that is not well.
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// Whom to ask, and how.
#[derive(Debug, clap::Args)]
pub(super) struct HealthArguments {
    /// Configuration file, as of `orderer start`; says where to ask if --address does not
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Ask here; no configuration is read then
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    pub(super) address: Option<String>,
    /// Ask the gRPC health service, not the operations endpoint
    #[arg(long)]
    grpc: bool,
    /// With --address: the server has TLS, and its certificate leads to an authority in FILE
    #[arg(long, value_name = "FILE", requires = "address")]
    tls_ca: Vec<PathBuf>,
    /// The name in the server's certificate, if it is not the host of --address
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    server_name: Option<String>,
    /// Certificate to show, in PEM [default: with --config, that of the listener itself]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Give up after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// Who is asked.
struct Subject {
    address: String,
    tls: Option<Tls>,
    grpc: bool,
}

struct Tls {
    trust: Trust,
    name: String,
    identity: Option<(PathBuf, PathBuf)>,
}

/// 0 if the node serves and all its channels are well; 1 if not, with the reasons.
pub(super) fn health(arguments: &HealthArguments, settings: Option<&Settings>) -> anyhow::Result<ExitCode> {
    let subject = match settings {
        Some(settings) => Subject::of_settings(arguments, settings)?,
        None => Subject::of_arguments(arguments)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let asking = async { if subject.grpc { ask_grpc(&subject).await } else { ask_operations(&subject).await } };
    let limit = Duration::from_secs(arguments.timeout);
    let answered = runtime.block_on(async { tokio::time::timeout(limit, asking).await });
    let answered = answered.with_context(|| format!("{}: no answer within {limit:?}", subject.address))?;
    let ailing = answered.with_context(|| subject.address.clone())?;
    if ailing.is_empty() {
        say!("OK");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(complain(ailing))
}

impl Subject {
    fn of_arguments(arguments: &HealthArguments) -> anyhow::Result<Self> {
        let address = arguments.address.clone().context("--address is missing")?;
        let host = address.rsplit_once(':').context("--address is not HOST:PORT")?.0;
        let name = arguments.server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        let tls = (!arguments.tls_ca.is_empty()).then(|| Tls {
            trust: Trust::Authorities(arguments.tls_ca.clone()),
            name,
            identity: arguments.tls_cert.clone().zip(arguments.tls_key.clone()),
        });
        Ok(Self { address, tls, grpc: arguments.grpc })
    }

    /// The node that this configuration starts, on this machine.
    fn of_settings(arguments: &HealthArguments, settings: &Settings) -> anyhow::Result<Self> {
        let operations = settings.http.operations.as_ref().filter(|_| !arguments.grpc);
        let (address, files) = match operations {
            Some(listener) => (listener.address, listener.tls.as_ref()),
            None => (settings.listen, settings.tls.as_ref()),
        };
        if address.port() == 0 {
            bail!("the configuration lets the system choose the port: name it by --address, or ask by --grpc");
        }
        let tls = files.map(|files| Tls {
            trust: Trust::Exactly(files.certificate.clone()),
            name: "localhost".to_owned(),
            identity: Some(
                arguments
                    .tls_cert
                    .clone()
                    .zip(arguments.tls_key.clone())
                    .unwrap_or_else(|| (files.certificate.clone(), files.private_key.clone())),
            ),
        });
        Ok(Self { address: reachable(address).to_string(), tls, grpc: operations.is_none() })
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Wire>> {
        let socket = TcpStream::connect(&self.address).await.context("connect")?;
        let Some(tls) = &self.tls else { return Ok(Box::new(socket)) };
        let identity = tls.identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let protocol: &[u8] = if self.grpc { b"h2" } else { b"http/1.1" };
        let connector = tokio_rustls::TlsConnector::from(client_config(&tls.trust, identity, protocol)?);
        let name = ServerName::try_from(tls.name.clone()).context("the server's name")?;
        Ok(Box::new(connector.connect(name, socket).await.context("TLS")?))
    }
}

/// Who listens on all interfaces is asked on the nearest.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    failed_checks: Vec<FailedCheck>,
}

#[derive(Deserialize)]
struct FailedCheck {
    component: String,
    reason: String,
}

/// Gives back what is not well.
async fn ask_operations(subject: &Subject) -> anyhow::Result<Vec<String>> {
    let wire = TokioIo::new(subject.connect().await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(wire).await.context("HTTP")?;
    let driving = tokio::spawn(connection);
    let request = http::Request::get("/healthz").header(http::header::HOST, &subject.address);
    let request = request.body(Empty::<Bytes>::new()).context("request")?;
    let answer = sender.send_request(request).await.context("HTTP")?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer cannot be read: {error}"))?.to_bytes();
    driving.abort();
    if status == StatusCode::OK {
        return Ok(Vec::new());
    }
    let health: Option<Health> = serde_json::from_slice(&body).ok();
    match health.filter(|health| status == StatusCode::SERVICE_UNAVAILABLE && !health.failed_checks.is_empty()) {
        Some(health) => {
            Ok(health.failed_checks.into_iter().map(|check| format!("{}: {}", check.component, check.reason)).collect())
        }
        None => bail!("/healthz answers {status}"),
    }
}

async fn ask_grpc(subject: &Subject) -> anyhow::Result<Vec<String>> {
    let connected = Connected(Some(subject.connect().await?));
    let endpoint = tonic::transport::Endpoint::from_static("http://orderer");
    let channel = endpoint.connect_with_connector(connected).await.context("gRPC")?;
    // the node as a whole; a service's own name would do as well
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(channel).check(request).await;
    let answer = answer.map_err(|status| anyhow::anyhow!("gRPC: {}", status.message()))?.into_inner();
    if answer.status() == ServingStatus::Serving {
        return Ok(Vec::new());
    }
    Ok(vec![format!("the gRPC health service says {}", answer.status().as_str_name())])
}

/// A connection, secured or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The one connection that there is; another is not made.
struct Connected(Option<Box<dyn Wire>>);

impl tower_service::Service<Uri> for Connected {
    type Response = TokioIo<Box<dyn Wire>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let wire = self.0.take().map(TokioIo::new).ok_or_else(|| std::io::ErrorKind::NotConnected.into());
        Box::pin(std::future::ready(wire))
    }
}
