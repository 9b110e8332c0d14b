//! Measures how many signatures a second a token makes, and the CPU time that one costs in this process.
//!
//! ```sh
//! cargo run --release -p orderer-hsm --features pkcs11 --example signatures -- LIBRARY LABEL PIN CERTIFICATE
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
    for threads in [1, 2, 10, 20] {
        let (began, cpu, before) = (Instant::now(), cpu_ms(), pool.status().signatures);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while began.elapsed() < Duration::from_secs(3) {
                        signer.sign(&[7; 600]).unwrap();
                    }
                });
            }
        });
        let (signed, spent) = (pool.status().signatures - before, cpu_ms() - cpu);
        let seconds = began.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts of some seconds")]
        let (rate, cost) = (signed as f64 / seconds, spent as f64 * 1000.0 / signed as f64);
        println!("{threads} callers: {rate:.0} signatures a second, {cost:.0} µs of CPU each");
    }
}

/// Returns the CPU time of this process, in milliseconds, from the counters of Linux in hundredths of a second.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // user and system time
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}
