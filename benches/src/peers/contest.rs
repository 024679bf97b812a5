//! Which work there is, and which system does which.

use clap::ValueEnum;
use doorbuster_cli::bench::options::Durability;
use std::fmt;

/// A system that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum System {
    /// Ours.
    Doorbuster,
    /// Valkey, by one script.
    Valkey,
    /// Redis, by the same script.
    Redis,
    /// PostgreSQL, by one statement.
    Postgres,
    /// A server that does nothing: the limit.
    Echo,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Doorbuster => "doorbuster",
            Self::Valkey => "valkey",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Echo => "echo",
        })
    }
}

/// What a system must be like for the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// One node that syncs nothing.
    Memory,
    /// One node that answers once it is on disk.
    Disk,
    /// Three nodes; an answer means that two have it.
    ThreeNodes,
}

impl Setting {
    /// What Doorbuster's answers mean in it.
    #[must_use]
    pub const fn durability(self) -> Durability {
        match self {
            Self::Memory => Durability::Memory,
            Self::Disk | Self::ThreeNodes => Durability::Disk,
        }
    }
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its name.
    pub name: &'static str,
    /// Everything is sold, and refused; else everything is granted.
    pub refusals: bool,
    /// Where.
    pub setting: Setting,
    /// Under way on each connection.
    pub depth: u16,
}

/// All there is to do.
pub const WORKS: [Work; 11] = [
    refuse("refuse-d1", 1),
    refuse("refuse-d16", 16),
    reserve("reserve-memory-d1", Setting::Memory, 1),
    reserve("reserve-memory-d16", Setting::Memory, 16),
    reserve("reserve-memory-d64", Setting::Memory, 64),
    reserve("reserve-disk-d1", Setting::Disk, 1),
    reserve("reserve-disk-d16", Setting::Disk, 16),
    reserve("reserve-disk-d64", Setting::Disk, 64),
    reserve("reserve-3-nodes-d1", Setting::ThreeNodes, 1),
    reserve("reserve-3-nodes-d16", Setting::ThreeNodes, 16),
    reserve("reserve-3-nodes-d64", Setting::ThreeNodes, 64),
];

const fn refuse(name: &'static str, depth: u16) -> Work {
    Work { name, refusals: true, setting: Setting::Memory, depth }
}

const fn reserve(name: &'static str, setting: Setting, depth: u16) -> Work {
    Work { name, refusals: false, setting, depth }
}

impl Work {
    /// Whether that system does it. PostgreSQL has neither an answer before the disk has it nor a quorum of its own; a
    /// server that stores nothing is a limit only of what is not stored.
    #[must_use]
    pub fn is_done_by(&self, system: System) -> bool {
        match system {
            System::Doorbuster | System::Valkey | System::Redis => true,
            System::Postgres => self.refusals || self.setting == Setting::Disk,
            System::Echo => self.setting == Setting::Memory,
        }
    }
}

/// The works of these names, or whose names begin so; in their own order.
///
/// # Errors
/// The name that none has.
pub fn works(names: &[String]) -> Result<Vec<Work>, String> {
    let begins = |work: &Work, name: &str| {
        work.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if let Some(unknown) = names.iter().find(|name| !WORKS.iter().any(|work| begins(work, name))) {
        let known: Vec<_> = WORKS.iter().map(|work| work.name).collect();
        return Err(format!("--works {unknown}: there is no such work; there are {}", known.join(", ")));
    }
    let wanted = |work: &Work| names.is_empty() || names.iter().any(|name| begins(work, name));
    Ok(WORKS.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Result<Vec<&'static str>, String> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        works(&wanted).map(|works| works.iter().map(|work| work.name).collect())
    }

    #[test]
    fn works_are_named_in_full_or_by_how_they_begin() {
        assert_eq!(names(&["refuse"]), Ok(vec!["refuse-d1", "refuse-d16"]));
        assert_eq!(names(&["reserve-3-nodes-d1", "refuse-d1"]), Ok(vec!["refuse-d1", "reserve-3-nodes-d1"]));
        assert_eq!(names(&[]).map(|all| all.len()), Ok(11));
        for unknown in ["reserve-disk-d", "x", ""] {
            assert!(names(&[unknown]).is_err_and(|error| error.contains("reserve-disk-d64")), "{unknown}");
        }
    }

    #[test]
    fn each_work_has_doorbuster_and_somebody_to_compare_it_with() {
        for work in WORKS {
            assert!(work.is_done_by(System::Doorbuster) && work.is_done_by(System::Valkey), "{}", work.name);
        }
        let done = |system| WORKS.iter().filter(|work| work.is_done_by(system)).count();
        assert_eq!((done(System::Postgres), done(System::Echo)), (5, 5));
    }
}
