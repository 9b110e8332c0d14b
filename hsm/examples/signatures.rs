//! Measures how many signatures a second a token makes through the pool, how long one takes, and the CPU time that it costs in this
//! process. As many sessions sign at the same time as there are callers, and the pool has ten.
//!
//! ```sh
//! cargo run --profile dist -p orderer-hsm --features pkcs11 --example signatures -- LIBRARY LABEL PIN CERTIFICATE
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement ends with any error")]

use std::time::{Duration, Instant};

use orderer_core::crypto::Signer as _;
use orderer_hsm::{KeyIds, Pin, TokenSettings, TokenSigner, open};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, label, pin, certificate] = &arguments[..] else { panic!("LIBRARY LABEL PIN CERTIFICATE") };
    let settings = TokenSettings {
        library: library.into(),
        label: label.clone(),
        pin: Pin::new(pin.clone()),
        key_ids: KeyIds::default(),
        immutable: false,
    };
    let pool = open(&settings).unwrap();
    let certificate = std::fs::read(certificate).unwrap();
    let signer = TokenSigner::new("Org", &certificate, &settings.key_ids, &pool).unwrap();
    for callers in [1, 2, 4, 10] {
        let (began, cpu, before) = (Instant::now(), cpu_ms(), pool.status().signatures);
        let sign = || {
            let mut took = Vec::new();
            while began.elapsed() < Duration::from_secs(5) {
                let asked = Instant::now();
                signer.sign(&[7; 600]).unwrap();
                took.push(asked.elapsed());
            }
            took
        };
        let mut took: Vec<Duration> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..callers).map(|_| scope.spawn(sign)).collect();
            running.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        let (signed, spent, seconds) =
            (pool.status().signatures - before, cpu_ms() - cpu, began.elapsed().as_secs_f64());
        took.sort_unstable();
        let [median, high] = [50, 99].map(|percent| took[took.len() * percent / 100].as_micros());
        #[expect(clippy::cast_precision_loss, reason = "counts of some seconds")]
        let (rate, cost) = (signed as f64 / seconds, spent as f64 * 1000.0 / signed as f64);
        println!(
            "{callers} callers: {rate:.0} signatures a second, p50 {median} µs, p99 {high} µs, {cost:.0} µs of CPU each"
        );
    }
}

/// Returns the CPU time of this process, in milliseconds, from the counters of Linux in hundredths of a second.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // user and system time
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}
