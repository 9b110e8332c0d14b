//! Hostile clients: connections from a thousand loopback addresses, and HTTP/2 frame by frame.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::Client;

/// Number of loopback addresses that hostile clients use.
const ADDRESSES: usize = 1000;
/// The connection preface of HTTP/2.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// HTTP/2 frame types.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// HTTP/2 frame flags.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Returns one of a thousand loopback addresses. No honest client of the tests uses one of them.
pub fn address(number: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x7f01_0001 + u32::try_from(number % ADDRESSES).unwrap()).into()
}

/// Opens a TCP connection from the address with this number. Returns `None` if it fails.
pub async fn connect(number: usize, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address(number), 0).into()).ok()?;
    socket.connect(to).await.ok()
}

/// Opens a TCP connection from the address with this number and writes these first bytes.
pub async fn connect_with(number: usize, to: SocketAddr, first: &[u8]) -> Option<TcpStream> {
    let mut socket = connect(number, to).await?;
    // the node may close the oldest connection to make room for the next
    let _ = socket.write_all(first).await;
    Some(socket)
}

/// Connects a gRPC client from the address with this number. The client reconnects when its connection is lost.
pub async fn client(number: usize, to: SocketAddr) -> Option<Client> {
    connected(number, Endpoint::from_shared(format!("http://{to}")).unwrap()).await
}

/// Connects a gRPC client over TLS from the address with this number.
pub async fn client_by_tls(number: usize, to: SocketAddr, tls: ClientTlsConfig) -> Option<Client> {
    connected(number, Endpoint::from_shared(format!("https://{to}")).unwrap().tls_config(tls).unwrap()).await
}

async fn connected(number: usize, endpoint: Endpoint) -> Option<Client> {
    let endpoint = endpoint.local_address(Some(address(number)));
    let connected = tokio::time::timeout(Duration::from_secs(20), endpoint.connect()).await;
    connected.ok()?.ok().map(Client::over)
}

/// Returns the first 60,000 bytes of a ClientHello that is a little longer, in TLS records of the maximum size.
pub fn half_hello() -> Vec<u8> {
    let message = [&[1, 0, 0xff, 0xf0][..], &vec![7; 60_000]].concat();
    let records = message.chunks(1 << 14).map(|part| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, part].concat()
    });
    records.collect::<Vec<_>>().concat()
}

/// Reads and discards bytes until the connection ends.
pub async fn read_out(socket: &mut TcpStream) {
    let mut bytes = vec![0; 16 << 10];
    while matches!(socket.read(&mut bytes).await, Ok(1..)) {}
}

/// Returns an HTTP/2 frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns a SETTINGS frame with these settings.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload = settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<u8>>())
}

/// Returns the HPACK header block of a request.
pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let all = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
    for (name, value) in all.iter().chain(more) {
        // a literal header field without indexing, with a new name
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Returns the HPACK header block of a call of the orderer's gRPC service.
pub fn call(method: &str) -> Vec<u8> {
    let path = format!("/orderer.AtomicBroadcast/{method}");
    request("POST", &path, &[("content-type", "application/grpc"), ("te", "trailers")])
}

/// Appends an integer in the encoding of HPACK with a prefix of seven bits: the rest follows in bytes of seven bits
/// each.
fn integer(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(0x7f) else { return block.push(u8::try_from(length).unwrap()) };
    block.push(0x7f);
    while rest >= 0x80 {
        block.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    block.push(u8::try_from(rest).unwrap());
}
