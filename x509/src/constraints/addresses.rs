//! Lists of ranges of IP addresses (`ipConstraints`).

use std::net::{IpAddr, Ipv6Addr};

/// A range in the form of Go's `net.IPNet`: the address with its host bits, and a mask, both of 4 or of 16
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    address: Vec<u8>,
    mask: Vec<u8>,
}

impl Range {
    fn new(address: IpAddr, mask_bits: u8) -> Self {
        let address = bytes(address);
        let mask = (0..address.len())
            .map(|index| match usize::from(mask_bits).saturating_sub(index * 8) {
                0 => 0,
                bits @ 1..8 => !(0xff_u8 >> bits),
                _ => 0xff,
            })
            .collect();
        Self { address, mask }
    }

    /// Implements `IPNet.Contains`: IPv4 addresses in IPv6 form count as IPv4, on both sides.
    fn contains(&self, address: &[u8]) -> bool {
        let network = short(&self.address);
        let mask = &self.mask[self.mask.len() - network.len()..];
        let address = short(address);
        network.len() == address.len()
            && network.iter().zip(mask).zip(address).all(|((network, mask), byte)| network & mask == byte & mask)
    }

    /// Implements `ipNetworkSubset`.
    fn contains_range(&self, other: &Self) -> bool {
        let last: Vec<u8> = other.address.iter().zip(&other.mask).map(|(byte, mask)| byte | !mask).collect();
        self.contains(&other.address) && self.contains(&last)
    }
}

/// Ranges of one list, separate for IPv4 and IPv6, sorted, without those that the preceding range contains.
#[derive(Debug)]
pub(super) struct Addresses {
    v4: Vec<Range>,
    v6: Vec<Range>,
}

impl Addresses {
    /// Builds the list; `None` if it is empty and so does not constrain.
    pub(super) fn new(list: &[(IpAddr, u8)]) -> Option<Self> {
        if list.is_empty() {
            return None;
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (address, mask_bits) in list {
            let ranges = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            ranges.push(Range::new(*address, *mask_bits));
        }
        for ranges in [&mut v4, &mut v6] {
            ranges.sort();
            ranges.dedup_by(|range, before| before.contains_range(range));
        }
        Some(Self { v4, v6 })
    }

    /// Whether Go's search finds a range that contains this address.
    pub(super) fn contain(&self, address: &IpAddr) -> bool {
        let ranges = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let address = bytes(*address);
        let place = ranges.partition_point(|range| range.address < address);
        if ranges.get(place).is_some_and(|range| range.address == address) {
            return true;
        }
        ranges.get(place.saturating_sub(1)).is_some_and(|range| range.contains(&address))
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Returns the 4 bytes of an IPv4 address in either form (`IP.To4`); others unchanged.
fn short(address: &[u8]) -> &[u8] {
    match <[u8; 16]>::try_from(address) {
        Ok(octets) if Ipv6Addr::from(octets).to_ipv4_mapped().is_some() => &address[12..],
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> (IpAddr, u8) {
        let (address, bits) = text.split_once('/').unwrap();
        (address.parse().unwrap(), bits.parse().unwrap())
    }

    fn contains(ranges: &[&str], address: &str) -> bool {
        let ranges: Vec<_> = ranges.iter().map(|text| range(text)).collect();
        Addresses::new(&ranges).unwrap().contain(&address.parse().unwrap())
    }

    #[test]
    fn addresses_are_in_ranges_by_their_masked_bits() {
        assert!(contains(&["10.0.0.0/8"], "10.1.2.3"));
        assert!(!contains(&["10.0.0.0/8"], "11.1.2.3"));
        assert!(contains(&["10.0.0.0/8", "12.0.0.0/12", "10.128.0.0/9"], "12.15.0.1"));
        assert!(contains(&["0.0.0.0/0"], "255.255.255.255"));
        assert!(contains(&["192.168.0.129/25"], "192.168.0.200"));
        assert!(contains(&["2001:db8::/33"], "2001:db8:7fff::1"));
        assert!(!contains(&["2001:db8::/33"], "2001:db8:8000::1"));
        assert!(!contains(&["2001:db8::/33"], "1.2.3.4"));
    }

    /// The neighbor found by the search starts after the address of the range that contains the name.
    #[test]
    fn host_bits_hide_ranges_as_in_go() {
        assert!(contains(&["10.0.0.200/24"], "10.0.0.1"));
        assert!(!contains(&["9.0.0.0/8", "10.0.0.200/24"], "10.0.0.1"));
        assert!(contains(&["9.0.0.0/8", "10.0.0.200/24"], "10.0.0.201"));
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4_for_masks() {
        assert!(!contains(&["::/0"], "::ffff:1.2.3.4"));
        assert!(contains(&["::ffff:1.2.3.0/120"], "::ffff:1.2.3.4"));
        assert!(contains(&["::ffff:1.2.3.0/40"], "::ffff:9.9.9.9"));
        assert!(!contains(&["::ffff:1.2.3.0/0"], "::1"));
    }
}
