//! A client of any orderer, used by the sample commands and the benchmark.
//!
//! Like the node, it keeps what is signed or hashed as the original bytes: an envelope is sent as it is in its file,
//! and a block is written as the orderer sent it.

mod connection;
mod endpoint;
mod error;
mod greeting;
mod messages;
mod sending;
mod summary;
mod tls;
mod trouble;
mod wire;

pub use connection::{ClientTls, Target};
pub use endpoint::{Answer, Connection, Content, Endpoint};
pub use error::ClientError;
pub use messages::{Position, config_update, seek, seek_info, signed_again, transaction};
pub use sending::{Item, send_all};
pub use summary::BlockSummary;
pub use tls::{Trust, client_config};
pub use wire::{Answers, DeliverAnswer, Delivered, Orderer};
