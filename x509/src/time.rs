//! Times of certificates.
