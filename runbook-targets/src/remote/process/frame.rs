//! Commands as lines of `sh`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use runbook_core::{Command, EnvValue, Failure, Result, Spawn, Stdin};

use super::super::words::{is_variable, plain, push, push_format, push_next};

/// A command for a shell of the pool: one compound command, so that no part of it runs if it is cut
/// off.
pub(in super::super) struct Frame {
    text: Vec<u8>,
    /// The same as a simple command of `sh`.
    simple: Option<Vec<u8>>,
    /// It may leave processes behind.
    pub(in super::super) leaves: bool,
}

impl Frame {
    /// `call` is a command that leaves nothing behind, its streams aside.
    pub(in super::super) fn of(call: &[u8]) -> Self {
        let mut text = call.to_vec();
        text.extend_from_slice(b"</dev/null 2>&3 3>&-;_d $? 0;}\n");
        Self { text, simple: None, leaves: false }
    }

    /// What a shell is told. `simple`: it does best with simple commands. `fresh`: it knows which
    /// processes there were before.
    pub(in super::super) fn said(&self, simple: bool, fresh: bool) -> Vec<u8> {
        let mut said = b"{ ".to_vec();
        if self.leaves && !fresh {
            said.extend_from_slice(b"_b;");
        }
        said.extend_from_slice(self.simple.as_ref().filter(|_| simple).unwrap_or(&self.text));
        said
    }

    pub(in super::super) fn is_simple(&self) -> bool {
        self.simple.is_some()
    }
}

/// For a shell of the pool.
pub(in super::super) fn pooled(command: &Command, spawn: &Spawn) -> Result<Frame> {
    refuse_nul(command)?;
    let mut text = Vec::new();
    if builtin(command) {
        // The same as the program, without a new process.
        push(&mut text, command.program().as_bytes());
        if command.program() == "pwd" {
            text.extend_from_slice(b" -P");
        }
        command.arguments().iter().for_each(|arg| push_next(&mut text, arg));
        text.extend_from_slice(b" 2>&3;_d $? 0;}\n");
        return Ok(Frame { text, simple: None, leaves: false });
    }
    let input = match command.standard_input() {
        Stdin::Bytes(bytes) => Some(bytes.as_slice()),
        Stdin::Secret(secret) => Some(secret.expose().as_bytes()),
        Stdin::Empty | Stdin::Piped => None,
    };
    let leaves = !is_utility(command);
    if let Some(input) = input {
        text.extend_from_slice(b"printf ");
        push_format(&mut text, input);
        text.push(b'|');
    }
    text.push(b'(');
    push_program(&mut text, command, spawn)?;
    text.push(b')');
    let mut end = Vec::new();
    if input.is_none() {
        end.extend_from_slice(b"</dev/null");
    }
    end.extend_from_slice(b" 2>&3 3>&-;");
    end.extend_from_slice(if leaves { b"_e" } else { b"_d $? 0" });
    end.extend_from_slice(b";}\n");
    text.extend_from_slice(&end);
    let simple = is_simple(command).then(|| {
        let mut simple = Vec::new();
        push_names(&mut simple, spawn);
        push_next(&mut simple, command.program());
        command.arguments().iter().for_each(|arg| push_next(&mut simple, arg));
        // A number right before a redirection would be taken for a part of it.
        simple.push(b' ');
        simple.extend_from_slice(&end);
        simple
    });
    Ok(Frame { text, simple, leaves })
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

/// Whether the program is one of the standard utilities that are one process and end with it. What
/// was left behind is not searched for then: on a host where many are born that costs as much as
/// half of such a program.
fn is_utility(command: &Command) -> bool {
    UTILITIES.binary_search(&command.program().as_bytes()).is_ok()
}

/// In order. None that may start another: no `env`, `find`, `sed`, `sort`, `tar`.
const UTILITIES: &[&[u8]] = &[
    b"arch",
    b"base64",
    b"basename",
    b"cat",
    b"chgrp",
    b"chmod",
    b"chown",
    b"cksum",
    b"cmp",
    b"cp",
    b"cut",
    b"date",
    b"df",
    b"dirname",
    b"du",
    b"free",
    b"getconf",
    b"head",
    b"hostname",
    b"id",
    b"ln",
    b"logname",
    b"ls",
    b"md5sum",
    b"mkdir",
    b"mktemp",
    b"mv",
    b"nproc",
    b"pgrep",
    b"printenv",
    b"ps",
    b"readlink",
    b"realpath",
    b"rm",
    b"rmdir",
    b"sha1sum",
    b"sha256sum",
    b"sha512sum",
    b"sleep",
    b"stat",
    b"sync",
    b"tail",
    b"touch",
    b"tr",
    b"truncate",
    b"uname",
    b"uniq",
    b"uptime",
    b"wc",
    b"whoami",
];

/// Whether a simple command of `sh` does the same as its program in a subshell, which costs a whole
/// copy of the shell. What a shell has under the same name must not stand in for it.
fn is_simple(command: &Command) -> bool {
    /// Of shells that descend from ash: dash, the BSDs'.
    const BUILTINS: &[&[u8]] = &[
        b".",
        b":",
        b"[",
        b"[[",
        b"alias",
        b"bg",
        b"bind",
        b"break",
        b"builtin",
        b"case",
        b"cd",
        b"chdir",
        b"command",
        b"continue",
        b"do",
        b"done",
        b"echo",
        b"elif",
        b"else",
        b"esac",
        b"eval",
        b"exec",
        b"exit",
        b"export",
        b"false",
        b"fc",
        b"fg",
        b"fi",
        b"for",
        b"function",
        b"getopts",
        b"hash",
        b"help",
        b"history",
        b"if",
        b"in",
        b"jobid",
        b"jobs",
        b"kill",
        b"let",
        b"local",
        b"printf",
        b"pwd",
        b"read",
        b"readonly",
        b"return",
        b"set",
        b"setvar",
        b"shift",
        b"source",
        b"test",
        b"then",
        b"time",
        b"times",
        b"trap",
        b"true",
        b"type",
        b"ulimit",
        b"umask",
        b"unalias",
        b"unset",
        b"until",
        b"wait",
        b"while",
        b"wordexp",
    ];
    /// More than this may be more than a program takes, which only a subshell tells.
    const LONG: usize = 32 << 10;
    let program = command.program().as_bytes();
    let begins = |first: &u8| first.is_ascii_alphanumeric() || *first == b'/';
    program.first().is_some_and(begins)
        && program.iter().all(|byte| begins(byte) || b"-_.+".contains(byte))
        && !BUILTINS.contains(&program)
        && command.directory().is_none()
        && command.environment().next().is_none()
        && matches!(command.standard_input(), Stdin::Empty)
        && command.arguments().iter().map(|arg| arg.len() + 1).sum::<usize>() < LONG
}

fn push_program(line: &mut Vec<u8>, command: &Command, spawn: &Spawn) -> Result<()> {
    refuse_nul(command)?;
    if let Some(dir) = command.directory() {
        line.extend_from_slice(b"cd");
        push_next(line, plain(dir));
        line.extend_from_slice(b"||_r d;");
    }
    line.extend_from_slice(b"export ");
    push_names(line, spawn);
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

/// By what the processes of a command are found.
fn push_names(line: &mut Vec<u8>, spawn: &Spawn) {
    line.extend_from_slice(b"RUNBOOK_UNIT=");
    push(line, spawn.cookie.as_bytes());
    line.extend_from_slice(b" RUNBOOK_COMMAND=");
    match spawn.command.strip_prefix(Spawn::this_process()) {
        Some(number) => {
            line.extend_from_slice(b"$_p");
            push(line, number.as_bytes());
        }
        None => push(line, spawn.command.as_bytes()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &Command, simple: bool) -> String {
        let frame = pooled(command, &Spawn::new("unit")).unwrap();
        String::from_utf8(frame.said(simple, false)).unwrap()
    }

    #[test]
    fn the_utilities_are_in_order() {
        assert!(UTILITIES.is_sorted());
    }

    #[test]
    fn what_a_utility_left_behind_is_not_searched_for() {
        let input = Stdin::Bytes(b"some".to_vec());
        let commands = [
            Command::new("cat").arg("/etc/hosts"),
            Command::new("df"),
            Command::new("wc").stdin(input.clone()),
        ];
        for command in commands {
            for simple in [false, true] {
                let said = said(&command, simple);
                assert!(!said.contains("_b;") && said.ends_with(";_d $? 0;}\n"), "{said}");
            }
        }
        let commands = [
            Command::new("sh").args(["-c", "cat"]),
            Command::new("env").arg("cat"),
            // Who knows what that is.
            Command::new("/opt/bin/cat"),
            Command::new("tar").stdin(input),
        ];
        for command in commands {
            for simple in [false, true] {
                let said = said(&command, simple);
                assert!(said.starts_with("{ _b;") && said.ends_with(";_e;}\n"), "{said}");
            }
        }
    }
}
