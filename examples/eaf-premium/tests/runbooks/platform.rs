//! The platform on fakes: one host with PM2, the site and its worker, PostgreSQL, Redis and Nginx.
//!
//! It is small and hangs together: what a restarted app runs is what was built, the site is well if
//! its database and Redis are, the worker does the jobs that wait. So a runbook that leaves something
//! out does not end well here.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use eaf_premium::Env;
use runbook::harness::Fakes;
use runbook::prelude::*;
use runbook::testing::{Disk, FakeTarget};
use runbook_http::testing::{FakeAuthority, FakeCertificate, FakeSite};
use runbook_postgres::testing::{FakePostgres, FakeSession};
use runbook_redis::testing::FakeRedis;

use crate::{posix, proc, programs, site};

pub(crate) const TREE: &str = "/var/www/eaf_platform";
pub(crate) const SITE: &str = "eaf-platform";
pub(crate) const WORKER: &str = "eaf-worker";
pub(crate) const QUEUE: &str = "corrections";
pub(crate) const EMAIL: &str = "watch@eaf.example";
pub(crate) const PASSWORD: &str = include_str!("../password");
pub(crate) const BACKUPS: &str = "/var/backups/eaf";

/// The whole history: the first was deployed before, the last is what the remote has.
pub(crate) const COMMITS: [(&str, &str); 3] = [
    ("1111111111111111111111111111111111111111", "The first release"),
    ("2222222222222222222222222222222222222222", "The second release"),
    ("3333333333333333333333333333333333333333", "The third release"),
];

const CONFIG: &str = r#"
host = "local"
account = { email = "watch@eaf.example", password = { file = "PASSWORD" } }
site = { url = "https://eaf.example", tls = { ca_file = "AUTHORITY" } }
queue = { name = "corrections", memory_mib = 512 }
database = { database = "eaf_prod", port = 5435, user = "eaf", password = "nobody-uses-this" }
database_admin = { database = "eaf_prod", port = 5435, password = "nobody-uses-this" }
redis = { password = "nobody-uses-this" }
backups = { dir = "/var/backups/eaf" }
people.contacts.kim = { name = "Kim", role = "operator on call", reach = ["+1 555 0100"] }
people.contacts.lee = { name = "Lee", role = "lead", reach = ["+1 555 0101"] }
people.escalation.technical = [{ call = ["kim"] }, { after = "15 min", call = ["lee"] }]

[app]
dir = "/var/www/eaf_platform"
name = "eaf-platform"
port = 3000
worker = "eaf-worker"
worker_port = 3001
built = [".next"]
"#;

const VARIABLES: &str = "DATABASE_URL=x\nDIRECT_URL=x\nREDIS_URL=x\nSESSION_SECRET=x\n\
    COOKIE_SECURE=true\nCRON_SECRET=x\nLLM_PROVIDER=mistral\nMISTRAL_API_KEY=x\n\
    STORAGE_PROVIDER=local\nMAX_UPLOAD_SIZE_MB=5\n";

pub(crate) const NGINX: &str =
    "pid /run/nginx.pid;\nevents {}\nhttp { server { listen 443 ssl; } }\n";

/// The platform; clones are the same one.
#[derive(Clone)]
pub(crate) struct Platform {
    pub(crate) db: FakePostgres,
    pub(crate) redis: FakeRedis,
    pub(crate) disk: Disk,
    /// Nginx, as visitors reach it.
    front: Arc<OnceLock<FakeSite>>,
    state: Arc<Mutex<State>>,
}

/// What is neither on the disk nor in a server.
pub(crate) struct State {
    pub(crate) apps: BTreeMap<&'static str, App>,
    /// Where the work tree is, the branch that is checked out, and where that is.
    pub(crate) head: usize,
    pub(crate) on_branch: bool,
    pub(crate) main: usize,
    /// Where the branch is on the remote, and where it was seen last.
    pub(crate) remote: usize,
    pub(crate) fetched: usize,
    pub(crate) migrations: Vec<String>,
    pub(crate) next_pid: u32,
    /// Somebody else who listens on the site's port.
    pub(crate) stranger: Option<u32>,
    pub(crate) nginx_workers: Vec<u32>,
}

/// A process under PM2.
#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) started: u64,
    /// It ended too often.
    pub(crate) errored: bool,
    /// What it was started with: the build, and the variables.
    pub(crate) build: String,
    pub(crate) variables: String,
    /// It takes no token of a form, until it is restarted.
    pub(crate) confused: bool,
}

impl Platform {
    fn new(target: &FakeTarget) -> Self {
        let state = State {
            apps: BTreeMap::from([(SITE, App::default()), (WORKER, App::default())]),
            head: 1,
            on_branch: true,
            main: 1,
            remote: 2,
            fetched: 1,
            migrations: vec!["20260101_copies".into()],
            next_pid: 4000,
            stranger: None,
            nginx_workers: vec![101],
        };
        let disk = target.disk();
        let this = Self {
            db: FakePostgres::new("eaf_prod").password("nobody-uses-this").max_connections(20),
            redis: FakeRedis::new().password("nobody-uses-this"),
            front: Arc::default(),
            disk,
            state: Arc::new(Mutex::new(state)),
        };
        this.db.table("copies", ["1 kim", "2 ada"]);
        this.db.table("marks", ["1 17/20"]);
        let _ = this.redis.queue(QUEUE);
        this.write("package.json", COMMITS[1].1);
        this.write("node_modules/.package-lock.json", COMMITS[1].1);
        this.write("node_modules/.prisma/client", COMMITS[1].1);
        this.write(".next/BUILD_ID", COMMITS[1].1);
        this.write(".data/copies/1.pdf", "a copy");
        this.write(".env", VARIABLES);
        this.start(SITE);
        this.start(WORKER);
        this
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file of the work tree.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        self.disk.read(format!("{TREE}/{path}")).map(|text| String::from_utf8_lossy(&text).into())
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        self.put(&format!("{TREE}/{path}"), text);
    }

    /// A file of the host.
    pub(crate) fn put(&self, path: &str, text: &str) {
        let written = self.disk.write(path, text);
        written.unwrap_or_else(|why| panic!("writing {path}: {why}"));
    }

    /// PM2 starts an app, if nobody has its port.
    pub(crate) fn start(&self, name: &str) {
        let (build, packages) =
            (self.read(".next/BUILD_ID"), self.read("node_modules/.package-lock.json"));
        let variables = self.read(".env").unwrap_or_default();
        let mut state = self.state();
        let taken = name == SITE && state.stranger.is_some();
        state.next_pid += 1;
        let pid = state.next_pid;
        let Some(app) = state.apps.get_mut(name) else { return };
        let fits = build.is_some() && build == packages;
        *app = App {
            pid: (fits && !taken).then_some(pid),
            errored: !fits || taken,
            restarts: app.restarts,
            started: u64::from(pid),
            build: build.unwrap_or_default(),
            variables,
            confused: false,
        };
        drop(state);
        self.settle();
    }

    /// PM2 stops it.
    pub(crate) fn stop(&self, name: &str) {
        if let Some(app) = self.state().apps.get_mut(name) {
            (app.pid, app.errored) = (None, false);
        }
        self.settle();
    }

    /// PM2 restarts it.
    pub(crate) fn restart(&self, name: &str) {
        if let Some(app) = self.state().apps.get_mut(name) {
            app.restarts += 1;
        }
        self.start(name);
    }

    pub(crate) fn runs(&self, name: &str) -> bool {
        self.state().apps.get(name).is_some_and(|app| app.pid.is_some())
    }

    /// Its health route says that all is well.
    pub(crate) fn is_well(&self) -> bool {
        self.runs(SITE) && self.db.is_running() && self.redis.is_running()
    }

    /// What follows from what was changed: who is connected where, and which jobs are done.
    pub(crate) fn settle(&self) {
        let (site, worker) = (self.runs(SITE), self.runs(WORKER));
        self.db.disconnect(SITE);
        if site && self.db.is_running() {
            self.db.connect(FakeSession::new(501).application(SITE));
        }
        self.redis.queue(QUEUE).worker(worker && self.redis.is_running());
        if self.redis.is_running() {
            self.redis.queue(QUEUE).work();
        }
    }

    /// Which apps run, and what.
    fn apps(&self) -> String {
        let state = self.state();
        let apps = state.apps.iter().map(|(name, app)| match (app.pid, app.errored) {
            (Some(_), _) => format!("{name} runs {} with {}", app.build, app.variables),
            (None, true) => format!("{name} has crashed"),
            (None, false) => format!("{name} is stopped"),
        });
        apps.collect::<Vec<_>>().join("; ")
    }

    /// Where the work tree is.
    fn commit(&self) -> String {
        let state = self.state();
        let branch = if state.on_branch { "main" } else { "no branch" };
        format!("{branch} at {}, main at {}", COMMITS[state.head].1, COMMITS[state.main].1)
    }
}

/// Signs the site's certificates; its own is in a file, as an operator would have it.
static AUTHORITY: LazyLock<Signed> = LazyLock::new(|| {
    let authority = FakeAuthority::new();
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a folder: {error}"));
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap_or_else(|error| panic!("a file: {error}"));
    let config = CONFIG
        .replace("PASSWORD", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/password"))
        .replace("AUTHORITY", &file.display().to_string());
    let config: Env = toml::from_str(&config)
        .unwrap_or_else(|error| panic!("the configuration of the fakes: {error}"));
    Signed {
        good: authority.issue("eaf.example", 90),
        expired: authority.issue("eaf.example", -1),
        config,
        _folder: folder,
    }
});

struct Signed {
    good: FakeCertificate,
    expired: FakeCertificate,
    config: Env,
    _folder: tempfile::TempDir,
}

impl Platform {
    /// Nginx reads its certificate again.
    pub(crate) fn read_certificate(&self) {
        let expired = self.disk.read("/etc/nginx/eaf.pem").as_deref() == Some(b"expired");
        let certificate = if expired { &AUTHORITY.expired } else { &AUTHORITY.good };
        if let Some(front) = self.front.get() {
            front.present(certificate.clone());
        }
    }
}

/// A platform where all is well.
pub(crate) fn well() -> Fakes<Env> {
    with(|_| {})
}

/// A platform to which something has happened.
pub(crate) fn with(happened: impl Fn(&Platform)) -> Fakes<Env> {
    made(happened).1
}

/// What is so now, of one kind.
type Look = fn(&Platform) -> String;

/// The same, and the platform itself.
pub(crate) fn made(happened: impl Fn(&Platform)) -> (Platform, Fakes<Env>) {
    let target = FakeTarget::new("eaf")
        .dir(TREE)
        .file_with_mode(format!("{TREE}/.env"), VARIABLES, 0o600)
        .dir(format!("{BACKUPS}/database"))
        .dir(format!("{BACKUPS}/files"))
        .dir(format!("{BACKUPS}/before-restore"))
        .file("/run/nginx.pid", "100\n")
        .file("/etc/nginx/nginx.conf", NGINX)
        .file("/etc/nginx/eaf.pem", "good")
        .file(format!("/var/log/{SITE}.log"), "")
        .file(format!("/var/log/{WORKER}.log"), "");
    let platform = Platform::new(&target);
    posix::play(&target);
    proc::play(&target, &platform);
    programs::play(&target, &platform);
    let front = site::listen(&target, &platform);
    platform.front.get_or_init(|| front);
    platform.listen(&target);
    happened(&platform);
    platform.settle();
    platform.read_certificate();

    let env = AUTHORITY.config.clone().on(Host::new(target.clone()));
    let fakes = Fakes::new(env).target(&target);
    let states: [(&str, Look); 7] = [
        ("apps", Platform::apps),
        ("work tree", Platform::commit),
        ("migrations", |eaf| eaf.state().migrations.join(", ")),
        ("tables", |eaf| eaf.db.contents()),
        ("sessions", |eaf| format!("{:?}", eaf.db.sessions())),
        ("keys", |eaf| eaf.redis.contents()),
        ("servers", |eaf| {
            format!("PostgreSQL {}, Redis {}", eaf.db.is_running(), eaf.redis.is_running())
        }),
    ];
    let fakes = states.into_iter().fold(fakes, |fakes, (name, state)| {
        let platform = platform.clone();
        fakes.state(name, move || state(&platform))
    });
    (platform, fakes)
}

impl Platform {
    fn listen(&self, target: &FakeTarget) {
        let database = runbook_postgres::Config::new("eaf_prod").port(5435);
        self.db.listen(target, &database);
        self.redis.listen(target, &runbook_redis::Config::new());
    }
}
