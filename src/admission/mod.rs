//! Admission control: bounds the connections, the streams and the memory that clients make the node hold.
//!
//! ```text
//!  accept ──► ConnectionTable ──► handshake ──► Peer ──► socket read ──► HTTP/2 ──► message ──► answer
//!             a place, or not     own deadline           only while the   counted    counted    released
//!                                                        budget has room
//! ```
//!
//! There is one [`Budget`] for the whole node. Bytes are charged where they arrive, at the socket, to the connection,
//! to the client's address and to the node; they stay charged while HTTP/2 buffers them, while they are part of a
//! message, and until the message is answered. The one place that waits for capacity is the read of the socket, so
//! that clients feel the limit as TCP back-pressure. Outgoing data has a budget of its own, [`Outgoing`], charged
//! from the read of a block until the socket has accepted it.

mod budget;
mod eviction;
mod inbound;
mod large;
mod outgoing;
mod peer;
mod rejections;
mod shortage;
mod streams;
mod table;
mod watch;

pub use budget::{Account, Budget, Charge, Shares};
pub use inbound::{Inbound, Progress};
pub use large::{LargeMessages, Permit, QueueFull, Waiting};
pub use outgoing::{Held, Outgoing};
pub use peer::{Peer, Phase, StreamHold, Turn};
pub use rejections::{RejectionCounters, RejectionReason};
pub use streams::{OpenStream, Streams};
pub use table::{ConnectionSnapshot, ConnectionTable, Kind, Place};
pub use watch::{Admission, Connections};

use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::time::Instant;

/// Returns the key under which connections share the limits of one address: of IPv6 the network of 64 bits, because
/// one client is usually given all of it; and of IPv4 the address, however it is written.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Returns the milliseconds since the first call, plus one.
pub(crate) fn now_ms() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    // 0 means never
    u64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_site() {
        let of = |text: &str| site(text.parse().expect("an address")).to_string();
        assert_eq!(of("10.1.2.3"), "10.1.2.3");
        assert_eq!(of("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(
            (of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9")),
            ("2001:db8:1:2::".into(), "2001:db8:1:2::".into())
        );
        assert_ne!(of("2001:db8:1:3::9"), of("2001:db8:1:2::9"));
    }
}
