//! A client of any orderer, used by the sample commands and the benchmark.
//!
//! Like the node, it keeps what is signed or hashed as the original bytes: an envelope is sent as it is in its file,
//! and a block is written as the orderer sent it.

mod broadcast;
mod connection;
mod endpoint;
mod error;
mod error_text;
mod http2_preface;
mod messages;
mod summary;
mod tls;
mod wire;

pub use broadcast::{OutgoingEnvelope, broadcast_all};
pub use connection::{ClientTls, OrdererTarget};
pub use endpoint::{Connection, HttpEndpoint, HttpResponse, HttpSession, RequestBody};
pub use error::ClientError;
pub use messages::{BlockPosition, config_update, re_sign, seek, seek_info, transaction};
pub use summary::BlockSummary;
pub use tls::{ServerTrust, client_config};
pub use wire::{DeliverItem, OrdererClient, RawDeliverResponse, ResponseStream};
