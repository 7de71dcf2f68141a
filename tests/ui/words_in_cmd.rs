//! Quotes and braces that don't fit together.

use runbook::{Command, cmd};

struct Dir {
    path: String,
}

fn main() {
    let dir = Dir { path: "x".into() };
    let files = ["a", "b"];
    let commands: [Command; 13] = [
        cmd!("echo it's"),
        cmd!(""),
        cmd!("ls {}"),
        cmd!("ls {dir.path}"),
        cmd!("ls {files:?}"),
        cmd!("ls {files"),
        cmd!("ls {fils...}"),
        cmd!("ls x{files...}"),
        cmd!("ls {dir}", dri = dir.path),
        cmd!("awk '{print $1}'"),
        cmd!("ls {dir}", dir),
        cmd!("ls {dir}"),
        cmd!(dir),
    ];
    let _ = (commands[0].to_string(), files);
}
