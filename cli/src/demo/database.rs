//! A place of its own in somebody's PostgreSQL: every run is a new cluster whose feeds begin at 1, so its orders
//! and feed positions must not meet those of another run.

use crate::error::CliError;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

/// The schema of one run.
#[derive(Debug)]
pub struct OwnSchema {
    /// The database's URL, with this schema as the one that is used.
    pub url: String,
    /// Its name.
    pub schema: String,
}

/// Creates the schema `demo_RUN` in the database and leaves it there, for whoever wants to look at the orders.
pub async fn own_schema(url: &str, run: u64) -> Result<OwnSchema, CliError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(CliError::usage(
            "--database: wanted postgres://USER:PASSWORD@HOST/NAME; SQLite is used without it",
        ));
    }
    let schema = format!("demo_{run:016x}");
    let wrong =
        |error: sqlx::Error| CliError::unavailable(format!("cannot create schema {schema} in --database: {error}"));
    let mut connection = PgConnection::connect(url).await.map_err(wrong)?;
    // The name is ours: letters, digits and an underscore.
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    connection.execute(create).await.map_err(wrong)?;
    connection.close().await.map_err(wrong)?;
    Ok(OwnSchema { url: with_schema(url, &schema), schema })
}

fn with_schema(url: &str, schema: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options[search_path]={schema}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_one_more_parameter() {
        assert_eq!(with_schema("postgres://h/d", "s"), "postgres://h/d?options[search_path]=s");
        assert_eq!(
            with_schema("postgres://h/d?sslmode=disable", "s"),
            "postgres://h/d?sslmode=disable&options[search_path]=s"
        );
    }
}
