//! What a service manager hears.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use super::PATIENCE;

/// Hears all the time, so that who tells it something never waits.
pub struct Ear(Receiver<String>);

impl Ear {
    pub fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let (hears, heard) = channel();
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(length) = socket.recv(&mut message) {
                if hears.send(String::from_utf8(message[..length].to_vec()).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self(heard)
    }

    /// The next message with this line.
    pub fn hears(&self, line: &str) -> String {
        loop {
            let message = self.0.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("never told {line}: {e}"));
            if message.lines().any(|l| l == line) {
                return message;
            }
        }
    }

    /// What was heard so far counts no more.
    pub fn forget(&self) {
        while self.0.try_recv().is_ok() {}
    }
}
