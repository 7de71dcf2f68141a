//! [`Stage`]: a world, and an operator with the program and its configuration.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::{Release, World};

/// A world, and an operator with the program and its configuration.
pub(crate) struct Stage {
    pub(crate) world: World,
    /// Where nobody listens.
    pub(crate) nobodys_port: u16,
    desk: tempfile::TempDir,
}

/// How the program ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Stage {
    /// Starts the world, and writes the operator's configuration.
    pub(crate) fn set() -> Self {
        let stage = Self {
            world: World::start(),
            nobodys_port: lab::free_port(),
            desk: tempfile::tempdir().unwrap(),
        };
        let sshd = stage.world.sshd();
        let known = stage.desk.path().join("known_hosts");
        std::fs::write(&known, sshd.known_hosts()).unwrap();
        stage.write_ssh_config("ssh_config", sshd.port(), &known);
        stage.write("password", stage.world.student().1);
        stage.write("database-password", stage.world.password());
        stage.write("admin-password", stage.world.postgres().password());
        stage.write("redis-url", &stage.world.redis().url(0));
        stage.write("eaf-premium.toml", &stage.config());
        stage
    }

    /// Ends all of it; nothing may be left.
    pub(crate) fn strike(self) {
        let (folder, home) = (self.world.folder().path().to_owned(), self.world.home().to_owned());
        drop(self);
        assert!(!folder.exists(), "{} is left behind", folder.display());
        let left = lab::with_environment("HOME", &home.display().to_string());
        assert!(left.is_empty(), "processes are left behind: {left:?}");
    }

    /// Release 1, its database, and all servers running: what every test begins with.
    pub(crate) fn reset(&self) {
        let world = &self.world;
        let first = world.remote().commit_of(Release::First);
        world.remote().publish(Release::Second);
        let head = world.ssh("git -C eaf_platform rev-parse HEAD");
        if head != first || world.ssh("git -C eaf_platform branch --show-current") != "main" {
            world.ssh("cd eaf_platform && git checkout -q main && git reset -q --hard v1 && npm run --silent build && pm2 restart --silent eaf-platform eaf-worker");
        }
        world.postgres().psql(
            world.database(),
            "alter table \"Copy\" drop column if exists comment; \
             delete from _prisma_migrations where migration_name like '%_comment'",
        );
        world.wait_for_site();
        let _ = std::fs::remove_dir_all(self.journal());
        let _ = std::fs::remove_dir_all(world.home().join("backups"));
        self.write_ssh_config("ssh_config", world.sshd().port(), &self.path("known_hosts"));
        self.write("eaf-premium.toml", &self.config());
    }

    /// The configuration, with what is there in the place of what follows `key = `.
    pub(crate) fn config(&self) -> String {
        let world = &self.world;
        let (nginx, desk) = (world.nginx(), self.desk.path().display());
        format!(
            r#"[lab]
host.ssh = {{ alias = "eaf-lab", config_file = "{desk}/ssh_config" }}
nginx = {{ main = "{main}", prefix = "{prefix}" }}

[lab.app]
dir = "{dir}"
name = "eaf-platform"
port = {port}
worker = "eaf-worker"
worker_port = {worker_port}
built = ["packages/web/dist", "packages/worker/dist"]
prisma = "database"

[lab.database]
port = {database_port}
database = "{database}"
user = "{role}"
password = {{ file = "{desk}/database-password" }}

[lab.database_admin]
port = {database_port}
database = "{database}"
user = "{superuser}"
password = {{ file = "{desk}/admin-password" }}

[lab.redis]
url = {{ file = "{desk}/redis-url" }}

[lab.queue]
name = "corrections"
memory_mib = 64

[lab.services]
command = ["service"]
redis = "redis"

[lab.site]
url = "https://{name}:{https_port}"
connect = "127.0.0.1:{https_port}"
tls = {{ ca_file = "{ca}" }}

[lab.account]
email = "{email}"
password = {{ file = "{desk}/password" }}

[lab.backups]
dir = "{home}/backups"

[lab.thresholds]
steady_seconds = 2
start_seconds = 10
queue_seconds = 1
session_seconds = 1
disk_mib = 10

[lab.people]
contacts.kim = {{ name = "Kim", role = "operator on call", reach = ["+1 555 0100"] }}
contacts.lee = {{ name = "Lee", role = "lead", reach = ["+1 555 0101"] }}
escalation.technical = [{{ call = ["kim"] }}, {{ after = "15 min", call = ["lee"] }}]
"#,
            dir = world.tree().display(),
            home = world.home().display(),
            port = world.port(),
            worker_port = world.worker_port(),
            database_port = world.postgres().port(),
            database = world.database(),
            role = world.role(),
            superuser = world.postgres().user(),
            name = nginx.name(),
            https_port = nginx.https_port(),
            main = nginx.config_file().display(),
            prefix = nginx.prefix().display(),
            ca = nginx.ca().display(),
            email = world.student().0,
        )
    }

    /// A file of the operator's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    /// What differs from run to run, in fixed words.
    pub(crate) fn fixed(&self, text: &str) -> String {
        let world = &self.world;
        // Where lines are wrapped depends on names of folders.
        let mut joined = String::new();
        for line in text.lines() {
            match line.strip_prefix("             ") {
                // People to call stand below each other, whatever the width.
                Some(rest) if !rest.starts_with("next: ") && !rest.contains(": +1 555 ") => {
                    joined.extend([" ", rest.trim()]);
                }
                _ => joined.extend(["\n", line]),
            }
        }
        let mut text = joined
            .trim()
            .replace(&world.home().display().to_string(), "HOME")
            .replace(&world.sshd().dir().display().to_string(), "SSHD")
            .replace(&world.folder().path().display().to_string(), "LAB")
            .replace(&self.desk.path().display().to_string(), "DESK")
            .replace(env!("CARGO_BIN_EXE_eaf-premium"), "eaf-premium")
            .replace(&world.remote().commit_of(Release::First)[..10], "COMMIT")
            // Time may be up in the middle of a look.
            .replace(", and the last look did not end)", ")");
        for (port, name) in [
            (world.port(), "PORT"),
            (world.worker_port(), "WORKER_PORT"),
            (world.postgres().port(), "DATABASE_PORT"),
            (world.redis().port(), "REDIS_PORT"),
            (world.nginx().https_port(), "HTTPS_PORT"),
            (world.sshd().port(), "SSH_PORT"),
            (self.nobodys_port, "NOBODYS_PORT"),
        ] {
            text = text.replace(&port.to_string(), name);
        }
        text.lines().map(varying).collect::<Vec<_>>().join("\n")
    }

    fn journal(&self) -> PathBuf {
        self.desk.path().join("journal")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.desk.path().join(name), text).unwrap();
    }

    /// An SSH configuration in which `eaf-lab` is the host, at this port.
    pub(crate) fn write_ssh_config(&self, name: &str, port: u16, known_hosts: &Path) {
        let sshd = self.world.sshd();
        self.write(
            name,
            &format!(
                "Host eaf-lab\n  HostName 127.0.0.1\n  HostKeyAlias [127.0.0.1]:{}\n  Port {port}\n  User {}\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n",
                sshd.port(),
                sshd.user(),
                sshd.client_key().display(),
                known_hosts.display(),
            ),
        );
    }

    /// The program, at the operator's desk.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eaf-premium"));
        command
            .current_dir(self.desk.path())
            .args(words)
            .arg("--journal=journal")
            .stdin(Stdio::null())
            .env_remove("NO_COLOR")
            .env_remove("SSH_AUTH_SOCK")
            .env("USER", "ann");
        command
    }

    /// Runs the program to its end.
    pub(crate) fn ask(&self, words: &[&str]) -> Said {
        Said::of(&self.command(words).output().unwrap())
    }

    /// Runs the program to its end, which is to be this one.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str], code: i32) -> String {
        let said = self.ask(words);
        assert_eq!(said.code, Some(code), "{words:?}:\n{}", said.text);
        said.text
    }

    /// Starts the program, and gives it as soon as it prints a line that contains `at`.
    #[track_caller]
    pub(crate) fn run_up_to(&self, words: &[&str], at: &str) -> Started {
        let mut child = lab::Child::spawn(self.command(words).stdout(Stdio::piped()));
        let mut lines = BufReader::new(child.std().stdout.take().unwrap());
        let mut text = String::new();
        let mut begins = 0;
        while !text[begins..].contains(at) {
            begins = text.len();
            assert!(lines.read_line(&mut text).unwrap() > 0, "never came to {at:?}:\n{text}");
        }
        Started { child, lines, text }
    }

    /// The report of the last run.
    pub(crate) fn report(&self) -> String {
        self.run(&["report", "last"], 0)
    }

    /// The version that the site answers with.
    pub(crate) fn version(&self) -> String {
        let health = self.world.health().unwrap();
        assert_eq!(health.status, 200);
        health.body_json()["version"].as_str().unwrap().to_owned()
    }

    pub(crate) fn head(&self) -> String {
        self.world.ssh("git -C eaf_platform rev-parse HEAD")
    }

    /// Prints a line of what the tests measured.
    #[expect(clippy::print_stderr, reason = "a test program says what it measured")]
    pub(crate) fn note(&self, text: &str) {
        eprintln!("    {text}");
    }

    /// Asks the site again and again until it is told to stop.
    pub(crate) fn watch(&self) -> Watch {
        let port = self.world.port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let at = Instant::now();
                let good = lab::get(port, "/api/v1/health").is_ok_and(|reply| reply.status == 200);
                seen.push((at, good));
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Watch { stop, thread }
    }
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), text: text(&output.stdout) + &text(&output.stderr) }
    }
}

/// A program that runs.
pub(crate) struct Started {
    child: lab::Child,
    lines: BufReader<std::process::ChildStdout>,
    text: String,
}

impl Started {
    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill();
    }

    /// Stops it as it is, and all that it would do (SIGSTOP).
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Said {
        self.lines.read_to_string(&mut self.text).unwrap();
        let status = self.child.std().wait().unwrap();
        Said { code: status.code(), text: self.text }
    }
}

/// Whoever asks the site again and again.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<(Instant, bool)>>,
}

impl Watch {
    /// The gaps in which the site did not answer, and how often it was asked.
    pub(crate) fn gaps(self) -> (Vec<Duration>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        let mut gaps = Vec::new();
        let mut last_good = seen[0].0;
        let mut bad = false;
        for (at, good) in &seen {
            if *good {
                if bad {
                    gaps.push(*at - last_good);
                }
                last_good = *at;
            }
            bad = !good;
        }
        assert!(!bad, "it does not answer at the end");
        (gaps, seen.len())
    }
}

/// A line without ids of runs, times and ports that nobody listens on.
fn varying(line: &str) -> String {
    let mut before = "";
    let words = line.split(' ').map(|word| {
        let known = std::mem::replace(&mut before, word);
        let bare = word.trim_end_matches([',', ';', ')']);
        let end = &word[bare.len()..];
        let digits = bare.chars().filter(char::is_ascii_digit).count();
        let only =
            |set: &str| digits > 0 && bare.chars().all(|c| c.is_ascii_digit() || set.contains(c));
        let fixed = if bare.starts_with("SHA256:") {
            "SHA256:KEY"
        } else if only(".mshµ") && bare.ends_with('s') {
            "TIME"
        } else if digits >= 14 && bare.ends_with('Z') {
            "WHEN"
        } else if digits == 8 && bare.split('-').map(str::len).eq([4, 2, 2]) {
            "DATE"
        } else if digits == 6 && bare.split(':').map(str::len).eq([2, 2, 2]) {
            "CLOCK"
        } else if digits >= 14 && bare.contains('-') && !bare.contains('/') {
            "RUN"
        } else if only("") && matches!(known, "process" | "pid" | "(pid") {
            "PID"
        } else {
            bare
        };
        format!("{fixed}{end}")
    });
    let mut words: Vec<String> = words.collect();
    for at in 1..words.len() {
        let number = words[at - 1].parse::<f64>().is_ok();
        if number && (words[at].starts_with("restarts") || words[at] == "s") {
            words[at - 1] = "N".into();
        } else if words[at - 1] == "version" && words[at].starts_with(|c: char| c.is_ascii_digit())
        {
            words[at] = "VERSION,".into();
        }
    }
    words.join(" ")
}
