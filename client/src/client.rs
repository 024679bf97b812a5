//! The client's face: one method for each thing a cluster can be asked. All of them end in
//! [`Client::execute`], which routes, retries and gives up as the crate's head says.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::command::{
    AdjustStock, Cancel, ChangeSale, Command, Extend, LatePayment, Payment, ProductSpec, Reserve, SetStock, Target,
};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::limits::{MAX_PAGE, MAX_WAIT};
use doorbuster_protocol::query::{Changed, Query, Unsettled};
use doorbuster_protocol::reply::{
    AuditReport, FeedPage, NodeAddress, NodeStatus, ProductReply, ProductView, Reply, ReservationReply,
    ReservationView, ShardMap, UnsettledPage,
};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{FeedPosition, Millis, NodeId, ProductId, ReservationId, ShardId};
use futures_util::future::try_join_all;
use tokio::task::AbortHandle;

use crate::clock::now;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::Error;
use crate::retry::Attempts;
use crate::route::{Route, route};
use crate::scout::scout;

/// A cluster's client, shared by all its clones; cloning is cheap.
///
/// # Cancellation
/// Every method may be dropped at any time. What was sent may still be done; asking again with the same
/// id tells. Nothing is left behind in the client.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: Arc<Cluster>,
    scout: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.scout.abort();
        self.cluster.close();
    }
}

/// Errors: [`Error`] says what each means, and what is known of the effect.
#[allow(clippy::missing_errors_doc)] // the same for all, and said above
impl Client {
    /// Finds the cluster through any of the configured nodes. Keeps trying for the configured deadline.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Rejected`] (credential, cluster, version), or [`Error::Unavailable`].
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let cluster = Cluster::find(config).await?;
        let scout = tokio::spawn(scout(Arc::downgrade(&cluster))).abort_handle();
        Ok(Self { inner: Arc::new(Inner { cluster, scout }) })
    }

    /// Sends any request to who answers it, within `deadline` (else the configured one). The request's
    /// own `wait` is replaced by what remains of the deadline at each attempt.
    pub async fn execute(&self, request: Request, deadline: Option<Duration>) -> Result<Reply, Error> {
        self.execute_noting(request, deadline).await.0
    }

    /// As [`Client::execute`], and says whether an attempt of a command went unheard before its answer came. If so and the
    /// answer is a refusal, that attempt may still take effect when it arrives late; if the answer is a replay, it may be
    /// that attempt's effect.
    pub async fn execute_noting(&self, request: Request, deadline: Option<Duration>) -> (Result<Reply, Error>, bool) {
        match route(&request, self.shards()) {
            Ok(route) => self.run_noting(request, route, deadline).await,
            Err(why) => (Err(Error::Rejected(Failure::Malformed(why))), false),
        }
    }

    /// Claims units for a user. The reservation's id is the idempotency key.
    pub async fn reserve(&self, reserve: Reserve) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::Reserve(reserve)).await
    }

    /// Pins a reservation for a charge.
    pub async fn begin_payment(&self, payment: Payment) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::BeginPayment(payment)).await
    }

    /// The charge was declined; the reservation is held again.
    pub async fn payment_failed(&self, payment: Payment) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::PaymentFailed(payment)).await
    }

    /// Sells the reservation's units.
    pub async fn confirm(&self, target: Target) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::Confirm(target)).await
    }

    /// Gives the reservation's units back.
    pub async fn release(&self, target: Target) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::Release(target)).await
    }

    /// Moves a held reservation's deadline later.
    pub async fn extend(&self, extend: Extend) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::Extend(extend)).await
    }

    /// The provider says paid after the reservation was gone: takes the units again, or owes a refund.
    pub async fn late_payment(&self, late: LatePayment) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::LatePayment(late)).await
    }

    /// The provider says refunded.
    pub async fn refund_done(&self, target: Target) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::RefundDone(target)).await
    }

    /// Undoes a sale: `refund_due` if it was paid for, else `cancelled`. Its units go back on sale or are written off.
    pub async fn cancel(&self, cancel: Cancel) -> Result<ReservationReply, Error> {
        self.change_reservation(Command::Cancel(cancel)).await
    }

    /// One reservation as it is now.
    pub async fn reservation(&self, target: Target) -> Result<ReservationReply, Error> {
        reservation(self.query(Query::Reservation(target)).await?)
    }

    /// The reservation of that id, of whatever product; of several, which only different products can
    /// have, the one made first. Asks every shard at once.
    pub async fn find_reservation(&self, reservation: ReservationId) -> Result<Option<ReservationReply>, Error> {
        let found = self.find_reservations(reservation).await?;
        Ok(found.into_iter().min_by_key(|found| (found.reservation.created_at, found.reservation.product)))
    }

    /// Every reservation of that id, at most one a shard, by shard. Asks every shard at once.
    pub async fn find_reservations(&self, reservation: ReservationId) -> Result<Vec<ReservationReply>, Error> {
        let found = try_join_all(self.all_shards().map(|shard| self.find_on(shard, reservation))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Puts a product on sale. Idempotent by its id.
    pub async fn create_product(&self, spec: ProductSpec) -> Result<ProductReply, Error> {
        self.change_product(Command::CreateProduct(Box::new(spec))).await
    }

    /// Adds units to a product's stock, or takes free ones away.
    pub async fn adjust_stock(&self, adjust: AdjustStock) -> Result<ProductReply, Error> {
        self.change_product(Command::AdjustStock(adjust)).await
    }

    /// Sets a product's stock if it still is what the caller thinks.
    pub async fn set_stock(&self, set: SetStock) -> Result<ProductReply, Error> {
        self.change_product(Command::SetStock(set)).await
    }

    /// Pauses, resumes or closes a sale.
    pub async fn change_sale(&self, change: ChangeSale) -> Result<ProductReply, Error> {
        self.change_product(Command::ChangeSale(change)).await
    }

    /// One product as it is now.
    pub async fn product(&self, product: ProductId) -> Result<ProductReply, Error> {
        match self.query(Query::Product(product)).await? {
            Reply::Product(reply) => Ok(*reply),
            other => Err(unexpected(&other)),
        }
    }

    /// All products of all shards, by id.
    pub async fn products(&self) -> Result<Vec<ProductView>, Error> {
        let shards = try_join_all(self.all_shards().map(|shard| self.products_on(shard))).await?;
        let mut products: Vec<_> = shards.into_iter().flatten().collect();
        products.sort_by_key(|product| product.spec.product);
        Ok(products)
    }

    /// A page of a shard's reservations, by id: those behind `after`, at most `limit` (at most
    /// [`MAX_PAGE`]). An empty page is the end.
    pub async fn reservations(
        &self,
        shard: ShardId,
        after: ReservationId,
        limit: u32,
    ) -> Result<Vec<ReservationView>, Error> {
        match self.query(Query::Reservations { shard, after, limit: limit.min(MAX_PAGE) }).await? {
            Reply::Reservations(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of what a shard has that is not settled: those behind `after`, what changed first before what changed
    /// later, at most `limit` (at most [`MAX_PAGE`]).
    pub async fn unsettled(
        &self,
        shard: ShardId,
        of: Unsettled,
        after: Changed,
        limit: u32,
    ) -> Result<UnsettledPage, Error> {
        match self.query(Query::Unsettled { shard, of, after, limit: limit.min(MAX_PAGE) }).await? {
            Reply::Unsettled(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// A page of a shard's order feed: entries behind `after`, at most `limit` (at most [`MAX_PAGE`]).
    pub async fn feed(&self, shard: ShardId, after: FeedPosition, limit: u32) -> Result<FeedPage, Error> {
        match self.query(Query::Feed { shard, after, limit: limit.min(MAX_PAGE) }).await? {
            Reply::Feed(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// Everything on the shard's feed up to `through` is stored; the shard may forget it.
    pub async fn acknowledge_feed(&self, shard: ShardId, through: FeedPosition) -> Result<FeedPosition, Error> {
        match self.command(Command::AcknowledgeFeed { shard, through }).await? {
            Reply::FeedAcknowledged(through) => Ok(through),
            other => Err(unexpected(&other)),
        }
    }

    /// Full recount of one node's replica of a shard.
    pub async fn audit(&self, node: NodeId, shard: ShardId) -> Result<AuditReport, Error> {
        match self.ask_node(node, Query::Audit { shard }).await? {
            Reply::Audit(report) => Ok(*report),
            other => Err(unexpected(&other)),
        }
    }

    /// How one node and its replicas are.
    pub async fn status(&self, node: NodeId) -> Result<NodeStatus, Error> {
        match self.ask_node(node, Query::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Shards and nodes as this client knows them. Asks nobody.
    #[must_use]
    pub fn shard_map(&self) -> ShardMap {
        self.inner.cluster.shard_map()
    }

    /// How many shards the cluster has.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.inner.cluster.shards()
    }

    /// The cluster's nodes as this client knows them, by id.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeAddress> {
        self.inner.cluster.shard_map().nodes
    }

    /// Ends every connection, for all clones. Requests under way end as if their connection was lost.
    #[allow(clippy::unused_async)] // leaves room to say goodbye
    pub async fn close(self) {
        self.inner.cluster.close();
    }

    async fn change_reservation(&self, command: Command) -> Result<ReservationReply, Error> {
        reservation(self.command(command).await?)
    }

    async fn change_product(&self, command: Command) -> Result<ProductReply, Error> {
        match self.command(command).await? {
            Reply::Product(reply) => Ok(*reply),
            other => Err(unexpected(&other)),
        }
    }

    async fn find_on(&self, shard: ShardId, id: ReservationId) -> Result<Option<ReservationReply>, Error> {
        match self.query(Query::FindReservation { shard, reservation: id }).await {
            Ok(reply) => reservation(reply).map(Some),
            Err(Error::Refused(Refusal::UnknownReservation)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn products_on(&self, shard: ShardId) -> Result<Vec<ProductView>, Error> {
        let (mut all, mut after) = (Vec::new(), ProductId(0));
        loop {
            match self.query(Query::Products { shard, after, limit: MAX_PAGE }).await? {
                Reply::Products(page) => {
                    let Some(last) = page.last() else { return Ok(all) };
                    after = last.spec.product;
                    let ended = page.len() < MAX_PAGE as usize;
                    all.extend(page);
                    if ended {
                        return Ok(all);
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn all_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards()).map(ShardId)
    }

    async fn command(&self, command: Command) -> Result<Reply, Error> {
        self.execute(Request { body: RequestBody::Command(command), wait: Millis(0) }, None).await
    }

    async fn query(&self, query: Query) -> Result<Reply, Error> {
        self.execute(Request { body: RequestBody::Query(query), wait: Millis(0) }, None).await
    }

    async fn ask_node(&self, node: NodeId, query: Query) -> Result<Reply, Error> {
        let request = Request { body: RequestBody::Query(query), wait: Millis(0) };
        self.run(request, Route::Node(node), None).await
    }

    async fn run(&self, request: Request, route: Route, deadline: Option<Duration>) -> Result<Reply, Error> {
        self.run_noting(request, route, deadline).await.0
    }

    async fn run_noting(
        &self,
        request: Request,
        route: Route,
        deadline: Option<Duration>,
    ) -> (Result<Reply, Error>, bool) {
        let longest = Duration::from_millis(MAX_WAIT.get());
        let deadline = deadline.unwrap_or(self.inner.cluster.config.deadline).min(longest);
        Attempts::new(&self.inner.cluster, request, route, now() + deadline).run().await
    }
}

fn reservation(reply: Reply) -> Result<ReservationReply, Error> {
    match reply {
        Reply::Reservation(reply) => Ok(reply),
        other => Err(unexpected(&other)),
    }
}

/// A server that answers a question with the answer to another does not keep to the protocol.
fn unexpected(reply: &Reply) -> Error {
    let kind = match reply {
        Reply::Reservation(_) => "reservation",
        Reply::Product(_) => "product",
        Reply::Products(_) => "products",
        Reply::Reservations(_) => "reservations",
        Reply::Unsettled(_) => "unsettled",
        Reply::Feed(_) => "feed",
        Reply::FeedAcknowledged(_) => "acknowledgement",
        Reply::Audit(_) => "audit",
        Reply::Status(_) => "status",
        Reply::ShardMap(_) => "shard map",
        Reply::Expired(_) => "expired",
    };
    Error::Rejected(Failure::Malformed(format!("the server sent a reply of another kind: {kind}")))
}
