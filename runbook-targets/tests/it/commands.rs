//! What goes into a command and what comes out of it.

use std::fs;

use insta::assert_snapshot;
use runbook_core::testing::{Surroundings, context};
use runbook_core::{Command, Exit, FailureKind, Output, Secret, Stdin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Mark, here, in_a_process_of_its_own, sh, soon};

#[tokio::test]
async fn both_streams_are_read_at_once() {
    let script = "head -c 8388608 /dev/zero | tr '\\0' e >&2; echo done";
    let output = soon(context().on(&here()).run(&sh(script))).await.unwrap();
    assert_eq!(output.text(), "done");
    assert_eq!(output.stderr.len(), 8 << 20);
    assert_eq!(output.dropped, 0);
}

#[tokio::test]
async fn lines_are_streamed_while_the_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let around = Surroundings::new();
    let (cx, host) = (around.context(), here());
    let command =
        sh("echo first; until [ -e go ]; do sleep 0.01; done; echo last").dir(folder.path());
    let shell = cx.on(&host);
    let run = shell.run(&command);
    let watch = async {
        crate::support::comes_true("the first line is there", || around.lines() == ["first"]).await;
        fs::write(&go, "").unwrap();
    };
    let (output, ()) = tokio::join!(soon(run), watch);
    assert_eq!(output.unwrap().text(), "first\nlast");
}

#[tokio::test]
async fn standard_input_is_fed_whole_or_empty() {
    let (cx, host) = (context(), here());
    let cat = |stdin: Stdin| Command::new("cat").stdin(stdin);
    assert_eq!(soon(cx.on(&host).run(&cat(Stdin::Empty))).await.unwrap().stdout, b"");
    for size in [0, 1, 4096, 4097, 65_536, 3_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
        let output = soon(cx.on(&host).run(&cat(bytes.clone().into()))).await.unwrap();
        assert!(output.stdout == bytes, "{size} bytes");
    }
    let secret = Secret::new("fed on standard input");
    let output = soon(cx.on(&host).run(&cat(secret.into()))).await.unwrap();
    assert_eq!(output.text(), "fed on standard input");
}

#[tokio::test]
async fn a_program_need_not_read_what_it_is_given() {
    let command = Command::new("true").stdin(vec![0; 3_000_000]);
    soon(context().on(&here()).run(&command)).await.unwrap();
}

#[tokio::test]
async fn a_spawned_command_can_be_spoken_with() {
    let (cx, host) = (context(), here());
    let command = Command::new("cat").stdin(Stdin::Piped);
    let mut running = cx.on(&host).spawn(&command).await.unwrap();
    let (mut stdin, mut stdout) = (running.stdin().unwrap(), running.stdout().unwrap());
    stdin.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    soon(stdout.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ping");
    drop(stdin);
    assert_eq!(soon(running.wait()).await.unwrap(), Exit::Code(0));
    assert_eq!(running.wait().await.unwrap(), Exit::Code(0), "it may be asked again");
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let (cx, host) = (context(), here());
    let end = async |script| soon(cx.on(&host).run_unchecked(&sh(script))).await.unwrap().exit;
    assert_eq!(end("exit 7").await, Exit::Code(7));
    assert_eq!(end("kill -SEGV $$").await, Exit::Signal(11));
    assert_eq!(end("kill -KILL $$").await, Exit::Signal(9));
}

#[tokio::test]
async fn environment_and_folder_are_as_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let command = sh("pwd; echo \"$GIVEN\"; echo \"${HOME:+inherited}\"; echo \"$RUNBOOK_UNIT\"")
        .env("GIVEN", "a 'b' $c\n\"d\"")
        .dir(&folder);
    let output = soon(context().on(&here()).run(&command)).await.unwrap();
    assert_eq!(
        output.text(),
        format!("{}\na 'b' $c\n\"d\"\ninherited\ntest:unit", folder.display())
    );
}

#[tokio::test]
async fn a_program_is_looked_for_in_the_path_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("frobnicate");
    fs::write(&program, "#!/bin/sh\necho frobnicated\n").unwrap();
    std::process::Command::new("chmod").arg("+x").arg(&program).status().unwrap();
    let command = Command::new("frobnicate").env("PATH", folder.path());
    assert_eq!(soon(context().on(&here()).run(&command)).await.unwrap().text(), "frobnicated");
    let command = Command::new("./frobnicate").dir(folder.path());
    assert_eq!(soon(context().on(&here()).run(&command)).await.unwrap().text(), "frobnicated");
}

#[tokio::test]
async fn a_program_that_can_not_be_started_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        std::process::Command::new("chmod").arg("+x").arg(&path).status().unwrap();
        path
    };
    let no_interpreter = file("no-interpreter", "#!/nonexistent/interpreter\n");
    let plain = folder.path().join("plain");
    fs::write(&plain, "text").unwrap();
    let commands = [
        Command::new("frobnicate-the-shop").arg("--now"),
        Command::new("/nonexistent/frobnicate"),
        Command::new(&no_interpreter),
        Command::new(&plain),
        Command::new("true").dir("/nonexistent/folder"),
        Command::new("true").dir(&plain),
        Command::new("echo").arg("a\0b"),
        Command::new("true").arg("x".repeat(4 << 20)),
    ];
    let mut said = Vec::new();
    for command in commands {
        let failure = context().on(&here()).run(&command).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Failed);
        let text = format!("{failure:?}").replace(folder.path().to_str().unwrap(), "/folder");
        said.push(text.replace(&"x".repeat(395), "xxx").replace('\0', " NUL "));
    }
    assert_snapshot!(said.join("\n"), @r"
    `frobnicate-the-shop --now` on local: there is no program `frobnicate-the-shop` in the PATH of local
      next: install `frobnicate-the-shop` on local, or correct the PATH
    `/nonexistent/frobnicate` on local: there is no program `/nonexistent/frobnicate` on local
      next: install it, or correct its path
    `/folder/no-interpreter` on local: `/folder/no-interpreter` is there, but the interpreter that its first line names is not
      next: install that interpreter on local, or correct the first line
    `/folder/plain` on local: `/folder/plain` may not be executed: permission denied (os error 13)
      next: look at its mode, and at how its file system is mounted, on local
    `true` on local: entering the working directory /nonexistent/folder: no such file or directory (os error 2)
    `true` on local: the working directory /folder/plain is no folder
    `echo 'a NUL b'` on local: a NUL byte in the program, an argument or the environment
    `true xxx...` on local: argument list too long (os error 7)
      next: hand a long list over on standard input or in a file
    ");
}

#[tokio::test]
async fn secrets_are_in_no_command_line() {
    let secret = Secret::new("never-in-a-command-line");
    let mark = Mark::new();
    let command = mark
        .on(sh("cat; echo \" $TOKEN\"; cat /proc/$$/cmdline /proc/$PPID/cmdline"))
        .env("TOKEN", &secret)
        .stdin(&secret);
    let output = soon(context().on(&here()).run(&command)).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (given, command_lines) = said.split_once('\n').unwrap();
    assert_eq!(given, "never-in-a-command-line never-in-a-command-line");
    assert!(command_lines.contains("cat; echo"));
    assert!(!command_lines.contains(secret.expose()));
}

#[test]
fn a_flood_of_output_needs_little_memory() {
    in_a_process_of_its_own("commands::a_flood_of_output_needs_little_memory", "exec", || {
        tokio::runtime::Runtime::new().unwrap().block_on(flood());
    });
}

async fn flood() {
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    let before = peak();
    let command = sh("yes \"$(printf %0250d 1)\" | head -c 100000000");
    let output = soon(context().on(&here()).run(&command)).await.unwrap();
    assert_eq!(output.stdout.len(), Output::LIMIT);
    assert_eq!(output.dropped, 100_000_000 - Output::LIMIT as u64);
    let grown = peak() - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn a_line_that_does_not_end_comes_in_pieces() {
    let around = Surroundings::new();
    let command = sh("head -c 20000000 /dev/zero | tr '\\0' x");
    soon(around.context().on(&here()).run(&command)).await.unwrap();
    let lines = around.lines();
    assert!(lines.iter().all(|line| line.len() <= 16 << 10));
    assert_eq!(lines.iter().map(String::len).sum::<usize>(), 20_000_000);
}

#[tokio::test]
async fn output_held_open_by_a_process_left_behind_is_not_waited_for() {
    // Elsewhere a shared shell ends the output with the command.
    if !crate::HERE_IS_LOCAL {
        return;
    }
    let mark = Mark::new();
    let around = Surroundings::new();
    let command = mark.on(sh("sleep 1000 & echo started"));
    let output = soon(around.context().on(&here()).run(&command)).await.unwrap();
    assert_eq!(output.text(), "started");
    assert_eq!(mark.living().len(), 1, "what a command leaves running is left alone");
    let note = around.lines().pop().unwrap();
    assert!(note.contains("left a process behind that holds its output open"), "{note}");
}
