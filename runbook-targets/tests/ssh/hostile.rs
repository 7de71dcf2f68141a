//! Servers that are broken, badly set up or mean no good: each is an error that says what to do,
//! in bounded time and memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use lab::Sshd;
use runbook_core::testing::context;
use runbook_core::{Address, Command, Exit, Failure, FailureKind, Host, Result, Stdin};
use runbook_targets::{Auth, Ssh};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use crate::support::{comes_true, in_a_process_of_its_own, sh, soon};
use crate::to;

/// A server that does with each connection what it was told. Ends with the test program.
fn broken(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Ssh {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    Ssh::at("127.0.0.1").port(port).named("web-1").user("nobody").auth(Auth::new().without_agent())
}

fn wait_for_end(mut stream: &TcpStream) {
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink), Ok(1..)) {}
}

async fn run(ssh: Ssh, line: &str) -> Result<String> {
    let host = Host::new(ssh);
    context().on(&host).run(&sh(line)).await.map(|output| output.text())
}

async fn refused(ssh: Ssh) -> Failure {
    soon(run(ssh, "true")).await.expect_err("it is refused")
}

#[tokio::test]
async fn a_server_that_is_silent_or_talks_nonsense_is_refused_in_time() {
    let flood = |line: &'static [u8]| {
        move |mut stream: TcpStream| {
            let flood = line.repeat(10_000);
            while stream.write_all(&flood).is_ok() {}
        }
    };
    let says = |text: &'static [u8]| {
        move |mut stream: TcpStream| {
            let _ = stream.write_all(text);
            wait_for_end(&stream);
        }
    };
    let closes = |text: &'static [u8]| {
        move |mut stream: TcpStream| {
            let _ = stream.write_all(text);
            let _ = stream.shutdown(Shutdown::Both);
        }
    };
    let servers = [
        broken(says(b"")),
        broken(says(b"SSH-2.0-Broken\r\n")),
        broken(closes(b"")),
        broken(closes(b"SSH-2.0-Broken\r\n")),
        broken(closes(b"SSH-2.0-Broken\r\n\0\0\0\x0c\x04\x02")),
        broken(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        broken(says(b"SSH-2.0-Broken\r\n\xff\xff\xff\xff\x04garbagegarbage")),
        broken(flood(b"hello\r\n")),
        broken(flood(b"no line ends here")),
    ];
    let mut refusals = JoinSet::new();
    for server in servers {
        refusals.spawn(refused(server));
    }
    for failure in refusals.join_all().await {
        let said = failure.to_string();
        assert!(said.contains("connecting to web-1: "), "{said}");
        assert_eq!(failure.kind(), FailureKind::Failed, "nothing ran: {said}");
    }
}

#[tokio::test]
async fn how_long_to_wait_for_a_silent_server_can_be_said() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    let short = Duration::from_millis(300);
    let silent = || broken(|stream| wait_for_end(&stream));
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let all: Vec<_> = listener.incoming().flatten().collect();
            drop(all);
        });
        port
    };
    let host = format!("Host web-1\n HostName 127.0.0.1\n Port {port}\n ConnectTimeout 1\n");
    fs::write(&config, host).unwrap();
    let configured = || Ssh::new("web-1").config_file(&config).auth(Auth::new().without_agent());
    let sshd = Sshd::builder().config("ForceCommand sleep 1000").start();
    let mut said = Vec::new();
    for ssh in [
        silent().login_timeout(short),
        configured(),
        // What the code says goes before what the configuration says.
        configured().login_timeout(short),
        to(&sshd).named("web-1").shell_timeout(short),
        to(&sshd).named("web-1").shell_timeout(short).isolated(),
    ] {
        let failure = refused(ssh).await;
        assert_eq!(failure.kind(), FailureKind::Failed, "nothing ran: {failure}");
        said.push(failure.to_string());
    }
    assert_snapshot!(said.join("\n"), @"
    `sh -c true` on web-1: connecting to web-1: the handshake was not done within 0.3 s
    `sh -c true` on web-1: connecting to web-1: the handshake was not done within 1 s
    `sh -c true` on web-1: connecting to web-1: the handshake was not done within 0.3 s
    `sh -c true` on web-1: `sh` is not ready after 0.3 s on web-1
    `sh -c true` on web-1: `sh` is not ready after 0.3 s on web-1
    ");
}

#[tokio::test]
async fn who_waits_for_ever_has_what_comes() {
    let (sshd, ever) = (Sshd::start(), Duration::MAX);
    let patient = to(&sshd)
        .connect_timeout(ever)
        .login_timeout(ever)
        .shell_timeout(ever)
        .keepalive(ever, u32::MAX);
    for ssh in [patient.clone(), patient.isolated(), to(&sshd).keepalive(Duration::ZERO, 0)] {
        assert_eq!(soon(run(ssh, "echo on")).await.unwrap(), "on");
    }
}

#[tokio::test]
async fn a_server_that_runs_nothing_is_an_error_that_says_what_it_says() {
    let mut said = Vec::new();
    for forced in ["/bin/false", "/bin/true", "/usr/sbin/nologin", "echo 'no shell for you'"] {
        let sshd = Sshd::builder().config(&format!("ForceCommand {forced}")).start();
        for ssh in [to(&sshd), to(&sshd).isolated()] {
            let failure = refused(ssh.named("web-1")).await;
            assert_eq!(failure.kind(), FailureKind::Failed, "nothing ran: {failure}");
            said.push(failure.to_string());
        }
        comes_true("no session is left", || sshd.sessions().is_empty()).await;
    }
    said.dedup();
    assert_snapshot!(said.join("\n"), @"
    `sh -c true` on web-1: there is no `sh` that works on web-1
    `sh -c true` on web-1: there is no `sh` that works on web-1; it says `This account is currently not available.`
    `sh -c true` on web-1: there is no `sh` that works on web-1; it says `no shell for you`
    ");
    let sshd = Sshd::builder().config("ForceCommand /usr/sbin/nologin").start();
    let failure = format!("{:?}", refused(to(&sshd)).await);
    assert!(failure.contains("look at what the login shell there makes of this line"), "{failure}");
}

#[tokio::test]
async fn a_login_that_never_ends_or_floods_is_given_up() {
    let mut refusals = JoinSet::new();
    for forced in ["sleep 1000", "yes", "tr '\\0' x </dev/zero", "cat >/dev/null"] {
        refusals.spawn(async move {
            let sshd = Sshd::builder().config(&format!("ForceCommand {forced}")).start();
            let ssh = to(&sshd);
            let failure = refused(ssh.clone()).await;
            assert_eq!(failure.kind(), FailureKind::Failed, "nothing ran: {failure}");
            let text = failure.to_string();
            assert!(text.contains("`sh` is not ready") || text.contains("no `sh`"), "{text}");
            drop(ssh);
            // What was forced may not notice; its channel is closed, and its connection.
            comes_true("the server is rid of us", || !sshd.log().is_empty()).await;
        });
    }
    soon(refusals.join_all()).await;
}

#[tokio::test]
async fn what_the_files_of_the_login_shell_say_is_no_output() {
    let sshd = Sshd::start();
    // What bash reads when sshd starts it.
    fs::write(sshd.home().join(".bashrc"), "echo motd; echo oops >&2; printf 'half a line'")
        .unwrap();
    let mut greets = sshd.ssh();
    let greeted = greets.arg("true").output().unwrap();
    assert_eq!(greeted.stdout, b"motd\nhalf a line", "the login shell here reads no such file");
    for ssh in [to(&sshd), to(&sshd).isolated()] {
        let host = Host::new(ssh);
        let (cx, file) = (context(), sshd.home().join("file"));
        for _ in 0..3 {
            let output = soon(cx.on(&host).run(&sh("echo out; echo err >&2"))).await.unwrap();
            assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
            let piped = Command::new("cat").stdin(Stdin::Bytes(vec![b'x'; 100_000]));
            let output = soon(cx.on(&host).run(&piped)).await.unwrap();
            assert_eq!((output.stdout.len(), output.stderr.len()), (100_000, 0));
        }
        for size in [10, 1_000_000] {
            soon(cx.on(&host).write(&file, vec![b'y'; size])).await.unwrap();
            assert_eq!(soon(cx.on(&host).read(&file)).await.unwrap(), vec![b'y'; size]);
        }
    }
}

#[tokio::test]
async fn an_algorithm_that_we_refuse_is_named() {
    let sshd = Sshd::builder().config("KexAlgorithms diffie-hellman-group14-sha1").start();
    let failure = refused(to(&sshd).named("web-1")).await;
    let said = format!("{failure:?}").replace(&sshd.port().to_string(), "PORT");
    assert!(said.contains("the server offers diffie-hellman-group14-sha1, and what is"), "{said}");
}

fn high_water() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn output_without_end_and_lines_of_100_mb_take_little_memory() {
    let name = "hostile::output_without_end_and_lines_of_100_mb_take_little_memory";
    in_a_process_of_its_own(name, "exec", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sshd = Sshd::start();
            for ssh in [to(&sshd), to(&sshd).isolated()] {
                let host = Host::new(ssh);
                let cx = context();
                soon(cx.on(&host).run(&sh("true"))).await.unwrap();
                let before = high_water();
                for line in ["exec yes", "exec yes >&2", "exec cat /dev/zero"] {
                    let command = sh(line).timeout(Duration::from_secs(2));
                    let failure = soon(cx.on(&host).run(&command)).await.unwrap_err();
                    assert_eq!(failure.kind(), FailureKind::TimedOut, "{failure}");
                }
                let line = sh("head -c 100000000 /dev/zero | tr '\\0' x; exit 3");
                let output = soon(cx.on(&host).run_unchecked(&line)).await.unwrap();
                assert_eq!(output.exit, Exit::Code(3));
                let grown = high_water() - before;
                assert!(grown < 96 << 20, "{grown} bytes");
                // The connection is as good as before.
                assert_eq!(soon(cx.on(&host).run(&sh("echo on"))).await.unwrap().text(), "on");
            }
        });
    });
}

#[tokio::test]
async fn a_channel_that_the_server_closes_is_no_success() {
    // Shorter than the command is silent, longer than the signs of life.
    let sshd = Sshd::builder().config("ChannelTimeout session:*=8s").start();
    let mark = crate::support::Mark::new();
    let long = || mark.on(sh("sleep 1000"));
    let mut lost = JoinSet::new();
    for (ssh, command) in [
        (to(&sshd), long()),
        (to(&sshd).isolated(), long()),
        (to(&sshd), long().stdin(Stdin::Piped)),
    ] {
        lost.spawn(async move {
            let host = Host::new(ssh);
            let cx = context();
            let failure = if matches!(command.standard_input(), Stdin::Piped) {
                let mut running = cx.on(&host).spawn(&command).await.unwrap();
                let _stdin = running.stdin();
                running.wait().await.unwrap_err()
            } else {
                cx.on(&host).run(&command).await.unwrap_err()
            };
            (failure, host)
        });
    }
    let lost = soon(lost.join_all()).await;
    for (failure, _) in &lost {
        assert_eq!(failure.kind(), FailureKind::Disconnected, "{failure}");
    }
    comes_true("what nobody waits for any more is ended", || mark.living().is_empty()).await;
}

/// A way to `sshd` that breaks each connection after so many bytes from one side.
fn breaks_after(sshd: &Sshd, limit: u64, from_server: bool) -> Ssh {
    let port = sshd.port();
    let broken = move |client: TcpStream| {
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let cut = |from: &TcpStream, mut to: &TcpStream, limit: u64| {
            let _ = std::io::copy(&mut from.take(limit), &mut to);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        };
        let (there, back) = if from_server { (u64::MAX, limit) } else { (limit, u64::MAX) };
        std::thread::scope(|scope| {
            scope.spawn(|| cut(&client, &server, there));
            cut(&server, &client, back);
        });
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || broken(stream));
        }
    });
    crate::at(sshd, at).named("web-1")
}

#[tokio::test]
async fn a_connection_that_breaks_anywhere_keeps_nobody_waiting_and_leaves_nothing() {
    let (sshd, mark) = (Sshd::start(), crate::support::Mark::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let file = file.to_str().unwrap();
    let service = Address::Tcp("127.0.0.1".into(), sshd.port());
    let (mut done, mut lost) = (0, 0);
    // From the first byte of a login to behind the last of what is done here.
    let limits = (0..16_000).step_by(1_811);
    let ways = limits.flat_map(|limit| [(limit, true), (limit, false)]);
    for (limit, from_server) in ways {
        for isolated in [false, true] {
            let ssh = breaks_after(&sshd, limit, from_server);
            let host = Host::new(if isolated { ssh.isolated() } else { ssh });
            let mut heed = |result: Result<()>| match result {
                Ok(()) => done += 1,
                Err(failure) => {
                    lost += 1;
                    assert!(failure.to_string().contains("web-1"), "{limit}: {failure}");
                }
            };
            let cx = context();
            let on = cx.on(&host);
            heed(soon(on.run(&mark.on(sh("echo on")))).await.map(drop));
            heed(soon(on.write(file, "content")).await.map(drop));
            heed(soon(on.read_text(file)).await.map(drop));
            let speaks = async {
                let mut stream = on.connect(&service).await?;
                let mut said = [0; 4];
                // That it breaks off says nothing of why.
                if stream.read_exact(&mut said).await.is_ok() {
                    assert_eq!(&said, b"SSH-");
                }
                Ok(())
            };
            heed(soon(speaks).await);
            let says = mark.on(sh("sleep 0.01; head -c 3000 /dev/zero"));
            let hears = mark.on(sh("cat").stdin("word".repeat(300)));
            let both = soon(async { tokio::join!(on.run(&says), on.run(&hears)) }).await;
            heed(both.0.map(drop));
            heed(both.1.map(drop));
        }
    }
    assert!(done > 0 && lost > 0, "{done} were done and {lost} lost");
    comes_true("nothing of it runs", || mark.living().is_empty()).await;
    comes_true("its sessions have ended", || sshd.sessions().is_empty()).await;
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "file"), "{left:?}");
}
