//! npm, against the real one and without a registry; Prisma as a scripted program.
#![allow(missing_docs)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use runbook_core::testing::Faults;
use runbook_core::{Engine, Host, MemoryStore, Outcome, RunOptions, Runbook, Status};
use runbook_node::{Npm, Prisma, Severity};
use runbook_targets::{Local, WithEnv};

/// A package that depends on another one in a folder beside it, and has a lock file.
struct Package {
    dir: tempfile::TempDir,
}

impl Package {
    fn new() -> Self {
        let it = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(it.dir.path().join("dep")).unwrap();
        it.depend("1.0.0");
        it.write(
            "package.json",
            r#"{"name":"shop","version":"1.0.0","dependencies":{"dep":"file:../dep"},"scripts":{
                "build":"mkdir -p dist && cp release dist/release",
                "bad-build":"mkdir -p dist && rm -f dist/* && echo boom >&2 && exit 3",
                "typecheck":"test -d node_modules/dep",
                "loud":"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo line $i >&2; done; exit 1"}}"#,
        );
        it.write("release", "v1");
        it.npm_by_hand(&["install"]);
        it
    }

    fn app(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.app().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.app().join(name)).ok()
    }

    fn depend(&self, version: &str) {
        let text = format!(r#"{{"name":"dep","version":"{version}"}}"#);
        std::fs::write(self.dir.path().join("dep/package.json"), text).unwrap();
    }

    fn npm_by_hand(&self, words: &[&str]) {
        let mut npm = Command::new("npm");
        npm.args(words).args(["--offline", "--no-audit", "--no-fund", "--install-links"]);
        let output = npm.current_dir(self.app()).envs(self.env()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn env(&self) -> [(&'static str, String); 4] {
        let cache = self.dir.path().join("cache").display().to_string();
        // No registry is ever asked, not even by mistake.
        let registry = "http://127.0.0.1:9".to_owned();
        [
            ("NPM_CONFIG_CACHE", cache),
            ("NPM_CONFIG_REGISTRY", registry),
            ("NPM_CONFIG_INSTALL_LINKS", "true".into()),
            ("NPM_CONFIG_FETCH_RETRIES", "0".into()),
        ]
    }

    fn npm(&self) -> Npm {
        let local = WithEnv::new(Host::new(Local::new()));
        let host = self.env().into_iter().fold(local, |host, (name, value)| host.env(name, value));
        Npm::new(&Host::new(host), self.app())
    }

    fn script(&self, path: &str, text: &str) {
        self.write(path, &format!("#!/bin/sh\n{text}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.app().join(path), mode).unwrap();
    }

    fn kept(&self) -> bool {
        self.app().join(".runbook-kept").exists()
    }
}

fn run(faults: Option<Faults>, fill: impl FnOnce(&mut Runbook)) -> Outcome {
    let mut b = Runbook::new("test");
    fill(&mut b);
    let plan = b.build().unwrap();
    let mut options = RunOptions::new();
    options.faults = faults;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(async { Engine::new(MemoryStore::new()).run(&plan, options).outcome().await })
        .unwrap()
}

fn problem(outcome: &Outcome) -> String {
    let finished = outcome.finished.as_ref().unwrap();
    let problem = finished.problem.as_ref().unwrap();
    format!("{problem} | {}", problem.next.clone().unwrap_or_default())
}

#[test]
fn what_was_installed_comes_back_without_the_registry() {
    let package = Package::new();
    let old = package.read("node_modules/.package-lock.json").unwrap();
    package.write("node_modules/only-here", "kept");
    for faults in [Faults::fail_before(1), Faults::fail_after(1)] {
        let back = run(Some(faults), |b| {
            b.step(package.npm().install());
        });
        assert_eq!(back.status, Status::RolledBack, "{:?}", back.finished);
        assert_eq!(package.read("node_modules/.package-lock.json").as_ref(), Some(&old));
        assert_eq!(package.read("node_modules/only-here").as_deref(), Some("kept"));
    }
    let done = run(Some(Faults::repeat_every_unit()), |b| {
        b.step(package.npm().install());
        let checked = b.step(package.npm().script("typecheck"));
        b.finally(|b| {
            b.step(package.npm().forget_kept(&checked));
        });
    });
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.finished);
    assert_eq!(package.read("node_modules/only-here"), None, "exactly what the lock says");
    assert!(!package.kept());
}

#[test]
fn what_was_kept_is_there_until_all_went_well() {
    let package = Package::new();
    let old = package.read("node_modules/.package-lock.json").unwrap();
    // The third is the clean-up itself: that it failed takes nothing back.
    for (step, status) in [(1, Status::RolledBack), (2, Status::RolledBack), (3, Status::Failed)] {
        package.write("node_modules/only-here", "kept");
        let back = run(Some(Faults::fail_after(step)), |b| {
            b.step(package.npm().install());
            let checked = b.step(package.npm().script("typecheck"));
            b.finally(|b| {
                b.step(package.npm().forget_kept(&checked));
            });
        });
        assert_eq!(back.status, status, "{:?}", back.finished);
        let kept = package.read("node_modules/only-here");
        assert_eq!(kept.as_deref(), (status == Status::RolledBack).then_some("kept"));
        assert_eq!(package.read("node_modules/.package-lock.json").as_ref(), Some(&old));
    }
}

#[test]
fn a_first_install_is_undone_to_nothing() {
    let package = Package::new();
    std::fs::remove_dir_all(package.app().join("node_modules")).unwrap();
    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(package.npm().install());
    });
    assert_eq!(back.status, Status::RolledBack, "{:?}", back.finished);
    assert!(!package.app().join("node_modules").exists());
}

#[test]
fn the_old_build_comes_back_even_if_the_new_one_wrecked_it() {
    let package = Package::new();
    let built = run(None, |b| {
        b.step(package.npm().build("build", ["dist"]));
    });
    assert_eq!(built.status, Status::Succeeded, "{:?}", built.finished);
    package.write("release", "v2");
    let bad = run(None, |b| {
        b.step(package.npm().build("bad-build", ["dist"]));
    });
    assert_eq!(bad.status, Status::RolledBack);
    assert!(problem(&bad).contains("boom"), "{}", problem(&bad));
    assert_eq!(package.read("dist/release").as_deref(), Some("v1"));
    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(package.npm().build("build", ["dist", "not-made/ever"]));
    });
    assert_eq!(back.status, Status::RolledBack, "{:?}", back.finished);
    assert_eq!(package.read("dist/release").as_deref(), Some("v1"));
    let done = run(Some(Faults::repeat_every_unit()), |b| {
        b.step(package.npm().build("build", ["dist"]));
    });
    assert_eq!(done.status, Status::Succeeded);
    assert_eq!(package.read("dist/release").as_deref(), Some("v2"));
}

#[test]
fn what_goes_wrong_is_named() {
    let package = Package::new();
    let says = |fill: &dyn Fn(&mut Runbook)| problem(&run(None, fill));
    let npm = package.npm();
    let said = says(&|b| {
        b.step(npm.script("biuld"));
    });
    assert!(said.contains("has no script `biuld`") && said.contains("npm run"), "{said}");
    let said = says(&|b| {
        b.step(npm.script("loud"));
    });
    assert!(said.contains("line 15") && !said.contains("line 1;"), "the end of it: {said}");
    let nowhere = Npm::new(npm.host(), package.dir.path());
    let said = says(&|b| {
        b.step(nowhere.script("build"));
    });
    assert!(said.contains("there is no package.json"), "{said}");
    let old = package.read("package.json").unwrap();
    package.write("package.json", &old.replace("\"dep\"", "\"other\":\"1.2.3\",\"dep\""));
    let said = says(&|b| {
        b.step(npm.install());
    });
    assert!(said.contains("request to http://127.0.0.1:9/other failed"), "{said}");
    package.write("package.json", &old);
    std::fs::remove_file(package.app().join("package-lock.json")).unwrap();
    let said = says(&|b| {
        b.step(npm.install());
    });
    assert!(said.contains("package-lock.json is missing"), "{said}");
    let said = says(&|b| {
        b.step(npm.clone().program("npm-is-not-here").script("build"));
    });
    assert!(said.contains("npm-is-not-here"), "{said}");
}

#[test]
fn node_is_compared_with_what_is_wanted() {
    let package = Package::new();
    let old = run(None, |b| {
        b.check(package.npm().node_at_least("12"));
    });
    assert_eq!(old.status, Status::Succeeded, "{:?}", old.finished);
    let new = run(None, |b| {
        b.check(package.npm().node_at_least("999.1"));
    });
    assert_eq!(new.status, Status::Failed);
}

#[test]
fn an_audit_counts_what_is_at_least_as_bad() {
    let package = Package::new();
    let report = r#"{"metadata":{"vulnerabilities":{"info":9,"low":2,"moderate":1,"high":1,"critical":0,"total":13}}}"#;
    package.script("fake-npm", &format!("echo '{report}'; exit 1"));
    let npm = package.npm().program(package.app().join("fake-npm"));
    let status = |worst| {
        run(None, |b| {
            b.check(npm.audit(worst));
        })
        .status
    };
    assert_eq!(status(Severity::Critical), Status::Succeeded);
    assert_eq!(status(Severity::High), Status::Failed);
    // The real one, and no registry: an error, not a pass.
    let refused = run(None, |b| {
        b.check(package.npm().audit(Severity::High));
    });
    assert_eq!(refused.status, Status::Failed, "{:?}", refused.finished);
}

#[test]
fn migrations_that_are_pending_or_failed_are_told_apart() {
    let package = Package::new();
    let prisma = Prisma::new(&package.npm());
    let says = |text: &str, code: u8| {
        package
            .script("node_modules/.bin/prisma", &format!("cat <<'EOF'\n{text}\nEOF\nexit {code}"));
        run(None, |b| {
            b.check(prisma.is_migrated());
        })
    };
    assert_eq!(says("Database schema is up to date!", 0).status, Status::Succeeded);
    let pending = says("Following migration have not yet been applied:\n20260101_a\n\nTo apply", 1);
    assert!(problem(&pending).contains("not applied: 20260101_a"), "{}", problem(&pending));
    let failed = says("Following migration have failed:\n20260102_b\n\nDuring development", 1);
    assert!(problem(&failed).contains("failed: 20260102_b"), "{}", problem(&failed));
    let down = says("Error: P1001: Can't reach database server at `127.0.0.1:1`", 1);
    assert!(problem(&down).contains("P1001"), "{}", problem(&down));
    package.script("node_modules/.bin/prisma", "echo \"$@\" >> prisma-was-called");
    let done = run(None, |b| {
        b.step(prisma.generate());
        b.irreversible(prisma.migrate_deploy(), "tested");
        b.irreversible(prisma.resolve_rolled_back("20260102_b"), "tested");
        b.irreversible(prisma.resolve_applied("20260102_b"), "tested");
    });
    assert_eq!(done.status, Status::Succeeded, "{:?}", done.finished);
    let calls = package.read("prisma-was-called").unwrap();
    let wanted = "generate\nmigrate deploy\nmigrate resolve --rolled-back 20260102_b\n\
                  migrate resolve --applied 20260102_b\n";
    assert_eq!(calls, wanted);
}
