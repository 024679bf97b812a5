//! What several measurements say together.

/// The middle one, and the ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Samples {
    /// Half of them are not above it, half not below.
    pub median: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
    /// How many there are.
    pub count: usize,
}

impl Samples {
    /// Of these values; `None` of none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (low, high) = (values.get(count.saturating_sub(1) / 2)?, values.get(count / 2)?);
        Some(Self { median: f64::midpoint(*low, *high), least: *values.first()?, most: *values.last()?, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_between_the_two_in_the_middle() {
        let of = |values: &[f64]| Samples::of(values.iter().copied()).map(|all| (all.median, all.least, all.most));
        assert_eq!(of(&[5.0, 1.0, 900.0]), Some((5.0, 1.0, 900.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]), Some((3.0, 1.0, 9.0)));
        assert_eq!(of(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[f64::NAN, 2.0]), Some((2.0, 2.0, 2.0)), "what is no number is not counted");
    }
}
