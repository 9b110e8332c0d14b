//! Describes failed handshakes of clients, for the log.

use std::io::{self, ErrorKind};

use rustls::{AlertDescription, CertificateError};

/// The first byte of a TLS handshake. No HTTP message begins with it.
const HANDSHAKE_RECORD: u8 = 22;

/// Returns whether a client whose first byte is this one speaks TLS.
pub fn wants_tls(first: u8) -> bool {
    first == HANDSHAKE_RECORD
}

/// Describes why the handshake failed.
pub fn why_it_failed(error: &io::Error) -> String {
    if let Some(error) = error.get_ref().and_then(|inside| inside.downcast_ref::<rustls::Error>()) {
        return tls(error);
    }
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "the client closed the connection during the handshake".to_owned()
        }
        _ => error.to_string(),
    }
}

fn tls(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidMessage(_) => "the client does not speak TLS, and this port does".to_owned(),
        Tls::NoCertificatesPresented => "the client showed no certificate, and has to".to_owned(),
        Tls::InvalidCertificate(CertificateError::Other(why)) => format!("the client's certificate: {}", why.0),
        Tls::InvalidCertificate(CertificateError::BadSignature) => {
            "the client did not prove that it has its certificate's key".to_owned()
        }
        // the end is Go's text, which operators search for; a Go client sends one alert for all these causes
        Tls::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate,
        ) => "the client does not trust this node's certificate (remote error: tls: bad certificate)".to_owned(),
        Tls::PeerIncompatible(_) => {
            format!("the client offers no version or cipher suite of TLS that this node supports ({error})")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_causes_are_in_words() {
        let said = |error: rustls::Error| why_it_failed(&io::Error::new(ErrorKind::InvalidData, error));
        assert!(
            said(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)).contains("not speak TLS")
        );
        assert!(said(rustls::Error::NoCertificatesPresented).contains("no certificate"));
        let unknown = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
        let text = said(unknown);
        assert!(text.starts_with("the client does not trust this node's certificate"), "{text}");
        assert!(text.contains("tls: bad certificate"), "{text}");
        assert!(why_it_failed(&ErrorKind::UnexpectedEof.into()).contains("closed the connection"));
        assert!(wants_tls(22) && !wants_tls(b'P') && !wants_tls(b'G'));
    }
}
