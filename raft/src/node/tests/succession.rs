//! When a follower whose leader's connection has closed campaigns, and when it does not.

use super::*;
use crate::effects::Cause;

const LEADER: NodeId = 2;
const TERM: u64 = 4;

/// Node `id` of so many, which hears its leader for the last time at 100 ms.
fn follower(id: NodeId, voters: u64, preferred: Option<NodeId>) -> Node<Words> {
    let config = NodeConfig { preferred, ..NodeConfig::new(id, 0, (1..=voters).collect()) };
    let mut node = Node::new(config, Recovered::empty(0), Words::default()).unwrap();
    run(&mut node, 0..100);
    node.step(at(100), hello(id));
    drain(&mut node, at(100), &mut Effects::default());
    assert_eq!(node.status().leader, Some(LEADER));
    node
}

fn hello(to: NodeId) -> PeerMessage {
    peer(Message { to, ..say(MessageType::MsgHeartbeat, LEADER, TERM) })
}

/// Every millisecond in `range` at which it begins a campaign, and why. It ticks every 20 ms.
fn campaigns(node: &mut Node<Words>, range: std::ops::Range<u64>) -> Vec<(u64, Cause)> {
    let mut begun = Vec::new();
    for now in range {
        if now % 20 == 0 {
            node.tick(at(now));
        }
        let due = node.campaigns_at().is_some_and(|due| due <= at(now));
        let mut all = Effects::default();
        drain(node, at(now), &mut all);
        let asked = all.send.iter().any(|(_, message)| message.raft.msg_type == MessageType::MsgRequestPreVote);
        assert_eq!(asked, all.campaign.is_some(), "a campaign begins with a pre-vote, at {now} ms");
        assert_eq!(due, all.campaign == Some(Cause::Closed), "at {now} ms");
        begun.extend(all.campaign.map(|cause| (now, cause)));
    }
    begun
}

#[test]
fn it_campaigns_an_election_timeout_after_the_close_and_others_in_their_turn() {
    let silent = campaigns(&mut follower(1, 3, None), 101..700);
    assert!(matches!(silent[..], [(420.., Cause::Silence)]), "{silent:?}");
    // Who is preferred goes first, then by number; node 2 led.
    for (id, voters, preferred, first, rounds) in
        [(1, 3, None, 0, 2), (3, 3, None, 1, 2), (1, 3, Some(3), 1, 2), (3, 3, Some(3), 0, 2), (4, 5, Some(2), 1, 4)]
    {
        let mut node = follower(id, voters, preferred);
        node.peer_lost(at(105), LEADER);
        let turn = |number: u64| (105 + 300 + 10 + 40 * (first + number * rounds), Cause::Closed);
        let begun = campaigns(&mut node, 105..1600);
        assert_eq!(begun[..3], [turn(0), turn(1), turn(2)], "node {id} of {voters}, {preferred:?} preferred");
        assert!(begun.len() > 3 && begun[3..].iter().all(|(_, cause)| *cause == Cause::Silence), "{begun:?}");
    }
}

#[test]
fn a_close_does_not_shorten_the_promise() {
    for seen in [101, 250, 399] {
        let mut node = follower(1, 3, None);
        assert_eq!(campaigns(&mut node, 101..seen), []);
        node.peer_lost(at(seen), LEADER);
        let granted = |node: &mut Node<Words>, now: u64| {
            node.step(at(now), peer(say(MessageType::MsgRequestPreVote, 3, TERM + 1)));
            let mut all = Effects::default();
            drain(node, at(now), &mut all);
            all.send.iter().any(|(_, message)| message.raft.msg_type == MessageType::MsgRequestPreVoteResponse)
        };
        assert_eq!(campaigns(&mut node, seen..400), []);
        assert_eq!((granted(&mut node, 400), node.status().leader), (false, Some(LEADER)));
        assert_eq!((granted(&mut node, 401), node.status().leader), (true, None), "closed at {seen} ms");
    }
}

#[test]
fn a_leader_that_is_heard_again_was_never_gone() {
    let mut node = follower(1, 3, None);
    node.peer_lost(at(105), LEADER);
    assert_eq!(campaigns(&mut node, 105..390), []);
    node.step(at(390), hello(1));
    let begun = campaigns(&mut node, 390..1200);
    assert!(begun.iter().all(|(now, cause)| *now > 690 && *cause == Cause::Silence), "{begun:?}");
}

#[test]
fn the_loss_of_anybody_else_changes_nothing() {
    let ordinary = campaigns(&mut follower(1, 3, None), 101..1200);
    let mut node = follower(1, 3, None);
    for stranger in [0, 1, 3, 9] {
        node.peer_lost(at(100), stranger);
    }
    assert_eq!(campaigns(&mut node, 101..1200), ordinary);
}

#[test]
fn one_with_more_of_the_log_does_not_wait_for_those_that_it_must_refuse() {
    let mut node = follower(3, 3, None);
    let mut append = Message { to: 3, ..say(MessageType::MsgAppend, LEADER, TERM) };
    append.set_entries(vec![RaftEntry { index: 1, term: TERM, ..RaftEntry::default() }].into());
    node.step(at(104), peer(append));
    node.peer_lost(at(105), LEADER);
    assert_eq!(campaigns(&mut node, 105..417), []);
    let request = Message { to: 3, ..say(MessageType::MsgRequestPreVote, 1, TERM + 1) };
    node.step(at(417), peer(request));
    assert_eq!(campaigns(&mut node, 417..430), [(417, Cause::Closed)], "not at 455 ms");
}

#[test]
fn one_that_stands_back_takes_no_turn() {
    let mut node = follower(1, 3, None);
    node.stand_back(true);
    node.peer_lost(at(105), LEADER);
    assert_eq!(campaigns(&mut node, 105..1200), []);
}
