//! The tools that every host has, on the fake's disk.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use runbook::prelude::*;
use runbook::testing::{CommandCall, Disk, FakeTarget, Reply};
use sha2::{Digest as _, Sha256};

/// Plays them on `target`.
pub(crate) fn play(target: &FakeTarget) {
    let programs = ["cp", "mv", "tar", "sha256sum", "tail", "df"];
    for program in programs {
        let disk = target.disk();
        let ours = move |command: &Command| command.program() == program;
        target.on(ours).reply_with(move |call| said(program, run(&disk, program, &call.args[1..])));
    }
    for (part, script) in SCRIPTS {
        let disk = target.disk();
        target.on(is_script(part)).reply_with(move |call| said("sh", script(&disk, call)));
    }
}

/// A script of which this is a part.
pub(crate) fn is_script(part: &'static str) -> impl Fn(&Command) -> bool + Send + Sync + 'static {
    move |command| {
        let script = command.arguments().get(1).map(|script| script.to_string_lossy());
        command.program() == "sh" && script.is_some_and(|script| script.contains(part))
    }
}

/// The arguments of a script, without its text.
pub(crate) fn arguments(call: &CommandCall) -> Vec<String> {
    call.args.iter().skip(4).map(|word| word.to_string_lossy().into_owned()).collect()
}

type Said = Result<String, String>;
type Script = fn(&Disk, &CommandCall) -> Said;

const SCRIPTS: [(&str, Script); 3] =
    [("find . -type f -print0", sum_of_tree), ("date +%s", list), ("gone() {", act)];

fn said(program: &str, said: Said) -> Reply {
    match said {
        Ok(text) => Reply::stdout(text),
        Err(why) => Reply::exit(1).stderr(format!("{program}: {why}\n")),
    }
}

fn run(disk: &Disk, program: &str, args: &[OsString]) -> Said {
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
    match (program, args.as_slice()) {
        ("cp", ["-a", "--", from, to]) => disk.copy(from, to).map(|()| String::new()),
        ("mv", ["-T", "--", from, to]) => disk.rename(from, to).map(|()| String::new()),
        ("tar", ["-C", tree, "-czf", file, "--", folder]) => {
            let top = Path::new(tree).join(folder);
            disk.stat(&top).ok_or(MISSING)?;
            let files = disk.files_below(&top).into_iter().map(|(path, content)| {
                let name = path.strip_prefix(tree).map(Path::to_owned).unwrap_or(path);
                (name, String::from_utf8_lossy(&content).into_owned())
            });
            let archive: Vec<(PathBuf, String)> = files.collect();
            disk.write(file, serde_json::json!(archive).to_string())?;
            Ok(String::new())
        }
        ("tar", ["-tzf", file]) => Ok(archive(disk, file)?
            .iter()
            .map(|(path, _)| format!("{}\n", path.display()))
            .collect()),
        ("tar", ["-C", tree, "-xzf", file]) => {
            for (path, content) in archive(disk, file)? {
                disk.write(Path::new(tree).join(path), content)?;
            }
            Ok(String::new())
        }
        ("sha256sum", ["--", file]) => {
            Ok(format!("{}  {file}\n", sum(&disk.read(file).ok_or(MISSING)?)))
        }
        ("tail", ["-n", count, "--", file]) => {
            let text = text(disk, file)?;
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(count.parse().unwrap_or(0));
            Ok(lines[from..].iter().map(|line| format!("{line}\n")).collect())
        }
        ("tail", ["-c", from, "--", file]) => {
            let from = from.trim_start_matches('+').parse::<usize>().unwrap_or(1) - 1;
            Ok(text(disk, file)?.get(from..).unwrap_or_default().to_owned())
        }
        ("df", ["-P", "-k", "--", _]) => Ok("Filesystem 1024-blocks Used Available Capacity \
             Mounted on\n/dev/sda1 104857600 10485760 94371840 10% /\n"
            .into()),
        _ => Err(format!("the fake does not play `{program} {}`", args.join(" "))),
    }
}

const MISSING: &str = "No such file or directory";

fn text(disk: &Disk, file: &str) -> Said {
    Ok(String::from_utf8_lossy(&disk.read(file).ok_or(MISSING)?).into_owned())
}

fn archive(disk: &Disk, file: &str) -> Result<Vec<(PathBuf, String)>, String> {
    serde_json::from_str(&text(disk, file)?).map_err(|_| "Unexpected EOF in archive".into())
}

pub(crate) fn sum(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sum over names and sums of all files of a folder.
fn sum_of_tree(disk: &Disk, call: &CommandCall) -> Said {
    let folder = arguments(call).into_iter().next().unwrap_or_default();
    let files = disk.files_below(&folder).into_iter();
    let sums = files.map(|(path, content)| format!("{}  {}\n", sum(&content), path.display()));
    Ok(format!("{}  -\n", sum(sums.collect::<String>().as_bytes())))
}

/// When it is, for files: all of these were made long ago, but those that a run makes.
fn seconds(disk: &Disk, path: &Path) -> u64 {
    let modified = disk.stat(path).map(|info| info.modified);
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// The files of a folder with what is known of each.
fn list(disk: &Disk, call: &CommandCall) -> Said {
    let arguments = arguments(call);
    let [folder, pattern, ..] = arguments.as_slice() else { return Err("no folder".into()) };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut text = format!("{}\n", now.map_or(0, |now| now.as_secs()));
    let (start, end) = pattern.split_once('*').unwrap_or((pattern, ""));
    let end = end.trim_end_matches('*');
    for (path, content) in disk.files_below(folder) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(start) && name.contains(end) {
            let identity = identity(disk, &path, &content);
            text.push_str(&format!("{identity} ./{name}\0"));
        }
    }
    Ok(text)
}

fn identity(disk: &Disk, path: &Path, content: &[u8]) -> String {
    format!("1 7 {} {}", seconds(disk, path), content.len())
}

/// Looks at files, or removes them, if they are what they were.
fn act(disk: &Disk, call: &CommandCall) -> Said {
    let arguments = arguments(call);
    let [action, folder, files @ ..] = arguments.as_slice() else { return Err("no folder".into()) };
    let mut codes = String::new();
    for pair in files.chunks_exact(2) {
        let path = Path::new(folder).join(pair[0].trim_start_matches("./"));
        codes.push_str(match disk.read(&path) {
            None => "7 ",
            Some(content) if !pair[1].starts_with(&identity(disk, &path, &content)) => "8 ",
            Some(_) => "0 ",
        });
        if action == "remove" && codes.ends_with("0 ") {
            disk.remove(&path);
        }
    }
    Ok(codes)
}
