//! [`Platform`]: everything that the runbooks work on, made from an environment.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use runbook::{Escalation, Host, Lock, Result, Wait};
use runbook_git::Git;
use runbook_host::{Bytes, EnvFile, Machine, Required};
use runbook_http::{Expect, Http, Login, TokenFrom, Validity};
use runbook_nginx::Nginx;
use runbook_node::{Npm, Prisma};
use runbook_pm2::Pm2;
use runbook_postgres::Postgres;
use runbook_redis::{Queue, Redis};

use crate::env::Env;
use crate::service::Service;

/// Everything that the runbooks work on.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    pub(crate) env: Env,
    pub(crate) host: Host,
    pub(crate) git: Git,
    pub(crate) npm: Npm,
    pub(crate) prisma: Prisma,
    pub(crate) pm2: Pm2,
    pub(crate) db: Postgres,
    /// The same as a superuser.
    pub(crate) admin: Postgres,
    pub(crate) postgresql: Service,
    pub(crate) redis: Redis,
    pub(crate) redis_server: Service,
    pub(crate) queue: Queue,
    pub(crate) machine: Machine,
    /// The site's variables.
    pub(crate) variables: EnvFile,
    pub(crate) nginx: Nginx,
    /// The site as its visitors reach it.
    pub(crate) site: Http,
    /// The site's own process, and the worker's, past Nginx.
    pub(crate) process: Http,
    pub(crate) worker: Http,
    /// Whom to call when something is not solved.
    pub(crate) escalation: Escalation,
}

impl Platform {
    /// What the slowest of them took, several times over.
    pub(crate) const INSTALL: Duration = Duration::from_mins(10);
    pub(crate) const BUILD: Duration = Duration::from_mins(15);
    pub(crate) const RESTART: Duration = Duration::from_mins(1);

    pub(crate) fn new(env: &Env) -> Result<Self> {
        let host = env.host();
        let dir = &env.app.dir;
        let loopback = |port: u16| Http::new(&host, &format!("http://127.0.0.1:{port}"));
        let redis = Redis::new(&host, env.redis.clone());
        let machine = Machine::new(&host);
        let service = |name: &str| Service::new(&host, &env.services.command, name);
        let admin = Postgres::new(&host, env.database_admin.clone());
        Ok(Self {
            // The site's own role may not create databases.
            db: Postgres::new(&host, env.database.clone()).administered_by(&admin),
            admin,
            postgresql: service(&env.services.postgresql),
            redis_server: service(&env.services.redis),
            queue: Queue::new(&redis, &env.queue.name),
            variables: machine.env_file(dir.join(".env")),
            redis,
            machine,
            git: Git::new(&host, dir),
            npm: Npm::new(&host, dir),
            prisma: Prisma::new(&Npm::new(&host, dir.join(&env.app.prisma))),
            pm2: Pm2::new(&host),
            nginx: Nginx::new(&host, env.nginx.clone()),
            site: env.site.build(&host)?,
            process: loopback(env.app.port)?,
            worker: loopback(env.app.worker_port)?,
            escalation: env.people.escalation("technical")?.clone(),
            host,
            env: env.clone(),
        })
    }

    /// What PM2 calls the site.
    pub(crate) fn app(&self) -> &str {
        &self.env.app.name
    }

    /// What PM2 calls the worker.
    pub(crate) fn worker_app(&self) -> &str {
        &self.env.app.worker
    }

    /// Whoever changes the site holds this.
    pub(crate) fn lock(&self) -> Lock {
        Lock::on(format!("{self}")).lease(self.lease())
    }

    /// Whoever writes, removes or needs backups holds this.
    pub(crate) fn backups_lock(&self) -> Lock {
        Lock::on(format!("backups of {self}")).lease(self.lease())
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(self.env.thresholds.lease_seconds)
    }

    /// What the site needs in its `.env`, and what breaks without it.
    pub(crate) fn required() -> Vec<Required> {
        [
            ("DATABASE_URL", "the site does not start"),
            ("DIRECT_URL", "migrations fail"),
            ("REDIS_URL", "no correction is queued, and nothing limits the rate of requests"),
            ("SESSION_SECRET", "nobody stays logged in"),
            ("COOKIE_SECURE", "browsers drop the session: 401 everywhere"),
            ("CRON_SECRET", "scheduled tasks are refused"),
            ("LLM_PROVIDER", "no copy is corrected"),
            ("MISTRAL_API_KEY", "no copy is corrected"),
            ("STORAGE_PROVIDER", "copies can't be handed in"),
            ("MAX_UPLOAD_SIZE_MB", "the default limit of uploads holds"),
        ]
        .map(|(name, breaks)| Required::new(name, breaks))
        .into()
    }

    pub(crate) fn disk_wanted(&self) -> Bytes {
        Bytes::mib(self.env.thresholds.disk_mib)
    }

    pub(crate) fn redis_memory(&self) -> u64 {
        self.env.queue.memory_mib << 20
    }

    pub(crate) fn queue_limit(&self) -> Duration {
        Duration::from_secs(self.env.thresholds.queue_seconds)
    }

    pub(crate) fn session_limit(&self) -> Duration {
        Duration::from_secs(self.env.thresholds.session_seconds)
    }

    /// Whoever is called at once: `Kim (operator on call): +1 555 0100`.
    pub(crate) fn on_call(&self) -> String {
        let first = self.escalation.due(Duration::ZERO).iter().flat_map(|level| &level.call);
        first.map(ToString::to_string).collect::<Vec<_>>().join(", or ")
    }

    pub(crate) fn archives(&self) -> PathBuf {
        self.env.backups.dir.join("files")
    }

    pub(crate) fn dumps(&self) -> PathBuf {
        self.env.backups.dir.join("database")
    }

    /// Where goes what a restore replaces.
    pub(crate) fn aside(&self) -> PathBuf {
        self.env.backups.dir.join("before-restore")
    }

    /// The health route says that all is well.
    pub(crate) fn healthy() -> Expect {
        Expect::status(200).json("status", "ok")
    }

    /// How long a restarted process is given.
    pub(crate) fn start(&self) -> Wait {
        let limit = Duration::from_secs(self.env.thresholds.start_seconds);
        Wait::at_most(limit).every(Duration::from_millis(500))
    }

    pub(crate) fn steady(&self) -> Duration {
        Duration::from_secs(self.env.thresholds.steady_seconds)
    }

    pub(crate) fn login(&self) -> Login {
        let account = &self.env.account;
        Login::new("/login", &account.email, account.password.clone())
            .as_form()
            .csrf("/login", TokenFrom::Field("csrf".into()))
            .session_cookie("session")
            .then("/", Expect::ok().text("Dashboard"))
    }

    pub(crate) fn validity(&self) -> Validity {
        let days = self.env.thresholds.certificate_days;
        Validity { warn_days: days, fail_days: 1 }
    }
}

/// As a lock calls it.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.env.app.name, self.host)
    }
}
