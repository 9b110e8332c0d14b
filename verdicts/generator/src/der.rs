//! Valid and invalid DER.

use crate::rng::Rng;

/// Tags of universal types.
pub mod tag {
    #![allow(missing_docs, reason = "the names say it")]
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OID: u8 = 0x06;
    pub const ENUMERATED: u8 = 0x0a;
    pub const UTF8: u8 = 0x0c;
    pub const NUMERIC: u8 = 0x12;
    pub const PRINTABLE: u8 = 0x13;
    pub const T61: u8 = 0x14;
    pub const IA5: u8 = 0x16;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const VISIBLE: u8 = 0x1a;
    pub const GENERAL: u8 = 0x1b;
    pub const UNIVERSAL: u8 = 0x1c;
    pub const BMP: u8 = 0x1e;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
}

/// The encoding of a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Minimal, as DER requires.
    Minimal,
    /// With this many octets after the first, which may be more than needed.
    Long(u8),
    /// Indefinite, with end-of-contents octets.
    Indefinite,
}

/// Encodes an element with this encoding of its length.
pub fn element(tag: u8, content: &[u8], length: Length) -> Vec<u8> {
    let mut out = vec![tag];
    let octets = content.len().to_be_bytes();
    let needed = octets.iter().skip_while(|b| **b == 0).count().max(1);
    match length {
        Length::Minimal if content.len() < 128 => out.push(content.len() as u8),
        Length::Minimal => {
            out.push(0x80 | needed as u8);
            out.extend(&octets[octets.len() - needed..]);
        }
        Length::Long(count) => {
            let count = usize::from(count).clamp(needed, 8);
            out.push(0x80 | count as u8);
            out.extend(&octets[octets.len() - count..]);
        }
        Length::Indefinite => out.push(0x80),
    }
    out.extend(content);
    if length == Length::Indefinite {
        out.extend([0, 0]);
    }
    out
}

/// Encodes an element.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    element(tag, content, Length::Minimal)
}

/// Encodes a SEQUENCE.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(tag::SEQUENCE, &parts.concat())
}

/// Encodes a SET, in the given order.
pub fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(tag::SET, &parts.concat())
}

/// Encodes an OBJECT IDENTIFIER.
pub fn oid(arcs: &[u64]) -> Vec<u8> {
    let mut content = Vec::new();
    let first = arcs.first().copied().unwrap_or_default() * 40 + arcs.get(1).copied().unwrap_or_default();
    for arc in std::iter::once(first).chain(arcs.iter().skip(2).copied()) {
        let mut septets = vec![(arc & 0x7f) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            septets.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        content.extend(septets.iter().rev());
    }
    tlv(tag::OID, &content)
}

/// Encodes a non-negative INTEGER from its big-endian octets.
pub fn unsigned(octets: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = octets.iter().copied().skip_while(|b| *b == 0).collect();
    if content.first().is_none_or(|b| b & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(tag::INTEGER, &content)
}

/// Encodes a small INTEGER.
pub fn integer(value: u64) -> Vec<u8> {
    unsigned(&value.to_be_bytes())
}

/// Encodes a BIT STRING with this many unused bits.
pub fn bits(unused: u8, octets: &[u8]) -> Vec<u8> {
    tlv(tag::BIT_STRING, &[&[unused], octets].concat())
}

/// Encodes an OCTET STRING.
pub fn octets(octets: &[u8]) -> Vec<u8> {
    tlv(tag::OCTET_STRING, octets)
}

/// Encodes a BOOLEAN.
pub fn boolean(value: bool) -> Vec<u8> {
    tlv(tag::BOOLEAN, &[if value { 0xff } else { 0 }])
}

/// Encodes NULL.
pub fn null() -> Vec<u8> {
    vec![tag::NULL, 0]
}

/// Encodes a constructed element of the context class.
pub fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

/// Encodes a primitive element of the context class.
pub fn implicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x80 | number, content)
}

/// An element, parsed recursively as far as possible.
#[derive(Clone, Debug)]
pub struct Node {
    tag: u8,
    length: Length,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Octets(Vec<u8>),
    /// The bytes before the elements (the unused bits of a bit string), and the elements.
    Elements(Vec<u8>, Vec<Node>),
}

impl Node {
    /// Parses elements recursively. Returns `None` if the bytes are not a sequence of elements.
    pub fn parse_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut nodes = Vec::new();
        while !bytes.is_empty() {
            let (node, rest) = Self::parse(bytes)?;
            nodes.push(node);
            bytes = rest;
        }
        Some(nodes)
    }

    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |length, b| length << 8 | usize::from(*b)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let within = |content: &[u8]| Self::parse_all(content).filter(|nodes| !nodes.is_empty());
        let content = match (tag, content) {
            (_, content) if tag & 0x20 != 0 => match Self::parse_all(content) {
                Some(nodes) => Content::Elements(Vec::new(), nodes),
                None => Content::Octets(content.to_vec()),
            },
            (tag::OCTET_STRING, content) => match within(content) {
                Some(nodes) => Content::Elements(Vec::new(), nodes),
                None => Content::Octets(content.to_vec()),
            },
            (tag::BIT_STRING, [0, content @ ..]) => match within(content) {
                Some(nodes) => Content::Elements(vec![0], nodes),
                None => Content::Octets([&[0], content].concat()),
            },
            (_, content) => Content::Octets(content.to_vec()),
        };
        Some((Self { tag, length: Length::Minimal, content }, rest))
    }

    /// Encodes the element.
    pub fn write(&self) -> Vec<u8> {
        let content = match &self.content {
            Content::Octets(octets) => octets.clone(),
            Content::Elements(before, nodes) => {
                let mut content = before.clone();
                nodes.iter().for_each(|node| content.extend(node.write()));
                content
            }
        };
        element(self.tag, &content, self.length)
    }

    fn count(&self) -> usize {
        match &self.content {
            Content::Octets(_) => 1,
            Content::Elements(_, nodes) => 1 + nodes.iter().map(Self::count).sum::<usize>(),
        }
    }

    fn nth(&self, mut n: usize) -> Option<&Self> {
        if n == 0 {
            return Some(self);
        }
        n -= 1;
        if let Content::Elements(_, nodes) = &self.content {
            for node in nodes {
                let count = node.count();
                if n < count {
                    return node.nth(n);
                }
                n -= count;
            }
        }
        None
    }
}

/// Changes one random element among `nodes`. Returns a description of the change. `donor` is another document whose
/// elements may be inserted.
pub fn mutate(rng: &mut Rng, nodes: &mut Vec<Node>, donor: Option<&Node>) -> String {
    let total: usize = nodes.iter().map(Node::count).sum();
    let at = rng.below(total);
    let spliced = donor.and_then(|donor| donor.nth(rng.below(donor.count()))).cloned();
    let spliced = spliced.or_else(|| {
        let from = rng.below(total);
        let mut n = from;
        nodes.iter().find_map(|node| {
            let count = node.count();
            let found = if n < count { node.nth(n).cloned() } else { None };
            n = n.wrapping_sub(count);
            found
        })
    });
    let mut left = at;
    let what = mutate_at(rng, nodes, &mut left, spliced.as_ref()).unwrap_or("nothing");
    format!("element {at}: {what}")
}

fn mutate_at(rng: &mut Rng, nodes: &mut Vec<Node>, left: &mut usize, spliced: Option<&Node>) -> Option<&'static str> {
    let mut index = 0;
    while index < nodes.len() {
        if *left == 0 {
            return Some(mutate_here(rng, nodes, index, spliced));
        }
        *left -= 1;
        if let Content::Elements(_, below) = &mut nodes[index].content
            && let Some(what) = mutate_at(rng, below, left, spliced)
        {
            return Some(what);
        }
        index += 1;
    }
    None
}

fn mutate_here(rng: &mut Rng, nodes: &mut Vec<Node>, index: usize, spliced: Option<&Node>) -> &'static str {
    const TAGS: [u8; 24] = [
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x0c, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1a, 0x1b, 0x1c, 0x1e,
        0x30, 0x31, 0x80, 0x82, 0xa0, 0xa3,
    ];
    let tag = if rng.percent(80) { *rng.pick(&TAGS) } else { rng.draw() as u8 };
    let other = rng.below(nodes.len());
    let junk = {
        let n = 1 + rng.below(4);
        rng.bytes(n)
    };
    let node = &mut nodes[index];
    match rng.below(14) {
        0 => {
            nodes.remove(index);
            "left out"
        }
        1 => {
            let again = nodes[index].clone();
            nodes.insert(index, again);
            "there twice"
        }
        2 => {
            nodes.swap(index, other);
            "swapped with a neighbour"
        }
        3 => {
            node.tag = tag;
            "another tag"
        }
        4 => {
            node.tag ^= 1 << rng.below(8);
            "a bit of the tag"
        }
        5 => {
            node.length = *rng.pick(&[Length::Long(1), Length::Long(2), Length::Long(4), Length::Long(5)]);
            "length not minimal"
        }
        6 if rng.percent(30) => {
            node.length = Length::Indefinite;
            "length indefinite"
        }
        7 => {
            if let Some(spliced) = spliced {
                *node = spliced.clone();
            }
            "another element in its place"
        }
        8 => {
            if let Some(spliced) = spliced {
                nodes.insert(index, spliced.clone());
            }
            "another element before it"
        }
        9 => {
            node.content = Content::Octets(Vec::new());
            "empty"
        }
        _ => {
            let mut octets = match &node.content {
                Content::Octets(octets) => octets.clone(),
                Content::Elements(before, below) => {
                    [before.clone(), below.iter().flat_map(Node::write).collect()].concat()
                }
            };
            let what = mutate_octets(rng, &mut octets, &junk);
            node.content = Content::Octets(octets);
            what
        }
    }
}

/// Changes octets at random. Returns a description of the change.
pub fn mutate_octets(rng: &mut Rng, octets: &mut Vec<u8>, junk: &[u8]) -> &'static str {
    let at = rng.below(octets.len());
    match rng.below(8) {
        0 | 1 if !octets.is_empty() => {
            octets[at] ^= 1 << rng.below(8);
            "a bit flipped"
        }
        2 if !octets.is_empty() => {
            octets[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x20, 0x40]);
            "an octet set"
        }
        3 => {
            octets.truncate(at);
            "cut off"
        }
        4 => {
            octets.extend(junk);
            "octets behind it"
        }
        5 => {
            octets.insert(0, *rng.pick(&[0, 0xff, 0x80, 1]));
            "an octet before it"
        }
        6 if !octets.is_empty() => {
            octets.remove(at);
            "an octet left out"
        }
        _ => {
            octets.splice(at..at, junk.iter().copied());
            "octets within it"
        }
    }
}
