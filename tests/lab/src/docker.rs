//! A throw-away Docker daemon.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::signal;
use crate::{Child, wait_until, with_environment};

const DEADLINE: Duration = Duration::from_secs(60);

/// The mark of all that a daemon started, those that it no longer is the parent of included.
const MARK: &str = "LAB_DOCKER";

/// A Docker daemon of its own, with a containerd of its own, in a temporary folder: it shares
/// nothing with one that the machine may run, has no network but `host` and `none`, and two images
/// made from programs of this machine.
///
/// When it is dropped, its containers, processes, mounts and files are gone. It needs root and
/// Debian's `docker.io` and `busybox-static` (`scripts/setup` installs them).
///
/// ```no_run
/// let Some(docker) = lab::Docker::shared() else { return };
/// let container = docker.run(docker.busybox(), &[], &["sleep", "1000"]);
/// assert_eq!(docker.docker(&["exec", container.name(), "echo", "hello"]), "hello");
/// ```
#[derive(Debug)]
pub struct Docker {
    dockerd: Child,
    containerd: Child,
    bash: OnceLock<()>,
    folder: TempDir,
}

impl Docker {
    /// The daemon that the tests of this process share: started for the first one that asks and
    /// stopped when the last one drops it. `None`, and why on standard error, if this machine's
    /// user can't have one: that takes root.
    ///
    /// # Panics
    /// It does not start, or the variable `CI` is set and the user is not root.
    #[must_use]
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Docker>> = Mutex::new(Weak::new());
        if !rustix::process::geteuid().is_root() {
            let why = "NOT TESTED: a Docker daemon of the test's own takes root";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            // Not by a macro of the test harness, which would keep it to itself.
            let _ = writeln!(std::io::stderr(), "{why}");
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        Some(shared.upgrade().unwrap_or_else(|| {
            let docker = Arc::new(Self::start());
            *shared = Arc::downgrade(&docker);
            docker
        }))
    }

    /// Starts a daemon and waits until it answers.
    ///
    /// # Panics
    /// It does not answer; the message shows the end of its log.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("lab-docker-").tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let log = |name: &str| File::create(at(name)).expect("a log file");

        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{}\"\n",
            at("containerd").display(),
            at("containerd-state").display(),
            at("containerd.sock").display(),
            at("opt").display(),
        );
        fs::write(at("containerd.toml"), config).expect("its configuration");
        let mut containerd = Child::spawn(
            Command::new("containerd")
                .arg("--config")
                .arg(at("containerd.toml"))
                .env(MARK, folder.path())
                .stdin(Stdio::null())
                .stdout(log("containerd.log"))
                .stderr(log("containerd.err")),
        );
        answers(&mut containerd, &at("containerd.sock"), &at("containerd.err"));

        fs::write(at("daemon.json"), "{}").expect("its configuration");
        let mut dockerd = Child::spawn(
            Command::new("dockerd")
                .args(["--storage-driver=vfs", "--bridge=none", "--ip-masq=false"])
                .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"])
                .arg(format!("--host={}", host(folder.path())))
                .arg(format!("--cgroup-parent={}", cgroup(folder.path())))
                .arg(format!("--containerd={}", at("containerd.sock").display()))
                .arg(format!("--data-root={}", at("data").display()))
                .arg(format!("--exec-root={}", at("exec").display()))
                .arg(format!("--pidfile={}", at("dockerd.pid").display()))
                // It may have been told otherwise for the daemon of the machine.
                .arg(format!("--config-file={}", at("daemon.json").display()))
                .env(MARK, folder.path())
                .stdin(Stdio::null())
                .stdout(log("dockerd.log"))
                .stderr(log("dockerd.err")),
        );
        answers(&mut dockerd, &at("docker.sock"), &at("dockerd.err"));
        let docker = Self { dockerd, containerd, bash: OnceLock::new(), folder };
        docker.import_busybox();
        docker
    }

    /// Where it listens, as the variable `DOCKER_HOST` takes it.
    #[must_use]
    pub fn host(&self) -> String {
        host(self.folder.path())
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// The program `docker`, talking to this daemon.
    #[must_use]
    pub fn cli(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.folder.path());
        docker
    }

    /// Runs `docker` with these arguments; what it says, without the newline at its end.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        said(self.cli().args(args).stdin(Stdio::null()))
    }

    /// The name of an image that holds BusyBox and nothing else. Its users are `root`, `nobody` and
    /// `app` (1000).
    #[must_use]
    pub fn busybox(&self) -> &'static str {
        "lab-busybox"
    }

    /// The name of an image with the `sh`, `bash` and GNU programs of this machine: what a Debian
    /// image has. Made when it is first asked for.
    ///
    /// # Panics
    /// It can't be made.
    #[must_use]
    pub fn bash(&self) -> &'static str {
        let name = "lab-bash";
        self.bash.get_or_init(|| self.import_bash(name));
        name
    }

    /// Makes an image of a folder.
    ///
    /// # Panics
    /// It can't be made.
    pub fn import(&self, tree: &Path, name: &str) {
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(tree)
            .args(["--numeric-owner", "--owner=0", "--group=0", "-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar runs");
        let content = tar.stdout.take().expect("it is piped");
        said(self.cli().args(["import", "-", name]).stdin(content));
        assert!(tar.wait().expect("tar ends").success(), "tar could not read {}", tree.display());
    }

    /// Starts a container in the background: `docker run -d OPTIONS IMAGE COMMAND`. It has no
    /// network unless an option says otherwise.
    ///
    /// # Panics
    /// It does not start.
    #[track_caller]
    pub fn run(self: &Arc<Self>, image: &str, options: &[&str], command: &[&str]) -> Container {
        let mut args = vec!["run", "-d", "--init", "--network=none"];
        if options.iter().any(|option| option.starts_with("--network")) {
            args.pop();
        }
        args.extend(options);
        args.push(image);
        args.extend(command);
        let id = self.docker(&args);
        let name = self.docker(&["inspect", "-f", "{{.Name}}", &id]);
        Container { docker: self.clone(), id, name: name.trim_start_matches('/').to_owned() }
    }

    fn import_busybox(&self) {
        let tree = tree();
        let program = tree.path().join("bin/busybox");
        fs::copy("/bin/busybox", &program).expect("busybox: scripts/setup installs it");
        for applet in said(Command::new(&program).arg("--list")).lines() {
            if applet != "busybox" {
                symlink("busybox", tree.path().join("bin").join(applet)).expect("a link");
            }
        }
        self.import(tree.path(), self.busybox());
    }

    fn import_bash(&self, name: &str) {
        let tree = tree();
        let packages =
            ["coreutils", "findutils", "grep", "sed", "dash", "bash", "procps", "perl-base"];
        let files = said(Command::new("dpkg").arg("-L").args(packages));
        let files: Vec<_> = files.lines().map(Path::new).filter(|file| file.is_file()).collect();
        let is_program = |file: &&&Path| file.parent().is_some_and(|dir| dir.ends_with("bin"));
        // Of a package that is large as a whole, a part.
        let more = [Path::new("/usr/bin/setsid")];
        let programs: Vec<_> = files.iter().filter(is_program).chain(&more).collect();
        said(Command::new("cp").arg("-L").args(&programs).arg(tree.path().join("bin")));
        let modules = files.iter().filter(|file| file.to_string_lossy().contains("/perl-base/"));
        for file in modules.map(|module| module.to_path_buf()).chain(libraries(&programs)) {
            copy_into(tree.path(), &file);
        }
        self.import(tree.path(), name);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Nothing here may panic: a test may be failing already.
        let quiet = |command: &mut Command| {
            let _ =
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        if let Ok(all) = self.cli().args(["ps", "-aq"]).output() {
            let ids = String::from_utf8_lossy(&all.stdout).into_owned();
            if !ids.trim().is_empty() {
                quiet(self.cli().args(["rm", "-f", "-v"]).args(ids.split_whitespace()));
            }
        }
        for daemon in [&mut self.dockerd, &mut self.containerd] {
            signal(daemon.pid(), Signal::TERM);
            let _ = daemon.wait(Duration::from_secs(20));
            daemon.kill();
        }
        for pid in with_environment(MARK, &self.folder.path().to_string_lossy()) {
            signal(pid, Signal::KILL);
        }
        for mount in mounts_below(self.folder.path()) {
            quiet(Command::new("umount").arg("-l").arg(mount));
        }
        let parent = cgroup(self.folder.path());
        let controllers = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for folder in controllers.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]) {
            let _ = fs::remove_dir(folder.join(parent.trim_start_matches('/')));
        }
    }
}

/// A running container; removed when it is dropped.
#[derive(Debug)]
pub struct Container {
    docker: Arc<Docker>,
    id: String,
    name: String,
}

impl Container {
    /// Its whole id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Copies a program of this machine into its `/bin`, with the libraries that it needs.
    ///
    /// # Panics
    /// There is no such program here.
    #[track_caller]
    pub fn add(&self, program: &str) {
        let path = said(Command::new("sh").args(["-c", "command -v \"$0\"", program]));
        let tree = tempfile::tempdir().expect("a folder");
        fs::create_dir(tree.path().join("bin")).expect("a folder");
        fs::copy(&path, tree.path().join("bin").join(program)).expect("the program");
        for library in libraries(&[path]) {
            copy_into(tree.path(), &library);
        }
        let (from, to) = (format!("{}/.", tree.path().display()), format!("{}:/", self.id));
        self.docker.docker(&["cp", &from, &to]);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut remove = self.docker.cli();
        let _ = remove.args(["rm", "-f", "-v", &self.id]).stdin(Stdio::null()).output();
    }
}

fn host(folder: &Path) -> String {
    format!("unix://{}/docker.sock", folder.display())
}

fn cgroup(folder: &Path) -> String {
    format!("/{}", folder.file_name().unwrap_or_default().display())
}

/// Waits until something answers on the daemon's socket.
fn answers(daemon: &mut Child, socket: &Path, log: &Path) {
    let mut ended = false;
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until("the daemon to answer", DEADLINE, || {
            ended = !daemon.is_running();
            ended || UnixStream::connect(socket).is_ok()
        });
    }));
    if waited.is_err() || ended {
        let text = fs::read_to_string(log).unwrap_or_default();
        let end: Vec<_> = text.lines().rev().take(20).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        panic!("the daemon of {} does not answer:\n{}", socket.display(), end.join("\n"));
    }
}

/// An empty image.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().expect("a folder");
    let at = |name: &str| tree.path().join(name);
    for folder in ["bin", "etc", "tmp", "run", "root"] {
        fs::create_dir(at(folder)).expect("a folder");
    }
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::set_permissions(at("tmp"), fs::Permissions::from_mode(0o1777)).expect("its mode");
    let users = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n\
                 nobody:x:65534:65534::/:/bin/sh\n";
    fs::write(at("etc/passwd"), users).expect("its users");
    fs::write(at("etc/group"), "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n").expect("its groups");
    tree
}

/// The libraries that programs need.
fn libraries(programs: &[impl AsRef<std::ffi::OsStr>]) -> Vec<PathBuf> {
    // It fails for those that need none, which is fine.
    let listed = Command::new("ldd").args(programs).output().expect("ldd runs").stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let files = listed.lines().filter(|line| !line.ends_with(':'));
    let files = files.flat_map(str::split_whitespace).filter(|word| word.starts_with('/'));
    files.map(PathBuf::from).collect()
}

/// Copies a file to the same place below `tree`.
fn copy_into(tree: &Path, file: &Path) {
    let to = tree.join(file.strip_prefix("/").expect("it is absolute"));
    if !to.exists() {
        fs::create_dir_all(to.parent().expect("it has a folder")).expect("a folder");
        fs::copy(file, &to).expect("a file");
    }
}

/// What a program says that must not fail.
#[track_caller]
fn said(command: &mut Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("starting {command:?}: {error}; scripts/setup installs it"),
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
}

/// The places below `folder` where something is mounted, innermost first.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut below: Vec<_> = places.filter(|place| place.starts_with(folder)).collect();
    below.reverse();
    below
}
