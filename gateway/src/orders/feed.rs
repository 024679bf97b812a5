//! Where orders come from.

use std::future::Future;

use doorbuster_client::{Client, Error};
use doorbuster_protocol::reply::FeedPage;
use doorbuster_protocol::types::{FeedPosition, ShardId};

/// The order feeds of a cluster.
pub trait Feed: Clone + Send + Sync + 'static {
    /// How many shards have one.
    fn shards(&self) -> u16;

    /// Up to `limit` entries behind `after`.
    fn read(
        &self,
        shard: ShardId,
        after: FeedPosition,
        limit: u32,
    ) -> impl Future<Output = Result<FeedPage, Error>> + Send;

    /// Everything up to `through` is stored. Idempotent; never moves back.
    fn acknowledge(
        &self,
        shard: ShardId,
        through: FeedPosition,
    ) -> impl Future<Output = Result<FeedPosition, Error>> + Send;
}

impl Feed for Client {
    fn shards(&self) -> u16 {
        Client::shards(self)
    }

    async fn read(&self, shard: ShardId, after: FeedPosition, limit: u32) -> Result<FeedPage, Error> {
        self.feed(shard, after, limit).await
    }

    async fn acknowledge(&self, shard: ShardId, through: FeedPosition) -> Result<FeedPosition, Error> {
        self.acknowledge_feed(shard, through).await
    }
}
