//! The flags of the subcommands that concern one reservation: `show`, `confirm`, `release`, `cancel`, `extend`,
//! `pay`.

use crate::connect::Connection;
use crate::names::{ReservationName, parse_reservation, parse_user};
use clap::Args;
use doorbuster_protocol::command::Target;
use doorbuster_protocol::types::UserId;

/// Which reservation, and whose.
#[derive(Args, Debug)]
pub struct TargetArgs {
    /// How to reach the cluster.
    #[command(flatten)]
    pub connection: Connection,
    /// The reservation, as `doorbuster reserve` prints it: PRODUCT-ID
    #[arg(value_parser = parse_reservation, value_name = "RESERVATION")]
    pub reservation: ReservationName,
    /// Its owner, to be checked: the `sub` of the user's tokens, or id: and 32 hex digits [default: unchecked]
    #[arg(long, value_parser = parse_user)]
    pub user: Option<UserId>,
}

impl TargetArgs {
    /// The reservation as the protocol names it.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            product: self.reservation.product,
            reservation: self.reservation.reservation,
            user: self.user.unwrap_or_default(),
        }
    }
}
