//! A system that is up and can be measured.

use super::contest::{Setting, System, Work};
use super::echo::{Echo, Sizes};
use super::lua::Lua;
use super::options::Programs;
use super::sql::{self, Sql};
use super::valkey::{Plan, Valkey};
use doorbuster_cli::bench::cpu::{Cpus, Pinned, Used};
use doorbuster_cli::bench::generator::{Load, Outcome};
use doorbuster_cli::bench::native::Native;
use doorbuster_cli::bench::site::{Site, Spawn};
use doorbuster_cli::bench::work::{self, Ask};
use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::Process;
use doorbuster_cli::entropy;
use doorbuster_cli::error::CliError;
use doorbuster_protocol::types::{Millis, ProductId};
use doorbuster_tests::chaos::postgres::Postgres;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long reservations are held.
const HOUR: Millis = Millis(3_600_000);
/// More units than anybody can ask for.
const PLENTY: u32 = u32::MAX;

/// How systems are brought up.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What to run.
    pub programs: Programs,
    /// Where data goes.
    pub folder: PathBuf,
    /// Processors of a single node.
    pub server_cpus: Cpus,
}

/// A system that is up; it ends when dropped.
pub struct Stand {
    system: System,
    cpus: Option<Cpus>,
    what: What,
}

enum What {
    Doorbuster(Box<Site>),
    Script(Valkey),
    Postgres(Postgres),
    Echo(Process, String),
}

/// What is asked of a system that is up.
pub enum Asked {
    /// In Doorbuster's protocol.
    Native(Native),
    /// By the script.
    Script(Lua),
    /// By the statement.
    Statement(Sql),
    /// Nothing but bytes.
    Bytes(Echo),
}

impl Ground {
    /// Brings a system up for work in this setting.
    ///
    /// # Errors
    /// It does not start.
    pub async fn bring_up(&self, system: System, setting: Setting) -> Result<Stand, CliError> {
        let single = setting != Setting::ThreeNodes;
        let cpus = single.then(|| self.server_cpus.clone());
        let folder = self.folder.join(format!("{system}-{:016x}", entropy::number()));
        std::fs::create_dir_all(&folder)
            .map_err(|error| CliError::failed(format!("cannot make {}: {error}; try --data", folder.display())))?;
        let what = match system {
            System::Doorbuster => What::Doorbuster(Box::new(self.doorbuster(setting, cpus.as_ref(), folder).await?)),
            System::Valkey => self.script(self.programs.valkey.as_deref(), setting, cpus.as_ref(), &folder).await?,
            System::Redis => self.script(self.programs.redis.as_deref(), setting, cpus.as_ref(), &folder).await?,
            System::Postgres => self.postgres(cpus.as_ref(), &folder).await?,
            System::Echo => self.echo(cpus.as_ref(), &folder)?,
        };
        Ok(Stand { system, cpus, what })
    }

    async fn doorbuster(&self, setting: Setting, cpus: Option<&Cpus>, folder: PathBuf) -> Result<Site, CliError> {
        let (binary, nodes) = (self.programs.doorbuster.clone(), if cpus.is_some() { 1 } else { 3 });
        let (durability, data) = (setting.durability(), Some(folder));
        let (settings, server_cpus) = (Default::default(), cpus.cloned());
        Site::spawn(Spawn { binary, nodes, durability, sync_delay: Millis(0), settings, data, server_cpus }).await
    }

    async fn script(
        &self,
        binary: Option<&Path>,
        setting: Setting,
        cpus: Option<&Cpus>,
        folder: &Path,
    ) -> Result<What, CliError> {
        let binary = binary.ok_or_else(|| CliError::failed("its program is missing"))?;
        let (on_disk, replicas) = (setting != Setting::Memory, if cpus.is_some() { 0 } else { 2 });
        Ok(What::Script(Valkey::start(Plan { binary, on_disk, replicas, cpus }, folder).await?))
    }

    async fn postgres(&self, cpus: Option<&Cpus>, folder: &Path) -> Result<What, CliError> {
        // Children run where the thread ran that started them.
        let pinned = cpus.map(Pinned::to).transpose()?;
        let postgres = Postgres::start(folder).await;
        drop(pinned);
        let postgres = postgres?;
        sql::make_tables(&postgres.address()).await?;
        Ok(What::Postgres(postgres))
    }

    fn echo(&self, cpus: Option<&Cpus>, folder: &Path) -> Result<What, CliError> {
        let [port] = free_ports::<1>()?;
        let address = format!("127.0.0.1:{port}");
        let sizes = Sizes::of_a_refusal(&work::Work::endless(Ask::Refusal, ProductId(1), 0));
        let mut command = Command::new(&self.programs.echo);
        command.args([address.clone(), sizes.request.to_string(), sizes.answer.to_string()]);
        let _pinned = cpus.map(Pinned::to).transpose()?;
        Ok(What::Echo(Process::spawn("echo", command, &folder.join("log.txt"))?, address))
    }
}

impl Stand {
    /// Which it is.
    #[must_use]
    pub const fn system(&self) -> System {
        self.system
    }

    /// Puts a product on sale for this work, and says how it is asked for.
    ///
    /// # Errors
    /// The system says no.
    pub async fn prepare(&self, work: &Work) -> Result<Asked, CliError> {
        let refusals = work.refusals;
        let (ask, stock) = if refusals { (Ask::Refusal, 0) } else { (Ask::Unit, PLENTY) };
        let (number, series) = (entropy::number() >> 2 | 1, entropy::number());
        let operations = |product| work::Work::endless(ask, product, series);
        Ok(match &self.what {
            What::Doorbuster(site) => {
                let product = if refusals { site.sold_out().await? } else { site.plenty(HOUR).await? };
                Asked::Native(Native::new(operations(product), site.guide(product)))
            }
            What::Script(valkey) => {
                valkey.put_on_sale(number, u64::from(stock)).await?;
                let (address, digest) = (valkey.address().to_owned(), valkey.digest());
                let operations = operations(ProductId(number));
                Asked::Script(Lua::new(operations, address, digest, number, refusals, valkey.replicas().min(1)))
            }
            What::Postgres(postgres) => {
                let (address, product) = (postgres.address(), i64::try_from(number).unwrap_or(1));
                sql::put_on_sale(&address, product, i64::from(stock)).await?;
                Asked::Statement(Sql::new(operations(ProductId(number)), address, product, refusals))
            }
            What::Echo(_, address) => {
                let operations = operations(ProductId(number));
                let sizes = Sizes::of_a_refusal(&operations);
                Asked::Bytes(Echo::new(operations, address.clone(), sizes))
            }
        })
    }

    /// Processor time that it has used so far, and how many processors it is kept to.
    #[must_use]
    pub fn used(&self) -> (Used, Option<usize>) {
        let pids = match &self.what {
            What::Doorbuster(site) => site.servers().unwrap_or_default(),
            What::Script(valkey) => valkey.pids(),
            What::Postgres(postgres) => postgres.pid().map(family).unwrap_or_default(),
            What::Echo(process, _) => vec![process.pid()],
        };
        (Used::by(&pids), self.cpus.as_ref().map(Cpus::count))
    }

    /// Ends it.
    ///
    /// # Errors
    /// A server of Doorbuster's did not end in good order.
    pub async fn close(self) -> Result<(), CliError> {
        match self.what {
            What::Doorbuster(site) => site.close().await,
            What::Script(_) | What::Postgres(_) | What::Echo(..) => Ok(()),
        }
    }
}

impl Asked {
    /// Makes the load, and waits until it is over.
    ///
    /// # Errors
    /// What the generator met.
    pub async fn run(&self, load: &Load) -> Result<Outcome, CliError> {
        match self {
            Self::Native(dialect) => load.run(dialect).await,
            Self::Script(dialect) => load.run(dialect).await,
            Self::Statement(dialect) => load.run(dialect).await,
            Self::Bytes(dialect) => load.run(dialect).await,
        }
    }
}

/// A process and its children.
fn family(parent: u32) -> Vec<u32> {
    let mut pids = vec![parent];
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.extend(processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The state and the parent follow the name, which is in brackets.
        let fields = stat.rsplit_once(')')?.1;
        (fields.split_whitespace().nth(1)?.parse() == Ok(parent)).then_some(pid)
    }));
    pids
}
