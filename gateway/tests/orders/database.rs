//! A database that a test can take down and bring back.

use std::time::Duration;

use doorbuster_gateway::orders::OrderStore;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::postgres::Cluster;

pub enum Database {
    Sqlite { folder: TempDir, held: Option<SqliteConnection> },
    Postgres(Cluster),
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite { folder: tempfile::tempdir().unwrap(), held: None }
    }

    pub fn postgres() -> Option<Self> {
        Cluster::start().map(Self::Postgres)
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite { folder, .. } => format!("sqlite:{}", folder.path().join("orders.db").display()),
            Self::Postgres(cluster) => cluster.url(),
        }
    }

    /// A store with connections of its own, as another process would have.
    pub fn store(&self) -> OrderStore {
        OrderStore::open(&self.url()).unwrap()
    }

    /// Makes it unusable: PostgreSQL is stopped, SQLite's file locked by somebody who does not let go.
    pub async fn down(&mut self) {
        match self {
            Self::Sqlite { folder, held } => {
                let url = format!("sqlite:{}?mode=rwc", folder.path().join("orders.db").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                // Without the patience that others' short transactions ask for, this could fail.
                connection.execute("PRAGMA busy_timeout = 20000").await.unwrap();
                connection.execute("BEGIN EXCLUSIVE").await.unwrap();
                *held = Some(connection);
            }
            Self::Postgres(cluster) => tokio::task::block_in_place(|| cluster.down()),
        }
    }

    pub async fn up(&mut self) {
        match self {
            Self::Sqlite { held, .. } => held.take().unwrap().close().await.unwrap(),
            Self::Postgres(cluster) => tokio::task::block_in_place(|| cluster.up()),
        }
    }

    /// From now on rows of this table that meet the condition, which begins with a column, are refused.
    pub async fn poison(&self, table: &str, condition: &str) {
        let statement = match self {
            Self::Sqlite { .. } => format!(
                "CREATE TRIGGER poison_{table} BEFORE INSERT ON {table} WHEN NEW.{condition}
                 BEGIN SELECT RAISE(ABORT, 'poison'); END"
            ),
            Self::Postgres(_) => {
                format!("ALTER TABLE {table} ADD CONSTRAINT poison CHECK (NOT ({condition})) NOT VALID")
            }
        };
        self.execute(&statement).await;
    }

    /// No longer.
    pub async fn cure(&self, table: &str) {
        let statement = match self {
            Self::Sqlite { .. } => format!("DROP TRIGGER poison_{table}"),
            Self::Postgres(_) => format!("ALTER TABLE {table} DROP CONSTRAINT poison"),
        };
        self.execute(&statement).await;
    }

    /// Sets its tables up as the build that had so many migrations did.
    pub async fn migrate_to(&self, version: i64) {
        let keep = |migrator: Migrator| Migrator {
            migrations: migrator.migrations.iter().filter(|step| step.version <= version).cloned().collect(),
            ..migrator
        };
        match self {
            Self::Sqlite { .. } => {
                let url = format!("{}?mode=rwc", self.url());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                keep(sqlx::migrate!("./migrations/sqlite")).run(&mut connection).await.unwrap();
            }
            Self::Postgres(_) => {
                let mut connection = PgConnection::connect(&self.url()).await.unwrap();
                keep(sqlx::migrate!("./migrations/postgres")).run(&mut connection).await.unwrap();
            }
        }
    }

    /// What an operator types into the database's own shell.
    pub async fn execute(&self, statement: &str) {
        self.attempt(statement).await.unwrap();
    }

    /// The same, which the database may refuse.
    pub async fn attempt(&self, statement: &str) -> Result<(), sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::Sqlite { .. } => {
                let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
                connection.execute(statement).await?;
            }
            Self::Postgres(_) => {
                let mut connection = PgConnection::connect(&self.url()).await.unwrap();
                connection.execute(statement).await?;
            }
        }
        Ok(())
    }
}

/// Waits until it holds, for half a minute at most.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}
