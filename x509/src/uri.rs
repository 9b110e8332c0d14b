//! URIs in alternative names: what Go's `net/url` and `crypto/x509` take.
