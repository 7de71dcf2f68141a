//! What can be put around a target: each alone, and in any order.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use insta::assert_snapshot;
use runbook_core::testing::{FakeTarget, Reply, context, observer};
use runbook_core::{
    About, Address, Check, Command, Exit, Failure, FailureKind, Host, Observer, Result, Runbook,
    Spawn, Stdin, Target, Verdict,
};
use runbook_targets::{Dry, Faulty, InDir, Latency, Operation, RateLimit, Sudo, WithEnv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::files::is_root;
use crate::support::{Mark, comes_true, here, sh, soon};

const SECOND: Duration = Duration::from_secs(1);

fn web() -> FakeTarget {
    let web = FakeTarget::new("web-1").file("/etc/motd", "hello");
    web.otherwise(Reply::ok());
    web
}

// Limits of rate, in virtual time.

#[tokio::test(start_paused = true)]
async fn no_period_sees_more_operations_than_the_limit_and_none_fails() {
    let limited = RateLimit::new(Host::new(web()), 3, SECOND);
    let began: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (host, began) = (Host::new(limited.clone()), began.clone());
        tasks.spawn(async move {
            observer().on(&host).stat("/etc/motd").await.unwrap();
            began.lock().unwrap().push(Instant::now());
        });
    }
    tasks.join_all().await;
    let began = began.lock().unwrap();
    assert_eq!(began.len(), 20);
    for four in began.windows(4) {
        assert!(four[3] - four[0] >= SECOND, "{four:?}");
    }
    assert_eq!((began[19] - began[0]).as_secs(), 6, "and no wait is longer than it has to be");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_first_is_served_first() {
    let limited = Host::new(RateLimit::new(Host::new(web()), 1, SECOND));
    let order: Arc<Mutex<Vec<u32>>> = Arc::default();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (host, order) = (limited.clone(), order.clone());
        tasks.spawn(async move {
            observer().on(&host).stat("/etc/motd").await.unwrap();
            order.lock().unwrap().push(number);
        });
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
#[should_panic(expected = "a rate limit of 0 operations lets nothing through")]
fn a_rate_of_nothing_is_refused() {
    let _ = RateLimit::new(Host::new(web()), 0, SECOND);
}

// Dry.

#[tokio::test]
async fn a_dry_target_leaves_out_every_change_and_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("motd"), "hello").unwrap();
    let dry = Dry::new(here());
    let (cx, host) = (context(), Host::new(dry.clone()));
    let on = cx.on(&host);

    on.write(at("motd"), "goodbye").await.unwrap();
    on.write_with(at("new"), "x", &runbook_core::WriteOptions::mode(0o600)).await.unwrap();
    on.create_dir(at("a/b")).await.unwrap();
    on.copy(at("motd"), at("copy")).await.unwrap();
    on.rename(at("motd"), at("renamed")).await.unwrap();
    on.symlink(at("motd"), at("link")).await.unwrap();
    on.set_mode(at("motd"), 0o600).await.unwrap();
    on.remove(at("motd")).await.unwrap();
    on.remove_tree(folder.path()).await.unwrap();
    let touch = Command::new("touch").arg(at("touched"));
    assert_eq!(on.run(&touch).await.unwrap().exit, Exit::Code(0));
    assert_eq!(host.target().end_leftovers("run:unit", SECOND).await.unwrap(), [""; 0]);

    // What only looks is done, and sees what was there before.
    assert_eq!(on.read_text(at("motd")).await.unwrap(), "hello");
    let look = Command::new("cat").arg(at("motd")).read_only();
    assert_eq!(on.output(&look).await.unwrap().text(), "hello");
    let inside: Vec<_> = on.list(folder.path()).await.unwrap();
    assert_eq!(inside.len(), 1, "{inside:?}");

    let place = folder.path().display().to_string();
    assert_snapshot!(dry.to_string().replace(&place, "DIR"), @r"
    local: write DIR/motd
    local: write DIR/new
    local: create folder DIR/a/b
    local: copy DIR/motd to DIR/copy
    local: rename DIR/motd to DIR/renamed
    local: link DIR/link to DIR/motd
    local: set mode 600 of DIR/motd
    local: remove DIR/motd
    local: remove tree DIR
    local: touch DIR/touched
    local: end leftovers of run:unit
    ");
    let all: Vec<_> =
        dry.operations().iter().map(|asked| asked.to_string().replace(&place, "DIR")).collect();
    assert_eq!(all[11..], ["read DIR/motd", "cat DIR/motd", "list DIR"]);
}

#[tokio::test]
async fn a_command_that_is_left_out_takes_what_it_is_fed() {
    let dry = Host::new(Dry::new(here()));
    let cx = context();
    let mut running = cx.on(&dry).spawn(&Command::new("tee").stdin(Stdin::Piped)).await.unwrap();
    let mut stdin = running.stdin().unwrap();
    soon(stdin.write_all(&vec![7; 1 << 20])).await.unwrap();
    stdin.shutdown().await.unwrap();
    let mut said = Vec::new();
    soon(running.stdout().unwrap().read_to_end(&mut said)).await.unwrap();
    assert!(said.is_empty());
    assert_eq!(soon(running.wait()).await.unwrap(), Exit::Code(0));
}

#[tokio::test]
async fn a_dry_target_opens_sockets_only_if_that_is_allowed() {
    let address = Address::Tcp("localhost".into(), 6379);
    let cache = FakeTarget::new("cache-1");
    cache.listen(&address, |mut stream| {
        tokio::spawn(async move { stream.write_all(b"+PONG\r\n").await });
    });
    let dry = Dry::new(Host::new(cache));
    let cx = observer();
    let refused = cx.on(&Host::new(dry.clone())).connect(&address).await.err().unwrap();
    assert_eq!(refused.kind(), FailureKind::Refused);
    assert_snapshot!(format!("{refused:?}"), @r"
    connecting to localhost:6379 from cache-1: nothing is to be changed, and what is said over a socket may change anything
      next: if what uses the socket only reads, allow it with `Dry::allow_sockets`
    ");
    let mut answer = [0; 5];
    let allowed = Host::new(dry.clone().allow_sockets());
    let mut stream = cx.on(&allowed).connect(&address).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+PONG");
    assert_eq!(dry.to_string(), "", "nothing was left out");
}

// Latency, in virtual time.

async fn elapsed<T>(work: impl Future<Output = T>) -> (T, u128) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn a_far_target_takes_longer_for_everything_and_loses_nothing() {
    let address = Address::Tcp("localhost".into(), 7);
    let web = web();
    web.on("hostname").reply(Reply::stdout("web-1\n"));
    web.listen(&address, |stream| {
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
    });
    let far = Host::new(Latency::new(Host::new(web.clone()), Duration::from_millis(100)));
    let cx = context();
    let on = cx.on(&far);

    assert_eq!(elapsed(on.stat("/etc/motd")).await.1, 100);
    let (content, took) = elapsed(on.read_text("/etc/motd")).await;
    assert_eq!((content.unwrap().as_str(), took), ("hello", 200));
    let (output, took) = elapsed(on.run(&Command::new("hostname"))).await;
    assert_eq!((output.unwrap().text().as_str(), took), ("web-1", 200));
    assert_eq!(elapsed(on.write("/etc/motd", "goodbye")).await.1, 200);
    assert_eq!(web.text("/etc/motd"), "goodbye");

    // Many bytes are under way at the same time, in both directions.
    let stream = on.connect(&address).await.unwrap();
    let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let (_, took) = elapsed(async { tokio::join!(send, read.read_to_end(&mut heard)) }).await;
    assert_eq!(heard, sent);
    assert_eq!(took, 200, "there and back");
}

#[tokio::test(start_paused = true)]
async fn what_a_far_command_is_fed_reaches_it_later_with_its_end() {
    let far = Host::new(Latency::new(here(), Duration::from_millis(100)));
    let cx = context();
    let mut running = cx.on(&far).spawn(&Command::new("cat").stdin(Stdin::Piped)).await.unwrap();
    let mut stdin = running.stdin().unwrap();
    stdin.write_all(b"ping").await.unwrap();
    stdin.shutdown().await.unwrap();
    let mut said = String::new();
    running.stdout().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "ping");
    assert_eq!(running.wait().await.unwrap(), Exit::Code(0));
}

// Faults.

fn lost<T>(result: runbook_core::Result<T>) -> Failure {
    let failure = result.err().expect("the connection was lost");
    assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    failure
}

#[tokio::test]
async fn the_nth_operation_fails_once_and_changes_nothing() {
    let web = web();
    let faulty = Faulty::new(Host::new(web.clone()));
    let (cx, host) = (context(), Host::new(faulty.clone()));
    let on = cx.on(&host);
    on.write("/etc/a", "1").await.unwrap();
    faulty.nth(2).fail(Failure::msg("no space left"));
    on.write("/etc/b", "2").await.unwrap();
    let failure = on.write("/etc/c", "3").await.unwrap_err();
    assert_eq!(failure.to_string(), "no space left");
    on.write("/etc/c", "4").await.unwrap();
    assert_eq!(web.changes(), ["write /etc/a", "write /etc/b", "write /etc/c"]);
    assert_eq!(faulty.asked(), 4);
}

#[tokio::test]
async fn operations_that_match_fail_and_others_do_not() {
    let faulty = Faulty::new(Host::new(web()));
    let (cx, host) = (context(), Host::new(faulty.clone()));
    let on = cx.on(&host);
    faulty
        .on(|asked| asked.path() == Some(Path::new("/etc/passwd")) && asked.is_change())
        .fail(Failure::msg("read-only file system"));
    faulty
        .on(|asked| matches!(asked, Operation::Command { read_only: false, .. }))
        .fail(Failure::new(FailureKind::TimedOut, "out of time"));
    for _ in 0..2 {
        let failure = on.write("/etc/passwd", "").await.unwrap_err();
        assert_eq!(failure.to_string(), "read-only file system");
        let failure = on.run(&Command::new("reboot")).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::TimedOut);
    }
    assert!(!on.exists("/etc/passwd").await.unwrap());
    on.write("/etc/motd", "x").await.unwrap();
    on.output(&Command::new("uptime").read_only()).await.unwrap();
}

#[tokio::test]
async fn a_command_is_cut_off_in_the_middle_of_what_it_says_and_ended() {
    let mark = Mark::new();
    let faulty = Faulty::new(here());
    let (cx, host) = (context(), Host::new(faulty.clone()));
    faulty.nth(1).cut_after(10_000);
    let yes = mark.on(sh("yes & yes"));
    let mut running = cx.on(&host).spawn(&yes).await.unwrap();
    let mut said = Vec::new();
    soon(running.stdout().unwrap().read_to_end(&mut said)).await.unwrap();
    assert_eq!(said.len(), 10_000);
    let failure = lost(soon(running.wait()).await);
    assert_eq!(
        failure.to_string(),
        "`RUNBOOK_TEST_MARK=X sh -c 'yes & yes'` on local: the connection to local was lost"
            .replace('X', mark.value())
    );
    comes_true("it was ended with all that it started", || mark.living().is_empty()).await;
    // And the next one is fine.
    assert_eq!(cx.on(&host).run(&sh("echo hello")).await.unwrap().text(), "hello");
}

#[tokio::test]
async fn a_write_that_is_cut_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("motd");
    std::fs::write(&path, "hello").unwrap();
    let faulty = Faulty::new(here());
    let (cx, host) = (context(), Host::new(faulty.clone()));
    for bytes in [0, 1, 70_000] {
        faulty.nth(1).cut_after(bytes);
        lost(soon(cx.on(&host).write(&path, vec![7; 200_000])).await);
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    faulty.nth(1).cut_after(200_001);
    soon(cx.on(&host).write(&path, vec![7; 200_000])).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap().len(), 200_000);
}

#[tokio::test]
async fn a_read_and_a_socket_that_are_cut_do_not_look_complete() {
    let address = Address::Unix("/run/echo".into());
    let web = web();
    web.listen(&address, |stream| {
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
    });
    let faulty = Faulty::new(Host::new(web));
    let (cx, host) = (context(), Host::new(faulty.clone()));
    faulty.nth(1).cut_after(3);
    let mut content = Vec::new();
    let mut file = cx.on(&host).open("/etc/motd").await.unwrap();
    let error = file.read_to_end(&mut content).await.unwrap_err();
    assert_eq!((error.kind(), &*content), (std::io::ErrorKind::ConnectionReset, &b"hel"[..]));

    // Four bytes there, and one back.
    faulty.nth(1).cut_after(5);
    let mut stream = cx.on(&host).connect(&address).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut heard = Vec::new();
    let error = soon(stream.read_to_end(&mut heard)).await.unwrap_err();
    assert_eq!((error.kind(), &*heard), (std::io::ErrorKind::ConnectionReset, &b"p"[..]));
    stream.write_all(b"more").await.unwrap_err();
}

#[tokio::test]
async fn an_operation_without_streams_that_is_cut_was_done() {
    let web = web();
    let faulty = Faulty::new(Host::new(web.clone()));
    let (cx, host) = (context(), Host::new(faulty.clone()));
    faulty.nth(1).cut_after(0);
    let failure = lost(cx.on(&host).remove("/etc/motd").await);
    assert_snapshot!(format!("{failure:?}"), @r"
    remove /etc/motd on web-1: the connection to web-1 was lost
      next: see whether the host is up and can be reached, then resume the run
    ");
    assert_eq!(web.changes(), ["remove /etc/motd"]);
}

#[tokio::test]
async fn a_lost_connection_takes_along_what_is_under_way_and_can_heal() {
    let mark = Mark::new();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let faulty = Faulty::new(here());
    let (cx, host) = (context(), Host::new(faulty.clone()));
    let on = cx.on(&host);
    // A command, one that nobody waits for yet, and a write whose content does not come.
    let command = mark.on(sh("sleep 1000 & wait"));
    let mut later = on.spawn(&command).await.unwrap();
    let options = runbook_core::WriteOptions::default();
    let (mut hold, content) = tokio::io::duplex(10);
    let write = host.target().write(&pipe, Box::new(content), &options);
    let cut = async {
        hold.write_all(b"half").await.unwrap();
        comes_true("both run", || mark.living().len() == 4).await;
        faulty.disconnect();
    };
    let (run, write, ()) = soon(async { tokio::join!(on.run(&command), write, cut) }).await;
    lost(run);
    lost(write);
    lost(on.read_text("/etc/hostname").await);
    lost(host.target().spawn(&sh("true"), &Spawn::new("run:unit")).await);

    faulty.reconnect();
    assert_eq!(on.run(&sh("echo back")).await.unwrap().text(), "back");
    lost(soon(later.wait()).await);
    comes_true("all was ended", || mark.living().is_empty()).await;
    comes_true("no temporary file is left", || {
        std::fs::read_dir(folder.path()).unwrap().count() == 0
    })
    .await;
}

// In any order.

type Wrap = (&'static str, fn(Host, &Path) -> Host);

fn decorators() -> Vec<Wrap> {
    let mut all: Vec<Wrap> = vec![
        ("folder", |inner, dir| Host::new(InDir::new(inner, dir))),
        ("environment", |inner, _| Host::new(WithEnv::new(inner).env("GREETING", "hello"))),
        ("rate", |inner, _| Host::new(RateLimit::new(inner, 1000, SECOND))),
        ("latency", |inner, _| Host::new(Latency::new(inner, Duration::from_millis(1)))),
        ("faults", |inner, _| Host::new(Faulty::new(inner))),
    ];
    if is_root() {
        all.push(("sudo", |inner, _| Host::new(Sudo::new(inner, "root"))));
    }
    all
}

/// Every order of `items`.
fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(first);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

/// A command sees folder and environment; a file is written, seen, read and removed.
async fn works(host: &Host, what: &str, greeting: &str) {
    let cx = context();
    let on = cx.on(host);
    let said = soon(on.run(&sh("echo \"$GREETING\"; pwd; cat").stdin("fed"))).await;
    let said = said.unwrap_or_else(|failure| panic!("{what}: {failure:?}")).text();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((lines[0], lines[2]), (greeting, "fed"), "{what}");
    let file = Path::new(lines[1]).join("file");
    let steps = async {
        on.write("file", "content").await?;
        assert_eq!(on.read_text(&file).await?, "content", "{what}");
        assert_eq!(on.list(".").await?.len(), 1, "{what}");
        on.remove("file").await?;
        on.exists(&file).await
    };
    let left = soon(steps).await.unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
    assert!(!left, "{what}");
}

#[tokio::test]
async fn decorators_work_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let all = decorators();
    // Sudo takes some commands for everything: it is tried in each place, not in each order.
    let mut tried = orders(&all[..5]);
    if let Some(sudo) = all.get(5) {
        for place in 0..=5 {
            let mut order = all[..5].to_vec();
            order.insert(place, *sudo);
            tried.push(order.clone());
            order.reverse();
            tried.push(order);
        }
    }
    for order in tried {
        let names: Vec<_> = order.iter().map(|(name, _)| *name).collect();
        let host = order.iter().fold(here(), |inner, (_, wrap)| wrap(inner, &folder));
        let place = |wanted| names.iter().position(|name| *name == wanted);
        // What is set below sudo is the environment of sudo itself, which hands on none of it.
        let dropped = place("sudo").is_some_and(|sudo| Some(sudo) > place("environment"));
        works(&host, &names.join(", "), if dropped { "" } else { "hello" }).await;
    }
}

#[tokio::test]
async fn nothing_is_changed_wherever_the_dry_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    std::fs::write(folder.join("motd"), "hello").unwrap();
    let all = decorators();
    for place in 0..=all.len() {
        let dry = Arc::new(Mutex::new(None));
        let mut host = here();
        for (at, wrap) in all.iter().map(Some).chain([None]).enumerate() {
            if at == place {
                let around = Dry::new(host);
                *dry.lock().unwrap() = Some(around.clone());
                host = Host::new(around);
            }
            if let Some((_, wrap)) = wrap {
                host = wrap(host, &folder);
            }
        }
        let cx = context();
        let on = cx.on(&host);
        assert_eq!(on.read_text(folder.join("motd")).await.unwrap(), "hello", "{place}");
        on.write(folder.join("motd"), "goodbye").await.unwrap();
        on.remove(folder.join("motd")).await.unwrap();
        on.run(&sh("echo x > motd").dir(&folder)).await.unwrap();
        assert_eq!(on.list(&folder).await.unwrap().len(), 1, "{place}");
        assert_eq!(std::fs::read(folder.join("motd")).unwrap(), b"hello", "{place}");
        let changes = dry.lock().unwrap().take().unwrap().changes();
        assert!(changes.len() >= 3, "{place}: {changes:?}");
    }
}

#[test]
fn a_host_within_any_decorator_gets_ready_but_for_one_that_is_dry() {
    for (name, wrap) in decorators() {
        let inner = FakeTarget::new("web-1");
        let host = wrap(Host::new(inner.clone()), Path::new("/srv"));
        assert_eq!(inner.prepared(), 0, "{name}");
        host.target().prepare();
        assert_eq!(inner.prepared(), 1, "{name}");
    }
    let inner = FakeTarget::new("web-1");
    Dry::new(Host::new(inner.clone())).prepare();
    assert_eq!(inner.prepared(), 0);
}

#[test]
fn a_plan_knows_which_host_it_is_within_any_decorator() {
    for (name, wrap) in decorators() {
        let inner = FakeTarget::new("web-1").with_identity("deploy@192.0.2.7:22");
        let host = wrap(Host::new(inner), Path::new("/srv"));
        let mut b = Runbook::new("look");
        b.check(There(host));
        let plan = b.build().unwrap();
        let of_unit = &plan.outline().units().next().unwrap().hosts;
        assert_eq!(of_unit.len(), 1, "{name}: {of_unit:?}");
        assert!(of_unit[0].1.starts_with("deploy@192.0.2.7:22"), "{name}: {of_unit:?}");
    }
}

struct There(Host);

impl Check for There {
    type Evidence = ();
    fn about(&self) -> About {
        About::new("there", format!("{} is there", self.0))
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<()>> {
        Ok(Verdict::pass((), "it is"))
    }
}

#[cfg(feature = "container")]
#[tokio::test]
async fn decorators_go_around_a_container_and_around_its_host() {
    let Some(place) = crate::container::Place::start(lab::Docker::busybox, &[]) else { return };
    let host = Host::new(Latency::new(place.host(), Duration::from_millis(1)));
    let host = Host::new(Faulty::new(Host::new(RateLimit::new(host, 1000, SECOND))));
    let inside = Host::new(runbook_targets::Container::new(&host, place.container.name()));
    let faulty = Faulty::new(inside);
    let inside = Host::new(WithEnv::new(Host::new(faulty.clone())).env("GREETING", "hello"));
    let inside = Host::new(InDir::new(inside, "/tmp"));
    soon(works(&inside, "a container", "hello")).await;
    let dry = Dry::new(inside);
    let (cx, host) = (context(), Host::new(dry.clone()));
    soon(cx.on(&host).write("left-out", "x")).await.unwrap();
    assert!(!soon(cx.on(&host).exists("left-out")).await.unwrap());
    assert_eq!(dry.changes().len(), 1);
    faulty.disconnect();
    let lost = soon(cx.on(&host).exists("left-out")).await.unwrap_err();
    assert_eq!(lost.kind(), FailureKind::Disconnected);
}
