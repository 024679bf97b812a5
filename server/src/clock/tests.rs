//! Section by section what cluster time promises, as tables: each row is one moment.

use super::*;

const SECOND: u64 = 1_000_000_000;
const HOUR_MS: u64 = 3_600_000;
/// True UTC time when the monotonic clock shows 0, in ms.
const EPOCH: u64 = 1_800_000_000_000;

fn at(seconds: u64) -> Monotonic {
    Monotonic(seconds * SECOND)
}

/// What a right wall clock shows.
fn right(seconds: u64) -> Timestamp {
    Timestamp(EPOCH + seconds * 1000)
}

fn shifted(time: Timestamp, ms: i64) -> Timestamp {
    Timestamp(time.get().saturating_add_signed(ms))
}

fn three_nodes() -> WallClocks {
    WallClocks::new([NodeId(2), NodeId(3)])
}

#[test]
fn the_lower_median_of_the_known_clocks() {
    /// Own error, the others' (None: not heard of), expected error of the median (None: no majority known).
    type Row<'a> = (i64, &'a [Option<i64>], Option<i64>);
    let hour = i64::try_from(HOUR_MS).unwrap();
    let table: &[Row<'_>] = &[
        (0, &[], Some(0)),
        (hour, &[], Some(hour)),
        (0, &[None, None], None),
        (0, &[Some(0), None], Some(0)),
        (0, &[Some(hour), None], Some(0)),
        (hour, &[Some(0), None], Some(0)),
        (0, &[Some(0), Some(hour)], Some(0)),
        (0, &[Some(0), Some(-hour)], Some(0)),
        (hour, &[Some(0), Some(0)], Some(0)),
        (-hour, &[Some(0), Some(0)], Some(0)),
        (0, &[Some(-3), Some(5)], Some(0)),
        (0, &[Some(hour), None, None, None], None),
        (0, &[Some(hour), Some(1), None, None], Some(1)),
        (0, &[Some(hour), Some(hour), Some(1), None], Some(1)),
        (-hour, &[Some(hour), Some(7), Some(6), Some(5)], Some(6)),
    ];
    for (own, others, expected) in table {
        let ids = (2..).take(others.len()).map(NodeId);
        let clocks = WallClocks::new(ids.clone());
        for (node, error) in ids.zip(*others) {
            if let Some(error) = error {
                clocks.observe(node, shifted(right(50), *error), at(50));
            }
        }
        // Asked later: what was heard then counts on with the time since.
        let median = clocks.median(at(60), shifted(right(60), *own));
        assert_eq!(median, expected.map(|error| shifted(right(60), error)), "{own} {others:?}");
    }
}

#[test]
fn offsets_are_the_peers_minus_ours() {
    let clocks = three_nodes();
    clocks.observe(NodeId(3), shifted(right(1), -250), at(1));
    clocks.observe(NodeId(9), right(1), at(1));
    let offsets: Vec<_> = clocks.offsets(at(5), right(5)).collect();
    assert_eq!(offsets, [(NodeId(2), None), (NodeId(3), Some(-250))]);
}

/// Runs a leader for `seconds`, stamping ten times a second, with each node's clock wrong by `errors` ms; returns how
/// far the last stamp is from the truth.
fn drift(errors: [i64; 3], seconds: u64) -> i64 {
    let clocks = three_nodes();
    let mut clock = ClusterClock::new(right(0), at(0));
    clock.lead(at(0), None);
    let mut last = Timestamp(0);
    for tenth in 0..=seconds * 10 {
        let now = Monotonic(tenth * SECOND / 10);
        let true_time = Timestamp(EPOCH + tenth * 100);
        for (node, error) in [(2, errors[1]), (3, errors[2])] {
            clocks.observe(NodeId(node), shifted(true_time, error), now);
        }
        let stamp = clock.stamp(now, clocks.median(now, shifted(true_time, errors[0])));
        assert!(stamp >= last, "a stamp went back from {last} to {stamp}");
        last = stamp;
    }
    last.get().cast_signed() - right(seconds).get().cast_signed()
}

#[test]
fn one_wrong_clock_moves_nothing() {
    let hour = i64::try_from(HOUR_MS).unwrap();
    for error in [hour, -hour, 24 * hour, -24 * hour, 1] {
        for errors in [[error, 0, 0], [0, error, 0], [0, 0, error]] {
            let off = drift(errors, 600);
            assert!((-1..=0).contains(&off), "clocks wrong by {errors:?} ms moved cluster time by {off} ms");
        }
    }
}

#[test]
fn a_majority_of_clocks_is_followed_slowly() {
    // 500 ppm of 100 s are 50 ms.
    for (errors, expected) in [
        ([1000, 1000, 1000], 50),
        ([-1000, -1000, 0], -50),
        ([30, 30, 30], 30),
        ([-30, -30, -30], -30),
        ([10, 20, 3_600_000], 20),
    ] {
        let off = drift(errors, 100);
        assert!((off - expected).abs() <= 1, "{errors:?}: off by {off} ms, expected {expected}");
    }
}

#[test]
fn a_wall_clock_that_steps_does_not_show() {
    let clocks = WallClocks::new([]);
    let mut clock = ClusterClock::new(right(0), at(0));
    clock.lead(at(0), clocks.median(at(0), right(0)));
    assert_eq!(clock.stamp(at(10), clocks.median(at(10), right(10))), right(10));
    // The only node's clock is set an hour forth, then an hour back: 0.5 ms a second is all that shows.
    let forth = shifted(right(20), 3_600_000);
    assert_eq!(clock.stamp(at(20), clocks.median(at(20), forth)), shifted(right(20), 5));
    let back = shifted(right(40), -3_600_000);
    assert_eq!(clock.stamp(at(40), clocks.median(at(40), back)), shifted(right(40), -5));
}

#[test]
fn stamps_never_go_back() {
    let mut clock = ClusterClock::new(right(100), at(0));
    // The median lies an hour behind what was stamped before: time goes on from the last stamp, a little slower.
    clock.lead(at(0), Some(shifted(right(0), -3_600_000)));
    let mut last = right(100);
    for second in [0, 0, 1, 1, 2, 60] {
        let stamp = clock.stamp(at(second), Some(shifted(right(second), -3_600_000)));
        assert!(stamp >= last, "{stamp} after {last}");
        last = stamp;
    }
    assert_eq!(last, shifted(right(160), -30));
    // Not even when the monotonic readings come out of order.
    assert_eq!(clock.stamp(at(59), None), last);
    assert_eq!(clock.read(at(1)), last);
}

#[test]
fn time_without_a_leader_is_not_lost() {
    // All nodes were down for an hour: the newest stamp is old, the clocks are not.
    let mut restarted = ClusterClock::new(right(0), at(3_600));
    restarted.lead(at(3_600), Some(right(3_600)));
    assert_eq!(restarted.stamp(at(3_600), Some(right(3_600))), right(3_600));

    // A follower that lived on takes over a minute after the last entry, knowing no majority of clocks.
    let mut follower = ClusterClock::new(right(0), at(0));
    follower.applied(right(30), at(31));
    follower.lead(at(91), None);
    assert_eq!(follower.stamp(at(91), None), right(90));
}

#[test]
fn time_that_a_wrong_clock_hid_is_made_up_when_the_others_are_heard() {
    let clocks = three_nodes();
    let wrong = |second| shifted(right(second), -60_000);
    // Down for five seconds; the new leader has heard of one peer, whose clock is a minute slow.
    clocks.observe(NodeId(2), wrong(5), at(5));
    let mut clock = ClusterClock::new(right(0), at(5));
    clock.lead(at(5), clocks.median(at(5), right(5)));
    clock.learn(at(5), clocks.known(), clocks.median(at(5), right(5)));
    assert_eq!(clock.stamp(at(5), clocks.median(at(5), right(5))), right(0), "it cannot know better");
    clocks.observe(NodeId(3), right(6), at(6));
    clock.learn(at(6), clocks.known(), clocks.median(at(6), right(6)));
    assert_eq!(clock.stamp(at(6), clocks.median(at(6), right(6))), right(6));
    // Two clocks step an hour forth: nothing new was heard of for a while, so they are steered towards.
    clocks.observe(NodeId(2), shifted(right(8), 3_600_000), at(8));
    clocks.observe(NodeId(3), shifted(right(8), 3_600_000), at(8));
    clock.learn(at(8), clocks.known(), clocks.median(at(8), right(8)));
    assert_eq!(clock.stamp(at(8), clocks.median(at(8), right(8))), shifted(right(8), 1));
    // A wrong clock ahead is never the lower median.
    let clocks = three_nodes();
    clocks.observe(NodeId(2), shifted(right(8), 3_600_000), at(8));
    clock.lead(at(8), clocks.median(at(8), right(8)));
    clock.learn(at(8), clocks.known(), clocks.median(at(8), right(8)));
    assert_eq!(clock.stamp(at(8), clocks.median(at(8), right(8))), shifted(right(8), 1));
}

#[test]
fn a_first_message_that_was_late_does_not_set_the_clock() {
    let clocks = three_nodes();
    // A restart after a minute. One peer's clock is an hour slow, the other's first message was held up for 3 s.
    clocks.observe(NodeId(2), shifted(right(60), -3_600_000), at(60));
    clocks.observe(NodeId(3), right(57), at(60));
    let mut clock = ClusterClock::new(right(0), at(60));
    clock.lead(at(60), clocks.median(at(60), right(60)));
    clock.learn(at(60), clocks.known(), clocks.median(at(60), right(60)));
    assert_eq!(clock.stamp(at(60), clocks.median(at(60), right(60))), right(57), "it cannot know better");
    clocks.observe(NodeId(3), right(61), at(61));
    clock.learn(at(61), clocks.known(), clocks.median(at(61), right(61)));
    assert_eq!(clock.stamp(at(61), clocks.median(at(61), right(61))), right(61));
}

#[test]
fn a_late_message_makes_no_clock_slow_but_a_slow_clock_is_believed() {
    let clocks = three_nodes();
    let median = |second| clocks.median(at(second), right(second));
    let both = |said: u64, second: u64| {
        [2, 3].iter().for_each(|node| clocks.observe(NodeId(*node), right(said), at(second)));
    };
    both(10, 10);
    both(9, 13);
    assert_eq!(median(13), Some(right(13)), "what took four seconds says nothing");
    // From now on both are two seconds behind.
    for second in 14..=20 {
        both(second - 2, second);
    }
    assert_eq!(median(20), Some(right(18)));
    both(21, 21);
    assert_eq!(median(21), Some(right(21)), "what is ahead is believed at once");
}

#[test]
fn a_follower_stays_behind_its_leader() {
    let mut clock = ClusterClock::new(right(0), at(0));
    for second in 1..=10 {
        // Each entry arrives half a second after it was stamped.
        clock.applied(right(second), Monotonic(second * SECOND + SECOND / 2));
    }
    assert_eq!(clock.read(at(20)), shifted(right(20), -500));
}

#[test]
fn a_leader_keeps_its_own_pace_while_its_entries_are_applied() {
    let mut clock = ClusterClock::new(right(0), at(0));
    clock.lead(at(0), Some(right(0)));
    let stamp = clock.stamp(at(10), None);
    clock.applied(stamp, at(12));
    assert_eq!(clock.stamp(at(12), None), right(12));
}

#[test]
fn shared_time_is_never_ahead() {
    let time = SharedTime::new();
    assert_eq!(time.at(at(5)), Timestamp(0));
    let now = Monotonic(7 * SECOND + 999_999);
    time.set(right(7), now);
    assert_eq!(time.at(now), right(7));
    assert_eq!(time.at(Monotonic(now.0 + 999_999)), right(7));
    assert_eq!(time.at(Monotonic(now.0 + 1_000_000)), shifted(right(7), 1));
}

#[test]
fn the_real_clocks_run() {
    let (before, wall_before) = (monotonic(), wall());
    std::thread::sleep(std::time::Duration::from_millis(20));
    let passed = monotonic().0 - before.0;
    assert!(passed >= 20_000_000, "{passed} ns");
    assert!(wall() > wall_before && wall_before > Timestamp(1_700_000_000_000));
}
