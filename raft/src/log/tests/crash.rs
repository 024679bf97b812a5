//! After a crash at any point, also in the middle of recovering from one: a prefix of the appends, which holds all that
//! was reported durable. And nothing that was cut off ever comes back.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    LogCore, LogError, Recovered, append, entry, flush, formatted, model::Model, reopen, segment, small, store,
};
use crate::disk::{
    Disk,
    fault::{Dice, Fault, FaultDisk},
};

/// A log under work, with all states that a crash may leave.
struct Subject {
    disk: FaultDisk,
    core: LogCore,
    /// Each with the number of the append it is the state after (or in the middle of).
    possible: Vec<(u64, Model)>,
    ticket: u64,
}

impl Subject {
    fn new() -> Self {
        let disk = formatted();
        let (core, recovered) = reopen(&disk).unwrap();
        Self { disk, core, possible: vec![(0, Model(recovered))], ticket: 0 }
    }

    /// One append or round or piece of upkeep. An error is the crash.
    fn step(&mut self, dice: &mut Dice) -> Result<(), LogError> {
        if dice.chance(60) {
            self.ticket += 1;
            let mut model = self.possible.last().unwrap().1.clone();
            let append = model.random_append(dice, self.ticket);
            let parts = model.parts(&append).into_iter().map(|part| (self.ticket - 1, part));
            self.possible.extend(parts);
            model.apply(&append);
            self.possible.push((self.ticket, model));
            return self.core.append(&append);
        }
        if dice.chance(30) {
            return self.core.maintain();
        }
        let result = self.core.flush_round().map(drop);
        let durable: Vec<u64> = self.core.take_durable().map(|(_, ticket)| ticket).collect();
        assert!(durable.is_sorted(), "tickets come in order: {durable:?}");
        if let Some(last) = durable.last() {
            let first = self.possible.iter().position(|(number, _)| number == last).unwrap();
            self.possible.drain(..first);
        }
        result
    }

    /// Comes back from a crash or a mere restart of the process, perhaps stopping again on the way.
    fn come_back(&mut self, dice: &mut Dice) {
        let mut attempts = 0;
        let recovered = loop {
            if dice.chance(70) {
                self.disk.crash(dice);
            } else {
                self.disk.restart();
            }
            if attempts < 3 && dice.chance(40) {
                self.disk.crash_after(1 + dice.below(6));
                attempts += 1;
            }
            match reopen(&self.disk) {
                Ok((core, recovered)) => {
                    self.core = core;
                    break recovered;
                }
                Err(LogError::Io { .. }) => {}
                Err(other) => panic!("a crash is not damage: {other}"),
            }
        };
        let found = self.possible.iter().position(|(_, model)| model.0 == recovered);
        let Some(found) = found else { panic!("{}", self.difference(&recovered)) };
        // What has been seen by a recovery must stay: others were told of it.
        self.possible = vec![(self.ticket, self.possible[found].1.clone())];
    }

    fn difference(&self, recovered: &[Recovered]) -> String {
        let shape = |shards: &[Recovered]| {
            let shape = |s: &Recovered| (s.hard_state, s.mark, s.entries.iter().map(|e| (e.index, e.term)).collect());
            shards.iter().map(shape).collect::<Vec<(_, _, Vec<_>)>>()
        };
        let possible: Vec<_> = self.possible.iter().map(|(number, model)| (number, shape(&model.0))).collect();
        format!("found {:#?}, which is none of {possible:#?}", shape(recovered))
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut subject = Subject::new();
    for _life in 0..6 {
        if dice.chance(80) {
            subject.disk.crash_after(1 + dice.below(60));
        }
        for _ in 0..40 {
            if subject.step(&mut dice).is_err() {
                break;
            }
        }
        subject.come_back(&mut dice);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_point_loses_nothing_durable_and_invents_nothing(seed in any::<u64>()) {
        run(seed);
    }
}

#[test]
fn a_torn_tail_is_cut_and_cannot_come_back() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let disk = formatted();
        let (mut core, _) = reopen(&disk).unwrap();
        store(&mut core, &append(0, 1, vec![entry(1, 1, b"durable")]));
        core.append(&append(0, 2, vec![entry(2, 1, &[0xab; 3000]), entry(3, 1, &[0xcd; 3000])])).unwrap();
        disk.crash_after(1);
        core.flush_round().unwrap_err();
        disk.crash(&mut dice);
        let (mut core, recovered) = reopen(&disk).unwrap();
        if recovered[0].entries.len() == 3 {
            continue; // all of the round was kept
        }
        assert_eq!(recovered[0].entries, [entry(1, 1, b"durable")]);
        let blank = disk.contents(&segment(1));
        assert!(!blank.windows(8).any(|window| window == [0xab; 8] || window == [0xcd; 8]), "nothing is left of it");
        store(&mut core, &append(0, 2, vec![entry(2, 2, b"other")]));
        disk.crash(&mut dice);
        let (_, recovered) = reopen(&disk).unwrap();
        assert_eq!(recovered[0].entries, [entry(1, 1, b"durable"), entry(2, 2, b"other")]);
    }
}

#[test]
fn what_a_restart_has_seen_survives_the_next_power_cut() {
    // The sync of the round fails, so that only the page cache has it; the process ends, the next one reads it.
    let disk = formatted();
    let (mut core, _) = reopen(&disk).unwrap();
    core.append(&append(0, 1, vec![entry(1, 1, b"seen")])).unwrap();
    disk.arm(Fault::Sync);
    let error = core.flush_round().unwrap_err().to_string();
    assert!(error.contains("cannot sync /data/log/00000000000000000001.log"), "{error}");
    assert_eq!(core.take_durable().count(), 0);
    assert!(matches!(core.flush_round(), Err(LogError::Failed)), "a failed sync is never tried again");
    let (_, seen) = reopen(&disk).unwrap();
    assert_eq!(seen[0].entries.len(), 1);
    for seed in 0..20 {
        let disk = disk.clone();
        disk.crash(&mut Dice(seed));
        assert_eq!(reopen(&disk).unwrap().1, seen);
    }
}

#[test]
fn a_short_write_and_a_full_disk_acknowledge_nothing() {
    for (fault, message) in [(Fault::ShortWrite, "short write"), (Fault::Full, "cannot write")] {
        let disk = formatted();
        let (mut core, _) = reopen(&disk).unwrap();
        store(&mut core, &append(0, 1, vec![entry(1, 1, b"durable")]));
        core.append(&append(0, 2, vec![entry(2, 1, &[5; 2000])])).unwrap();
        disk.arm(fault);
        let error = core.flush_round().unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("1000 bytes are free"), "{error}");
        assert_eq!(core.take_durable().count(), 0);
        disk.restart();
        assert_eq!(reopen(&disk).unwrap().1[0].entries.len(), 1);
    }
}

#[test]
fn memory_durability_writes_and_survives_the_end_of_the_process() {
    let disk = formatted();
    let config = super::LogConfig { sync: false, ..small() };
    let (mut core, _) = LogCore::open(Arc::new(disk.clone()), config).unwrap();
    for index in 1..50 {
        store(&mut core, &append(0, index, vec![entry(index, 1, &[1; 700])]));
    }
    drop(core);
    let (_, recovered) = reopen(&disk).unwrap();
    assert_eq!(recovered[0].entries.len(), 49);
    // Opened with durability disk, all of it is made certain.
    disk.crash(&mut Dice(1));
    assert_eq!(reopen(&disk).unwrap().1, recovered);
}

#[test]
fn leftovers_of_preparing_are_removed() {
    let disk = formatted();
    disk.create(&segment(2).with_extension("log.tmp"), 100).unwrap();
    reopen(&disk).unwrap();
    assert_eq!(disk.files(), [segment(1)]);
    let (mut core, _) = reopen(&disk).unwrap();
    core.maintain().unwrap();
    assert_eq!(flush(&mut core), []);
    assert_eq!(disk.files(), [segment(1), segment(2)]);
}

#[test]
fn what_an_ended_process_left_behind_is_never_taken_for_a_segment() {
    for seed in 0..600 {
        let disk = FaultDisk::default();
        disk.create(&segment(1).with_extension("log.tmp"), 100).unwrap();
        disk.sync_dir(segment(1).parent().unwrap()).unwrap();
        // The next one begins anew, and power goes as the segment gets its name.
        disk.crash_after(5 + seed % 2);
        super::format(&disk, &small()).unwrap_err();
        disk.crash(&mut Dice(seed));
        match reopen(&disk) {
            Ok(_) | Err(LogError::Missing { .. }) => {}
            Err(error) => panic!("seed {seed}: a crash is not damage: {error}"),
        }
    }
}
