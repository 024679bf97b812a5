//! Looks for a smaller scenario that breaks the same promise: fewer faults, fewer clients, a shorter run.

use std::time::Duration;

use super::clock;
use super::pool::Pool;
use super::recipe::Recipe;
use crate::sim::{Fault, Faults};

/// The smallest that was found within the time, if it is smaller at all.
pub fn shrink(pool: &Pool, recipe: &Recipe, property: &str, budget: Duration) -> Option<Recipe> {
    let end = clock::now() + budget;
    let mut smallest = recipe.clone();
    let mut again = true;
    while again && clock::now() < end {
        again = false;
        for candidate in candidates(&smallest) {
            let left = end.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            if breaks(pool, &candidate, property) {
                smallest = candidate;
                again = true;
                break;
            }
        }
    }
    (smallest != *recipe).then_some(smallest)
}

fn breaks(pool: &Pool, recipe: &Recipe, property: &str) -> bool {
    let pool = Pool { jobs: 1, ..pool.clone() };
    let mut broken = false;
    let ran = pool.run(std::iter::once(recipe.clone()), |_, report| {
        broken = report.broken.is_some_and(|broken| broken.property == property);
        true
    });
    ran.is_ok() && broken
}

/// Smaller ones, those that leave out most first.
fn candidates(recipe: &Recipe) -> Vec<Recipe> {
    let Ok((scenario, shape)) = recipe.build() else { return Vec::new() };
    let mut smaller: Vec<Recipe> = fewer(&scenario.faults).map(|faults| recipe.with("faults", &faults)).collect();
    let mut less = |key: &str, now: u64, values: &[u64]| {
        smaller.extend(values.iter().filter(|value| **value < now).map(|value| recipe.with(key, value)));
    };
    let span = u64::try_from(scenario.span.as_millis()).unwrap_or(u64::MAX);
    less("span-ms", span, &[1_000, span / 4, span / 2, span * 3 / 4]);
    less("nodes", u64::from(scenario.nodes), &[3]);
    less("shards", u64::from(scenario.shards), &[1]);
    less("wishes", shape.wishes, &[2, shape.wishes / 4, shape.wishes / 2]);
    less("deaths", shape.deaths, &[0]);
    less("cancels", shape.cancels, &[0]);
    less("database-failures", shape.database_failures, &[0]);
    for (key, now) in [
        ("crowds", shape.crowds),
        ("payers", shape.payers),
        ("readers", shape.readers),
        ("writers", shape.writers),
        ("shoppers", shape.shoppers),
        ("products", shape.products),
    ] {
        let now = now as u64;
        let least = u64::from(key == "products");
        less(key, now, &[least, now / 2, now.saturating_sub(1)]);
    }
    smaller
}

/// None; half of them; all but one.
fn fewer(faults: &Faults) -> impl Iterator<Item = Faults> + use<> {
    let on: Vec<Fault> = faults.iter().map(|(fault, _)| fault).collect();
    let faults = faults.clone();
    let half = on.len() / 2;
    let mut sets = vec![on.clone(), on[..half].to_vec(), on[half..].to_vec()];
    sets.extend(on.iter().map(|fault| vec![*fault]));
    sets.retain(|off| !off.is_empty());
    sets.dedup();
    sets.into_iter().map(move |off| {
        let mut fewer = faults.clone();
        off.iter().for_each(|fault| fewer.set(*fault, 0));
        fewer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_smaller_and_makes_sense() {
        let recipe = Recipe::of(3, true);
        let candidates = candidates(&recipe);
        assert!(candidates.len() > Fault::ALL.len());
        for candidate in &candidates {
            let (scenario, shape) = candidate.build().expect("it makes sense");
            let (was, had) = recipe.build().expect("it makes sense");
            let fewer = scenario.faults.iter().count() < was.faults.iter().count();
            assert!(
                fewer
                    || scenario.span < was.span
                    || shape != had
                    || scenario.nodes < was.nodes
                    || scenario.shards < was.shards,
                "{candidate}"
            );
        }
        assert_eq!(fewer(&Faults::none()).count(), 0);
    }
}
