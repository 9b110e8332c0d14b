//! Describes, in one line for the user of a command, why an orderer cannot be reached.

use std::error::Error;
use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError};

/// Describes the innermost cause; `secured` says whether TLS was used.
pub(super) fn describe(error: &(dyn Error + 'static), secured: bool) -> String {
    innermost(error, |cause| known(cause, secured))
}

/// Describes the innermost cause of a broken connection.
pub(super) fn describe_disconnect(error: &(dyn Error + 'static)) -> String {
    innermost(error, |cause| {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return Some(tls(error));
        }
        let is_cut =
            |kind| matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        let error = cause.downcast_ref::<io::Error>().filter(|error| error.get_ref().is_none() && is_cut(error.kind()));
        error.map(|_| "the connection broke".to_owned())
    })
}

fn innermost(error: &(dyn Error + 'static), known: impl Fn(&(dyn Error + 'static)) -> Option<String>) -> String {
    let mut next = Some(error);
    let mut innermost = error;
    while let Some(cause) = next {
        innermost = cause;
        if let Some(words) = known(cause) {
            return words;
        }
        next = inside(cause).or_else(|| cause.source());
    }
    innermost.to_string()
}

/// Returns the inner error of an I/O error, which is not its `source`.
fn inside<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(inner)
}

fn known(error: &(dyn Error + 'static), secured: bool) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        let is_cut = error.is_incomplete_message() || error.is_parse();
        return (is_cut && !secured).then(|| "it does not answer in HTTP: it may want TLS".to_owned());
    }
    let error = error.downcast_ref::<io::Error>()?;
    match error.kind() {
        ErrorKind::ConnectionRefused => Some("connection refused: nothing listens there".to_owned()),
        ErrorKind::UnexpectedEof if secured && error.to_string() == "tls handshake eof" => Some(CLOSED.to_owned()),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset if secured && error.get_ref().is_none() => {
            Some(CLOSED.to_owned())
        }
        ErrorKind::TimedOut => Some("it does not answer".to_owned()),
        _ => None,
    }
}

const CLOSED: &str = "it closed the connection during the TLS handshake: it may not speak TLS";

fn tls(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    let words = match error {
        Tls::InvalidMessage(_) => "it does not speak TLS",
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate leads to none of the authorities that were given"
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is not valid for the name that was asked for",
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Tls::AlertReceived(AlertDescription::CertificateRequired) => "it requires a client certificate",
        Tls::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            "its certificate is not the one that was expected"
        }
        // Go sends this, too, before TLS 1.3, if a certificate is missing
        Tls::AlertReceived(AlertDescription::BadCertificate) => {
            "it does not trust the client certificate, or misses one"
        }
        Tls::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate,
        ) => "it does not trust the client certificate that it was shown",
        Tls::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion) => {
            "it offers no version or cipher suite of TLS that this client supports"
        }
        Tls::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it does not speak what was asked for: this may be another port"
        }
        other => return format!("TLS: {other}"),
    };
    format!("TLS: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_however_deep_it_is_and_said_once() {
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(describe(&refused, false), "connection refused: nothing listens there");
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::new(ErrorKind::InvalidData, unknown));
        assert_eq!(describe(&wrapped, true), "TLS: its certificate leads to none of the authorities that were given");
        let wanted = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(describe(&io::Error::other(wanted), true), "TLS: it requires a client certificate");
        assert_eq!(describe(&io::Error::other("something else"), true), "something else");
    }
}
