//! Which crate may name which: read from the manifests, so that nobody has to remember.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crate name to its ordinary dependencies (dev-dependencies may point anywhere).
fn manifests() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    for parent in ["", "runbook-actions", "examples"] {
        let entries = fs::read_dir(root.join(parent)).unwrap();
        folders.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
    }
    for folder in folders {
        let Ok(text) = fs::read_to_string(folder.join("Cargo.toml")) else { continue };
        let manifest: toml::Table = text.parse().unwrap();
        let Some(name) = manifest.get("package").and_then(|package| package["name"].as_str())
        else {
            continue;
        };
        let table = |name: &str| {
            let table = manifest.get(name).and_then(toml::Value::as_table);
            table.map(|table| table.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
        };
        let mut dependencies = table("dependencies");
        dependencies.extend(table("build-dependencies"));
        found.insert(name.to_owned(), dependencies);
    }
    found
}

fn siblings(dependencies: &[String]) -> Vec<&str> {
    dependencies
        .iter()
        .map(String::as_str)
        .filter(|name| *name == "runbook" || name.starts_with("runbook-"))
        .collect()
}

#[test]
fn the_arrows_between_crates_hold() {
    let crates = manifests();
    assert_eq!(siblings(&crates["runbook-macros"]), [""; 0], "macros depend on no sibling");
    assert_eq!(siblings(&crates["runbook-core"]), [""; 0], "core depends on no sibling");
    assert_eq!(siblings(&crates["runbook-targets"]), ["runbook-core"], "targets -> core");
    let basic = ["runbook", "runbook-core", "runbook-macros", "runbook-targets"];
    for (name, dependencies) in &crates {
        if name.starts_with("runbook-") && !basic.contains(&name.as_str()) {
            // TLS is no system that is acted upon, but what several of them are spoken to through.
            let allowed = ["runbook-core", "runbook-macros", "runbook-tls"];
            let other: Vec<_> =
                siblings(dependencies).into_iter().filter(|d| !allowed.contains(d)).collect();
            assert!(other.is_empty(), "the action crate {name} names {other:?}");
        }
    }
}

#[test]
fn core_knows_no_driver_no_terminal_and_no_argument_parser() {
    let forbidden = [
        "clap",
        "crossterm",
        "indicatif",
        "console",
        "ssh2",
        "russh",
        "tokio-postgres",
        "deadpool-redis",
        "redis",
        "hyper",
        "reqwest",
        "bollard",
        "openssl",
        "rustls",
    ];
    let crates = manifests();
    for name in ["runbook-core", "runbook-macros"] {
        for dependency in &crates[name] {
            assert!(!forbidden.contains(&dependency.as_str()), "{name} names {dependency}");
        }
    }
}
