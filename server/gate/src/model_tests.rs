//! The gate against a sequential model: whatever happens one after the other, tickets and refusals are what plain
//! arithmetic says. Real threads then check what loom's small worlds cannot: many of them, for long.

use proptest::prelude::*;

use crate::{Asked, Lease, Numbers, Sale, Terms, Turnstile, Verdict, admit};

#[derive(Clone, Debug)]
enum Step {
    Admit { quantity: u32, now: u64, time: u64, known: bool },
    GiveBack { which: usize, granted: bool },
    Restock { delta: i32 },
    Sale(Sale),
    Waiters(bool),
    Lead,
    Follow,
    Renew { until: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u32..5, 0_u64..100, 0_u64..100, any::<bool>())
            .prop_map(|(quantity, now, time, known)| Step::Admit { quantity, now, time, known }),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(which, granted)| Step::GiveBack { which, granted }),
        2 => (-6_i32..6).prop_map(|delta| Step::Restock { delta }),
        1 => prop_oneof![3 => Just(Sale::Active), 1 => Just(Sale::Paused), 1 => Just(Sale::Closed)].prop_map(Step::Sale),
        1 => any::<bool>().prop_map(Step::Waiters),
        2 => Just(Step::Lead),
        1 => Just(Step::Follow),
        2 => (1_u64..100).prop_map(|until| Step::Renew { until }),
    ]
}

const TERMS: Terms = Terms { limit_per_reservation: 3, opens_at: 10, closes_at: 90 };

struct Model {
    numbers: Numbers,
    out: Vec<u32>,
    lease: Option<u64>,
}

impl Model {
    fn free(&self) -> u32 {
        self.numbers.available.saturating_sub(self.out.iter().sum())
    }

    fn expect(&self, quantity: u32, now: u64, time: u64, known: bool) -> Verdict {
        let n = &self.numbers;
        let Some(until) = self.lease else { return Verdict::NotLeading };
        let refusal = if n.sale == Sale::Closed || time >= TERMS.closes_at {
            Some(Verdict::Closed)
        } else if n.sale == Sale::Paused {
            Some(Verdict::Paused)
        } else if time < TERMS.opens_at {
            Some(Verdict::NotOpen { opens_at: TERMS.opens_at })
        } else if quantity > TERMS.limit_per_reservation {
            Some(Verdict::QuantityTooLarge { limit: TERMS.limit_per_reservation })
        } else if quantity > 0 && n.available == 0 {
            Some(if n.held == 0 { Verdict::SoldOut } else { Verdict::AllHeld { next_expiry: n.next_expiry } })
        } else {
            None
        };
        match refusal {
            Some(refusal) if now < until && !known => refusal,
            Some(_) => Verdict::Wait,
            None if quantity > 0 && !n.waiters && quantity <= self.free() => Verdict::Ticket,
            None => Verdict::Wait,
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_plain_arithmetic(stock in 0_u32..12, steps in prop::collection::vec(step(), 0..80)) {
        let numbers = Numbers { available: stock, ..Numbers::default() };
        let (lease, seat) = (Lease::new(), Turnstile::new(TERMS, numbers));
        let mut model = Model { numbers, out: Vec::new(), lease: None };
        for step in steps {
            match step {
                Step::Admit { quantity, now, time, known } => {
                    let verdict = admit(&lease, &seat, Asked { quantity, now, time }, || known);
                    prop_assert_eq!(verdict, model.expect(quantity, now, time, known));
                    if verdict == Verdict::Ticket {
                        model.out.push(quantity);
                    }
                }
                Step::GiveBack { which, granted } if !model.out.is_empty() => {
                    let quantity = model.out.swap_remove(which % model.out.len());
                    if granted && quantity <= model.numbers.available {
                        model.numbers.available -= quantity;
                        model.numbers.held += quantity;
                        model.numbers.next_expiry += 1;
                        seat.publish(model.numbers);
                    }
                    seat.give_back(quantity);
                }
                Step::GiveBack { .. } => {}
                Step::Restock { delta } => {
                    model.numbers.available = model.numbers.available.saturating_add_signed(delta);
                    seat.publish(model.numbers);
                }
                Step::Sale(sale) => {
                    model.numbers.sale = sale;
                    seat.publish(model.numbers);
                }
                Step::Waiters(waiters) => {
                    model.numbers.waiters = waiters;
                    seat.publish(model.numbers);
                }
                Step::Lead => {
                    lease.lead();
                    model.lease = Some(1);
                }
                Step::Follow => {
                    lease.follow();
                    model.lease = None;
                }
                Step::Renew { until } => {
                    lease.renew(until);
                    model.lease = model.lease.map(|_| until);
                }
            }
            prop_assert_eq!(seat.in_flight(), model.out.iter().sum::<u32>());
            prop_assert_eq!(seat.read(), Some(model.numbers));
        }
    }
}

/// A stampede of real threads for few units, with a shard's thread that grants, drops and takes back.
#[test]
fn a_stampede_gets_exactly_what_there_is() {
    use std::sync::atomic::{AtomicU32, Ordering};

    const STOCK: u32 = 500;
    const THREADS: u32 = 4;
    const TRIES: u32 = 50_000;
    let (lease, seat) =
        (Lease::new(), Turnstile::new(Terms::default(), Numbers { available: STOCK, ..Numbers::default() }));
    lease.lead();
    lease.renew(u64::MAX);
    let (sender, inbox) = std::sync::mpsc::channel::<u32>();
    let refused_early = AtomicU32::new(0);
    let mut granted = 0;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (sender, lease, seat, refused_early) = (sender.clone(), &lease, &seat, &refused_early);
            scope.spawn(move || {
                for attempt in 0..TRIES {
                    let asked = Asked { quantity: 1 + (attempt + thread) % 2, now: 1, time: 1 };
                    match admit(lease, seat, asked, || false) {
                        Verdict::Ticket => sender.send(asked.quantity).unwrap(),
                        Verdict::SoldOut => drop(refused_early.fetch_add(1, Ordering::Relaxed)),
                        Verdict::Wait | Verdict::AllHeld { .. } => std::thread::yield_now(),
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        drop(sender);
        for (number, quantity) in inbox.iter().enumerate() {
            // Every third reserve is dropped on its way; the others are granted.
            if number % 3 != 0 {
                granted += quantity;
                assert!(granted <= STOCK, "{granted} units granted of {STOCK}");
                seat.publish(Numbers { available: STOCK - granted, held: granted, ..Numbers::default() });
            }
            seat.give_back(quantity);
        }
    });
    assert_eq!(refused_early.load(Ordering::Relaxed), 0, "sold_out while everything sold was only held");
    assert_eq!(seat.in_flight(), 0);
    assert!(granted >= STOCK - 1, "only {granted} of {STOCK} units were granted");
}
