//! Group commit against one write + fdatasync per append, on the same disk in the same run.
//!
//! Each measurement is a number of writers that each wait for their own append before they send the next, as a shard does
//! that waits for its ticket. "raw" is the least any durable log can do: every append its own write and fdatasync into a
//! file of zeros. The disk is that of the temporary directory; set `TMPDIR` to measure another.
#![allow(clippy::disallowed_methods)] // a bench measures time

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster_raft::{
    Append, Entry, EntryKind, SnapshotMark,
    disk::RealDisk,
    log::{self, Log, LogConfig},
};

const ENTRY: usize = 64;
const WRITERS: [u16; 3] = [1, 8, 32];
const ENTRIES: [u64; 2] = [1, 100];
const RAW_FILE: u64 = 64 << 20;

fn log_benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    for writers in WRITERS {
        for entries in ENTRIES {
            let name = format!("{writers}x{entries}");
            group.throughput(Throughput::Elements(u64::from(writers) * entries));
            group.bench_function(BenchmarkId::new("raw", &name), |b| {
                b.iter_custom(|rounds| raw(writers, entries, rounds));
            });
            group.bench_function(BenchmarkId::new("group_commit", &name), |b| {
                b.iter_custom(|rounds| group_commit(writers, entries, rounds));
            });
        }
    }
    group.finish();
}

/// `rounds` appends by each of `writers`, one after the other: what one file without group commit does.
fn raw(writers: u16, entries: u64, rounds: u64) -> Duration {
    let file = tempfile::tempfile().expect("a temporary file");
    zero_fill(&file);
    let append = vec![7; ENTRY * usize::try_from(entries).expect("small")];
    let mut offset = 0;
    let started = Instant::now();
    for _ in 0..rounds * u64::from(writers) {
        file.write_all_at(black_box(&append), offset).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
        offset = (offset + append.len() as u64) % (RAW_FILE - (1 << 20));
    }
    started.elapsed()
}

fn zero_fill(file: &File) {
    let zeros = vec![0; 1 << 20];
    for offset in (0..RAW_FILE).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset).expect("room on the disk");
    }
    file.sync_all().expect("a disk that syncs");
}

/// `rounds` appends by each of `writers` at once, each waiting for its ticket.
fn group_commit(writers: u16, entries: u64, rounds: u64) -> Duration {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = LogConfig::new(directory.path().join("log"), writers);
    log::format(&RealDisk, &config).expect("an empty directory");
    let (tell, heard): (Vec<SyncSender<u64>>, Vec<Receiver<u64>>) = (0..writers).map(|_| sync_channel(16)).unzip();
    let durable = Arc::new(move |durable: &mut dyn Iterator<Item = (u16, u64)>| {
        for (shard, ticket) in durable {
            // A writer that has all its tickets is gone.
            let _ = tell[usize::from(shard)].send(ticket);
        }
    });
    let fatal = Arc::new(|reason: String| panic!("{reason}"));
    let (log, _) = log::open(Arc::new(RealDisk), config, durable, fatal).expect("a log that was just made");
    let started = Instant::now();
    thread::scope(|scope| {
        for (shard, heard) in (0..).zip(heard) {
            let log = log.clone();
            scope.spawn(move || write(&log, shard, entries, rounds, &heard));
        }
    });
    let took = started.elapsed();
    log.close();
    took
}

fn write(log: &Log, shard: u16, entries: u64, rounds: u64, heard: &Receiver<u64>) {
    let data = bytes::Bytes::from_static(&[7; ENTRY]);
    for ticket in 1..=rounds {
        let first = (ticket - 1) * entries + 1;
        let entry = |index| Entry { index, term: 1, kind: EntryKind::Normal, data: data.clone() };
        // Snapshots would come far less often; the mark keeps the disk from filling up during the run.
        let mark = (ticket % 1000 == 0).then(|| SnapshotMark { index: first - 1, term: 1 });
        let entries = (first..first + entries).map(entry).collect();
        log.submit(vec![Append { shard, ticket, entries, hard_state: None, mark }]);
        assert_eq!(heard.recv(), Ok(ticket));
    }
}

criterion_group!(benches, log_benches);
criterion_main!(benches);
