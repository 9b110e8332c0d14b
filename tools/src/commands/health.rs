//! `orderer health`: checks the health of a node, for probes of containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use orderer_actors::node_context::unix_now;
use orderer_core::identity::CertificateInfo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::output::print_errors;
use super::{DEV_FOLDER, config_file};
use orderer_client::{Connection, HttpEndpoint, HttpResponse};
use orderer_client::{ServerTrust, client_config};
use orderer_localconfig::environment::{load_settings, variables};
use orderer_localconfig::settings::Settings;

/// Maximum size in bytes of a response, which has an entry for each failed channel.
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// Arguments of `orderer health`.
#[derive(Debug, clap::Args)]
pub struct HealthArguments {
    /// Configuration file of the node, as for `orderer start`
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the node of the development network in DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = DEV_FOLDER, conflicts_with = "config")]
    pub dev: Option<PathBuf>,
    /// Address of the endpoint; the configuration is not read
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "dev"])]
    pub address: Option<String>,
    /// Query the gRPC health service instead of the operations endpoint
    #[arg(long)]
    grpc: bool,
    /// Check only that the node accepts connections; ignore failed channels and ledgers that are being repaired
    #[arg(long)]
    alive: bool,
    /// With --address: use TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE", requires = "address")]
    tls_ca: Vec<PathBuf>,
    /// Name in the server's certificate [default: the host in --address]
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    server_name: Option<String>,
    /// PEM file of the client certificate [default with --config: the listener's own]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the client certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Time limit in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// The endpoint to check.
struct Subject {
    endpoint: HttpEndpoint,
    grpc: bool,
}

/// TLS for the endpoint: the trusted servers, the expected name, and the client certificate.
struct Tls {
    trust: ServerTrust,
    name: Option<String>,
    identity: Option<(PathBuf, PathBuf)>,
}

/// Finds the node by its configuration unless an address is given, and checks it.
pub fn run(arguments: &HealthArguments) -> ExitCode {
    let config = config_file(arguments.config.as_ref(), arguments.dev.as_ref());
    let settings = match &arguments.address {
        Some(_) => None,
        None => match load_settings(config, &variables()) {
            Ok(loaded) => Some(loaded.settings),
            Err(mistakes) => return print_errors(mistakes),
        },
    };
    health(arguments, settings.as_ref()).unwrap_or_else(|error| print_errors([format!("{error:#}")]))
}

/// Returns 0 if the node serves and all its channels are healthy; otherwise 1, with the reasons.
fn health(arguments: &HealthArguments, settings: Option<&Settings>) -> anyhow::Result<ExitCode> {
    let subject = match settings {
        Some(settings) => Subject::of_settings(arguments, settings)?,
        None => Subject::of_arguments(arguments)?,
    };
    if arguments.alive {
        return alive(subject.endpoint.address(), Duration::from_secs(arguments.timeout));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start")?;
    let Subject { endpoint, grpc } = &subject;
    let asking = async { if *grpc { ask_grpc(endpoint).await } else { ask_operations(endpoint).await } };
    let limit = Duration::from_secs(arguments.timeout);
    let answered = runtime.block_on(async { tokio::time::timeout(limit, asking).await });
    let mut ailing = answered.with_context(|| format!("{}: no answer within {limit:?}", endpoint.address()))??;
    // the gRPC health service does not report expiry, and this client trusts the certificate whatever its age
    if *grpc {
        let certificate = settings.and_then(|settings| settings.tls.as_ref()).map(|files| &files.certificate);
        ailing.extend(
            certificate
                .filter(|file| has_expired(file))
                .map(|file| format!("certificate {}: it has expired", file.display())),
        );
    }
    if ailing.is_empty() {
        say!("OK");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(print_errors(ailing))
}

fn has_expired(file: &Path) -> bool {
    let facts = CertificateDer::from_pem_file(file).ok().and_then(|der| CertificateInfo::of_der(&der).ok());
    facts.is_some_and(|facts| facts.not_after.0 < unix_now().0)
}

/// Checks that the node accepts connections: its listeners are open from before it reads its ledgers until it ends.
fn alive(address: &str, limit: Duration) -> anyhow::Result<ExitCode> {
    let places: Vec<SocketAddr> = address.to_socket_addrs().with_context(|| format!("find {address}"))?.collect();
    let mut refused = None;
    for place in places {
        match TcpStream::connect_timeout(&place, limit) {
            Ok(_) => {
                say!("OK");
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => refused = Some(error),
        }
    }
    let why = refused.map_or_else(|| "no such host".to_owned(), |error| error.to_string());
    bail!("{address}: {why}")
}

impl Subject {
    fn new(address: &str, tls: Option<Tls>, grpc: bool) -> anyhow::Result<Self> {
        let endpoint = match tls {
            None => HttpEndpoint::plain(address),
            Some(tls) => {
                let identity = tls.identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
                let protocol: &[u8] = if grpc { b"h2" } else { b"http/1.1" };
                let config = client_config(&tls.trust, identity, protocol, Duration::ZERO)?;
                HttpEndpoint::secured(address, config, tls.name.as_deref())?
            }
        };
        Ok(Self { endpoint: endpoint.with_max_response_bytes(ANSWER_MAX_BYTES), grpc })
    }

    fn of_arguments(arguments: &HealthArguments) -> anyhow::Result<Self> {
        let address = arguments.address.as_deref().context("--address is missing")?;
        anyhow::ensure!(address.contains(':'), "--address is not HOST:PORT");
        let tls = (!arguments.tls_ca.is_empty()).then(|| Tls {
            trust: ServerTrust::Authorities(arguments.tls_ca.clone()),
            name: arguments.server_name.clone(),
            identity: arguments.tls_cert.clone().zip(arguments.tls_key.clone()),
        });
        Self::new(address, tls, arguments.grpc)
    }

    /// Returns the node that this configuration starts, on this machine.
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
            trust: ServerTrust::PinnedCertificate(files.certificate.clone()),
            name: Some("localhost".to_owned()),
            identity: Some(
                arguments
                    .tls_cert
                    .clone()
                    .zip(arguments.tls_key.clone())
                    .unwrap_or_else(|| (files.certificate.clone(), files.private_key.clone())),
            ),
        });
        Self::new(&reachable(address).to_string(), tls, operations.is_none())
    }
}

/// Replaces the address of all interfaces by the loopback address.
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

/// Returns the reported problems.
async fn ask_operations(endpoint: &HttpEndpoint) -> anyhow::Result<Vec<String>> {
    let HttpResponse { status, body } = endpoint.request(Method::GET, "/healthz", None).await?;
    if status == StatusCode::OK {
        return Ok(Vec::new());
    }
    let health: Option<Health> = serde_json::from_slice(&body).ok();
    match health.filter(|health| status == StatusCode::SERVICE_UNAVAILABLE && !health.failed_checks.is_empty()) {
        Some(health) => {
            Ok(health.failed_checks.into_iter().map(|check| format!("{}: {}", check.component, check.reason)).collect())
        }
        None => bail!("{}: /healthz answers {status}", endpoint.address()),
    }
}

async fn ask_grpc(endpoint: &HttpEndpoint) -> anyhow::Result<Vec<String>> {
    let failed = || format!("{}: gRPC", endpoint.address());
    let connected = Connected(Some(endpoint.connect().await?));
    let channel = tonic::transport::Endpoint::from_static("http://orderer").connect_with_connector(connected).await;
    let channel = channel.with_context(failed)?;
    // the node as a whole; the name of a service would do as well
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(channel).check(request).await;
    let answer = answer.map_err(|status| anyhow::anyhow!("{}: {}", failed(), status.message()))?.into_inner();
    if answer.status() == ServingStatus::Serving {
        return Ok(Vec::new());
    }
    Ok(vec![format!("the gRPC health service says {}", answer.status().as_str_name())])
}

/// The one open connection; no other is opened.
struct Connected(Option<Box<dyn Connection>>);

impl tower_service::Service<Uri> for Connected {
    type Response = TokioIo<Box<dyn Connection>>;
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
