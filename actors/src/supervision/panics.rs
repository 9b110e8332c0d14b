//! The last panic's message, for the guard that reports it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};

/// Panics of the process so far.
static PANICS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Text and place of the newest panic on this thread.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook that logs a panic as one line with its place, instead of printing it with a stack trace, and keeps it
/// for [`ExitReason::Panicked`](super::ExitReason::Panicked). Call it once, before any actor starts.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let text = describe(info);
        tracing::error!(target: "orderer.supervision", "panic: {text}");
        LAST_PANIC.with(|last| *last.borrow_mut() = Some(text));
    }));
}

/// Returns the number of panics in this process since [`install_panic_hook`].
pub fn panic_count() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(String::new, |l| format!(" (at {}:{})", l.file(), l.line()));
    format!("{}{place}", panic_message(info.payload()))
}

/// The text a panic was raised with.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without a text".to_owned())
}

/// The newest panic of this thread, once.
pub(super) fn take_last_panic() -> Option<String> {
    LAST_PANIC.with(|last| last.borrow_mut().take())
}
