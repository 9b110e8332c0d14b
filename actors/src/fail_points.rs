//! Faults on demand, for tests alone: this module is only compiled with the feature `fail-points`, which no release has.
//!
//! A point is each place where an actor begins an activity: its path in the tree and the task, such as
//! `registrar/mychannel/solo-chain:Order`. A whole program reads the variable `FAILPOINTS`, a list such as
//! `PATH:TASK=panic;PATH:TASK=stuck(7000)`; `TASK=2*panic` does it twice.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The failure that a fail point injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailAction {
    /// The handler panics.
    Panic,
    /// The handler, and with it its thread, sleeps for this duration.
    Stuck(Duration),
    /// The operation returns an error, where that is possible (a commit).
    Error,
    /// The same, with an error that says that the disk is full.
    DiskFull,
}

/// The points of one tree.
#[derive(Clone, Debug, Default)]
pub struct FailPoints(Arc<Mutex<BTreeMap<String, (FailAction, usize)>>>);

impl FailPoints {
    /// Reads the fail points of the variable `FAILPOINTS`.
    pub fn from_environment() -> Self {
        let points = Self::default();
        for part in std::env::var("FAILPOINTS").unwrap_or_default().split(';').filter(|part| !part.is_empty()) {
            let Some((point, written)) = part.split_once('=') else { continue };
            let (times, written) = match written.split_once('*') {
                Some((times, written)) => (times.parse().unwrap_or(0), written),
                None => (usize::MAX, written),
            };
            let millis = written.strip_prefix("stuck(").and_then(|rest| rest.strip_suffix(')')?.parse().ok());
            let fault = match (written, millis) {
                (_, Some(millis)) => FailAction::Stuck(Duration::from_millis(millis)),
                ("error", _) => FailAction::Error,
                ("disk-full", _) => FailAction::DiskFull,
                _ => FailAction::Panic,
            };
            points.set(point, fault, times);
        }
        points
    }

    /// Sets the failure that the next `times` hits of the point meet.
    pub fn set(&self, point: &str, fault: FailAction, times: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(point.to_owned(), (fault, times));
    }

    /// Returns the number of hits that the point will still fail.
    pub fn remaining(&self, point: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(point).map_or(0, |&(_, times)| times)
    }

    /// Meets the failure that is set for this point, if any, and counts it.
    ///
    /// # Errors
    /// The failure is [`FailAction::Error`] or [`FailAction::DiskFull`].
    ///
    /// # Panics
    /// The failure is [`FailAction::Panic`].
    pub fn trigger(&self, path: &str, task: &str) -> io::Result<()> {
        let fault = {
            let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if points.is_empty() {
                return Ok(());
            }
            match points.get_mut(&format!("{path}:{task}")) {
                Some((fault, times)) if *times > 0 => {
                    *times -= 1;
                    *fault
                }
                _ => return Ok(()),
            }
        };
        match fault {
            FailAction::Panic => panic!("fail point {path}:{task}"),
            FailAction::Stuck(pause) => std::thread::sleep(pause),
            FailAction::Error => return Err(io::Error::other(format!("fail point {path}:{task}"))),
            FailAction::DiskFull => return Err(io::ErrorKind::StorageFull.into()),
        }
        Ok(())
    }
}
