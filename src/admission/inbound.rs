//! Reads along with a connection to learn whether the client speaks HTTP yet, and how many bytes of HTTP/2 DATA have
//! arrived. HTTP/2 buffers those until a stream consumes them, so they are counted here, where they arrive.

/// The preface with which each HTTP/2 connection begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const PADDED: u8 = 8;

/// Tracks the protocol of one connection's incoming bytes.
#[derive(Clone, Debug)]
pub struct Inbound(State);

#[derive(Clone, Debug)]
enum State {
    /// Number of bytes of the preface that have arrived.
    Preface(usize),
    /// Not HTTP/2: the server's own time limits apply, and all bytes count until the request is answered.
    Other,
    Frames(Frames),
}

#[derive(Clone, Debug, Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    have: usize,
    /// Remaining bytes of the current frame's payload.
    left: usize,
    /// Whether the first byte of the payload, still to come, is the length of the padding.
    padding_follows: bool,
    /// Padding bytes at the end of the payload, which no stream receives.
    padding: usize,
    is_data: bool,
    any_frame: bool,
}

/// The content of a piece of input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of DATA that a stream will consume; of HTTP/1 all bytes.
    pub data: usize,
    /// Whether the protocol is known: a whole preface with its first frame has come, or something other than HTTP/2.
    pub speaks: bool,
}

impl Default for Inbound {
    fn default() -> Self {
        Self(State::Preface(0))
    }
}

impl Inbound {
    /// Parses the bytes that were read.
    pub fn read(&mut self, mut bytes: &[u8]) -> Progress {
        let mut progress = Progress::default();
        loop {
            match &mut self.0 {
                State::Other => {
                    progress = Progress { data: bytes.len(), speaks: true };
                    return progress;
                }
                State::Preface(have) => {
                    let part = bytes.len().min(PREFACE.len() - *have);
                    if bytes[..part] != PREFACE[*have..*have + part] {
                        self.0 = State::Other;
                        continue;
                    }
                    *have += part;
                    bytes = &bytes[part..];
                    if *have < PREFACE.len() {
                        return progress;
                    }
                    self.0 = State::Frames(Frames::default());
                }
                State::Frames(frames) => {
                    progress.data = frames.read(bytes);
                    progress.speaks = frames.any_frame;
                    return progress;
                }
            }
        }
    }
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) -> usize {
        let mut data = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                if self.padding_follows {
                    self.padding_follows = false;
                    self.padding = usize::from(bytes[0]).min(self.left - 1);
                    self.left -= 1;
                    bytes = &bytes[1..];
                    continue;
                }
                if self.is_data {
                    let content = self.left.saturating_sub(self.padding);
                    data += part.min(content);
                }
                self.left -= part;
                bytes = &bytes[part..];
                continue;
            }
            let part = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == HEADER_BYTES {
                self.have = 0;
                self.any_frame = true;
                let [a, b, c, kind, flags, ..] = self.header;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.is_data = kind == DATA;
                self.padding_follows = self.is_data && flags & PADDED != 0 && self.left > 0;
                self.padding = 0;
            }
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn the_first_byte_of_a_preface_is_nothing_yet() {
        let mut inbound = Inbound::default();
        assert!(!inbound.read(b"P").speaks);
        assert!(!inbound.read(&PREFACE[1..]).speaks);
        assert!(inbound.read(&frame(4, 0, &[])).speaks);
        assert!(Inbound::default().read(b"GET / HTTP/1.1\r\n").speaks);
        assert!(Inbound::default().read(b"POST").speaks);
        assert!(Inbound::default().read(&[22, 3, 1]).speaks, "TLS on a plaintext port");
    }

    #[test]
    fn padding_is_not_for_the_stream() {
        let mut inbound = Inbound::default();
        inbound.read(PREFACE);
        assert_eq!(inbound.read(&frame(DATA, PADDED, &[3, 1, 1, 0, 0, 0])).data, 2);
        assert_eq!(inbound.read(&frame(DATA, PADDED, &[200, 1, 1])).data, 0);
        assert_eq!(inbound.read(&frame(DATA, PADDED, &[])).data, 0);
    }

    proptest! {
        #[test]
        fn data_is_counted_however_it_is_cut(
            frames in prop::collection::vec((0u8..10, prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            cuts in prop::collection::vec(1usize..60, 0..60),
        ) {
            let mut wire = PREFACE.to_vec();
            let expected: usize = frames.iter().filter(|(kind, _)| *kind == DATA).map(|(_, payload)| payload.len()).sum();
            for (kind, payload) in &frames {
                wire.extend(frame(*kind, 0, payload));
            }
            let (mut inbound, mut rest, mut data) = (Inbound::default(), &wire[..], 0);
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                data += inbound.read(part).data;
                rest = after;
            }
            data += inbound.read(rest).data;
            prop_assert_eq!(data, expected);
        }

        #[test]
        fn anything_may_come(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut inbound = Inbound::default();
            inbound.read(PREFACE);
            prop_assert!(inbound.read(&bytes).data <= bytes.len());
        }
    }
}
