//! The whole world: a host reached over SSH, with all that the application needs.

use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{log_tail, run};
use crate::{Ca, Folder, Nginx, Pm2, Postgres, Redis, Release, Remote, Sshd, app, free_port, get};

const DATABASE: &str = "eaf_prod";
const ROLE: &str = "eaf";
const PASSWORD: &str = "eaf-password";
const DEADLINE: Duration = Duration::from_secs(60);

/// A host that runs the lab's application, release 1, as its operator finds it: over SSH.
///
/// Its home (`HOME` of its SSH sessions) has
/// - `eaf_platform`: the work tree, built, with its `.env`; `origin` is [`remote`](Self::remote),
///   where release 2 is published;
/// - `.pm2`: PM2 with `eaf-platform` (the site) and `eaf-worker` (the queue of corrections);
/// - `bin/service NAME start|stop|restart|reload|status` for `postgresql`, `redis` and `nginx`;
/// - `.pgpass`, so that psql asks for no password, and `.npmrc`: npm needs no network.
///
/// Everything is in one temporary folder and ends with this, also when the process is killed.
///
/// ```no_run
/// let world = lab::World::start();
/// let status = world.ssh("pm2 jlist");
/// assert!(status.contains("eaf-platform"));
/// assert_eq!(world.health().unwrap().status, 200);
/// ```
#[derive(Debug)]
pub struct World {
    // Dropped in this order: who needs others goes first.
    sshd: Sshd,
    nginx: Nginx,
    pm2: Pm2,
    redis: Redis,
    postgres: Postgres,
    remote: Remote,
    ca: Ca,
    port: u16,
    worker_port: u16,
    home: PathBuf,
    folder: Folder,
}

impl World {
    /// Starts everything, and waits until the site answers through Nginx.
    ///
    /// # Panics
    /// A part does not start; the message says which, with the end of its log.
    #[must_use]
    pub fn start() -> Self {
        let folder = Folder::new();
        let home = folder.subfolder("home");
        let ca = Ca::inside(&folder);
        let tree = home.join("eaf_platform");
        // Each of them waits most of its time.
        let (postgres, redis, remote) = std::thread::scope(|scope| {
            let postgres = scope.spawn(|| {
                let postgres = Postgres::builder()
                    .setting("shared_preload_libraries", "pg_stat_statements")
                    .inside(&folder, "postgres")
                    .start();
                postgres.create_role(ROLE, PASSWORD);
                postgres.create_database(DATABASE, ROLE);
                postgres.psql(DATABASE, "create extension pg_stat_statements");
                postgres
            });
            let redis = scope.spawn(|| {
                Redis::builder().password("redis-password").inside(&folder, "redis").start()
            });
            let remote = Remote::inside(&folder);
            remote.clone_to(&tree, Release::First);
            app::install(&tree);
            run(host_command(&home, "npm").args(["run", "--silent", "build"]).current_dir(&tree));
            (join(postgres), join(redis), remote)
        });
        let (port, worker_port) = (free_port(), free_port());
        let nginx =
            Nginx::start_inside(&folder, &ca, "eaf.example.org", &[&format!("127.0.0.1:{port}")]);
        let bin = folder.subfolder("home/bin");
        let environment = environment(&home);
        let pairs: Vec<_> =
            environment.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
        let sshd =
            Sshd::builder().inside(&folder).config(&format!("SetEnv {}", pairs.join(" "))).start();
        let pm2 = Pm2::at(&folder, &folder.subfolder("home/.pm2"), environment);
        let world =
            Self { sshd, nginx, pm2, redis, postgres, remote, ca, port, worker_port, home, folder };
        world.write_files(&bin);
        // Not through npm, which takes as long as they do.
        let database = tree.join("database");
        run(world
            .command("node_modules/.bin/prisma")
            .args(["migrate", "deploy"])
            .current_dir(database));
        run(world.command("node").arg("scripts/seed.mjs").current_dir(&tree));
        world.pm2.run(&[
            "start",
            "--silent",
            &tree.join("ecosystem.config.cjs").display().to_string(),
        ]);
        world.wait_for_site();
        world
    }

    /// The host's sshd.
    #[must_use]
    pub fn sshd(&self) -> &Sshd {
        &self.sshd
    }

    /// Nginx in front of the site.
    #[must_use]
    pub fn nginx(&self) -> &Nginx {
        &self.nginx
    }

    /// PM2, which runs the site and its worker.
    #[must_use]
    pub fn pm2(&self) -> &Pm2 {
        &self.pm2
    }

    /// The application's Redis.
    #[must_use]
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The application's PostgreSQL.
    #[must_use]
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Where the application's releases come from.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The authority of the site's certificate.
    #[must_use]
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// The folder that all of it is in.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// `HOME` of the host's operator.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The application's work tree on the host.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.home.join("eaf_platform")
    }

    /// The application's configuration.
    #[must_use]
    pub fn env_file(&self) -> PathBuf {
        self.tree().join(".env")
    }

    /// The site's own port, behind Nginx.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port where the worker tells its health.
    #[must_use]
    pub fn worker_port(&self) -> u16 {
        self.worker_port
    }

    /// The application's database.
    #[must_use]
    pub fn database(&self) -> &'static str {
        DATABASE
    }

    /// The application's role.
    #[must_use]
    pub fn role(&self) -> &'static str {
        ROLE
    }

    /// The password of the application's role.
    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A student of the site: email and password.
    #[must_use]
    pub fn student(&self) -> (&'static str, &'static str) {
        ("student@example.org", "les-fleurs-du-mal")
    }

    /// The site's URL, by Nginx: its certificate is for this name, see [`curl`](Self::curl).
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.nginx.name(), self.nginx.https_port())
    }

    /// A curl that finds the site by its name and trusts its authority. Add the URL.
    #[must_use]
    pub fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
            .arg(self.nginx.ca())
            .args([
                "--resolve",
                &format!("{}:{}:127.0.0.1", self.nginx.name(), self.nginx.https_port()),
            ]);
        curl
    }

    /// Runs a shell line on the host over SSH, and gives what it says.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn ssh(&self, line: &str) -> String {
        run(self.sshd.ssh().arg(line))
    }

    /// A program with the environment of the host's sessions, but without SSH.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        host_command(&self.home, program)
    }

    /// The answer of the site's health route, not through Nginx.
    ///
    /// # Errors
    /// The site does not answer.
    pub fn health(&self) -> std::io::Result<crate::Reply> {
        get(self.port, "/api/v1/health")
    }

    /// Waits until site and worker are healthy.
    ///
    /// # Panics
    /// They are not in time; the message has the ends of their logs.
    pub fn wait_for_site(&self) {
        let end = std::time::Instant::now() + DEADLINE;
        let healthy = |port, path| {
            get(port, path)
                .is_ok_and(|reply| reply.status == 200 && reply.body_json()["status"] == "ok")
        };
        while !(healthy(self.port, "/api/v1/health") && healthy(self.worker_port, "/")) {
            if std::time::Instant::now() > end {
                let logs: String = ["eaf-platform", "eaf-worker"]
                    .iter()
                    .flat_map(|name| {
                        ["out", "error"].map(|kind| format!(".pm2/logs/{name}-{kind}.log"))
                    })
                    .map(|log| log_tail(&self.home.join(log)))
                    .collect();
                panic!("the site is not healthy after {DEADLINE:?}: {:?}\n{logs}", self.health());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn write_files(&self, bin: &Path) {
        let (database, redis) = (self.postgres.url(DATABASE, ROLE, PASSWORD), self.redis.url(0));
        let (port, worker_port) = (self.port, self.worker_port);
        write(
            &self.env_file(),
            0o600,
            &format!(
                "# The site's configuration: keep it to yourself.
NODE_ENV=production
PORT={port}
WORKER_PORT={worker_port}

DATABASE_URL={database}
DIRECT_URL={database}
REDIS_URL={redis}

# Signs the sessions.
SESSION_SECRET=\"a-secret-that-only-the-lab-knows-0123456789\"
COOKIE_SECURE=true
CRON_SECRET=cron-secret
MISTRAL_API_KEY=mistral-key
LLM_PROVIDER=mistral

STORAGE_PROVIDER=local
MAX_UPLOAD_SIZE_MB=5
"
            ),
        );
        let port = self.postgres.port();
        let pgpass =
            format!("127.0.0.1:{port}:*:{ROLE}:{PASSWORD}\nlocalhost:{port}:*:{ROLE}:{PASSWORD}\n");
        write(&self.home.join(".pgpass"), 0o600, &pgpass);
        // sshd goes to the home that the system's list of users tells.
        write(&self.home.join(".bashrc"), 0o644, "cd\n");
        write(&self.home.join(".npmrc"), 0o644, &app::npmrc());
        let data = self.tree().join(".data");
        fs::create_dir_all(data.join("uploads/copies")).expect("the site's uploads");
        write(&data.join("memory-store.json"), 0o644, "{\"vitals\":[]}\n");
        write(&bin.join("service"), 0o755, &self.service_script());
    }

    /// What systemd would do on a real host; no test may count on systemd.
    fn service_script(&self) -> String {
        let shell = |command: &Command| {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(|word| format!("'{}' ", word.to_string_lossy())).collect::<String>()
        };
        SERVICE
            .replace("{pg_ctl}", shell(&self.postgres.pg_ctl()).trim_end())
            .replace("{redis}", &self.redis.config_file().display().to_string())
            .replace("{nginx}", shell(&self.nginx.command()).trim_end())
            .replace("{prefix}", &self.nginx.prefix().display().to_string())
    }
}

/// How to reach each part, for a person.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ssh = self.sshd.ssh();
        let words: Vec<_> = ssh.get_args().map(|word| word.to_string_lossy()).collect();
        writeln!(f, "host        ssh {}", words.join(" "))?;
        writeln!(f, "home        {}", self.home.display())?;
        writeln!(f, "site        {}", self.url("/"))?;
        let (email, password) = self.student();
        writeln!(f, "            login {email}, password {password}")?;
        let curl = self.curl();
        let words: Vec<_> = curl.get_args().map(|word| word.to_string_lossy()).collect();
        writeln!(f, "            curl {} {}", words.join(" "), self.url("/api/v1/health"))?;
        writeln!(f, "site alone  http://127.0.0.1:{}/api/v1/health", self.port)?;
        writeln!(f, "worker      http://127.0.0.1:{}/", self.worker_port)?;
        writeln!(f, "PM2         PM2_HOME={} pm2 status", self.pm2.home().display())?;
        writeln!(f, "PostgreSQL  psql {}", self.postgres.url(DATABASE, ROLE, PASSWORD))?;
        let (user, password) = (self.postgres.user(), self.postgres.password());
        writeln!(f, "            psql {}", self.postgres.url(DATABASE, user, password))?;
        writeln!(f, "Redis       redis-cli -u {}", self.redis.url(0))?;
        writeln!(f, "Nginx       {}", self.nginx.config_file().display())?;
        writeln!(f, "            on the host: service nginx reload")?;
        writeln!(f, "git remote  {}", self.remote.path().display())?;
        let tags: Vec<_> = Release::ALL.iter().map(|release| release.tag()).collect();
        write!(f, "            {}", tags.join(" "))
    }
}

/// What sessions of the host have in their environment.
fn environment(home: &Path) -> Vec<(String, String)> {
    let bin = home.join("bin").display().to_string();
    let servers = crate::postgres::bin().display().to_string();
    // npm and pm2 may be elsewhere than Debian puts them.
    let ours = std::env::var("PATH").unwrap_or_default();
    let path = format!("{bin}:{servers}:{ours}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    let home = home.display().to_string();
    [
        ("PATH", path),
        ("PM2_HOME", format!("{home}/.pm2")),
        ("PM2_DISABLE_VERSION_CHECK", "true".to_owned()),
        // Prisma would ask the network for its newest version, and wait for it.
        ("CHECKPOINT_DISABLE", "1".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("HOME", home),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn host_command(home: &Path, program: &str) -> Command {
    // As sshd does: nothing of this process's own environment.
    let mut command = Command::new("env");
    command.arg("-i");
    for (name, value) in environment(home) {
        command.arg(format!("{name}={value}"));
    }
    command.arg(program).current_dir(home);
    command
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn write(path: &Path, mode: u32, text: &str) {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
}

const SERVICE: &str = r#"#!/bin/sh
# service NAME start|stop|restart|reload|status: the servers of this host.
set -eu
cd /
usage() { echo "usage: service postgresql|redis|nginx start|stop|restart|reload|status" >&2; exit 2; }
[ $# = 2 ] || usage

pid() { head -n 1 "$1" 2>/dev/null || :; }
runs() { [ -n "$(pid "$1")" ] && kill -0 "$(pid "$1")" 2>/dev/null; }
# Its word comes before its process id is written.
there() {
    n=0
    until runs "$1"; do
        n=$((n + 1))
        [ $n -lt 200 ] || { echo "it did not start" >&2; exit 1; }
        sleep 0.05
    done
}
gone() {
    runs "$1" || return 0
    kill "$(pid "$1")"
    while runs "$1"; do sleep 0.05; done
}
status() {
    if runs "$2"; then echo "$1 is running"; else echo "$1 is stopped"; exit 3; fi
}

case $1 in
postgresql)
    case $2 in
    start | restart | reload | status) {pg_ctl} "$2" ;;
    stop) {pg_ctl} stop -m fast ;;
    *) usage ;;
    esac
    ;;
redis)
    file=$(dirname '{redis}')/redis.pid
    case $2 in
    start) runs "$file" || redis-server '{redis}'; there "$file" ;;
    stop) gone "$file" ;;
    restart) gone "$file"; redis-server '{redis}'; there "$file" ;;
    status) status redis "$file" ;;
    *) usage ;;
    esac
    ;;
nginx)
    file='{prefix}/nginx.pid'
    case $2 in
    start) runs "$file" || {nginx} ;;
    stop) gone "$file" ;;
    restart) {nginx} -t -q; gone "$file"; {nginx} ;;
    reload) {nginx} -t -q; {nginx} -s reload ;;
    status) status nginx "$file" ;;
    *) usage ;;
    esac
    ;;
*) usage ;;
esac
"#;
