//! DER, as strict as Go's cryptobyte reader.
