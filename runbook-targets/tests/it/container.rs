//! Containers of a real Docker daemon, which takes root; who is not root sees the tests pass over,
//! unless `CI` is set.

// Named, for the program that runs the same tests over SSH.
#[path = "container/compose.rs"]
mod compose;
#[path = "container/errors.rs"]
mod errors;
#[path = "container/sockets.rs"]
mod sockets;

use std::process::Stdio as StdStdio;
use std::sync::Arc;
use std::time::Duration;

use lab::Docker;
use runbook_core::testing::{Surroundings, context};
use runbook_core::{Exit, FailureKind, Host, Stdin};
use runbook_targets::{Container, WithEnv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::files::behave;
use crate::support::{Mark, comes_true, here, sh, soon};

/// A daemon and a running container.
pub(crate) struct Place {
    pub(crate) container: lab::Container,
    pub(crate) docker: Arc<Docker>,
}

type Image = fn(&Docker) -> &'static str;

impl Place {
    /// `None` where there can be no daemon.
    pub(crate) fn start(image: Image, options: &[&str]) -> Option<Self> {
        let docker = Docker::shared()?;
        let container = docker.run(image(&docker), options, &["sleep", "100000"]);
        Some(Self { container, docker })
    }

    /// This machine, as one whose daemon it is.
    pub(crate) fn host(&self) -> Host {
        host_of(&self.docker)
    }

    pub(crate) fn named(&self) -> Container {
        Container::new(&self.host(), self.container.name())
    }

    pub(crate) fn container(&self) -> Host {
        Host::new(self.named())
    }
}

pub(crate) fn host_of(docker: &Docker) -> Host {
    Host::new(WithEnv::new(here()).env("DOCKER_HOST", docker.host()))
}

/// A place of this image, or the end of the test.
macro_rules! place {
    ($image:ident) => {
        place!($image, &[])
    };
    ($image:ident, $options:expr) => {
        match crate::container::Place::start(lab::Docker::$image, $options) {
            Some(place) => place,
            None => return,
        }
    };
}
pub(crate) use place;

#[tokio::test]
async fn commands_run_inside_of_it() {
    for image in [Docker::busybox, Docker::bash] {
        let Some(place) = Place::start(image, &[]) else { return };
        let (cx, host) = (context(), place.container());
        let on = cx.on(&host);
        assert_eq!(host.name(), format!("{}@local", place.container.name()));
        let own = soon(on.run(&sh("hostname || cat /proc/sys/kernel/hostname"))).await.unwrap();
        assert!(place.container.id().starts_with(&own.text()), "{}", own.text());
        let around = sh("echo \"$GREETING\"; pwd; cat; echo oops >&2; exit 3");
        let around = around.env("GREETING", "it's\nme").dir("/tmp").stdin("fed");
        let output = soon(on.run_unchecked(&around)).await.unwrap();
        assert_eq!(output.text(), "it's\nme\n/tmp\nfed");
        assert_eq!(output.stderr, b"oops\n");
        assert_eq!(output.exit, Exit::Code(3));
        let killed = soon(on.run_unchecked(&sh("kill -9 $$"))).await.unwrap();
        assert_eq!(killed.exit, Exit::Signal(9));
        // On a channel of its own, likewise.
        let mut alone = soon(on.spawn(&sh("kill -15 $$").stdin(Stdin::Piped))).await.unwrap();
        assert_eq!(soon(alone.wait()).await.unwrap(), Exit::Signal(15));
        for number in 0..30 {
            let said = soon(on.run(&sh("echo $0").arg(number))).await.unwrap();
            assert_eq!(said.text(), number.to_string());
        }
    }
}

#[tokio::test]
async fn commands_run_as_the_user_that_is_asked_for() {
    let place = place!(busybox);
    for (user, expected) in [("app", "1000:1000"), ("65534", "65534:0"), ("1000:0", "1000:0")] {
        let host = Host::new(place.named().user(user));
        assert_eq!(host.name(), format!("{}@local as {user}", place.container.name()));
        let said = soon(context().on(&host).run(&sh("echo $(id -u):$(id -g)"))).await.unwrap();
        assert_eq!(said.text().split(':').next(), expected.split(':').next());
    }
}

#[tokio::test]
async fn a_spawned_command_can_be_spoken_with_and_many_bytes_pass() {
    let place = place!(bash);
    let (cx, host) = (context(), place.container());
    let mut running = soon(cx.on(&host).spawn(&sh("cat").stdin(Stdin::Piped))).await.unwrap();
    let (mut stdin, mut stdout) = (running.stdin().unwrap(), running.stdout().unwrap());
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let send = async {
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
        drop(stdin);
    };
    let mut heard = Vec::new();
    soon(async { tokio::join!(send, stdout.read_to_end(&mut heard)) }).await.1.unwrap();
    assert!(heard == sent);
    assert_eq!(soon(running.wait()).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn files_of_a_container_behave() {
    for image in [Docker::busybox, Docker::bash] {
        let folder = tempfile::tempdir().unwrap();
        let volume = format!("{0}:{0}", folder.path().display());
        let Some(place) = Place::start(image, &["-v", &volume]) else { return };
        soon(behave(&place.container(), folder.path())).await;
    }
}

#[tokio::test]
async fn large_files_pass_both_ways() {
    let place = place!(bash);
    let (cx, host) = (context(), place.container());
    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 253) as u8).collect();
    soon(cx.on(&host).write("/tmp/large", content.clone())).await.unwrap();
    assert!(soon(cx.on(&host).read("/tmp/large")).await.unwrap() == content);
    let names = soon(cx.on(&host).list("/tmp")).await.unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// A shell, a child, one in a session of its own, and one adopted by init with a child: six.
const FAMILY: &str = "sleep 1000 & setsid sleep 1001 & \
    (setsid sh -c 'sleep 1002 & sleep 1003 & wait' >/dev/null 2>&1 &); wait";

#[tokio::test]
async fn docker_itself_leaves_a_process_running_whose_client_was_killed() {
    // Why all this is done from inside.
    let place = place!(busybox);
    let mark = Mark::new();
    let mut client = place
        .docker
        .cli()
        .args(["exec", "-i", "-e", &format!("{}={}", Mark::NAME, mark.value())])
        .args([place.container.id(), "sleep", "1000"])
        .stdin(StdStdio::piped())
        .spawn()
        .unwrap();
    comes_true("it runs", || mark.command_lines() == ["sleep 1000"]).await;
    client.kill().unwrap();
    client.wait().unwrap();
    // As long as a whole command takes, which does see the first one.
    let seen = place.docker.docker(&["exec", place.container.id(), "ps", "-o", "args"]);
    assert!(seen.lines().any(|line| line == "sleep 1000"), "{seen}");
    assert_eq!(mark.command_lines(), ["sleep 1000"]);
}

#[tokio::test]
async fn a_timeout_a_cancel_and_a_drop_end_the_whole_tree_inside() {
    for image in [Docker::busybox, Docker::bash] {
        let Some(place) = Place::start(image, &[]) else { return };
        let mark = Mark::new();
        let around = Surroundings::new();
        let (cx, host) = (around.context(), place.container());
        let on = cx.on(&host);
        let slow = mark.on(sh(FAMILY)).timeout(Duration::from_millis(500));
        let failure = soon(on.run(&slow)).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::TimedOut, "{failure}");
        assert!(failure.to_string().ends_with("its process tree was ended"), "{failure}");
        assert_eq!(mark.command_lines(), [""; 0]);

        let command = mark.on(sh(FAMILY));
        let running = soon(on.spawn(&command)).await.unwrap();
        comes_true("all run", || mark.living().len() >= 6).await;
        drop(running);
        comes_true("all are gone", || mark.living().is_empty()).await;

        let run = on.run(&command);
        let cancel = async {
            comes_true("all run", || mark.living().len() >= 6).await;
            around.cancel();
        };
        let (result, ()) = soon(async { tokio::join!(run, cancel) }).await;
        assert_eq!(result.unwrap_err().kind(), FailureKind::Cancelled);
        assert_eq!(mark.command_lines(), [""; 0]);

        let target = host.target();
        let spawn = runbook_core::Spawn::new("run:unit");
        let mut running = target.spawn(&mark.on(sh("exec sleep 1000")), &spawn).await.unwrap();
        soon(running.kill(Duration::MAX)).await.unwrap();
        assert_eq!(mark.command_lines(), [""; 0]);
    }
}

/// The ids of the processes that run `docker exec` for this container.
fn clients(place: &Place) -> Vec<u32> {
    let all = lab::with_environment("DOCKER_HOST", &place.docker.host());
    let id = place.container.id();
    let for_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(id)
    };
    all.into_iter().filter(for_it).collect()
}

#[tokio::test]
async fn what_runs_is_ended_when_this_side_is_gone() {
    let place = place!(busybox);
    let mark = Mark::new();
    let (cx, host) = (context(), place.container());
    let on = cx.on(&host);
    let command = mark.on(sh(FAMILY));
    let run = on.run(&command);
    let kill = async {
        comes_true("all run", || mark.living().len() >= 6).await;
        // As it is when this process is killed: no end is said, the streams just go.
        for pid in clients(&place) {
            lab::kill_tree(pid);
        }
    };
    let (result, ()) = soon(async { tokio::join!(run, kill) }).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    comes_true("all are gone", || mark.living().is_empty()).await;
    // The next command finds a new way.
    assert_eq!(soon(on.run(&sh("echo back"))).await.unwrap().text(), "back");
}

#[tokio::test]
async fn leftovers_of_a_killed_run_are_ended() {
    let place = place!(busybox);
    let mark = Mark::new();
    let cookie = format!("run:{}", mark.value());
    place.docker.docker(&[
        "exec",
        "-d",
        "-e",
        &format!("{}={}", Mark::NAME, mark.value()),
        "-e",
        &format!("RUNBOOK_UNIT={cookie}"),
        "-e",
        "RUNBOOK_COMMAND=1.0123456789abcdef.7",
        place.container.id(),
        "setsid",
        "sleep",
        "1007",
    ]);
    comes_true("it runs", || mark.command_lines() == ["sleep 1007"]).await;
    let host = place.container();
    let ended = soon(host.target().end_leftovers(&cookie, Duration::MAX)).await.unwrap();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].starts_with("sleep 1007 (process "), "{ended:?}");
    assert_eq!(mark.living(), [0; 0]);
}

#[tokio::test]
async fn nothing_is_left_when_the_target_is_dropped() {
    let place = place!(busybox);
    let host = place.container();
    soon(context().on(&host).run(&sh("true"))).await.unwrap();
    assert!(!clients(&place).is_empty(), "shells are kept");
    drop(host);
    comes_true("no client is left", || clients(&place).is_empty()).await;
    let inside = || place.docker.docker(&["top", place.container.id(), "-eo", "pid,args"]);
    comes_true("no shell is left", || inside().lines().count() <= 3).await;
}

#[test]
fn bytes_survive_the_way_into_a_container() {
    for image in [lab::Docker::busybox, lab::Docker::bash] {
        let Some(place) = Place::start(image, &[]) else { return };
        crate::arguments::bytes_survive(&place.container(), "/tmp", 24);
        let user = Host::new(place.named().user("app"));
        crate::arguments::bytes_survive(&user, "/tmp", 8);
    }
}
