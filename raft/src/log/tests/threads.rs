//! The log with its threads.
#![allow(clippy::disallowed_methods)] // a test may look at a clock

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, unbounded};
use parking_lot::Mutex;

use super::{append, entry, formatted, marked, small};
use crate::{
    disk::{
        Disk, RealDisk,
        fault::{Dice, Fault},
    },
    log::{Log, LogConfig, format, open},
    types::{Recovered, ShardId},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    log: Log,
    recovered: Vec<Recovered>,
    durable: Receiver<(ShardId, u64)>,
    fatal: Receiver<String>,
}

fn start(disk: Arc<dyn Disk>, config: LogConfig) -> Running {
    let ((tell_durable, durable), (tell_fatal, fatal)) = (unbounded(), unbounded());
    let on_durable = Arc::new(move |tickets: &mut dyn Iterator<Item = (ShardId, u64)>| {
        tickets.for_each(|ticket| tell_durable.send(ticket).unwrap_or_default());
    });
    let on_fatal = Arc::new(move |reason| tell_fatal.send(reason).unwrap_or_default());
    let (log, recovered) = open(disk, config, on_durable, on_fatal).unwrap();
    Running { log, recovered, durable, fatal }
}

fn real(directory: &Path) -> LogConfig {
    LogConfig { directory: directory.join("log"), segment_bytes: 64 << 10, ..small() }
}

#[test]
fn many_writers_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let config = real(directory.path());
    format(&RealDisk, &config).unwrap();
    let running = start(Arc::new(RealDisk), config.clone());
    thread::scope(|scope| {
        for shard in 0..3 {
            let log = running.log.clone();
            scope.spawn(move || {
                for index in 1..=300 {
                    log.submit(vec![append(shard, index, vec![entry(index, 1, &[u8::try_from(shard).unwrap(); 200])])]);
                    if index % 50 == 0 {
                        thread::sleep(Duration::from_millis(2));
                    }
                }
            });
        }
    });
    let mut last: HashMap<ShardId, u64> = HashMap::new();
    for _ in 0..900 {
        let (shard, ticket) = running.durable.recv_timeout(PATIENCE).unwrap();
        assert_eq!(last.insert(shard, ticket).unwrap_or(0) + 1, ticket, "in order, none left out");
    }
    let usage = running.log.usage();
    assert!(usage.rounds < 900, "appends share rounds: {usage:?}");
    assert!(usage.segments >= 3 && usage.pin.is_some());
    running.log.close();
    let again = start(Arc::new(RealDisk), config);
    for shard in &again.recovered {
        assert_eq!(shard.entries.len(), 300);
        assert!(shard.entries.iter().all(|entry| entry.data[..] == [u8::try_from(shard.shard).unwrap(); 200]));
    }
    assert!(again.fatal.is_empty());
}

#[test]
fn disk_use_stays_bounded_behind_marks() {
    let directory = tempfile::tempdir().unwrap();
    let config = real(directory.path());
    format(&RealDisk, &config).unwrap();
    let running = start(Arc::new(RealDisk), config.clone());
    for index in 1..=300u64 {
        running
            .log
            .submit(vec![append(0, index, vec![entry(index, 1, &[1; 4000])]), marked(0, 1000 + index, index, 1)]);
        for _ in 0..2 {
            running.durable.recv_timeout(PATIENCE).unwrap();
        }
    }
    running.log.close();
    let files = std::fs::read_dir(&config.directory).unwrap().count();
    assert!(files <= 4, "1.2 MB went through segments of 64 KiB, {files} are left");
    let again = start(Arc::new(RealDisk), config);
    assert_eq!(again.recovered[0].mark.index, 300);
}

#[test]
fn closing_writes_what_is_queued() {
    let disk = formatted();
    let running = start(Arc::new(disk.clone()), LogConfig { sync_delay: Duration::from_millis(30), ..small() });
    for index in 1..=20 {
        running.log.submit(vec![append(0, index, vec![entry(index, 1, b"x")])]);
    }
    let other = running.log.clone();
    running.log.close();
    assert_eq!(running.durable.len(), 20);
    other.submit(vec![append(0, 21, vec![entry(21, 1, b"late")])]);
    drop(other);
    disk.crash(&mut Dice(3));
    assert_eq!(start(Arc::new(disk), small()).recovered[0].entries.len(), 20);
}

#[test]
fn a_slow_sync_gathers_what_comes_meanwhile() {
    let running = start(Arc::new(formatted()), LogConfig { sync_delay: Duration::from_millis(20), ..small() });
    for index in 1..=50 {
        running.log.submit(vec![append(0, index, vec![entry(index, 1, b"x")])]);
        thread::sleep(Duration::from_millis(1));
    }
    for ticket in 1..=50 {
        assert_eq!(running.durable.recv_timeout(PATIENCE), Ok((0, ticket)));
    }
    assert!(running.log.usage().rounds < 20, "{:?}", running.log.usage());
}

#[test]
fn preparing_a_segment_does_not_stall_rounds() {
    let disk = formatted();
    let delay = Duration::from_millis(1500);
    let running = start(Arc::new(disk.clone()), small());
    let store = |ticket, bytes: usize| {
        let started = Instant::now();
        running.log.submit(vec![append(0, ticket, vec![entry(ticket, 1, &vec![1; bytes])])]);
        running.durable.recv_timeout(PATIENCE).unwrap();
        started.elapsed()
    };
    store(1, 10);
    while running.log.usage().segments < 2 {
        store(running.log.usage().rounds + 1, 10);
        thread::sleep(Duration::from_millis(1));
    }
    disk.delay_create(delay);
    let next = running.log.usage().rounds + 1;
    store(next, 11_000);
    let longest = (next + 1..next + 20).map(|ticket| store(ticket, 10)).max().unwrap();
    assert!(longest < delay / 2, "the next segment was being prepared, a round took {longest:?}");
}

#[test]
fn failures_are_fatal_and_nothing_is_acknowledged_after_them() {
    for (fault, message) in
        [(Fault::Sync, "cannot sync"), (Fault::ShortWrite, "short write"), (Fault::Full, "cannot write")]
    {
        let disk = formatted();
        let running = start(Arc::new(disk.clone()), small());
        running.log.submit(vec![append(0, 1, vec![entry(1, 1, b"fine")])]);
        assert_eq!(running.durable.recv_timeout(PATIENCE), Ok((0, 1)));
        wait_until(|| disk.files().contains(&super::segment(2)));
        disk.arm(fault);
        running.log.submit(vec![append(0, 2, vec![entry(2, 1, b"lost")])]);
        let reason = running.fatal.recv_timeout(PATIENCE).unwrap();
        assert!(reason.contains(message), "{reason}");
        running.log.submit(vec![append(0, 3, vec![entry(3, 1, b"too late")])]);
        running.log.close();
        assert!(running.durable.is_empty() && running.fatal.is_empty());
    }
}

#[test]
fn a_segment_that_cannot_be_prepared_is_fatal_while_nothing_is_written() {
    let disk = formatted();
    disk.arm(Fault::Full);
    let running = start(Arc::new(disk), small());
    let reason = running.fatal.recv_timeout(PATIENCE).unwrap();
    assert!(reason.contains("cannot prepare segment") && reason.contains("1000 bytes are free"), "{reason}");
}

#[test]
fn a_wrong_append_is_fatal() {
    let running = start(Arc::new(formatted()), small());
    running.log.submit(vec![append(0, 1, vec![entry(5, 1, b"")])]);
    let reason = running.fatal.recv_timeout(PATIENCE).unwrap();
    assert!(reason.contains("shard 0: entry 5 does not fit"), "{reason}");
    running.log.close();
    assert!(running.durable.is_empty());
}

#[test]
fn the_last_handle_may_be_dropped_by_the_callback() {
    let held: Arc<Mutex<Option<Log>>> = Arc::default();
    let (tell, told) = unbounded();
    let on_durable = {
        let held = Arc::clone(&held);
        Arc::new(move |_: &mut dyn Iterator<Item = (ShardId, u64)>| {
            drop(held.lock().take());
            tell.send(()).unwrap_or_default();
        })
    };
    let (log, _) = open(Arc::new(formatted()), small(), on_durable, Arc::new(|_| ())).unwrap();
    let batch = vec![append(0, 1, vec![entry(1, 1, b"x")])];
    *held.lock() = Some(log.clone());
    let handle = held.lock().clone().unwrap();
    drop(log);
    handle.submit(batch);
    drop(handle);
    told.recv_timeout(PATIENCE).unwrap();
}

/// The disk is asked again and again rather than waited for a fixed time.
fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        thread::sleep(Duration::from_millis(1));
    }
}
