//! Configuration of an ordering node: `orderer.yaml` and the variables that override it, the directory of the local
//! MSP, the files of TLS listeners, and the log specification. Named after Fabric's package of the same purpose.
//!
//! Values are read and checked here; nothing is started.

pub mod environment;
pub mod local_msp;
pub mod log_spec;
pub mod settings;
pub mod tls_files;
pub mod yaml;
