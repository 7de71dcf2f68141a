//! The lab's Node application, and what `scripts/setup` prepared for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{run, try_run};

/// The source of the application: release 1.
#[must_use]
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("app")
}

/// The cache of npm in which `scripts/setup` has put all packages of the application: with it
/// `npm ci --offline` works.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn npm_cache() -> PathBuf {
    prepared("npm")
}

/// The site's `node_modules` (bullmq, ioredis, pg, express), to run a script beside them. Don't
/// write there.
///
/// # Panics
/// As [`npm_cache`].
#[must_use]
pub fn node_modules() -> PathBuf {
    prepared("node_modules/site")
}

/// Lines of an `.npmrc` that make npm use the cache, and nothing else.
///
/// # Panics
/// As [`npm_cache`].
#[must_use]
pub fn npmrc() -> String {
    format!(
        "cache={}\noffline=true\naudit=false\nfund=false\nupdate-notifier=false\n",
        npm_cache().display()
    )
}

/// Puts all `node_modules` into a work tree of the application, as `npm ci` would, but quicker.
///
/// # Panics
/// They are not prepared, or can't be copied.
pub fn install(work_tree: &Path) {
    let modules = prepared("node_modules");
    run(Command::new("cp").arg("-a").arg(modules.join("site")).arg(work_tree.join("node_modules")));
    // Prisma is big, and nothing writes into its files: links do, but for npm's own notes.
    let (from, to) = (modules.join("database"), work_tree.join("database/node_modules"));
    let linked = try_run(Command::new("cp").arg("-al").arg(&from).arg(&to)).is_ok();
    if linked {
        fs::remove_file(to.join(".package-lock.json")).expect("npm's notes");
        run(Command::new("cp").arg("-a").arg(from.join(".package-lock.json")).arg(&to));
    } else {
        // Another file system.
        let _ = fs::remove_dir_all(&to);
        run(Command::new("cp").arg("-a").arg(&from).arg(&to));
    }
}

fn prepared(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/lab");
    let path = fs::canonicalize(root.join(name));
    path.unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup", root.join(name).display()))
}
