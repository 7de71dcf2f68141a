//! What commands are given and what they say.

use std::time::Duration;

use runbook_core::testing::context;
use runbook_core::{Command, Exit, Host, Secret, Stdin};

use super::here::{Far, Here, SHELLS, hosts};
use super::support::{sh, soon};
use crate::Local;

#[tokio::test]
async fn a_command_says_what_it_says_and_how_it_ended() {
    let script = "printf 'no line end'; echo wrong >&2; exit 3";
    for host in hosts() {
        for _ in 0..3 {
            let output = soon(context().on(&host).run_unchecked(&sh(script))).await.unwrap();
            assert_eq!(output.exit, Exit::Code(3));
            assert_eq!(output.stdout, b"no line end");
            assert_eq!(output.stderr, b"wrong\n");
        }
    }
}

#[tokio::test]
async fn commands_in_sequence_share_one_shell() {
    for sh in SHELLS {
        let here = Here::new();
        let host = Host::new(Far::new(&here, sh));
        for _ in 0..5 {
            soon(context().on(&host).run(&Command::new("uname"))).await.unwrap();
            soon(context().on(&host).run(&Command::new("true"))).await.unwrap();
        }
        assert_eq!(here.opened(), 2, "one shell and the lifeline");
    }
}

/// The same command here and there: the same output, or the same error.
#[tokio::test]
async fn commands_do_and_fail_as_they_do_here() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "text").unwrap();
    let orphan = folder.path().join("orphan");
    std::fs::write(&orphan, "#!/nonexistent/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&orphan, mode).unwrap();
    let commands = [
        Command::new("true"),
        Command::new("false"),
        Command::new("pwd").dir(folder.path()),
        Command::new("test").args(["!", "-e", "/nonexistent"]),
        Command::new("test").args(["-d", "/nonexistent"]),
        Command::new("test").args(["1", "-gt", "0"]),
        Command::new("echo").args(["a  b", "", "c"]),
        Command::new("echo").args(["-n", r"a\nb"]),
        Command::new("printf").arg(r"a\nb%%"),
        Command::new("printf").args(["%s|", "a", "b"]),
        Command::new("cat").stdin("given\0 %s \\ ' text\n"),
        Command::new("cat").stdin(Secret::new("a secret of some length")),
        Command::new("cat").stdin(vec![b'x'; 1 << 20]),
        Command::new("true").stdin(vec![b'x'; 1 << 20]),
        Command::new("cat"),
        sh("exit 127"),
        sh("exit 126"),
        sh("exit 255"),
        sh("kill -9 $$"),
        sh("kill -TERM $$"),
        sh("kill -SEGV $$"),
        sh("nonexistent 2>/dev/null"),
        sh("echo $0 $HOME $PWD $A").env("A", "b\nc").dir("/"),
        Command::new("printenv").args(["A.B", "C-D"]).env("A.B", "x y").env("C-D", "$z"),
        Command::new("printenv").arg("IFS").env("IFS", ":"),
        Command::new("sh").args(["-c", "echo $X"]).env("X", Secret::new("whispered loud")),
        Command::new("nonexistent"),
        Command::new("/nonexistent/program"),
        Command::new("/"),
        Command::new(&plain),
        Command::new(&orphan),
        Command::new("true").dir("/nonexistent"),
        Command::new("uname").dir("/nonexistent"),
        Command::new("uname").dir(&plain),
        Command::new("uname").arg("a\0b"),
        Command::new("uname").env("A", "b\0c"),
    ];
    let local = Host::new(Local::named("web-1"));
    let mut far = hosts();
    far.extend(SHELLS.map(|sh| {
        let limits = crate::remote::Limits { sh, isolated: true, ..Default::default() };
        Host::new(Far::with(&Here::new(), limits))
    }));
    for command in &commands {
        let expected = soon(context().on(&local).run_unchecked(command)).await;
        for host in &far {
            let got = soon(context().on(host).run_unchecked(command)).await;
            match (&expected, got) {
                (Ok(expected), Ok(got)) => {
                    assert_eq!(expected.exit, got.exit, "{command}");
                    assert_eq!(expected.stdout, got.stdout, "{command}");
                    assert_eq!(expected.stderr, got.stderr, "{command}");
                }
                (Err(expected), Err(got)) => {
                    assert_eq!(expected.kind(), got.kind(), "{command}: {got}");
                    assert_eq!(format!("{expected:?}"), format!("{got:?}"), "{command}");
                }
                (Ok(expected), Err(got)) => panic!("{command}: {expected:?}, but {got}"),
                (Err(expected), Ok(got)) => panic!("{command}: {expected}, but {got:?}"),
            }
        }
    }
}

/// In every mode: a shell does not tell the two apart, and a channel's own word for it can't be
/// told from that of a channel which was closed too early.
#[tokio::test]
async fn a_code_that_names_a_signal_is_told_as_that_signal_and_others_as_they_are() {
    let ended = async |host: &Host, command: Command| {
        soon(context().on(host).run_unchecked(&command)).await.unwrap().exit
    };
    let local = Host::new(Local::new());
    for sh_ in SHELLS {
        for isolated in [false, true] {
            let limits = crate::remote::Limits { sh: sh_, isolated, ..Default::default() };
            let host = Host::new(Far::with(&Here::new(), limits));
            let piped = |command: Command| command.stdin(Stdin::Bytes(vec![b'x'; 32 << 10]));
            for code in [1, 125, 128, 145, 151, 156, 160, 255] {
                let command = sh(&format!("exit {code}"));
                assert_eq!(ended(&host, command.clone()).await, Exit::Code(code));
                assert_eq!(ended(&host, piped(command)).await, Exit::Code(code));
            }
            for signal in [1, 2, 9, 13, 15, 24, 27, 29, 31] {
                let by_code = sh(&format!("exit {}", 128 + signal));
                assert_eq!(ended(&host, by_code.clone()).await, Exit::Signal(signal));
                assert_eq!(ended(&host, piped(by_code.clone())).await, Exit::Signal(signal));
                assert_eq!(ended(&local, by_code).await, Exit::Code(128 + signal));
                // Whoever starts these tests in the background has them ignore some.
                let kill = format!("kill -{signal} $$");
                let by_signal =
                    Command::new("/usr/bin/env").args(["--default-signal", "sh", "-c", &kill]);
                assert_eq!(ended(&host, by_signal.clone()).await, Exit::Signal(signal));
                assert_eq!(ended(&local, by_signal).await, Exit::Signal(signal));
            }
        }
    }
}

#[tokio::test]
async fn two_commands_run_at_once() {
    for host in hosts() {
        let folder = tempfile::tempdir().unwrap();
        let (cx, pipe) = (context(), folder.path().join("pipe"));
        soon(cx.on(&host).run(&Command::new("mkfifo").arg(&pipe))).await.unwrap();
        let say = Command::new("sh").args(["-c", "echo hello > \"$0\""]).arg(&pipe);
        let hear = Command::new("cat").arg(&pipe);
        let hear = hear.timeout(Duration::from_secs(50));
        let on = cx.on(&host);
        let (hear, say) = soon(async { tokio::join!(on.run(&hear), on.run(&say)) }).await;
        say.unwrap();
        assert_eq!(hear.unwrap().text(), "hello");
    }
}
