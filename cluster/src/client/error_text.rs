//! Describes, for the log, why a connection failed.

use std::error::Error;

use rustls::{AlertDescription, CertificateError};

const NO_CLOSE_NOTIFY: &str = "peer closed connection without sending TLS close_notify";

/// Describes an error and its causes; a TLS error alone if there is one among them, since the others say less.
pub(crate) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        if let Some(tls) = inside.and_then(|inside| inside.downcast_ref::<rustls::Error>()) {
            return of_tls(tls);
        }
        let text = without_link(error.to_string());
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// Removes the address of documentation that rustls appends to the error of a connection that ended without a TLS alert.
fn without_link(mut text: String) -> String {
    if let Some(at) = text.find(NO_CLOSE_NOTIFY) {
        let rest = &text[at + NO_CLOSE_NOTIFY.len()..];
        let link = rest
            .strip_prefix(": https://")
            .map_or(0, |link| ": https://".len() + link.find(char::is_whitespace).unwrap_or(link.len()));
        let begin = at + NO_CLOSE_NOTIFY.len();
        text.replace_range(begin..begin + link, "");
    }
    text
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(why)) => {
            format!("its certificate is refused: {}", why.0)
        }
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::UnsupportedCertificate),
        ) => format!("it refuses this node's client certificate ({alert:?})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_text_contains_no_address_of_documentation() {
        let linked =
            format!("{NO_CLOSE_NOTIFY}: https://docs.rs/rustls/latest/rustls/manual/index.html#unexpected-eof");
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, linked.clone());
        assert_eq!(describe(&error), NO_CLOSE_NOTIFY);
        let error = io::Error::other(format!("connection error: {linked} (stream 3)"));
        assert_eq!(describe(&error), format!("connection error: {NO_CLOSE_NOTIFY} (stream 3)"));
        assert_eq!(describe(&io::Error::other("it ended: https://example.com")), "it ended: https://example.com");
    }
}
