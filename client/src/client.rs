//! The client's face: one method for each thing a cluster can be asked.

use std::time::Duration;

use doorbuster_protocol::command::{
    AdjustStock, ChangeSale, Extend, LatePayment, Payment, ProductSpec, Reserve, SetStock, Target,
};
use doorbuster_protocol::reply::{
    AuditReport, FeedPage, NodeAddress, NodeStatus, ProductReply, ProductView, Reply, ReservationReply,
    ReservationView, ShardMap,
};
use doorbuster_protocol::request::Request;
use doorbuster_protocol::types::{FeedPosition, NodeId, ProductId, ReservationId, ShardId};

use crate::config::Config;
use crate::error::Error;

/// A connection to a cluster, shared by all its clones.
#[derive(Clone, Debug)]
pub struct Client {}

#[allow(missing_docs, clippy::unused_async, clippy::missing_errors_doc)]
impl Client {
    pub async fn connect(_config: Config) -> Result<Self, Error> {
        todo!()
    }
    pub async fn execute(&self, _request: Request, _deadline: Option<Duration>) -> Result<Reply, Error> {
        todo!()
    }
    pub async fn reserve(&self, _reserve: Reserve) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn begin_payment(&self, _payment: Payment) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn payment_failed(&self, _payment: Payment) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn confirm(&self, _target: Target) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn release(&self, _target: Target) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn extend(&self, _extend: Extend) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn late_payment(&self, _late: LatePayment) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn refund_done(&self, _target: Target) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn reservation(&self, _target: Target) -> Result<ReservationReply, Error> {
        todo!()
    }
    pub async fn find_reservation(&self, _reservation: ReservationId) -> Result<Option<ReservationReply>, Error> {
        todo!()
    }
    pub async fn create_product(&self, _spec: ProductSpec) -> Result<ProductReply, Error> {
        todo!()
    }
    pub async fn adjust_stock(&self, _adjust: AdjustStock) -> Result<ProductReply, Error> {
        todo!()
    }
    pub async fn set_stock(&self, _set: SetStock) -> Result<ProductReply, Error> {
        todo!()
    }
    pub async fn change_sale(&self, _change: ChangeSale) -> Result<ProductReply, Error> {
        todo!()
    }
    pub async fn product(&self, _product: ProductId) -> Result<ProductReply, Error> {
        todo!()
    }
    pub async fn products(&self) -> Result<Vec<ProductView>, Error> {
        todo!()
    }
    pub async fn reservations(
        &self,
        _shard: ShardId,
        _after: ReservationId,
        _limit: u32,
    ) -> Result<Vec<ReservationView>, Error> {
        todo!()
    }
    pub async fn feed(&self, _shard: ShardId, _after: FeedPosition, _limit: u32) -> Result<FeedPage, Error> {
        todo!()
    }
    pub async fn acknowledge_feed(&self, _shard: ShardId, _through: FeedPosition) -> Result<FeedPosition, Error> {
        todo!()
    }
    pub async fn audit(&self, _node: NodeId, _shard: ShardId) -> Result<AuditReport, Error> {
        todo!()
    }
    pub async fn status(&self, _node: NodeId) -> Result<NodeStatus, Error> {
        todo!()
    }
    #[must_use]
    pub fn shard_map(&self) -> ShardMap {
        todo!()
    }
    #[must_use]
    pub fn shards(&self) -> u16 {
        todo!()
    }
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeAddress> {
        todo!()
    }
    pub async fn close(self) {
        todo!()
    }
}
