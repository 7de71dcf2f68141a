//! Throw-away PostgreSQL clusters.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::command::{log_tail, run};
use crate::user::ServerUser;
use crate::{Ca, Failure, Folder, Session, free_port, try_run, wait_until};

const SUPERUSER: &str = "postgres";
const PASSWORD: &str = "postgres-password";
const DEADLINE: Duration = Duration::from_secs(30);

/// A PostgreSQL cluster on a free port of the loopback interface and on a unix socket, with
/// passwords (scram-sha-256) on both.
///
/// Run by root, it belongs to an ordinary user. It promises nothing about a power cut: fsync is off.
///
/// ```no_run
/// let postgres = lab::Postgres::start();
/// postgres.create_role("app", "app-password");
/// postgres.create_database("app_prod", "app");
/// assert_eq!(postgres.psql("app_prod", "select 1 + 1"), "2");
/// ```
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    owner: ServerUser,
    ca: Option<PathBuf>,
    _folder: Folder,
}

/// What a [`Postgres`] is to be like; from [`Postgres::builder`].
#[derive(Debug, Default)]
pub struct PostgresBuilder<'a> {
    settings: Vec<(String, String)>,
    ca: Option<&'a Ca>,
    folder: Option<(Folder, String)>,
}

impl<'a> PostgresBuilder<'a> {
    /// A line of `postgresql.conf`; it wins over the lab's own.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With TLS, by a certificate of this authority for `localhost` and `127.0.0.1`.
    #[must_use]
    pub fn tls(mut self, ca: &'a Ca) -> Self {
        self.ca = Some(ca);
        self
    }

    /// In a folder of this name there, instead of in a temporary one of its own.
    #[must_use]
    pub fn inside(mut self, folder: &Folder, name: &str) -> Self {
        self.folder = Some((folder.clone(), name.to_owned()));
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// It does not answer in time; the message has the end of its log.
    #[must_use]
    pub fn start(self) -> Postgres {
        let template = template();
        let (folder, name) = self.folder.unwrap_or_else(|| (Folder::new(), SUPERUSER.to_owned()));
        let owner = ServerUser::current();
        let dir = owner.folder(&folder, &name);
        run(owner.command("cp").arg("-a").arg(template).arg(dir.join("data")));
        let mut postgres = Postgres { dir, port: 0, owner, ca: None, _folder: folder };
        let mut settings = self.settings;
        if let Some(ca) = self.ca {
            let certificate = ca.certificate(&["localhost", "127.0.0.1"]);
            for (from, name) in
                [(certificate.certificate(), "server.crt"), (certificate.key(), "server.key")]
            {
                postgres.keep(from, name);
            }
            postgres.ca = Some(ca.certificate_file());
            settings.insert(0, ("ssl".to_owned(), "on".to_owned()));
        }
        postgres.configure(&settings);
        postgres.launch_on_free_port();
        postgres
    }
}

impl Postgres {
    /// One with the lab's settings.
    ///
    /// # Panics
    /// As [`PostgresBuilder::start`].
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// One that you describe.
    #[must_use]
    pub fn builder<'a>() -> PostgresBuilder<'a> {
        PostgresBuilder::default()
    }

    /// A standby that streams from this one, and answers read-only queries.
    ///
    /// # Panics
    /// It can't be made or does not answer in time.
    #[must_use]
    pub fn standby(&self) -> Self {
        let folder = Folder::new();
        let dir = self.owner.folder(&folder, "standby");
        let standby = dir.join("data");
        run(self
            .owner
            .command(program("pg_basebackup"))
            .env("PGPASSWORD", PASSWORD)
            .arg("--pgdata")
            .arg(&standby)
            .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"])
            .args(["--host=127.0.0.1", &format!("--port={}", self.port), "--username", SUPERUSER]));
        let mut standby =
            Self { dir, port: 0, owner: self.owner.clone(), ca: self.ca.clone(), _folder: folder };
        standby.launch_on_free_port();
        standby
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its unix socket: `host` for psql.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    /// Its unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{}", self.port))
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("postgresql.log")
    }

    /// Its superuser.
    #[must_use]
    pub fn user(&self) -> &'static str {
        SUPERUSER
    }

    /// Its superuser's password.
    #[must_use]
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The authority of its certificate, if it has one.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// The URL of a database for a role, over the loopback interface.
    #[must_use]
    pub fn url(&self, database: &str, role: &str, password: &str) -> String {
        format!("postgresql://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// A program of this PostgreSQL (`psql`, `pg_dump`, ..) that connects to a database as the
    /// superuser over the unix socket. Add the arguments.
    #[must_use]
    pub fn command(&self, name: &str, database: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .env("PGHOST", &self.dir)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGPASSWORD", PASSWORD)
            .env("PGDATABASE", database)
            .env("PGCONNECT_TIMEOUT", "5");
        command
    }

    /// Runs SQL as the superuser and gives the rows: one a line, columns with `|` between them.
    ///
    /// # Panics
    /// It fails; [`try_psql`](Self::try_psql) is for what may.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// As [`psql`](Self::psql).
    ///
    /// # Errors
    /// The server is not to be reached, or refuses.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, Failure> {
        try_run(self.command("psql", database).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    /// A role that may log in.
    ///
    /// # Panics
    /// It can't be created.
    #[track_caller]
    pub fn create_role(&self, role: &str, password: &str) {
        self.psql(
            SUPERUSER,
            &format!("create role {} login password {}", name(role), text(password)),
        );
    }

    /// Gives a role another password: who has the old one is refused from now on.
    ///
    /// # Panics
    /// It can't be changed.
    #[track_caller]
    pub fn change_password(&self, role: &str, password: &str) {
        self.psql(SUPERUSER, &format!("alter role {} password {}", name(role), text(password)));
    }

    /// A database of this role.
    ///
    /// # Panics
    /// It can't be created.
    #[track_caller]
    pub fn create_database(&self, database: &str, role: &str) {
        self.psql(SUPERUSER, &format!("create database {} owner {}", name(database), name(role)));
    }

    /// The process id of the server, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        text.lines().next()?.parse().ok().filter(|pid| crate::is_alive(*pid))
    }

    /// Stops it at once, sessions or not; nothing committed is lost.
    ///
    /// # Panics
    /// It does not stop in time.
    pub fn stop(&self) {
        if self.pid().is_some() {
            run(self.pg_ctl().args(["stop", "-m", "fast"]));
        }
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// It does not answer in time.
    pub fn start_again(&self) {
        if let Err(failure) = self.launch() {
            panic!("{failure}\n{}", log_tail(&self.log()));
        }
    }

    /// Ends the server without a word (SIGKILL); it recovers when it is started again.
    ///
    /// # Panics
    /// It does not end.
    pub fn kill(&self) {
        if let Some(pid) = self.pid() {
            crate::kill_tree(pid);
            // A zombie too is "another server" for PostgreSQL.
            let process = PathBuf::from(format!("/proc/{pid}"));
            wait_until("PostgreSQL to be gone", DEADLINE, || !process.exists());
        }
    }

    /// The command that controls the server as its owner; add `stop`, `start`, `restart` ..
    #[must_use]
    pub fn pg_ctl(&self) -> Command {
        let mut command = self.owner.command(program("pg_ctl"));
        command.arg("-D").arg(self.data()).arg("-l").arg(self.log());
        command.args(["-w", "-s", "-t", "60"]);
        command
    }

    /// A session that runs some SQL and then stays as it is, open, until it is dropped: with an
    /// open transaction it holds its locks.
    ///
    /// # Panics
    /// The SQL fails, or is not done in time.
    #[must_use]
    pub fn idle_session(&self, database: &str, sql: &str) -> Session {
        Session::idle(self.command("psql", database), sql)
    }

    /// A session that runs one statement, which is running when this returns.
    ///
    /// # Panics
    /// It does not run in time.
    #[must_use]
    pub fn running_session(&self, database: &str, sql: &str) -> Session {
        let mut session = Session::new(self.command("psql", database));
        session.tell(&format!("{sql};"));
        let running = format!(
            "select count(*) from pg_stat_activity where application_name = {} and state = 'active'",
            text(session.name())
        );
        wait_until(&format!("the server to run {sql}"), DEADLINE, || {
            self.try_psql(SUPERUSER, &running).is_ok_and(|count| count == "1")
        });
        session
    }

    /// A transaction that locks a table and idles: others wait for it in vain.
    ///
    /// # Panics
    /// As [`idle_session`](Self::idle_session).
    #[must_use]
    pub fn hold_lock(&self, database: &str, table: &str) -> Session {
        self.idle_session(database, &format!("begin; lock table {table} in access exclusive mode"))
    }

    /// A query that runs for so many seconds.
    ///
    /// # Panics
    /// As [`running_session`](Self::running_session).
    #[must_use]
    pub fn long_query(&self, database: &str, seconds: u32) -> Session {
        self.running_session(database, &format!("select pg_sleep({seconds})"))
    }

    /// Takes every connection that ordinary roles may have: the next one of them is refused, and
    /// what the server keeps back for superusers is free.
    ///
    /// The role must be allowed to log in to the database.
    ///
    /// # Panics
    /// The sessions can't be opened.
    #[must_use]
    pub fn exhaust_connections(&self, database: &str, role: &str, password: &str) -> Vec<Session> {
        let mut sessions: Vec<Session> = Vec::new();
        loop {
            let as_role = || {
                let mut command = self.command("psql", database);
                command.env("PGUSER", role).env("PGPASSWORD", password);
                command
            };
            match try_run(as_role().args(["-XAtqc", "select 1"])) {
                Ok(_) => sessions.push(Session::idle(as_role(), "select 1")),
                Err(failure) if failure.to_string().contains("remaining connection slots") => {
                    return sessions;
                }
                Err(failure) => {
                    panic!("taking all connections, after {}: {failure}", sessions.len())
                }
            }
        }
    }

    fn configure(&self, settings: &[(String, String)]) {
        let lines: String =
            settings.iter().map(|(name, value)| format!("{name} = {}\n", text(value))).collect();
        let path = self.data().join("lab.conf");
        fs::write(&path, lines)
            .unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
        self.owner.own(&path);
    }

    fn launch_on_free_port(&mut self) {
        for _ in 0..20 {
            self.port = free_port();
            // After all other settings: what the lab tells others about it must be true.
            let place = format!(
                "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = {}\n",
                self.port,
                text(&self.dir.display().to_string())
            );
            let path = self.data().join("place.conf");
            fs::write(&path, place)
                .unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
            self.owner.own(&path);
            match self.launch() {
                Ok(_) => return,
                Err(failure) => {
                    let log = log_tail(&self.log());
                    assert!(log.contains("Address already in use"), "{failure}\n{log}");
                }
            }
        }
        panic!("no port of 20 was free any more when PostgreSQL wanted to have it")
    }

    fn launch(&self) -> Result<String, Failure> {
        try_run(self.pg_ctl().arg("start"))
    }

    fn keep(&self, from: &Path, name: &str) {
        let to = self.data().join(name);
        fs::copy(from, &to)
            .and_then(|_| fs::set_permissions(&to, fs::Permissions::from_mode(0o600)))
            .unwrap_or_else(|error| {
                panic!("copying {} to {}: {error}", from.display(), to.display())
            });
        self.owner.own(&to);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.pid().is_some() {
            // The folder's guard ends what this can't.
            let _ = try_run(self.pg_ctl().args(["stop", "-m", "immediate"]));
        }
    }
}

/// The folder of a fresh cluster: initdb takes longer than a copy, so a process runs it once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<(Folder, PathBuf)> = OnceLock::new();
    let (_, data) = TEMPLATE.get_or_init(|| {
        let folder = Folder::new();
        let owner = ServerUser::current();
        let dir = owner.folder(&folder, "template");
        let (data, password) = (dir.join("data"), dir.join("password"));
        fs::write(&password, PASSWORD).expect("a password file");
        owner.own(&password);
        run(owner
            .command(program("initdb"))
            .args(["--username", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync", "--no-instructions"])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(&data));
        let conf = data.join("postgresql.conf");
        let text = fs::read_to_string(&conf).expect("initdb's postgresql.conf");
        fs::write(&conf, text + SETTINGS).expect("postgresql.conf");
        for file in ["lab.conf", "place.conf"] {
            fs::write(data.join(file), "").expect("an empty file");
            owner.own(&data.join(file));
        }
        (folder, data)
    });
    data
}

/// Small, quick to start and to stop, and ready for a standby.
const SETTINGS: &str = "
# The lab's:
fsync = off
full_page_writes = off
synchronous_commit = off
shared_buffers = 32MB
max_connections = 40
wal_level = replica
max_wal_senders = 4
dynamic_shared_memory_type = mmap
log_line_prefix = '%m [%p] %q%u@%d '
include 'lab.conf'
include 'place.conf'
";

/// A program of the newest PostgreSQL.
fn program(name: &str) -> PathBuf {
    bin().join(name)
}

/// Where they are: Debian keeps the servers' out of PATH.
pub(crate) fn bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let versions = entries.filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()))
        });
        versions.max().map_or_else(PathBuf::new, |(_, path)| path.join("bin"))
    })
}

fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
