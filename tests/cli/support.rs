//! A folder to work in, the demo program, and a terminal to run it at.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::Winsize;

/// Long enough for a busy machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before a program: it hears the signals of a terminal, also where these tests run in the
/// background and are deaf to them. It would stay so, as a program under `nohup` should.
const HEARING: [&str; 2] = ["/usr/bin/env", "--default-signal=INT,QUIT,HUP"];

/// The demo program. `cargo test` builds it; `cargo test --test cli` alone does not.
pub fn demo() -> &'static Path {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    DEMO.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--example", "cli-demo"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "building the demo program");
        profile.join("examples/cli-demo")
    })
}

/// A folder with a configuration, a place for runs, and the root of the shop.
pub struct World {
    dir: tempfile::TempDir,
}

/// What a call of the program came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { dir };
        std::fs::create_dir(world.root()).unwrap();
        let hosts: String = (1..=5)
            .map(|n| format!("[test.hosts.web-{n}]\ngroups = ['web']\n\n"))
            .chain(["[test.hosts.db-1]\nweight = 9\n\n[test.groups.web]\nweight = 1\n".into()])
            .collect();
        let config = format!("[test]\nroot = {:?}\n\n{hosts}\n[other]\nroot = 3\n", world.root());
        std::fs::write(world.path().join("demo.toml"), config).unwrap();
        world
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("root")
    }

    pub fn file(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.root().join(name)).ok()
    }

    pub fn put(&self, name: &str, text: &str) {
        std::fs::write(self.root().join(name), text).unwrap();
    }

    /// The program with these words, in the environment `test`, without a terminal.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let [program, signals] = HEARING;
        let mut command = Command::new(program);
        self.surround(&mut command);
        command.arg(signals).arg(demo()).args(words);
        command
    }

    fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", demo().parent().unwrap())
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("USER", "ops")
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null());
    }

    /// Runs the program to its end. `--env test` is picked unless the words pick one.
    pub fn run(&self, words: &[&str]) -> Ran {
        let mut words = words.to_vec();
        if !words.contains(&"--env") {
            words.extend(["--env", "test"]);
        }
        Self::end(&mut self.command(&words))
    }

    pub fn end(command: &mut Command) -> Ran {
        let output = command.output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the program and gives its process back.
    pub fn start(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.args(["--env", "test"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Waits until a file of the shop is there.
    pub fn wait_for(&self, name: &str) {
        wait_until(&format!("{name} is there"), || self.root().join(name).exists());
    }

    /// Starts the program at a terminal of `columns` and `rows`.
    pub fn terminal(&self, words: &[&str], columns: u16, rows: u16) -> Terminal {
        Terminal::start(self, words, columns, rows, &[])
    }

    pub fn terminal_with(&self, words: &[&str], vars: &[(&str, &str)]) -> Terminal {
        Terminal::start(self, words, 100, 40, vars)
    }

    /// The id of the latest run.
    pub fn last_run(&self) -> String {
        let out = self.run(&["runs", "--output", "json"]).out;
        let runs: serde_json::Value = serde_json::from_str(&out).unwrap();
        runs[0]["run"].as_str().unwrap().to_owned()
    }
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for a started process, and what it wrote.
pub fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The program at a terminal: what is on the screen, and keys to type.
pub struct Terminal {
    keys: std::fs::File,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    child: Child,
    raw: Arc<Mutex<Vec<u8>>>,
    /// Ends when nobody holds the terminal any more.
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    fn start(
        world: &World,
        words: &[&str],
        columns: u16,
        rows: u16,
        vars: &[(&str, &str)],
    ) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        // A session of its own, so that Ctrl-C reaches it as from a keyboard.
        let mut command = Command::new("/usr/bin/setsid");
        world.surround(&mut command);
        command
            .args(["--ctty", "--wait"])
            .args(HEARING)
            .arg(demo())
            .args(words)
            .args(["--env", "test"])
            .envs(vars.iter().copied())
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave);
        let child = command.spawn().unwrap();
        drop(command);
        let keys = std::fs::File::from(master);
        let parser = vt100::Parser::new(rows, columns, 1000);
        let screen = Arc::new((Mutex::new(parser), Condvar::new()));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let (mut output, shown, kept) =
            (keys.try_clone().unwrap(), Arc::clone(&screen), Arc::clone(&raw));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose program has ended answers with an error.
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..n]);
                shown.0.lock().unwrap().process(&buffer[..n]);
                shown.1.notify_all();
            }
        });
        Self { keys, screen, child, raw, reader: Some(reader) }
    }

    /// What is on the screen, without empty lines at the end.
    pub fn text(&self) -> String {
        let parser = self.screen.0.lock().unwrap();
        screen_text(&parser)
    }

    /// Waits until `text` is on the screen; gives the screen.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |shown| shown.contains(text))
    }

    /// Waits until the cursor stands behind `text`.
    pub fn wait_for_cue(&self, text: &str) -> String {
        self.wait(text, |shown| shown.ends_with(text))
    }

    fn wait(&self, text: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut parser = self.screen.0.lock().unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            let shown = screen_text(&parser);
            if is_so(&shown) {
                return shown;
            }
            assert!(Instant::now() < end, "waited for {text:?}; the screen is:\n{shown}");
            let wait = self.screen.1.wait_timeout(parser, Duration::from_millis(100));
            parser = wait.unwrap().0;
        }
    }

    pub fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.keys, size).unwrap();
        self.screen.0.lock().unwrap().screen_mut().set_size(rows, columns);
    }

    /// Whether typed keys are shown.
    pub fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.keys).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// Everything that was written to the terminal, escape sequences and all.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw.lock().unwrap()).into_owned()
    }

    /// Waits for the end; the exit code and the last screen.
    pub fn end(mut self) -> (i32, String) {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        // What it wrote last may still be on its way.
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (status.and_then(|status| status.code()).unwrap_or(-1), self.text())
    }
}

fn screen_text(parser: &vt100::Parser) -> String {
    let contents = parser.screen().contents();
    let lines: Vec<&str> = contents.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

/// Snapshots without what differs from run to run.
pub fn tidy(world: &World) -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let dir = world.path().display().to_string();
    settings.add_filter(&regex_escape(&dir), "DIR");
    settings.add_filter(r"\d{8}-\d{6}-[a-z0-9]{4}", "RUN");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d\b", "DAY AND TIME");
    settings.add_filter(r"@[^ ]+ \(pid \d+\)", "@HOST (pid N)");
    settings.add_filter(r"by ops@\S+", "by ops@HOST");
    // Times stand in a column of their own, of seven characters, if they are worth telling.
    settings.add_filter(r"· \d+(\.\d)?s( ·|\n)", "· 0s$2");
    settings.add_filter(r"(?m): \d\.\ds$", "");
    settings.add_filter(r"   \d\.\ds", "       ");
    settings.add_filter(r"(?m) +$", "");
    settings.add_filter(r"\b\d\.\ds\b", "0.0s");
    settings.add_filter(&regex_escape(&demo().display().to_string()), "demo");
    settings.bind_to_scope()
}

fn regex_escape(text: &str) -> String {
    text.replace('.', "\\.").replace('-', "\\-")
}
