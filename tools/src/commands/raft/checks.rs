//! The rules by which `orderer raft check` evaluates the consenters of a channel. They perform no I/O: the observations
//! and the current time are arguments.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use orderer_cluster::{CertificateError, ClockReading, PinnedKey, ProbeResult, ProbedServer};
use orderer_kafka::check::{Finding, Severity};
use orderer_x509::{Certificate, pem};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Remaining validity of a certificate, in seconds, below which there is a warning: 30 days.
pub(super) const WARNING_SECONDS: i64 = 30 * 24 * 60 * 60;
/// Difference between clocks, in milliseconds, from which there is a warning.
const CLOCK_WARNING_MS: i64 = 5_000;
/// Difference between clocks, in milliseconds, from which there is an error: with Fabric's default of
/// `General.Authentication.TimeWindow`, Deliver requests are rejected.
const CLOCK_ERROR_MS: i64 = 15 * 60 * 1000;

/// A consenter in the channel's configuration.
#[derive(Debug)]
pub(super) struct Named {
    /// HOST:PORT.
    pub(super) endpoint: String,
    /// The server certificate.
    pub(super) server: Pinned,
    /// The client certificate.
    pub(super) client: Pinned,
}

/// A certificate in the configuration, or the reason for which it cannot be used.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    certificate: Result<Arc<Certificate>, CertificateError>,
    key: Option<PinnedKey>,
}

impl Pinned {
    /// Parses the first certificate of a PEM text.
    pub(super) fn read(text: &[u8]) -> Self {
        let block = pem::decode(text).ok_or(CertificateError::NoPem);
        let certificate = block.and_then(|(block, _)| Ok(Arc::new(Certificate::parse(&block.contents)?)));
        let of_kind = certificate.and_then(|certificate| PinnedKey::of(&certificate).map(|key| (certificate, key)));
        match of_kind {
            Ok((certificate, key)) => Self { certificate: Ok(certificate), key: Some(key) },
            Err(error) => Self { certificate: Err(error), key: None },
        }
    }

    fn raw(&self) -> Option<&Bytes> {
        self.certificate.as_ref().ok().map(|certificate| certificate.raw())
    }

    /// Returns the public key; `None` if the certificate cannot be used.
    pub(super) fn key(&self) -> Option<&PinnedKey> {
        self.key.as_ref()
    }
}

/// The node whose configuration was read, as which the check connects to the consenters.
#[derive(Debug)]
pub(super) struct Own {
    /// Public key of the certificate that it presents as a TLS server; `None` if the certificate cannot be used.
    pub(super) server_key: Option<PinnedKey>,
    /// Public key of the certificate that it presents as a TLS client.
    pub(super) client_key: PinnedKey,
}

/// Everything that is known of a channel's consenters.
#[derive(Debug)]
pub(super) struct Facts {
    /// The channel's consenters.
    pub(super) consenters: Vec<Named>,
    /// The result of a connection to each consenter, in the same order.
    pub(super) seen: Vec<ProbeResult>,
    /// The trusted TLS authorities.
    pub(super) authorities: Vec<Arc<Certificate>>,
    /// This node; `None` without a configuration file, or if the configuration has no TLS.
    pub(super) own: Option<Own>,
    /// Current time in seconds since 1970.
    pub(super) now: i64,
}

/// Returns all findings, each with the index of its consenter; `None` for a finding about the whole channel.
pub(super) fn judge(facts: &Facts) -> Vec<(Option<usize>, Finding)> {
    let mut found = Vec::new();
    for (at, (named, seen)) in facts.consenters.iter().zip(&facts.seen).enumerate() {
        let of_it = pinned(facts, named).into_iter().chain(connection(facts, at, named, seen));
        found.extend(of_it.map(|finding| (Some(at), finding)));
    }
    found
        .extend(authorities(facts).into_iter().chain(own(facts)).chain([quorum(facts)]).map(|finding| (None, finding)));
    found
}

fn fine(found: String) -> Finding {
    Finding { level: Severity::Fine, found, fix: None }
}

fn warning(found: String, fix: &str) -> Finding {
    Finding { level: Severity::Warning, found, fix: Some(fix.to_owned()) }
}

fn error(found: String, fix: &str) -> Finding {
    Finding { level: Severity::Error, found, fix: Some(fix.to_owned()) }
}

fn date(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// Returns a finding if a certificate has expired or expires within [`WARNING_SECONDS`].
fn expiry(what: &str, not_after: i64, now: i64, fix: &str) -> Option<Finding> {
    if not_after < now {
        return Some(error(format!("{what} has expired on {}", date(not_after)), fix));
    }
    (not_after - now < WARNING_SECONDS).then(|| warning(format!("{what} expires on {}", date(not_after)), fix))
}

const RENEW: &str = "renew it: with the same key no config update is needed; with another key, a config update has to name the new certificate first";
const READ_PINNED: &str =
    "name the certificate that this consenter has by a config update (channel configuration, Orderer, ConsensusType)";

/// Evaluates the two certificates of a consenter in the configuration.
fn pinned(facts: &Facts, named: &Named) -> Vec<Finding> {
    let mut found = Vec::new();
    for (kind, pinned) in [("server", &named.server), ("client", &named.client)] {
        let what = format!("the {kind} certificate in the configuration");
        match &pinned.certificate {
            Err(cause) => found.push(error(format!("{what} cannot be used: {cause}"), READ_PINNED)),
            Ok(certificate) => {
                let until = certificate.not_after();
                // one finding is enough if both certificates are the same
                let is_said = kind == "client" && named.server.raw() == Some(certificate.raw());
                match expiry(&what, until, facts.now, RENEW) {
                    Some(finding) if !is_said => found.push(finding),
                    None if !is_said => found.push(fine(format!("{what} is valid until {}", date(until)))),
                    _ => {}
                }
            }
        }
    }
    found
}

fn connection(facts: &Facts, at: usize, named: &Named, seen: &ProbeResult) -> Vec<Finding> {
    match seen {
        ProbeResult::Unreachable(why) => vec![error(
            format!("cannot be reached: {why}"),
            "start it; if it runs, check that host and port in the configuration lead to its listener for orderers, and that no firewall is between",
        )],
        ProbeResult::NoTls(why) => vec![error(
            format!("no TLS handshake: {why}"),
            "check that that port is its listener for orderers (General.Cluster, or the general one with General.TLS.Enabled)",
        )],
        ProbeResult::Server(server) => shown(facts, at, named, server),
    }
}

fn shown(facts: &Facts, at: usize, named: &Named, server: &ProbedServer) -> Vec<Finding> {
    let mut found = Vec::new();
    let leaf = server.chain.first().map(Certificate::parse);
    match leaf {
        Some(Ok(leaf)) => {
            found.push(compared(facts, at, named, &leaf));
            if named.server.raw() != Some(leaf.raw()) {
                found.extend(expiry("the certificate that it shows", leaf.not_after(), facts.now, RENEW));
            }
        }
        Some(Err(cause)) => found.push(error(format!("shows a certificate that cannot be read: {cause}"), RENEW)),
        None => {}
    }
    if let Err(why) = &server.verdict {
        found.push(error(
            format!("its certificate is refused: {why}"),
            "have it show a valid certificate for that host, and its TLS authority named by its organization in the channel's configuration, or by General.Cluster.RootCAs here",
        ));
    }
    match (&server.connected, &facts.own) {
        (Ok(()), _) => {}
        (Err(why), Some(_)) => found.push(error(
            format!("ends the connection behind the handshake: {why}"),
            "check that it knows the authority of this node's certificate (General.Cluster.ClientCertificate): its General.Cluster.RootCAs, or the organization in the channel's configuration",
        )),
        (Err(why), None) => found.push(warning(
            format!("ends the connection behind the handshake, in which no certificate was shown to it: {why}"),
            "check with --config FILE, an orderer.yaml with General.Cluster.ClientCertificate",
        )),
    }
    if server.connected.is_ok() {
        found.push(clock(server.clock));
    }
    found
}

/// Compares the certificate that a consenter presents with the one in the configuration.
fn compared(facts: &Facts, at: usize, named: &Named, leaf: &Certificate) -> Finding {
    if named.server.raw() == Some(leaf.raw()) {
        return fine("TLS: it shows the certificate in the configuration".to_owned());
    }
    let key = PinnedKey::of(leaf).ok();
    if key.is_some() && key == named.server.key {
        return fine(format!(
            "TLS: it shows another certificate than that in the configuration, with the same key; valid until {}",
            date(leaf.not_after())
        ));
    }
    let is_others = |(other, named): &(usize, &Named)| *other != at && key.is_some() && named.server.key == key;
    match facts.consenters.iter().enumerate().find(is_others) {
        Some((_, other)) => error(
            format!("shows the certificate of consenter {}", other.endpoint),
            "correct host and port of the two by a config update, or the certificates of the two orderers",
        ),
        None => error(
            format!("shows a certificate with another key than the one in the configuration: {}", leaf.subject()),
            "name the certificate that it shows by a config update, or have it show the one in the configuration (General.TLS.Certificate, or General.Cluster.ServerCertificate)",
        ),
    }
}

fn clock(reading: Option<ClockReading>) -> Finding {
    let Some(reading) = reading else {
        return fine("its clock cannot be compared: its answers do not say the time (Fabric's never do)".to_owned());
    };
    let (least, most) = reading.ahead_ms();
    let apart = least.max(-most).max(0);
    let seconds = apart / 1000;
    let which = if least > 0 { "ahead of" } else { "behind" };
    let fix = "set the clocks by NTP";
    if apart >= CLOCK_ERROR_MS {
        return error(
            format!("its clock is {seconds} s {which} this one: requests for blocks are refused from 15 minutes on"),
            fix,
        );
    }
    if apart >= CLOCK_WARNING_MS {
        return warning(format!("its clock is {seconds} s {which} this one"), fix);
    }
    fine(format!("its clock differs from this one by less than {} s", most.max(-least).max(0) / 1000 + 1))
}

/// Evaluates the authorities that issued the certificates in the configuration. An authority is found by its name.
fn authorities(facts: &Facts) -> Vec<Finding> {
    let mut needed: BTreeMap<Bytes, String> = BTreeMap::new();
    let pinned = facts.consenters.iter().flat_map(|named| [&named.server, &named.client]);
    for certificate in pinned.filter_map(|pinned| pinned.certificate.as_ref().ok()) {
        needed.insert(certificate.raw_issuer().clone(), certificate.issuer().to_string());
    }
    let found = needed.into_iter().map(|(raw, name)| {
        let issued = facts.authorities.iter().filter(|authority| *authority.raw_subject() == raw);
        let what = format!("TLS authority {name}");
        match issued.map(|authority| authority.not_after()).max() {
            None => warning(
                format!("{what} is unknown: it is none of an ordering organization, nor of General.Cluster.RootCAs"),
                "add it to the organization's TLS root certificates by a config update",
            ),
            Some(until) => expiry(
                &what,
                until,
                facts.now,
                "issue certificates by a new authority, which a config update adds to the organization's TLS root certificates",
            )
            .unwrap_or_else(|| fine(format!("{what} is valid until {}", date(until)))),
        }
    });
    found.collect()
}

/// Determines which of the consenters this node is, by the keys of its certificates.
fn own(facts: &Facts) -> Vec<Finding> {
    let Some(own) = &facts.own else { return Vec::new() };
    let is_own = |named: &&Named| own.server_key.is_some() && named.server.key == own.server_key;
    let Some(named) = facts.consenters.iter().find(is_own) else {
        return vec![warning(
            "this node is none of the consenters: none has the key of its server certificate; it would follow the channel"
                .to_owned(),
            "add it by a config update, with the certificates that its orderer.yaml names, if it is to be one",
        )];
    };
    if named.client.key.as_ref() == Some(&own.client_key) {
        return vec![fine(format!("this node is consenter {}", named.endpoint))];
    }
    vec![error(
        format!(
            "this node is consenter {}, and shows another client certificate than the one in the configuration: the others refuse it",
            named.endpoint
        ),
        "set General.Cluster.ClientCertificate and ClientPrivateKey to those in the configuration, or change the configuration",
    )]
}

fn quorum(facts: &Facts) -> Finding {
    let number = facts.consenters.len();
    let needed = number / 2 + 1;
    let is_there = |(named, seen): &(&Named, &ProbeResult)| {
        matches!(seen, ProbeResult::Server(server) if server.verdict.is_ok()
            && server.chain.first().and_then(|der| PinnedKey::of_der(der).ok()).is_some_and(|key| named.server.key == Some(key)))
    };
    let there = facts.consenters.iter().zip(&facts.seen).filter(is_there).count();
    let text = format!("{there} of {number} consenters can be reached, and {needed} make a quorum");
    if there < needed {
        return error(format!("{text}: the channel orders nothing"), "fix the consenters above that cannot be reached");
    }
    if there == needed && there < number {
        return warning(
            format!("{text}: the loss of another one stops the channel"),
            "fix the consenters above that cannot be reached",
        );
    }
    fine(text)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use time::Duration;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        certificate: Arc<Certificate>,
    }

    fn now() -> i64 {
        OffsetDateTime::now_utc().unix_timestamp()
    }

    fn certificate_of(der: &[u8]) -> Certificate {
        Certificate::parse(&Bytes::copy_from_slice(der)).expect("a certificate")
    }

    fn authority(name: &str, days: i64) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        let key = KeyPair::generate().expect("a key");
        let certificate = Arc::new(certificate_of(params.self_signed(&key).expect("made").der()));
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Returns the certificate in PEM and in DER.
    fn issued(by: &Authority, key: &KeyPair, days: i64) -> (String, Bytes) {
        let mut params = CertificateParams::new(vec!["orderer.example.com".to_owned()]).expect("a name");
        params.not_before = OffsetDateTime::now_utc() - Duration::days(400);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        let made = params.signed_by(key, &by.issuer).expect("made");
        (made.pem(), Bytes::copy_from_slice(made.der()))
    }

    fn server(der: &Bytes) -> ProbedServer {
        ProbedServer { chain: vec![der.clone()], verdict: Ok(()), connected: Ok(()), clock: None }
    }

    /// Returns facts with three consenters that present valid certificates.
    fn good() -> (Facts, Authority, Vec<KeyPair>) {
        let by = authority("tlsca", 1000);
        let keys: Vec<_> = (0..3).map(|_| KeyPair::generate().expect("a key")).collect();
        let made: Vec<_> = keys.iter().map(|key| issued(&by, key, 300)).collect();
        let named = |(at, (pem, _)): (usize, &(String, Bytes))| Named {
            endpoint: format!("orderer{at}:7050"),
            server: Pinned::read(pem.as_bytes()),
            client: Pinned::read(pem.as_bytes()),
        };
        let consenters: Vec<_> = made.iter().enumerate().map(named).collect();
        let key = consenters[0].server.key.clone();
        let own = key.map(|key| Own { server_key: Some(key.clone()), client_key: key });
        let seen = made.iter().map(|(_, der)| ProbeResult::Server(server(der))).collect();
        let facts = Facts { consenters, seen, authorities: vec![Arc::clone(&by.certificate)], own, now: now() };
        (facts, by, keys)
    }

    /// Returns the texts of the findings of this level. Checks that each warning and each error has a fix.
    fn texts(facts: &Facts, level: Severity) -> Vec<String> {
        let found = judge(facts).into_iter().filter(|(_, finding)| finding.level == level);
        let text = |(_, Finding { found, fix, .. })| {
            assert_eq!(fix.is_some(), level != Severity::Fine, "{found}");
            found
        };
        found.map(text).collect()
    }

    fn is_said(facts: &Facts, level: Severity, part: &str) {
        let all = texts(facts, level);
        assert!(all.iter().any(|text| text.contains(part)), "{part}: {all:?}");
    }

    #[test]
    fn nothing_is_wrong_with_what_is_as_it_should_be() {
        let (facts, ..) = good();
        assert_eq!((texts(&facts, Severity::Error), texts(&facts, Severity::Warning)), (vec![], vec![]));
        let said = texts(&facts, Severity::Fine).join("\n");
        for part in ["shows the certificate in the configuration", "this node is consenter orderer0:7050", "3 of 3"] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn who_cannot_be_reached_costs_the_quorum_in_the_end() {
        let (mut facts, ..) = good();
        facts.seen[1] = ProbeResult::Unreachable("refused".to_owned());
        is_said(&facts, Severity::Error, "cannot be reached: refused");
        is_said(&facts, Severity::Warning, "2 of 3 consenters can be reached, and 2 make a quorum");
        facts.seen[2] = ProbeResult::NoTls("not TLS".to_owned());
        is_said(&facts, Severity::Error, "no TLS handshake: not TLS");
        is_said(&facts, Severity::Error, "1 of 3");
    }

    #[test]
    fn a_key_counts_and_not_the_certificate() {
        let (mut facts, by, keys) = good();
        let (_, renewed) = issued(&by, &keys[1], 200);
        facts.seen[1] = ProbeResult::Server(server(&renewed));
        assert!(texts(&facts, Severity::Error).is_empty());
        is_said(&facts, Severity::Fine, "with the same key");
        let (_, other) = issued(&by, &KeyPair::generate().expect("a key"), 200);
        facts.seen[1] = ProbeResult::Server(server(&other));
        is_said(&facts, Severity::Error, "another key than the one in the configuration");
        is_said(&facts, Severity::Warning, "2 of 3");
        let swapped = facts.seen[0].clone();
        facts.seen[1] = swapped;
        is_said(&facts, Severity::Error, "shows the certificate of consenter orderer0:7050");
    }

    #[test]
    fn what_expires_is_said_a_month_ahead() {
        let (mut facts, by, keys) = good();
        facts.consenters[0].client = Pinned::read(issued(&by, &keys[0], 20).0.as_bytes());
        is_said(&facts, Severity::Warning, "the client certificate in the configuration expires on 20");
        facts.consenters[0].server = Pinned::read(issued(&by, &keys[0], -1).0.as_bytes());
        is_said(&facts, Severity::Error, "the server certificate in the configuration has expired");
        facts.consenters[0].server = Pinned::read(b"nothing");
        is_said(&facts, Severity::Error, "cannot be used: invalid PEM block");

        let (mut facts, ..) = good();
        facts.now += 980 * DAY;
        is_said(&facts, Severity::Warning, "TLS authority CN=tlsca expires on");
        facts.now += 30 * DAY;
        is_said(&facts, Severity::Error, "TLS authority CN=tlsca has expired");
        facts.authorities.clear();
        is_said(&facts, Severity::Warning, "is unknown");
    }

    #[test]
    fn who_refuses_and_is_refused_is_said() {
        let (mut facts, ..) = good();
        if let ProbeResult::Server(server) = &mut facts.seen[2] {
            (server.verdict, server.connected) =
                (Err("unknown authority".to_owned()), Err("bad certificate".to_owned()));
        }
        is_said(&facts, Severity::Error, "its certificate is refused: unknown authority");
        is_said(&facts, Severity::Error, "ends the connection behind the handshake: bad certificate");
        facts.own = None;
        is_said(&facts, Severity::Warning, "no certificate was shown to it: bad certificate");

        let (mut facts, ..) = good();
        let (other, third) = (facts.consenters[1].server.key.clone(), facts.consenters[2].server.key.clone());
        facts.own = third.map(|client_key| Own { server_key: other, client_key });
        is_said(&facts, Severity::Error, "this node is consenter orderer1:7050, and shows another client certificate");
        facts.own = facts.own.map(|own| Own { server_key: None, ..own });
        is_said(&facts, Severity::Warning, "this node is none of the consenters");
    }

    #[test]
    fn clocks_are_compared_as_far_as_they_can_be_seen() {
        let said = |second: i64| {
            let found = clock(Some(ClockReading { second, asked_ms: 10_000_000, answered_ms: 10_000_200 }));
            (found.level, found.found)
        };
        assert_eq!(said(10_000), (Severity::Fine, "its clock differs from this one by less than 2 s".to_owned()));
        assert_eq!(said(10_010), (Severity::Warning, "its clock is 9 s ahead of this one".to_owned()));
        assert_eq!(said(9_980), (Severity::Warning, "its clock is 19 s behind this one".to_owned()));
        assert_eq!(said(8_000).0, Severity::Error);
        assert!(clock(None).found.contains("cannot be compared"));
    }
}
