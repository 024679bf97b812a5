//! Which things go wrong in a run, and how often. Each fault has an intensity, 0 (off) to 100; what it means is said by the
//! part of the world that plays it out. A seed draws which are on at all (swarm testing: most bugs need few faults, and are
//! hidden by others), and how much.

use std::fmt;
use std::str::FromStr;

use super::rng::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Something that can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[$doc])* $name,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What it is called on a command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

faults! {
    /// A frame between peers is lost.
    MessageLoss = "message-loss",
    /// A frame between peers arrives twice.
    MessageDuplication = "message-duplication",
    /// Frames between peers overtake each other.
    MessageReordering = "message-reordering",
    /// Frames, of peers and clients, take long.
    MessageDelay = "message-delay",
    /// A connection, of peers or a client, breaks; what was on its way is lost.
    ConnectionBreak = "connection-break",
    /// The nodes fall into two parts.
    PartitionSymmetric = "partition-symmetric",
    /// One direction between two nodes goes dead.
    PartitionOneWay = "partition-one-way",
    /// A shard's leader is cut off from its peers, not from its clients.
    PartitionLeader = "partition-leader",
    /// A process stands still, also for longer than leases and elections take.
    Pause = "pause",
    /// A machine or process stops at some disk operation, and starts again.
    Crash = "crash",
    /// After a crash the node crashes again while it starts, several times.
    CrashLoop = "crash-loop",
    /// All nodes crash within moments.
    CrashAll = "crash-all",
    /// What a stopped machine had not synced is kept sector by sector, by chance (off: all of it is kept).
    TornWrites = "torn-writes",
    /// What a stopped machine had not synced is lost as a whole, also names.
    UnsyncedLost = "unsynced-lost",
    /// A sync fails.
    SyncError = "sync-error",
    /// Bits flip in entries of the log.
    BitRotLog = "bit-rot-log",
    /// Bits flip in term, vote and commit index.
    BitRotHardState = "bit-rot-hard-state",
    /// Bits flip in a snapshot.
    BitRotSnapshot = "bit-rot-snapshot",
    /// A block comes back as it was before it was last written.
    StaleBlock = "stale-block",
    /// A block was written to another place, over what was there.
    MisdirectedBlock = "misdirected-block",
    /// There is no space left, for a while.
    DiskFull = "disk-full",
    /// A write takes only a part of what it was given.
    ShortWrite = "short-write",
    /// A disk takes long for everything, for a while.
    SlowDisk = "slow-disk",
    /// A node is slow in everything, for a while.
    SlowFollower = "slow-follower",
    /// A disk is gone, an empty one is in its place.
    DiskLost = "disk-lost",
    /// A disk is gone, and somebody formatted the new one.
    DiskFormatted = "disk-formatted",
    /// Snapshots all the time, and the log keeps nothing behind them.
    BadSnapshots = "bad-snapshots",
    /// The stream of a snapshot breaks in the middle.
    SnapshotBreak = "snapshot-break",
    /// A node's wall clock is off from the start.
    WallClockOff = "wall-clock-off",
    /// Clocks run at different rates.
    ClockDrift = "clock-drift",
    /// A node's wall clock jumps by an hour.
    WallClockJump = "wall-clock-jump",
    /// A process is restarted in good order: it finishes what is under way, hands leadership over, and ends.
    Restart = "restart",
}

/// The intensity of every fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    intensity: Vec<u8>,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self { intensity: vec![0; Fault::ALL.len()] }
    }

    /// Everything goes wrong, as often as it can.
    #[must_use]
    pub fn all_high() -> Self {
        Self { intensity: vec![100; Fault::ALL.len()] }
    }

    /// What the seed draws: each fault on or off, and its intensity. In a fifth of the seeds snapshots are bad.
    #[must_use]
    pub fn draw(rng: &Rng) -> Self {
        let mut rng = rng.stream("faults");
        // Some seeds are calm, some wild.
        let on = [10, 25, 50, 75][rng.index(4)];
        let mut faults = Self::none();
        for fault in Fault::ALL {
            let on = if *fault == Fault::BadSnapshots { 20 } else { on };
            if rng.percent(on) {
                faults.set(*fault, u8::try_from(rng.between(1, 100)).unwrap_or(100));
            }
        }
        faults
    }

    /// How much of this fault there is, 0 to 100.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        u64::from(self.intensity[fault as usize])
    }

    /// Whether there is any of this fault.
    #[must_use]
    pub fn on(&self, fault: Fault) -> bool {
        self.of(fault) > 0
    }

    /// Sets how much there is of it, 0 to 100.
    pub fn set(&mut self, fault: Fault, intensity: u8) {
        self.intensity[fault as usize] = intensity.min(100);
    }

    /// The faults that are on, each with its intensity.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.iter().map(|fault| (*fault, self.of(*fault))).filter(|(_, intensity)| *intensity > 0)
    }
}

/// `message-loss=30,crash=100`; `none` if all are off.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.iter().map(|(fault, of)| format!("{}={of}", fault.name())).collect();
        f.write_str(if list.is_empty() { "none" } else { "" })?;
        f.write_str(&list.join(","))
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::none()),
            "all" => return Ok(Self::all_high()),
            _ => {}
        }
        let mut faults = Self::none();
        for part in text.split(',') {
            let (name, intensity) = part.split_once('=').unwrap_or((part, "100"));
            let fault = Fault::ALL.iter().find(|fault| fault.name() == name);
            let fault = fault.ok_or_else(|| format!("there is no fault {name:?}"))?;
            let intensity = intensity.parse().ok().filter(|intensity| *intensity <= 100);
            faults.set(*fault, intensity.ok_or_else(|| format!("{name}: an intensity is 0 to 100"))?);
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for seed in 0..50 {
            let faults = Faults::draw(&Rng::new(seed));
            assert_eq!(faults.to_string().parse(), Ok(faults));
        }
        assert_eq!("none".parse(), Ok(Faults::none()));
        assert_eq!(Faults::none().to_string(), "none");
        assert!("gremlins=3".parse::<Faults>().is_err());
        assert!("pause=101".parse::<Faults>().is_err());
    }

    #[test]
    fn seeds_differ_in_what_is_on() {
        let drawn: Vec<Faults> = (0..200).map(|seed| Faults::draw(&Rng::new(seed))).collect();
        for fault in Fault::ALL {
            let on = drawn.iter().filter(|faults| faults.on(*fault)).count();
            assert!((10..190).contains(&on), "{fault:?} is on in {on} of 200");
        }
        let bad = drawn.iter().filter(|faults| faults.on(Fault::BadSnapshots)).count();
        assert!((20..60).contains(&bad), "bad snapshots in {bad} of 200");
    }
}
