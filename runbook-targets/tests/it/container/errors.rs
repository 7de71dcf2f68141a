//! What is said when a container can't be worked in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use lab::Docker;
use runbook_core::testing::{FakeTarget, Reply, context, prefix};
use runbook_core::{Failure, FailureKind, Host, Stdin, WriteOptions};
use runbook_targets::{Container, Sudo, WithEnv};
use tokio::io::AsyncWriteExt;

use crate::container::{host_of, place};
use crate::support::{Mark, comes_true, here, sh, soon};

async fn failure(container: Container) -> Failure {
    let host = Host::new(container);
    soon(context().on(&host).run(&sh("true"))).await.unwrap_err()
}

fn text(failure: &Failure, place: &super::Place) -> String {
    let folder = place.docker.socket().parent().unwrap().display().to_string();
    format!("{failure:?}")
        .replace(place.container.id(), "ID")
        .replace(place.container.name(), "shop")
        .replace(&folder, "DIR")
}

#[tokio::test]
async fn a_container_that_is_not_there_is_said_to_be_so() {
    let place = place!(busybox);
    let none = failure(Container::new(&place.host(), "no-such")).await;
    assert_snapshot!(text(&none, &place), @r"
    `sh -c true` on no-such@local: looking for the container no-such on local: no such container: no-such
      next: see which there are on local: `docker ps --all`
    ");
    let option = failure(Container::new(&place.host(), "--help")).await;
    assert_snapshot!(text(&option, &place), @r"
    `sh -c true` on --help@local: looking for the container --help on local: no such container: --help
      next: see which there are on local: `docker ps --all`
    ");
}

#[tokio::test]
async fn a_container_that_does_not_run_is_said_to_be_so() {
    let place = place!(busybox);
    let docker = |args: &[&str]| place.docker.docker(args);
    docker(&["pause", place.container.id()]);
    let paused = failure(place.named()).await;
    docker(&["unpause", place.container.id()]);
    assert_snapshot!(text(&paused, &place), @r"
    `sh -c true` on shop@local: the container `shop` on local is paused
      next: let it go on: `docker unpause shop`
    ");
    docker(&["kill", place.container.id()]);
    let killed = failure(place.named()).await;
    assert_snapshot!(text(&killed, &place), @r"
    `sh -c true` on shop@local: the container `shop` on local does not run: it ended with exit code 137
      next: see why in its log (`docker logs shop`), and start it: `docker start shop`
    ");

    let name = format!("created-{}", std::process::id());
    docker(&["create", "--network=none", "--name", &name, place.docker.busybox(), "true"]);
    let created = failure(Container::new(&place.host(), name.as_str())).await;
    docker(&["rm", &name]);
    assert_snapshot!(text(&created, &place).replace(&name, "NAME"), @r"
    `sh -c true` on NAME@local: the container `NAME` on local was never started
      next: start it: `docker start NAME`
    ");
}

#[tokio::test]
async fn an_image_without_a_shell_is_said_to_be_so() {
    let place = place!(busybox);
    place.docker.docker(&["exec", place.container.id(), "rm", "/bin/sh"]);
    let failure = failure(place.named()).await;
    assert_snapshot!(text(&failure, &place), @r#"
    `sh -c true` on shop@local: starting a shell in the container `shop` on local: exec: "sh": executable file not found in $PATH: unknown
      next: its image has no `sh`, so nothing can be done in it: use an image that has one, or work in a container beside it that shares its volumes and network
    "#);
}

#[tokio::test]
async fn a_user_that_the_image_does_not_know_is_said_to_be_so() {
    let place = place!(busybox);
    let failure = failure(place.named().user("postgres")).await;
    assert_snapshot!(text(&failure, &place), @r"
    `sh -c true` on shop@local as postgres: starting a shell in the container `shop` on local: unable to find user postgres: no matching entries in passwd file
      next: the image of `shop` does not know that user: correct it, or give its number
    ");
}

#[tokio::test]
async fn a_host_without_docker_is_said_to_be_so() {
    let missing = failure(Container::new(&here(), "shop").docker("no-such-docker")).await;
    assert_snapshot!(format!("{missing:?}"), @r"
    `sh -c true` on shop@local: looking for the container shop on local: there is no program `no-such-docker` in the PATH of local
      next: install `no-such-docker` on local, or say with `Container::docker` which program to use there
    ");
    let folder = tempfile::tempdir().unwrap();
    let nowhere = format!("unix://{}/docker.sock", folder.path().display());
    let host = Host::new(WithEnv::new(here()).env("DOCKER_HOST", nowhere));
    let place = place!(busybox);
    let failure = failure(Container::new(&host, "shop")).await;
    let text = text(&failure, &place).replace(&folder.path().display().to_string(), "DIR");
    assert!(text.contains("on local for shop: "), "{text}");
    assert!(text.contains("see whether the daemon runs on local"), "{text}");
}

#[tokio::test]
async fn who_may_not_use_docker_is_told_so() {
    let place = place!(busybox);
    // A way to the socket that is closed to others than root, whatever the umask.
    let folder = place.docker.socket().parent().unwrap().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
    let nobody = Host::new(Sudo::new(here(), "nobody"));
    let host = Host::new(
        WithEnv::new(nobody).env("DOCKER_HOST", place.docker.host()).env("HOME", "/nonexistent"),
    );
    let failure = failure(Container::new(&host, place.container.name())).await;
    let text = text(&failure, &place);
    assert!(text.contains("asking `docker` on local as nobody for shop: "), "{text}");
    assert!(text.contains("permission denied"), "{text}");
    assert!(text.contains("next: let the user of local as nobody use docker"), "{text}");
}

#[tokio::test]
async fn a_container_that_stops_under_a_command_is_said_to_have_stopped() {
    let place = place!(busybox);
    let mark = Mark::new();
    let (cx, host) = (context(), place.container());
    let on = cx.on(&host);
    let command = sh("sleep 1000").env(Mark::NAME, mark.value());
    // More than fits into a frame has a channel of its own.
    let fed = command.clone().stdin(Stdin::Bytes(vec![b'x'; 32 << 10]));
    for (command, how) in [&command, &fed].into_iter().flat_map(|c| [(c, "kill"), (c, "restart")]) {
        let run = on.run(command);
        let stop = async {
            comes_true("it runs", || !mark.living().is_empty()).await;
            let mut docker = tokio::process::Command::from(place.docker.cli());
            let done = docker.args([how, place.container.id()]).output().await.unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        let (result, ()) = soon(async { tokio::join!(run, stop) }).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Disconnected);
        let text = text(&failure, &place).replace(mark.value(), "MARK");
        if how == "kill" {
            insta::allow_duplicates! {
                assert_snapshot!(text, @r"
                `RUNBOOK_TEST_MARK=MARK sh -c 'sleep 1000'` on shop@local: the container `shop` on local stopped meanwhile: it ended with exit code 137
                  next: see why in its log (`docker logs shop`), start it, then resume the run
                ");
            }
            place.docker.docker(&["start", place.container.id()]);
        } else {
            // It may run again already.
            let either = ["` on local stopped meanwhile", "` on local was restarted meanwhile"];
            assert!(either.iter().any(|either| text.contains(either)), "{text}");
        }
        // Once it runs again, so do commands.
        assert_eq!(soon(on.run(&sh("echo back"))).await.unwrap().text(), "back");
    }
}

#[tokio::test]
async fn a_file_that_is_written_while_the_container_stops_is_not_taken_for_written() {
    let place = place!(busybox);
    let (cx, host) = (context(), place.container());
    soon(cx.on(&host).write("/tmp/file", "old")).await.unwrap();
    let options = WriteOptions::default();
    let (mut more, content) = tokio::io::duplex(1 << 20);
    let write = host.target().write(Path::new("/tmp/file"), Box::new(content), &options);
    let stop = async {
        // Some of it, and never the end.
        more.write_all(&vec![7; 1 << 20]).await.unwrap();
        more.write_all(b"it was taken").await.unwrap();
        let mut docker = tokio::process::Command::from(place.docker.cli());
        docker.args(["kill", place.container.id()]).output().await.unwrap();
        // Whoever makes the content goes on until it is told.
        while more.write_all(&[7; 1 << 10]).await.is_ok() {}
    };
    let (written, ()) = soon(async { tokio::join!(write, stop) }).await;
    let failure = format!("{:?}", written.unwrap_err()).replace(place.container.name(), "shop");
    assert!(failure.contains("the container `shop` on local"), "{failure}");
    place.docker.docker(&["start", place.container.id()]);
    assert_eq!(soon(cx.on(&host).read_text("/tmp/file")).await.unwrap(), "old");
}

#[tokio::test]
async fn a_container_that_is_paused_under_a_command_holds_nothing_up_for_ever() {
    let place = place!(busybox);
    let mark = Mark::new();
    let (cx, host) = (context(), place.container());
    let on = cx.on(&host);
    // Long enough for a busy machine to pause it before.
    let command = mark.on(sh("sleep 1000")).timeout(Duration::from_secs(6));
    let run = on.run(&command);
    let pause = async {
        comes_true("it runs", || !mark.living().is_empty()).await;
        place.docker.docker(&["pause", place.container.id()]);
    };
    let (result, ()) = soon(async { tokio::join!(run, pause) }).await;
    place.docker.docker(&["unpause", place.container.id()]);
    let failure = result.unwrap_err();
    let text = format!("{failure:?}").replace(place.container.name(), "shop");
    assert!(failure.kind().outcome_unknown(), "{text}");
    assert!(text.contains("the container `shop` on local was paused meanwhile"), "{text}");
    // Let go on, it is ended as it should have been.
    comes_true("it is gone", || mark.living().is_empty()).await;
    assert_eq!(soon(on.run(&sh("echo back"))).await.unwrap().text(), "back");
}

#[tokio::test]
async fn a_new_container_of_the_same_name_takes_over() {
    let place = place!(busybox);
    let (cx, host) = (context(), place.container());
    let on = cx.on(&host);
    soon(on.write("/tmp/mine", "first")).await.unwrap();
    place.docker.docker(&["rm", "-f", place.container.id()]);
    let name = format!("--name={}", place.container.name());
    let _second = place.docker.run(place.docker.busybox(), &[&name], &["sleep", "100000"]);
    let there = soon(on.exists("/tmp/mine")).await;
    // The first look may still meet the end of the old one, which it says.
    let there = match there {
        Err(failure) if failure.kind() == FailureKind::Disconnected => {
            soon(on.exists("/tmp/mine")).await
        }
        there => there,
    };
    assert!(!there.unwrap());
}

#[tokio::test]
async fn a_container_that_the_kernel_killed_is_said_to_be_so() {
    let web = FakeTarget::new("web-1");
    let inspected = "ID\n/shop\nexited\n137\ntrue\n2026-01-01T00:00:00Z\nbridge\n\n\n";
    web.on(prefix("docker container inspect")).reply(Reply::stdout(inspected));
    let failure = failure(Container::new(&Host::new(web), "shop")).await;
    assert_snapshot!(format!("{failure:?}"), @r"
    `sh -c true` on shop@web-1: the container `shop` on web-1 does not run: it ended with exit code 137, killed by the kernel for want of memory
      next: see why in its log (`docker logs shop`), and start it: `docker start shop`
    ");
}

#[tokio::test]
async fn a_daemon_that_dies_under_a_command_is_a_lost_connection() {
    if Docker::shared().is_none() {
        return;
    }
    let docker = Arc::new(Docker::start());
    let container = docker.run(docker.busybox(), &[], &["sleep", "100000"]);
    let host = Host::new(Container::new(&host_of(&docker), container.name()));
    let mark = Mark::new();
    let cx = context();
    let on = cx.on(&host);
    let command = mark.on(sh("sleep 1000"));
    // One that waits for its turn in a shell, and one that has a channel of its own.
    let alone = mark.on(sh("sleep 1000")).stdin(Stdin::Piped);
    let mut alone = soon(on.spawn(&alone)).await.unwrap();
    let run = on.run(&command);
    let kill = async {
        comes_true("both run", || mark.command_lines().len() >= 2).await;
        let folder = docker.socket().parent().unwrap().display().to_string();
        let is_daemon = |pid: &u32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("dockerd"))
        };
        let all = lab::with_environment("LAB_DOCKER", &folder);
        lab::kill_tree(all.into_iter().find(is_daemon).unwrap());
    };
    let (run, ()) = soon(async { tokio::join!(run, kill) }).await;
    let ends = [run.map(drop), soon(alone.wait()).await.map(drop)];
    for end in ends {
        let failure = end.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure:?}");
        assert!(format!("{failure:?}").contains("whether the daemon runs on local"), "{failure:?}");
    }
}
