//! The vote as tables: who says what, and what follows from it.

use super::*;

const INDEX: LogIndex = LogIndex(40);
const START: Monotonic = Monotonic(10_000_000_000);

fn digest(index: u64, hash: u64) -> Digest {
    Digest { index: LogIndex(index), hash: StateHash(hash) }
}

fn own() -> Digest {
    digest(40, 7)
}

/// Replica 1 of so many, whose digest is 7 at index 40, the last it applied.
fn of(voters: u16) -> Dispute {
    Dispute::new((2..=voters).map(NodeId).collect())
}

fn known(index: LogIndex) -> Known {
    match index.0 {
        41.. => Known::NotYet,
        40 => Known::Hash(StateHash(7)),
        _ => Known::Forgotten,
    }
}

fn attend(dispute: &mut Dispute, now: Monotonic) -> Option<Verdict> {
    dispute.attend(now, own(), known)
}

fn said(dispute: &mut Dispute) -> Vec<(u16, Vote)> {
    dispute.take_said().map(|(to, vote)| (to.0, vote)).collect()
}

fn after(milliseconds: u64) -> Monotonic {
    START.after(Duration::from_millis(milliseconds))
}

#[test]
fn a_majority_decides_and_nobody_is_guessed() {
    const YES: Option<u64> = Some(7);
    const NO: Option<u64> = Some(8);
    const STOPPED: Option<u64> = Some(0);
    type Row = (u16, &'static [Option<u64>], &'static str);
    // Voters, what the others say (`None`: nothing), what replica 1 finds.
    let rows: [Row; 21] = [
        (1, &[], "right"),
        (3, &[None, None], "open"),
        (3, &[YES, None], "right"),
        (3, &[NO, None], "open"),
        (3, &[STOPPED, None], "open"),
        (3, &[NO, YES], "right"),
        (3, &[STOPPED, YES], "right"),
        (3, &[NO, NO], "wrong"),
        (3, &[NO, Some(9)], "wrong"),
        (3, &[NO, STOPPED], "wrong"),
        (3, &[STOPPED, STOPPED], "wrong"),
        (5, &[YES, None, None, None], "open"),
        (5, &[YES, YES, None, None], "right"),
        (5, &[YES, YES, NO, NO], "right"),
        (5, &[NO, NO, None, None], "open"),
        (5, &[NO, NO, YES, None], "open"),
        (5, &[NO, NO, YES, YES], "right"),
        (5, &[NO, NO, NO, None], "wrong"),
        (5, &[NO, NO, NO, YES], "wrong"),
        (5, &[NO, Some(9), Some(10), YES], "wrong"),
        (5, &[NO, Some(9), STOPPED, YES], "wrong"),
    ];
    for (voters, others, wanted) in rows {
        let mut dispute = of(voters);
        dispute.ask(own(), START);
        for (node, vote) in (2..).map(NodeId).zip(others) {
            let vote = match vote {
                Some(0) => Vote::Stopped,
                Some(hash) => Vote::Claim(digest(40, *hash)),
                None => continue,
            };
            dispute.hear(node, vote, START);
        }
        let verdict = attend(&mut dispute, START);
        let found = match &verdict {
            Some(Verdict::Right(_)) => "right",
            Some(Verdict::Wrong { .. }) => "wrong",
            None => "open",
        };
        assert_eq!(found, wanted, "{voters} voters, the others say {others:?}");
        assert_eq!(dispute.is_open(), wanted == "open");
        if let Some(Verdict::Right(wrong)) = verdict {
            let differ = (2..).map(NodeId).zip(others).filter(|(_, vote)| !matches!(**vote, YES | None));
            assert_eq!(wrong, differ.map(|(node, _)| node).collect::<Vec<_>>());
            assert_eq!(dispute.wrong(START).collect::<Vec<_>>(), wrong, "and are remembered");
            assert_eq!(dispute.wrong(after(6000)).count(), 0, "for a while");
        }
    }
}

#[test]
fn whoever_has_not_answered_is_asked_again_and_nobody_else() {
    let mut dispute = of(5);
    dispute.doubt(own(), START);
    assert_eq!(attend(&mut dispute, START), None);
    assert_eq!(said(&mut dispute), [2, 3, 4, 5].map(|node| (node, Vote::Question(own()))));
    dispute.hear(NodeId(4), Vote::Claim(digest(40, 8)), START);
    dispute.hear(NodeId(9), Vote::Claim(digest(40, 7)), START);
    for (milliseconds, asked) in [(50, &[][..]), (100, &[2, 3, 5]), (150, &[]), (250, &[2, 3, 5])] {
        assert_eq!(attend(&mut dispute, after(milliseconds)), None, "a node that has no vote has none");
        let again = said(&mut dispute);
        assert_eq!(again.iter().map(|(to, _)| *to).collect::<Vec<_>>(), asked, "after {milliseconds} ms");
    }
    assert!(!dispute.is_stuck(after(900)) && dispute.is_stuck(after(1000)));
}

#[test]
fn a_question_is_answered_when_this_replica_has_come_as_far() {
    let mut dispute = of(3);
    dispute.hear(NodeId(2), Vote::Question(digest(50, 1)), START);
    dispute.hear(NodeId(3), Vote::Question(digest(30, 1)), START);
    assert_eq!(attend(&mut dispute, START), None);
    assert_eq!(said(&mut dispute), [], "not there yet, and forgotten");
    dispute.hear(NodeId(2), Vote::Claim(digest(51, 5)), START);
    let later = |index: LogIndex| if index.0 <= 51 { Known::Hash(StateHash(5)) } else { Known::NotYet };
    assert_eq!(dispute.attend(START, digest(51, 5), later), None);
    assert_eq!(said(&mut dispute), [(2, Vote::Claim(digest(51, 5)))], "a claim does not take the question's place");
    assert!(!dispute.is_open(), "the two agree");
    assert_eq!(dispute.attend(START, digest(51, 5), later), None);
    assert_eq!(said(&mut dispute), [], "once");
}

#[test]
fn whoever_hears_of_a_difference_asks_too() {
    for vote in [Vote::Claim(digest(40, 8)), Vote::Question(digest(40, 8))] {
        let mut dispute = of(3);
        dispute.hear(NodeId(2), vote, START);
        assert_eq!(attend(&mut dispute, START), None);
        assert!(dispute.is_contradicted());
        let mut all = said(&mut dispute);
        assert_eq!(all.pop(), Some((3, Vote::Question(own()))), "node 2 has said what it has");
        assert_eq!(all.pop(), matches!(vote, Vote::Question(_)).then_some((2, Vote::Claim(own()))));
        dispute.hear(NodeId(3), Vote::Claim(own()), START);
        assert_eq!(attend(&mut dispute, START), Some(Verdict::Right(vec![NodeId(2)])));
        // It goes on asking until it has heard: it is answered, and holds nobody up.
        dispute.hear(NodeId(2), Vote::Question(digest(40, 8)), after(100));
        assert_eq!(attend(&mut dispute, after(100)), None);
        assert_eq!(said(&mut dispute), [(2, Vote::Claim(own()))]);
        assert!(!dispute.is_open());
        // One that differs later is another matter.
        dispute.hear(NodeId(2), Vote::Question(digest(40, 8)), after(6000));
        attend(&mut dispute, after(6000));
        assert!(dispute.is_open());
    }
}

#[test]
fn a_question_that_nobody_can_answer_any_more_moves_on() {
    let mut dispute = of(3);
    dispute.doubt(own(), START);
    attend(&mut dispute, START);
    dispute.hear(NodeId(2), Vote::Claim(digest(40, 8)), START);
    dispute.hear(NodeId(3), Vote::Stopped, START);
    let mut dispute = of(5);
    dispute.doubt(own(), START);
    attend(&mut dispute, START);
    dispute.hear(NodeId(2), Vote::Claim(digest(40, 8)), START);
    dispute.hear(NodeId(3), Vote::Stopped, START);
    attend(&mut dispute, START);
    said(&mut dispute);
    let now = digest(90, 9);
    let all = |index: LogIndex| Known::Hash(StateHash(if index == INDEX { 7 } else { 9 }));
    assert_eq!(dispute.attend(after(1000), now, all), None);
    let asked: Vec<_> = [2, 4, 5].map(|node| (node, Vote::Question(now))).to_vec();
    assert_eq!(said(&mut dispute), asked, "who has stopped is not asked again");
    assert!(dispute.is_stuck(after(1000)), "callers have waited since the first question");
    // What is said about the old index counts no more.
    for node in [4, 5] {
        dispute.hear(NodeId(node), Vote::Claim(digest(40, 7)), after(1001));
    }
    assert_eq!(dispute.attend(after(1001), now, all), None);
    for node in [4, 5] {
        dispute.hear(NodeId(node), Vote::Claim(now), after(1002));
    }
    assert_eq!(dispute.attend(after(1002), now, all), Some(Verdict::Right(vec![NodeId(3)])));
}

#[test]
fn one_that_has_stopped_says_so_and_still_tells_what_it_knows() {
    let mut dispute = of(3);
    dispute.doubt(own(), START);
    let stopped = |index: LogIndex| if index == INDEX { Known::Hash(StateHash(7)) } else { Known::Forgotten };
    dispute.attend_stopped(START, stopped);
    assert_eq!(said(&mut dispute), [2, 3].map(|node| (node, Vote::Stopped)));
    dispute.hear(NodeId(2), Vote::Question(digest(40, 8)), START);
    dispute.hear(NodeId(3), Vote::Question(digest(60, 8)), START);
    dispute.attend_stopped(START, stopped);
    assert_eq!(said(&mut dispute), [(2, Vote::Claim(own())), (3, Vote::Stopped)]);
    assert!(!dispute.is_open(), "it doubts no more");
    dispute.attend_stopped(after(999), stopped);
    assert_eq!(said(&mut dispute), []);
    dispute.attend_stopped(after(1000), stopped);
    assert_eq!(said(&mut dispute).len(), 2);
}

#[test]
fn a_new_leader_asks_at_its_own_index_whatever_was_asked_before() {
    let mut dispute = of(3);
    dispute.doubt(digest(12, 1), START);
    attend(&mut dispute, START);
    dispute.ask(own(), after(10));
    assert!(dispute.is_contradicted(), "somebody differed, and it is not settled");
    dispute.hear(NodeId(3), Vote::Claim(own()), after(11));
    assert_eq!(attend(&mut dispute, after(11)), Some(Verdict::Right(vec![])));
}
