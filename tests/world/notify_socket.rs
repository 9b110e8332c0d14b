//! The socket of a service manager, which receives the notifications of a node (`sd_notify`).

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use super::TEST_TIMEOUT;

/// Receives notifications on a thread, so that a node that sends one never waits.
pub struct NotifySocket(Receiver<String>);

impl NotifySocket {
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

    /// Waits for the next notification that contains this line, and returns the notification.
    pub fn wait_for(&self, line: &str) -> String {
        loop {
            let message = self.0.recv_timeout(TEST_TIMEOUT).unwrap_or_else(|e| panic!("never told {line}: {e}"));
            if message.lines().any(|l| l == line) {
                return message;
            }
        }
    }

    /// Discards all notifications received so far.
    pub fn forget(&self) {
        while self.0.try_recv().is_ok() {}
    }
}
