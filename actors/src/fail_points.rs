//! Faults on demand, for tests alone: this module is only compiled with the feature `fail-points`, which no release has.
//!
//! A point is each place where an actor begins an activity: its path in the tree and the task, such as
//! `registrar/mychannel/solo-chain:Order`. `PATH:TASK@thread` is where another thread begins that task for the actor. A
//! whole program reads the variable `FAILPOINTS`, a list such as `PATH:TASK=panic;PATH:TASK=stuck(7000)`; `TASK=2*panic`
//! does it twice. A handler at `held(FILE)` waits until the file exists, so that a test decides when it goes on.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Interval at which a handler that is held looks for its file.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The failure that a fail point injects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailAction {
    /// The handler panics.
    Panic,
    /// The handler, and with it its thread, sleeps for this duration.
    Stuck(Duration),
    /// The handler, or the other thread, waits until [`FailPoints::release`].
    Held,
    /// The handler, and with it its thread, waits until this file exists.
    HeldUntil(PathBuf),
    /// The operation returns an error, where that is possible (a commit).
    Error,
    /// The same, with an error that says that the disk is full.
    DiskFull,
}

/// The points of one tree.
#[derive(Clone, Debug, Default)]
pub struct FailPoints(Arc<Points>);

#[derive(Debug, Default)]
struct Points {
    set: Mutex<BTreeMap<String, (FailAction, usize)>>,
    released: Condvar,
}

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
            let argument = |name: &str| written.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
            let millis = argument("stuck").and_then(|millis| millis.parse().ok());
            let fault = match (written, millis, argument("held")) {
                (_, Some(millis), _) => FailAction::Stuck(Duration::from_millis(millis)),
                (_, _, Some(file)) => FailAction::HeldUntil(file.into()),
                ("error", ..) => FailAction::Error,
                ("disk-full", ..) => FailAction::DiskFull,
                _ => FailAction::Panic,
            };
            points.set(point, fault, times);
        }
        points
    }

    /// Sets the failure that the next `times` hits of the point meet.
    pub fn set(&self, point: &str, fault: FailAction, times: usize) {
        self.lock().insert(point.to_owned(), (fault, times));
    }

    /// Returns the number of hits that the point will still fail.
    pub fn remaining(&self, point: &str) -> usize {
        self.lock().get(point).map_or(0, |&(_, times)| times)
    }

    /// Removes the point, and lets go on those that are held there.
    pub fn release(&self, point: &str) {
        self.lock().remove(point);
        self.0.released.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (FailAction, usize)>> {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner)
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
            let mut points = self.lock();
            if points.is_empty() {
                return Ok(());
            }
            match points.get_mut(&format!("{path}:{task}")) {
                Some((fault, times)) if *times > 0 => {
                    *times -= 1;
                    fault.clone()
                }
                _ => return Ok(()),
            }
        };
        match fault {
            FailAction::Panic => panic!("fail point {path}:{task}"),
            FailAction::Stuck(pause) => std::thread::sleep(pause),
            FailAction::Held => {
                let point = format!("{path}:{task}");
                let is_held = |points: &mut BTreeMap<_, _>| points.contains_key(&point);
                drop(self.0.released.wait_while(self.lock(), is_held));
            }
            FailAction::HeldUntil(file) => {
                while !file.exists() {
                    std::thread::sleep(LOOK_EVERY);
                }
            }
            FailAction::Error => return Err(io::Error::other(format!("fail point {path}:{task}"))),
            FailAction::DiskFull => return Err(io::ErrorKind::StorageFull.into()),
        }
        Ok(())
    }
}
