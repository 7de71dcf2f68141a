//! Commands as lines of `sh`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use runbook_core::{Command, EnvValue, Failure, Result, Spawn, Stdin};

use super::super::words::{is_variable, plain, push, push_format, push_next};

/// For a shell of the pool: one compound command, so that no part of it runs if it is cut off.
pub(in super::super) fn pooled(command: &Command, spawn: &Spawn) -> Result<Vec<u8>> {
    let mut frame = b"{ ".to_vec();
    if builtin(command) {
        // The same as the program, without a new process.
        refuse_nul(command)?;
        frame.extend_from_slice(b"_b=;");
        push(&mut frame, command.program().as_bytes());
        if command.program() == "pwd" {
            frame.extend_from_slice(b" -P");
        }
        command.arguments().iter().for_each(|arg| push_next(&mut frame, arg));
        frame.extend_from_slice(b" 2>&3;_e;}\n");
        return Ok(frame);
    }
    frame.extend_from_slice(b"_b;");
    let input = match command.standard_input() {
        Stdin::Bytes(bytes) => Some(bytes.as_slice()),
        Stdin::Secret(secret) => Some(secret.expose().as_bytes()),
        Stdin::Empty | Stdin::Piped => None,
    };
    if let Some(input) = input {
        frame.extend_from_slice(b"printf ");
        push_format(&mut frame, input);
        frame.push(b'|');
    }
    frame.push(b'(');
    push_program(&mut frame, command, spawn)?;
    frame.push(b')');
    if input.is_none() {
        frame.extend_from_slice(b"</dev/null");
    }
    frame.extend_from_slice(b" 2>&3 3>&-;_e;}\n");
    Ok(frame)
}

/// For a channel of its own: a script that becomes the program.
pub(in super::super) fn script(command: &Command, spawn: &Spawn) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    if matches!(command.standard_input(), Stdin::Empty) {
        script.extend_from_slice(b"exec </dev/null;");
    }
    push_program(&mut script, command, spawn)?;
    Ok(script)
}

/// Whether a shell's own command does the same as the program of that name, for these arguments.
fn builtin(command: &Command) -> bool {
    if command.directory().is_some() || command.environment().next().is_some() {
        return false;
    }
    let args: Vec<&[u8]> = command.arguments().iter().map(|arg| arg.as_bytes()).collect();
    let literal = |arg: &&[u8]| !arg.iter().any(|byte| matches!(byte, b'\\' | b'%'));
    match (command.program().as_bytes(), args.as_slice()) {
        (b"true" | b"false" | b"pwd", []) => true,
        (b"test", [b"!", b"-d" | b"-e" | b"-f" | b"-h" | b"-L" | b"-s", _])
        | (b"test", [b"-d" | b"-e" | b"-f" | b"-h" | b"-L" | b"-s", _]) => true,
        (b"echo", args) => {
            args.iter().all(literal) && !args.first().is_some_and(|arg| arg.starts_with(b"-"))
        }
        (b"printf", [format]) => literal(format) && !format.starts_with(b"-"),
        _ => false,
    }
}

fn push_program(line: &mut Vec<u8>, command: &Command, spawn: &Spawn) -> Result<()> {
    refuse_nul(command)?;
    if let Some(dir) = command.directory() {
        line.extend_from_slice(b"cd");
        push_next(line, plain(dir));
        line.extend_from_slice(b"||_r d;");
    }
    line.extend_from_slice(b"export RUNBOOK_UNIT=");
    push(line, spawn.cookie.as_bytes());
    line.extend_from_slice(b" RUNBOOK_COMMAND=");
    match spawn.command.strip_prefix(Spawn::this_process()) {
        Some(number) => {
            line.extend_from_slice(b"$_p");
            push(line, number.as_bytes());
        }
        None => push(line, spawn.command.as_bytes()),
    }
    let mut strange = Vec::new();
    for (name, value) in command.environment() {
        let bytes = bytes(value);
        if is_variable(name.as_bytes()) {
            line.push(b' ');
            line.extend_from_slice(name.as_bytes());
            line.push(b'=');
            push(line, bytes);
        } else if matches!(value, EnvValue::Plain(_)) && is_entry(name) {
            let mut entry = name.as_bytes().to_vec();
            entry.push(b'=');
            entry.extend_from_slice(bytes);
            push_next(&mut strange, OsStr::from_bytes(&entry));
        } else {
            return Err(Failure::msg(format!(
                "the environment variable `{}` has a name that `sh` can't give a value to unseen",
                name.display()
            ))
            .next("use a name of letters, digits and `_`"));
        }
    }
    line.extend_from_slice(b";trap _r 0;exec");
    let program = command.program().as_bytes();
    if !strange.is_empty() || program.starts_with(b"-") {
        // These go by way of a program: its arguments can be seen, so no secret is among them.
        if program.contains(&b'=') {
            return Err(Failure::msg("a program whose name has a `=` can't be started so"));
        }
        line.extend_from_slice(b" /usr/bin/env --");
        line.extend_from_slice(&strange);
    }
    push_next(line, command.program());
    command.arguments().iter().for_each(|arg| push_next(line, arg));
    line.extend_from_slice(b";_r");
    Ok(())
}

fn bytes(value: &EnvValue) -> &[u8] {
    match value {
        EnvValue::Plain(value) => value.as_bytes(),
        EnvValue::Secret(secret) => secret.expose().as_bytes(),
    }
}

/// Whether the name can be one at all.
fn is_entry(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().contains(&b'=') && !name.as_bytes().starts_with(b"-")
}

fn refuse_nul(command: &Command) -> Result<()> {
    let mut words = vec![command.program().as_bytes()];
    words.extend(command.arguments().iter().map(|arg| arg.as_bytes()));
    words.extend(command.directory().map(|dir| dir.as_os_str().as_bytes()));
    for (name, value) in command.environment() {
        words.extend([name.as_bytes(), bytes(value)]);
    }
    if words.iter().any(|word| word.contains(&0)) {
        return Err(Failure::msg("a NUL byte in the program, an argument or the environment"));
    }
    Ok(())
}
