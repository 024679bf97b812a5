//! One node by hand: what comes out when, and what is refused. Clusters are tested in `tests/`.

mod succession;

use std::time::Duration;

use super::*;
use crate::types::{Entry, EntryKind, HardState};

/// Remembers what it applied.
#[derive(Default)]
struct Words(Vec<(u64, Vec<u8>)>);

struct FrozenWords(Vec<u8>);

impl Frozen for FrozenWords {
    fn write_to(self: Box<Self>, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        out.write_all(&self.0)
    }
}

impl StateMachine for Words {
    type Outcome = usize;

    fn apply(&mut self, index: u64, data: &[u8]) -> usize {
        self.0.push((index, data.to_vec()));
        self.0.len()
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(FrozenWords(vec![u8::try_from(self.0.len()).unwrap()]))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        match snapshot {
            [count] => {
                self.0 = vec![(0, Vec::new()); usize::from(*count)];
                Ok(())
            }
            other => Err(format!("{} bytes", other.len())),
        }
    }
}

fn node(voters: &[NodeId], recovered: Recovered) -> Node<Words> {
    let mut config = NodeConfig::new(1, 0, voters.to_vec());
    config.preferred = None;
    Node::new(config, recovered, Words::default()).unwrap()
}

fn at(milliseconds: u64) -> Monotonic {
    Monotonic(milliseconds * 1_000_000)
}

/// Ticks every 20 ms in `range` (ms) and collects everything that comes out; disks are instant.
fn run(node: &mut Node<Words>, range: std::ops::Range<u64>) -> Effects<usize> {
    let mut all = Effects::default();
    for now in range.step_by(20) {
        node.tick(at(now));
        drain(node, at(now), &mut all);
    }
    all
}

fn drain(node: &mut Node<Words>, now: Monotonic, all: &mut Effects<usize>) {
    loop {
        let effects = node.poll(now);
        let quiet = effects.persist.is_none() && !effects.more;
        if let Some(append) = &effects.persist {
            node.durable(append.ticket);
        }
        all.persist = effects.persist.or(all.persist.take());
        all.role = effects.role.or(all.role);
        all.campaign = effects.campaign.or(all.campaign);
        all.send.extend(effects.send);
        all.applied.extend(effects.applied);
        all.reads.extend(effects.reads);
        all.send_snapshot.extend(effects.send_snapshot);
        if quiet {
            break;
        }
    }
}

fn say(kind: MessageType, from: NodeId, term: u64) -> Message {
    let mut message = Message { from, to: 1, term, ..Message::default() };
    message.msg_type = kind;
    message
}

fn peer(raft: Message) -> PeerMessage {
    PeerMessage::new(raft, 0)
}

/// Elects node 1 of three in term 1 by hand.
fn elected() -> Node<Words> {
    let mut node = node(&[1, 2, 3], Recovered::empty(0));
    let mut all = run(&mut node, 0..700);
    assert!(all.send.iter().any(|(_, message)| message.raft.msg_type == MessageType::MsgRequestPreVote));
    for kind in [MessageType::MsgRequestPreVoteResponse, MessageType::MsgRequestVoteResponse] {
        node.step(at(700), peer(say(kind, 2, 1)));
        drain(&mut node, at(700), &mut all);
    }
    assert_eq!(all.role, Some(RoleChange { leader: Some(1), term: 1, leading: true }));
    node
}

#[test]
fn alone_it_leads_commits_and_has_its_lease_at_once() {
    let mut node = node(&[1], Recovered::empty(0));
    let first = run(&mut node, 0..20);
    assert_eq!(first.role, Some(RoleChange { leader: Some(1), term: 1, leading: true }));
    let mut all = Effects::default();
    drain(&mut node, at(0), &mut all);
    assert!(node.lease_holds(at(1_000_000)));
    let proposed = node.propose(Bytes::from_static(b"one")).unwrap();
    node.request_read(at(1), 77).unwrap();
    drain(&mut node, at(1), &mut all);
    drain(&mut node, at(1), &mut all);
    assert_eq!(all.applied.len(), 1);
    assert_eq!((all.applied[0].term, all.applied[0].index), (proposed.term, proposed.index));
    assert_eq!(all.reads.iter().map(|read| read.token).collect::<Vec<_>>(), [77]);
}

#[test]
fn nothing_is_applied_before_it_is_durable() {
    let mut node = node(&[1], Recovered::empty(0));
    run(&mut node, 0..20);
    node.propose(Bytes::from_static(b"one")).unwrap();
    let ticket = node.poll(at(20)).persist.unwrap().ticket;
    for now in 21..30 {
        assert!(node.poll(at(now)).applied.is_empty());
    }
    node.durable(ticket);
    assert_eq!(node.poll(at(30)).applied.len(), 1);
}

#[test]
fn a_followers_answer_waits_for_its_disk() {
    let mut node = node(&[1, 2, 3], Recovered::empty(0));
    node.tick(at(0));
    let mut append = say(MessageType::MsgAppend, 2, 1);
    append.set_entries(vec![RaftEntry { index: 1, term: 1, ..RaftEntry::default() }].into());
    node.step(at(1), PeerMessage::new(append, 5));
    let effects = node.poll(at(1));
    let append = effects.persist.unwrap();
    assert_eq!((append.entries.len(), append.hard_state.unwrap().term), (1, 1));
    assert!(effects.send.is_empty());
    assert!(node.poll(at(2)).send.is_empty());
    node.durable(append.ticket);
    let sent = node.poll(at(3)).send;
    assert_eq!((sent.len(), sent[0].0, sent[0].1.stamp), (1, 2, 5));
}

#[test]
fn proposals_beyond_the_limits_are_refused() {
    let mut node = elected();
    let limit = node.config.max_entry_bytes;
    for size in [0, limit + 1] {
        let refused = node.propose(Bytes::from(vec![0; size]));
        assert_eq!(refused, Err(ProposeError::Size { bytes: size, limit }));
    }
    let mut response = say(MessageType::MsgAppendResponse, 2, 1);
    response.index = 1;
    node.step(at(700), peer(response));
    drain(&mut node, at(700), &mut Effects::default());
    let mut taken = 0;
    let refused = loop {
        match node.propose(Bytes::from(vec![0; limit])) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refused, taken), (ProposeError::Full, 64));
    let sent = node.poll(at(710)).send;
    let largest = sent.iter().map(|(_, message)| message.encoded_len()).max().unwrap();
    assert!(largest < limit + 200, "{largest}");
}

#[test]
fn a_follower_takes_no_proposal_and_no_order() {
    let mut node = node(&[1, 2, 3], Recovered::empty(0));
    node.step(at(0), peer(say(MessageType::MsgHeartbeat, 2, 4)));
    drain(&mut node, at(0), &mut Effects::default());
    let refused = Err(ProposeError::NotLeader { leader: Some(2) });
    assert_eq!(node.propose(Bytes::from_static(b"x")), refused);
    assert_eq!(node.request_read(at(0), 1), Err(ReadError::NotLeader { leader: Some(2) }));
    assert!(!node.transfer_leadership(3));
    for kind in
        [MessageType::MsgPropose, MessageType::MsgTransferLeader, MessageType::MsgHup, MessageType::MsgReadIndex]
    {
        let mut order = say(kind, 3, 4);
        order.set_entries(vec![RaftEntry::default()].into());
        node.step(at(1), peer(order));
    }
    let strangers = [say(MessageType::MsgHeartbeat, 9, 99), say(MessageType::MsgHeartbeat, 1, 99)];
    strangers.into_iter().for_each(|message| node.step(at(1), peer(message)));
    let effects = node.poll(at(1));
    assert!(effects.send.is_empty() && effects.role.is_none(), "{effects:?}");
}

#[test]
fn a_bound_follower_votes_only_when_leadership_is_handed_over() {
    let mut node = node(&[1, 2, 3], Recovered::empty(0));
    let mut all = Effects::default();
    node.step(at(0), peer(say(MessageType::MsgHeartbeat, 2, 4)));
    drain(&mut node, at(1), &mut all);
    let votes = |all: &Effects<usize>| {
        all.send.iter().filter(|(_, m)| m.raft.msg_type == MessageType::MsgRequestVoteResponse).count()
    };
    node.step(at(299), peer(say(MessageType::MsgRequestVote, 3, 5)));
    drain(&mut node, at(299), &mut all);
    assert_eq!((votes(&all), node.status().term), (0, 4));
    let mut forced = say(MessageType::MsgRequestVote, 3, 5);
    forced.context = Bytes::from_static(b"CampaignTransfer");
    node.step(at(299), peer(forced));
    drain(&mut node, at(299), &mut all);
    assert_eq!((votes(&all), node.status().term), (1, 5));
}

#[test]
fn a_restarted_replica_neither_votes_nor_campaigns_for_one_timeout() {
    let mut recovered = Recovered::empty(0);
    recovered.hard_state = HardState { term: 4, vote: 0, commit: 0 };
    let mut node = node(&[1, 2, 3], recovered);
    let start = 1_000_000;
    node.tick(at(start));
    node.step(at(start + 299), peer(say(MessageType::MsgRequestPreVote, 3, 5)));
    node.step(at(start + 299), peer(say(MessageType::MsgRequestVote, 3, 5)));
    for _ in 0..100 {
        node.tick(at(start + 299));
    }
    let effects = node.poll(at(start + 299));
    assert!(effects.send.is_empty() && effects.persist.is_none(), "{effects:?}");
    node.step(at(start + 300), peer(say(MessageType::MsgRequestVote, 3, 5)));
    let mut all = Effects::default();
    drain(&mut node, at(start + 300), &mut all);
    drain(&mut node, at(start + 300), &mut all);
    assert_eq!(all.send.len(), 1);
}

#[test]
fn the_lease_counts_from_the_echoed_stamp_and_needs_an_own_entry() {
    let mut node = elected();
    let mut all = Effects::default();
    let mut heartbeat = say(MessageType::MsgHeartbeatResponse, 2, 1);
    node.step(at(710), PeerMessage::new(heartbeat.clone(), at(700).0));
    assert_eq!(node.lease_until(), at(0), "nothing of this term is committed");
    let mut response = say(MessageType::MsgAppendResponse, 2, 1);
    response.index = 1;
    node.step(at(711), PeerMessage::new(response, at(700).0));
    drain(&mut node, at(711), &mut all);
    assert_eq!(node.lease_until(), at(700 + 300 - 30));
    heartbeat.term = 2;
    assert!(node.transfer_leadership(2));
    assert_eq!(node.lease_until(), at(0));
    drain(&mut node, at(712), &mut all);
    assert!(all.send.iter().any(|(to, message)| (*to, message.raft.msg_type) == (2, MessageType::MsgTimeoutNow)));
    assert_eq!(node.propose(Bytes::from_static(b"x")), Err(ProposeError::Transferring));
    node.step(at(713), PeerMessage::new(say(MessageType::MsgHeartbeatResponse, 2, 1), at(712).0));
    for now in (720..1000).step_by(20) {
        node.step(at(now), PeerMessage::new(say(MessageType::MsgHeartbeatResponse, 2, 1), at(now).0));
        node.tick(at(now));
        drain(&mut node, at(now), &mut all);
        assert_eq!((node.lease_until(), node.status().term), (at(0), 1), "the order to take over may arrive yet");
    }
}

#[test]
fn a_leader_whose_hand_over_came_to_nothing_leads_on_in_a_new_term() {
    let mut node = elected();
    let mut all = Effects::default();
    let mut response = say(MessageType::MsgAppendResponse, 2, 1);
    response.index = 1;
    node.step(at(710), PeerMessage::new(response.clone(), at(700).0));
    assert!(node.transfer_leadership(2));
    drain(&mut node, at(712), &mut all);
    assert!(all.send.iter().any(|(to, message)| (*to, message.raft.msg_type) == (2, MessageType::MsgTimeoutNow)));
    // Node 2 is dead, node 3 answers.
    all.send.clear();
    for now in (720..1100).step_by(20) {
        node.step(at(now), PeerMessage::new(say(MessageType::MsgHeartbeatResponse, 3, 1), at(now).0));
        node.tick(at(now));
        drain(&mut node, at(now), &mut all);
    }
    let forced = |message: &PeerMessage| {
        message.raft.msg_type == MessageType::MsgRequestVote && &message.raft.context[..] == b"CampaignTransfer"
    };
    assert!(all.send.iter().any(|(to, message)| *to == 3 && message.raft.term == 2 && forced(message)), "{all:?}");
    node.step(at(1100), peer(say(MessageType::MsgRequestVoteResponse, 3, 2)));
    drain(&mut node, at(1100), &mut all);
    assert_eq!(all.role, Some(RoleChange { leader: Some(1), term: 2, leading: true }));
    response = Message { from: 3, term: 2, index: 2, ..response };
    node.step(at(1110), PeerMessage::new(response, at(1100).0));
    drain(&mut node, at(1110), &mut all);
    assert_eq!(node.lease_until(), at(1100 + 300 - 30));
    assert!(node.propose(Bytes::from_static(b"x")).is_ok());
}

#[test]
fn a_late_rejection_does_not_take_the_leader_back() {
    let mut node = elected();
    let mut all = Effects::default();
    for _ in 0..10 {
        node.propose(Bytes::from_static(b"x")).unwrap();
        drain(&mut node, at(701), &mut all);
    }
    let answer = |index, reject, hint| {
        let mut response = say(MessageType::MsgAppendResponse, 2, 1);
        (response.index, response.reject, response.reject_hint) = (index, reject, hint);
        peer(response)
    };
    node.step(at(702), answer(8, false, 0));
    node.raw.report_unreachable(2);
    let progress = |node: &Node<Words>| {
        let progress = node.raw.raft.prs().get(2).unwrap();
        (progress.state, progress.matched, progress.next_idx)
    };
    assert_eq!(progress(&node), (raft::ProgressState::Probe, 8, 9));
    node.step(at(703), answer(8, true, 2));
    assert_eq!(progress(&node), (raft::ProgressState::Probe, 8, 9));
    node.raw.raft.mut_prs().get_mut(2).unwrap().next_idx = 11;
    node.step(at(704), answer(10, true, 3));
    assert_eq!(progress(&node), (raft::ProgressState::Probe, 8, 9));
}

#[test]
fn recovered_entries_are_applied_as_far_as_they_are_committed() {
    let mut recovered = Recovered::empty(0);
    recovered.hard_state = HardState { term: 2, vote: 1, commit: 12 };
    recovered.mark = SnapshotMark { index: 10, term: 1 };
    let entry = |index| Entry { index, term: 2, kind: EntryKind::Normal, data: Bytes::from_static(b"x") };
    recovered.entries = vec![entry(11), entry(12), entry(13)];
    let mut node = node(&[1, 2, 3], recovered);
    let noted = node.poll(at(0)).persist.unwrap();
    assert_eq!(noted.mark, Some(SnapshotMark { index: 10, term: 1 }), "the log may not know it yet");
    node.durable(noted.ticket);
    let applied: Vec<_> = node.poll(at(0)).applied.into_iter().map(|applied| applied.index).collect();
    assert_eq!(applied, [11, 12]);
    assert_eq!((node.status().first, node.status().last, node.status().applied), (11, 13, 12));
}

#[test]
fn a_snapshot_cuts_the_log_and_is_what_a_lagging_follower_gets() {
    let mut node = elected();
    node.config.trailing_bytes = 0;
    let mut all = Effects::default();
    let mut response = say(MessageType::MsgAppendResponse, 2, 1);
    for index in 1..=20 {
        response.index = index;
        node.step(at(701), peer(response.clone()));
        node.propose(Bytes::from(vec![0; 1 << 20])).unwrap();
        drain(&mut node, at(701), &mut all);
    }
    let (mark, frozen) = node.freeze();
    let mut bytes = Vec::new();
    frozen.write_to(&mut bytes).unwrap();
    assert_eq!((mark, bytes), (SnapshotMark { index: 20, term: 1 }, vec![19]));
    let cut = node.snapshot_written(mark);
    assert_eq!((cut.mark, cut.hard_state.unwrap().commit), (Some(mark), 20));
    node.durable(cut.ticket);
    assert!(node.status().first > 16, "{:?}", node.status());
    let mut rejection = say(MessageType::MsgAppendResponse, 3, 1);
    rejection.reject = true;
    for _ in 0..3 {
        node.step(at(702), peer(rejection.clone()));
        node.step(at(702), peer(say(MessageType::MsgHeartbeatResponse, 3, 1)));
        drain(&mut node, at(702), &mut all);
    }
    assert_eq!(all.send_snapshot.len(), 1);
    assert_eq!((all.send_snapshot[0].to, all.send_snapshot[0].mark), (3, mark));
    node.snapshot_sent(3, false);
    for now in [710, 720, 1100] {
        node.step(at(now), peer(say(MessageType::MsgHeartbeatResponse, 3, 1)));
        node.step(at(now), peer(say(MessageType::MsgHeartbeatResponse, 2, 1)));
        drain(&mut node, at(now), &mut all);
        assert_eq!(all.send_snapshot.len(), 1, "not again at once");
        node.tick(at(now));
    }
    node.step(at(1120), peer(say(MessageType::MsgHeartbeatResponse, 3, 1)));
    drain(&mut node, at(1120), &mut all);
    assert_eq!(all.send_snapshot.len(), 2);
}

#[test]
fn an_installed_snapshot_replaces_log_and_machine() {
    let mut node = node(&[1, 2, 3], Recovered::empty(0));
    let mut message = say(MessageType::MsgSnapshot, 2, 3);
    message.mut_snapshot().mut_metadata().index = 40;
    message.mut_snapshot().mut_metadata().term = 2;
    node.step(at(1), peer(message.clone()));
    assert_eq!(node.poll(at(1)).persist, None, "without its bytes it is nothing");
    node.install(at(2), peer(message.clone()), &[5]);
    let effects = node.poll(at(2));
    let append = effects.persist.unwrap();
    assert_eq!(append.mark, Some(SnapshotMark { index: 40, term: 2 }));
    assert_eq!(append.hard_state, Some(HardState { term: 3, vote: 0, commit: 40 }));
    assert!(effects.send.is_empty(), "the answer waits for the log");
    assert_eq!((node.machine().0.len(), node.status().applied), (5, 40));
    // Even before the log has answered, a campaign must not look for the entries before it.
    for tick in 1..100 {
        node.tick(at(2).after(Duration::from_millis(20 * tick)));
    }
    node.durable(append.ticket);
    let mut all = Effects::default();
    drain(&mut node, at(3000), &mut all);
    assert!(all.send.iter().any(|(_, m)| m.raft.msg_type == MessageType::MsgAppendResponse && m.raft.index == 40));
    // The same once more, late: nothing to restore, and nothing to note in the log.
    node.install(at(3001), peer(message), &[9]);
    drain(&mut node, at(3001), &mut Effects::default());
    assert_eq!(node.machine().0.len(), 5);
}

#[test]
fn a_snapshot_that_raft_does_not_need_becomes_our_own() {
    let mut node = elected();
    let mut all = Effects::default();
    let mut response = say(MessageType::MsgAppendResponse, 2, 1);
    for index in 1..=5 {
        response.index = index;
        node.step(at(701), peer(response.clone()));
        node.propose(Bytes::from_static(b"x")).unwrap();
        drain(&mut node, at(701), &mut all);
    }
    let mut message = say(MessageType::MsgSnapshot, 2, 1);
    message.mut_snapshot().mut_metadata().index = 4;
    message.mut_snapshot().mut_metadata().term = 1;
    all.persist = None;
    node.install(at(702), peer(message), &[1]);
    drain(&mut node, at(702), &mut all);
    assert_eq!(all.persist.unwrap().mark, Some(SnapshotMark { index: 4, term: 1 }));
    assert_eq!(node.machine().0.len(), 4);
}

/// The disk hangs: nothing is reported durable. Whatever a leader sends, and whoever it is, what waits for the disk is
/// bounded, and when the disk is back the rest is taken.
#[test]
fn a_follower_whose_disk_hangs_takes_no_more_than_the_bound() {
    const ENTRY: usize = 256 << 10;
    let mut node = node(&[1, 2, 3], Recovered::empty(0));
    let bound = node.config.max_unsynced_bytes;
    let (mut waiting, mut tickets, mut last) = (0, Vec::new(), 0);
    for round in 1..=1000_u64 {
        let mut append = say(MessageType::MsgAppend, 2, round);
        (append.index, append.log_term) = (last, if last == 0 { 0 } else { last });
        let entry = RaftEntry { index: last + 1, term: round, data: vec![7; ENTRY].into(), ..RaftEntry::default() };
        append.set_entries(vec![entry].into());
        node.step(at(round), peer(append));
        for append in std::iter::from_fn(|| node.poll(at(round)).persist) {
            waiting += append.entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
            last = append.entries.last().map_or(last, |entry| entry.index);
            tickets.push(append.ticket);
        }
    }
    assert!((bound..bound + 2 * ENTRY as u64).contains(&waiting), "{waiting} bytes wait for the disk");
    node.durable(*tickets.last().unwrap());
    assert_eq!(node.pipeline.unsynced_bytes(), 0);
}

#[test]
fn a_leader_whose_disk_hangs_proposes_no_more_than_the_bound() {
    let mut node = node(&[1], Recovered::empty(0));
    run(&mut node, 0..40);
    let mut proposed = 0;
    while node.propose(vec![7; 1 << 20].into()).is_ok() {
        proposed += 1;
        while node.poll(at(50)).more {}
        assert!(proposed <= 17, "{proposed} MiB");
    }
    assert_eq!(proposed, 16);
    assert_eq!(node.propose(Bytes::from_static(b"one")), Err(ProposeError::Full));
    let ticket = node.pipeline.next_ticket(0);
    node.durable(ticket);
    assert!(node.propose(Bytes::from_static(b"one")).is_ok(), "the disk is back");
}

#[test]
fn one_that_stands_back_lets_others_campaign_first_and_takes_no_leadership() {
    let campaigns = |all: &Effects<usize>| {
        all.send.iter().any(|(_, message)| message.raft.msg_type == MessageType::MsgRequestPreVote)
    };
    let mut node = node(&[1, 2, 3], Recovered::empty(0));
    node.stand_back(true);
    assert!(!campaigns(&run(&mut node, 0..1400)), "others would have campaigned by 600 ms");
    let mut all = Effects::default();
    node.step(at(1400), peer(say(MessageType::MsgTimeoutNow, 2, 1)));
    drain(&mut node, at(1400), &mut all);
    assert!(!all.send.iter().any(|(_, message)| message.raft.msg_type == MessageType::MsgRequestVote));
    assert!(campaigns(&run(&mut node, 1400..2400)), "nobody else does: it may be the only one that has everything");
}

#[test]
fn leadership_is_not_handed_to_a_preferred_node_that_is_to_be_avoided() {
    for avoided in [false, true] {
        let mut node = elected();
        node.preference = Preference::new(&NodeConfig::new(1, 1, vec![1, 2, 3]));
        node.avoid(if avoided { &[2] } else { &[] });
        let mut all = Effects::default();
        for now in (740..8000).step_by(20) {
            let mut response = say(MessageType::MsgAppendResponse, 2, 1);
            response.index = node.status().last;
            node.step(at(now), PeerMessage::new(response, at(now - 40).0));
            node.tick(at(now));
            drain(&mut node, at(now), &mut all);
        }
        let told = all.send.iter().any(|(to, message)| (*to, message.raft.msg_type) == (2, MessageType::MsgTimeoutNow));
        assert_eq!(told, !avoided);
    }
}
