//! A figure: which part of which command's output it is, its unit, and what it must be.

use doorbuster_cli::output::grouped;

/// What it counts, as it stands in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Operations a second.
    PerSecond,
    /// Microseconds, shown as milliseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// How many times as much.
    Times,
    /// A part of 1, shown in hundredths.
    Part,
}

impl Unit {
    /// A value of it, for people.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Micros => format!("{} ms", digits(value / 1e3)),
            Self::Millis => format!("{} ms", digits(value)),
            Self::Seconds => format!("{} s", digits(value)),
            Self::Bytes => format!("{value:.1} bytes"),
            Self::Times => format!("{value:.1}x"),
            Self::Part => format!("{:.0}%", value * 100.0),
        }
    }
}

/// Three figures that say something.
fn digits(value: f64) -> String {
    match value.abs() {
        big if big >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        one if one >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A place in the output of a command: the command's name, and a JSON pointer (RFC 6901).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which command.
    pub probe: &'static str,
    /// Where in its output.
    pub pointer: &'static str,
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It stands there.
    At(Place),
    /// The first divided by the second, round by round.
    Over(Place, Place),
    /// The first without the second, round by round.
    Minus(Place, Place),
    /// How many times as fast as that system Doorbuster does that work, in the comparison with others.
    Peer {
        /// As `benches/peers/run` names it.
        work: &'static str,
        /// The other system.
        system: &'static str,
    },
}

impl Source {
    /// The commands that it needs.
    #[must_use]
    pub fn probes(self) -> Vec<&'static str> {
        match self {
            Self::At(place) => vec![place.probe],
            Self::Over(one, other) | Self::Minus(one, other) => vec![one.probe, other.probe],
            Self::Peer { .. } => Vec::new(),
        }
    }
}

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Aim {
    /// Whether that value is it.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    /// For people.
    #[must_use]
    pub fn show(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {}", unit.show(bound)),
            Self::AtMost(bound) => format!("≤ {}", unit.show(bound)),
        }
    }
}

/// One figure of a row.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What it is called.
    pub label: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Where it comes from.
    pub source: Source,
    /// What it must be; `None` if it is only told.
    pub aim: Option<Aim>,
}

impl Figure {
    /// One that stands in a command's output.
    #[must_use]
    pub const fn at(label: &'static str, unit: Unit, probe: &'static str, pointer: &'static str) -> Self {
        Self { label, unit, source: Source::At(Place { probe, pointer }), aim: None }
    }

    /// The same, which must be so much.
    #[must_use]
    pub const fn at_least(self, bound: f64) -> Self {
        Self { aim: Some(Aim::AtLeast(bound)), ..self }
    }

    /// The same, which must not be more.
    #[must_use]
    pub const fn at_most(self, bound: f64) -> Self {
        Self { aim: Some(Aim::AtMost(bound)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_their_units() {
        let shown = [
            Unit::PerSecond.show(1_234_567.8),
            Unit::Micros.show(350.4),
            Unit::Micros.show(12_345.0),
            Unit::Millis.show(123.4),
            Unit::Seconds.show(4.567),
            Unit::Bytes.show(127.44),
            Unit::Times.show(6.04),
            Unit::Part.show(0.904),
        ];
        let wanted = ["1,234,568/s", "0.350 ms", "12.3 ms", "123 ms", "4.57 s", "127.4 bytes", "6.0x", "90%"];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn an_aim_is_met_at_its_bound() {
        assert!(Aim::AtLeast(6.0).is_met(6.0) && !Aim::AtLeast(6.0).is_met(5.999));
        assert!(Aim::AtMost(350.0).is_met(350.0) && !Aim::AtMost(350.0).is_met(350.1));
        assert_eq!(Aim::AtLeast(500_000.0).show(Unit::PerSecond), "≥ 500,000/s");
        assert_eq!(Aim::AtMost(350.0).show(Unit::Micros), "≤ 0.350 ms");
    }
}
