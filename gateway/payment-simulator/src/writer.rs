//! Writes of the ledger, in groups: who writes while a group is on its way to the disk goes with the next, so one sync serves all
//! who wait. Each is told after that sync, and what fails of one undoes nothing of the others.

use std::future::Future;
use std::pin::Pin;

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Connection, Error};
use tokio::sync::{mpsc, oneshot};

/// Most writes of a group.
const MOST: usize = 256;
/// Writes that wait for the next group; more wait before they are asked for.
const WAITING: usize = 4096;

/// What a write does, in a transaction.
pub type Doing<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;
/// Tells whoever waits, once the group is on disk.
type Tell = Box<dyn FnOnce() + Send>;
type Write =
    Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> Pin<Box<dyn Future<Output = Tell> + Send + 'c>> + Send>;

/// See the module. `Clone` shares it.
#[derive(Clone, Debug)]
pub struct Writer {
    writes: mpsc::Sender<Write>,
}

impl Writer {
    /// One for this database, which writes in the background until the last clone is dropped.
    #[must_use]
    pub fn start(pool: SqlitePool) -> Self {
        let (writes, waiting) = mpsc::channel(WAITING);
        tokio::spawn(run(pool, waiting));
        Self { writes }
    }

    /// Writes, and comes back once that is on disk. Cancelled, it may have been done or not.
    ///
    /// # Errors
    /// What `write` gives, or [`Error::WorkerCrashed`] if the group did not get to the disk.
    pub async fn write<T, F>(&self, write: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Doing<'c, T> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let write: Write = Box::new(move |connection| {
            Box::pin(async move {
                let outcome = alone(connection, write).await;
                // Nobody may be left to be told.
                Box::new(move || drop(tell.send(outcome))) as Tell
            })
        });
        self.writes.send(write).await.map_err(|_| Error::WorkerCrashed)?;
        told.await.map_err(|_| Error::WorkerCrashed)?
    }
}

/// Does one write of a group, or nothing of it.
async fn alone<T, F>(connection: &mut SqliteConnection, write: F) -> Result<T, Error>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Doing<'c, T>,
{
    let mut savepoint = connection.begin().await?;
    let written = write(&mut savepoint).await?;
    savepoint.commit().await?;
    Ok(written)
}

async fn run(pool: SqlitePool, mut waiting: mpsc::Receiver<Write>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, MOST).await > 0 {
        if let Err(error) = together(&pool, &mut group).await {
            tracing::error!(%error, "the ledger cannot be written");
        }
        group.clear();
    }
}

async fn together(pool: &SqlitePool, group: &mut Vec<Write>) -> Result<(), Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut tells = Vec::with_capacity(group.len());
    for write in group.drain(..) {
        tells.push(write(&mut transaction).await);
    }
    transaction.commit().await?;
    tells.into_iter().for_each(|tell| tell());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_write_of_a_group_is_done_whole_or_not_at_all_and_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("x.db").display());
        let pool = SqlitePool::connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE t (number INTEGER UNIQUE)").execute(&pool).await.unwrap();
        let writer = Writer::start(pool.clone());
        // Each writes 2N and 2N + 1, and those with N below 10 come twice: their second first number is a conflict; number 50
        // fails after its first.
        let numbers = (0..100).chain(0..10);
        let writes: Vec<_> = numbers
            .map(|number| {
                let writer = writer.clone();
                tokio::spawn(async move {
                    let write = writer.write(move |connection| {
                        Box::pin(async move {
                            let insert = |number: i64| sqlx::query("INSERT INTO t VALUES (?1)").bind(number);
                            insert(2 * number).execute(&mut *connection).await?;
                            let second = if number == 50 { 100 } else { 2 * number + 1 };
                            insert(second).execute(connection).await.map(drop)
                        })
                    });
                    write.await.is_ok()
                })
            })
            .collect();
        let mut done = 0;
        for write in writes {
            done += usize::from(write.await.unwrap());
        }
        assert_eq!(done, 99, "10 conflicts, and one that failed half way");
        let (rows, half): (i64, i64) =
            sqlx::query_as("SELECT count(*), sum(number = 100) FROM t").fetch_one(&pool).await.unwrap();
        assert_eq!((rows, half), (198, 0));
        pool.close().await;
        let late: Result<(), Error> = writer.write(|_| Box::pin(async { Ok(()) })).await;
        assert!(late.is_err(), "nothing is written any more, and nobody waits for ever");
    }
}
