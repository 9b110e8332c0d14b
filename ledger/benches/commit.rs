//! Measures the cost of a commit and of a read. On the real disk: below cargo's target directory, not in a memory file system.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fabric_proto::common::{Block, BlockData, BlockHeader, BlockMetadata};
use orderer_core::block::{EncodedBlock, data_hash};
use orderer_core::types::{BlockNumber, ChannelId, ConfigSequence};
use orderer_ledger::{CommitBatch, Ledger, Options, PendingEnvelope};
use prost::Message as _;
use tempfile::TempDir;

const ENVELOPE_BYTES: usize = 1_330;
const BATCH: usize = 10;

fn block(number: u64, previous_hash: &[u8]) -> EncodedBlock {
    let entries: Vec<Bytes> = vec![vec![b'e'; ENVELOPE_BYTES].into(); BATCH];
    let data_hash = data_hash(entries.iter().map(Bytes::as_ref));
    // as much as a signature with its creator's certificate, in a slot that nobody reads
    let metadata = vec![Bytes::new(), Bytes::new(), vec![b's'; 1_000].into(), Bytes::new(), Bytes::new()];
    let block = Block {
        header: Some(BlockHeader {
            number,
            previous_hash: Bytes::copy_from_slice(previous_hash),
            data_hash: Bytes::copy_from_slice(&data_hash),
        }),
        data: Some(BlockData { data: entries }),
        metadata: Some(BlockMetadata { metadata }),
    };
    EncodedBlock::parse(&block.encode_to_vec()).expect("is a block")
}

fn blocks_after(last: &EncodedBlock, count: usize) -> Vec<EncodedBlock> {
    let mut blocks: Vec<EncodedBlock> = Vec::with_capacity(count);
    for _ in 0..count {
        let previous = blocks.last().unwrap_or(last);
        blocks.push(block(previous.number().0 + 1, previous.header_hash()));
    }
    blocks
}

fn ledger(options: Options) -> (TempDir, Ledger) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let channel = ChannelId::parse("bench").expect("is a name");
    let ledger = Ledger::create(&folder.path().join("ledger"), &channel, &block(0, b""), options).expect("is made");
    (folder, ledger)
}

/// Times only the commits, not the making of what they write.
fn commits(iterations: u64, ledger: &Ledger, mut next: impl FnMut(&Ledger) -> CommitBatch) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..iterations {
        let commit = next(ledger);
        let begin = Instant::now();
        ledger.commit(&mut ledger.try_write_permit().expect("nobody else writes"), commit).expect("is written");
        spent += begin.elapsed();
    }
    spent
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.bench_function("one pending envelope", |b| {
        let (_folder, ledger) = ledger(Options::default());
        let mut sequence = 0;
        b.iter_custom(|n| {
            commits(n, &ledger, |_| {
                sequence += 1;
                let raw = Bytes::from(vec![b'p'; ENVELOPE_BYTES]);
                let validated_at = ConfigSequence(1);
                let pending_add = vec![PendingEnvelope { sequence, validated_at, is_config: false, raw }];
                // every tenth envelope finds that its block was cut
                let pending_drop_below = sequence - sequence % 10;
                CommitBatch { pending_add, pending_drop_below, ..CommitBatch::default() }
            })
        });
    });
    group.bench_function("one block", |b| {
        let (_folder, ledger) = ledger(Options::default());
        b.iter_custom(|n| {
            commits(n, &ledger, |l| CommitBatch { blocks: blocks_after(&l.last_block(), 1), ..CommitBatch::default() })
        });
    });
    group.throughput(Throughput::Bytes(50 * block(1, &[0; 32]).size_bytes() as u64));
    for page_cache_mib in [2, 8, 32] {
        group.bench_function(format!("50 blocks, page cache {page_cache_mib} MiB"), |b| {
            let (_folder, ledger) = ledger(Options { page_cache_bytes: page_cache_mib << 20, ..Options::default() });
            b.iter_custom(|n| {
                commits(n, &ledger, |l| CommitBatch {
                    blocks: blocks_after(&l.last_block(), 50),
                    ..CommitBatch::default()
                })
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("read");
    let (_folder, ledger) = ledger(Options { block_bytes: 1 << 20, ..Options::default() });
    for _ in 0..60 {
        let blocks = blocks_after(&ledger.last_block(), 50);
        ledger
            .commit(
                &mut ledger.try_write_permit().expect("nobody else writes"),
                CommitBatch { blocks, ..CommitBatch::default() },
            )
            .expect("is written");
    }
    let old = ledger.height() - 100;
    group.bench_function("block in memory", |b| {
        b.iter(|| black_box(ledger.block(BlockNumber(ledger.height() - 5))));
    });
    group.throughput(Throughput::Bytes(block(1, &[0; 32]).size_bytes() as u64));
    group.bench_function("block on disk", |b| {
        let mut number = 0;
        b.iter(|| {
            number = (number + 1) % old;
            black_box(ledger.block(BlockNumber(number)))
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = bench
}
criterion_main!(benches);
