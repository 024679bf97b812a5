//! How many units each user holds and has bought of each product that limits it. A count outlives its
//! reservations: what was bought counts until the end of the sale.

use doorbuster_protocol::types::UserId;

use crate::digest::{Digest, Kind, key};
use crate::directory::{Directory, Hashed};

/// See the module. Users without units have no entry. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Users {
    counts: Directory<UserCount>,
    digest: u64,
}

/// One user's units of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
pub(crate) struct UserCount {
    user: u128,
    product: u32,
    units: u32,
}

const _: () = assert!(size_of::<UserCount>() == 24);

impl UserCount {
    pub(crate) fn new(user: UserId, product: u32, units: u32) -> Self {
        Self { user: user.get(), product, units }
    }

    pub(crate) fn user(&self) -> UserId {
        UserId(self.user)
    }

    /// The product's place on the shard.
    pub(crate) fn product(&self) -> u32 {
        self.product
    }

    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    fn is_of(&self, user: UserId, product: u32) -> bool {
        self.user == user.get() && self.product == product
    }

    pub(crate) fn digest(&self) -> u64 {
        let small = u64::from(self.product) << 32 | u64::from(self.units);
        Digest::of(Kind::UserCount).wide(self.user).word(small).finish()
    }
}

impl Hashed for UserCount {
    fn hash(&self) -> u64 {
        hash(UserId(self.user), self.product)
    }
}

impl Users {
    pub(crate) fn new() -> Self {
        Self { counts: Directory::new(), digest: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn units(&self, user: UserId, product: u32) -> u32 {
        let found = self.counts.find(hash(user, product), |count| count.is_of(user, product));
        found.map_or(0, UserCount::units)
    }

    /// Reads the beginning of what a look-up reads: see `anticipate.rs`.
    pub(crate) fn stir(&self, user: UserId, product: u32) -> usize {
        self.counts.stir(hash(user, product))
    }

    /// Reads the rest of it.
    pub(crate) fn stir_entries(&self, user: UserId, product: u32) -> u64 {
        self.counts.stir_entries(hash(user, product))
    }

    pub(crate) fn add(&mut self, user: UserId, product: u32, units: u32) {
        let found = self.counts.find_mut(hash(user, product), |count| count.is_of(user, product));
        let Some(count) = found else {
            self.insert(UserCount::new(user, product, units));
            return;
        };
        let old = count.digest();
        count.units += units; // within the stock, which is far below 2^32
        self.digest = self.digest.wrapping_sub(old).wrapping_add(count.digest());
    }

    pub(crate) fn subtract(&mut self, user: UserId, product: u32, units: u32) {
        let hash = hash(user, product);
        let Some(count) = self.counts.find_mut(hash, |count| count.is_of(user, product)) else {
            panic!("user {user} gives back {units} units and has none");
        };
        assert!(count.units() >= units, "user {user} gives back {units} units of {}", count.units());
        self.digest = self.digest.wrapping_sub(count.digest());
        count.units -= units;
        if count.units() == 0 {
            self.counts.remove(hash, |count| count.is_of(user, product));
        } else {
            self.digest = self.digest.wrapping_add(count.digest());
        }
    }

    /// Adds a count that is not there yet.
    pub(crate) fn insert(&mut self, count: UserCount) {
        self.digest = self.digest.wrapping_add(count.digest());
        self.counts.insert(count);
    }

    /// All counts, in an order that depends on nothing but what they are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &UserCount> {
        self.counts.iter()
    }
}

fn hash(user: UserId, product: u32) -> u64 {
    key(user.get() ^ u128::from(product) << 96)
}
