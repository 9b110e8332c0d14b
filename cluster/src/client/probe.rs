//! Probes another orderer: connects to it once, as a node does, and reports the result. Sends only a request for its
//! health.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Version, header};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::{DialedConnection, over};
use super::error_text::describe;
use crate::membership::PinnedKey;
use crate::settings::ClientSettings;
use crate::tls::{ExpectedServer, Identity, Roots, Shown, observing_config};

/// Path of the health service. Any gRPC server responds to this request, even if it does not have the service.
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// An empty gRPC message.
const EMPTY_MESSAGE: &str = "\0\0\0\0\0";

/// An orderer to probe, and the identity to present to it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Public key of the server certificate in the channel's configuration; `None` accepts any key.
    pub key: Option<PinnedKey>,
    /// Identity to present; `None` presents no certificate.
    pub identity: Option<Identity>,
    /// Trusted authorities.
    pub roots: Roots,
    /// Settings with which a node connects.
    pub settings: ClientSettings,
}

/// Result of a probe.
#[derive(Clone, Debug)]
pub enum ProbeResult {
    /// The TCP connection failed, for this reason.
    Unreachable(String),
    /// The TLS handshake failed before the server presented a certificate, for this reason.
    NoTls(String),
    /// The server presented a certificate.
    Server(ProbedServer),
}

/// A server that presented a certificate.
#[derive(Clone, Debug)]
pub struct ProbedServer {
    /// The server's certificate in DER, followed by the certificates of its issuers.
    pub chain: Vec<Bytes>,
    /// The reason for which a node would reject the certificate. Does not consider the key, which `chain` contains.
    pub verdict: Result<(), String>,
    /// The reason for which the connection failed after that, such as that the server rejects the presented identity.
    pub connected: Result<(), String>,
    /// Reading of the server's clock, if its response contains the time.
    pub clock: Option<ClockReading>,
}

/// A reading of another clock, with the times of the request and the response by this clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Reading of the other clock in seconds since 1970, rounded down.
    pub second: i64,
    /// Time of the request, in milliseconds since 1970 by this clock.
    pub asked_ms: i64,
    /// Time of the response, in milliseconds since 1970 by this clock.
    pub answered_ms: i64,
}

impl ClockReading {
    /// Returns by how many milliseconds the other clock is ahead of this one: the minimum and the maximum, because its
    /// reading is rounded down and was taken at any time between request and response.
    pub fn ahead_ms(&self) -> (i64, i64) {
        let first = self.second.saturating_mul(1000);
        (first.saturating_sub(self.answered_ms), first.saturating_add(1000).saturating_sub(self.asked_ms))
    }
}

/// Probes an orderer. Takes at most three times `DialTimeout`.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn run_probe(probe: &Probe) -> ProbeResult {
    let limit = probe.settings.dial_timeout;
    let late = || format!("no answer within {limit:?}");
    let socket = match timeout(limit, TcpStream::connect((probe.host.as_str(), probe.port))).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return ProbeResult::Unreachable(describe(&error)),
        Err(_) => return ProbeResult::Unreachable(late()),
    };
    let server = ExpectedServer {
        host: probe.host.clone(),
        endpoint: format!("{}:{}", probe.host, probe.port),
        key: probe.key.clone(),
        time_shift: probe.settings.time_shift,
        tolerate_expired: probe.settings.tolerate_expired,
    };
    let shown = Arc::new(OnceLock::new());
    let config = match observing_config(server, probe.identity.as_ref(), &probe.roots, Arc::clone(&shown)) {
        Ok(config) => config,
        Err(error) => return ProbeResult::NoTls(describe(&error)),
    };
    let dialed = timeout(limit, over(config, &probe.host, socket, None)).await.unwrap_or_else(|_| Err(late()));
    let Some(Shown { chain, verdict }) = shown.get().cloned() else {
        return ProbeResult::NoTls(dialed.err().unwrap_or_else(|| "it shows no certificate".to_owned()));
    };
    let (connected, clock) = match dialed {
        Ok(dialed) => (Ok(()), timeout(limit, ask_time(dialed, probe)).await.ok().flatten()),
        Err(why) => (Err(why), None),
    };
    ProbeResult::Server(ProbedServer { chain, verdict, connected, clock })
}

/// Returns the reading of the server's clock, if its response contains the time.
async fn ask_time(dialed: DialedConnection<String>, probe: &Probe) -> Option<ClockReading> {
    let DialedConnection { mut sender, mut driver, .. } = dialed;
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("https://{}:{}{HEALTH}", probe.host, probe.port))
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(EMPTY_MESSAGE.to_owned())
        .ok()?;
    let asked_ms = now_ms();
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer.ok()?,
        _ = &mut driver => return None,
    };
    let answered_ms = now_ms();
    let date = httpdate::parse_http_date(answer.headers().get(header::DATE)?.to_str().ok()?).ok()?;
    Some(ClockReading { second: ms_of(date) / 1000, asked_ms, answered_ms })
}

fn now_ms() -> i64 {
    ms_of(SystemTime::now())
}

fn ms_of(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_says_as_much_as_it_can() {
        let reading = ClockReading { second: 100, asked_ms: 100_400, answered_ms: 100_500 };
        assert_eq!(reading.ahead_ms(), (-500, 600));
        let behind = ClockReading { second: 90, ..reading };
        assert_eq!(behind.ahead_ms(), (-10_500, -9_400));
    }
}
