//! Git, against the real one.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use runbook_core::testing::Faults;
use runbook_core::{Engine, Host, MemoryStore, Outcome, RunOptions, Runbook, Status};
use runbook_git::Git;
use runbook_targets::{Local, WithEnv};

/// A remote with two releases, and a work tree at the first.
struct Repositories {
    dir: tempfile::TempDir,
}

impl Repositories {
    fn new() -> Self {
        let it = Self { dir: tempfile::tempdir().unwrap() };
        it.git(it.dir.path(), &["init", "--quiet", "--bare", "remote.git"]);
        it.git(it.dir.path(), &["clone", "--quiet", "remote.git", "author"]);
        it.git(&it.author(), &["checkout", "--quiet", "-b", "main"]);
        it.release("v1");
        it.git(it.dir.path(), &["clone", "--quiet", "--branch", "main", "remote.git", "app"]);
        it.release("v2");
        it
    }

    fn author(&self) -> PathBuf {
        self.dir.path().join("author")
    }

    fn app(&self) -> PathBuf {
        self.dir.path().join("app")
    }

    fn git(&self, dir: &Path, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(words)
            .current_dir(dir)
            .envs(identity(self.dir.path()))
            .output()
            .unwrap();
        assert!(output.status.success(), "git {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits, tags and pushes.
    fn release(&self, name: &str) {
        std::fs::write(self.author().join("release"), name).unwrap();
        self.git(&self.author(), &["add", "."]);
        self.git(&self.author(), &["commit", "--quiet", "-m", &format!("Release {name}")]);
        self.git(&self.author(), &["tag", "-a", "-m", name, name]);
        self.git(&self.author(), &["push", "--quiet", "--tags", "origin", "main"]);
    }

    fn host(&self) -> Host {
        let env = identity(self.dir.path());
        let local = WithEnv::new(Host::new(Local::new()));
        Host::new(env.into_iter().fold(local, |host, (name, value)| host.env(name, value)))
    }

    fn tree(&self) -> Git {
        Git::new(&self.host(), self.app())
    }

    fn release_of_app(&self) -> String {
        std::fs::read_to_string(self.app().join("release")).unwrap()
    }

    fn at(&self) -> (String, String) {
        let head = self.git(&self.app(), &["rev-parse", "HEAD"]);
        let branch = self.git(&self.app(), &["rev-parse", "--abbrev-ref", "HEAD"]);
        (head, branch)
    }
}

/// Nobody's configuration but this.
fn identity(home: &Path) -> Vec<(&'static str, String)> {
    let who = |kind: &str| if kind == "NAME" { "Kim" } else { "kim@example.org" };
    vec![
        ("HOME", home.display().to_string()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_AUTHOR_NAME", who("NAME").into()),
        ("GIT_AUTHOR_EMAIL", who("EMAIL").into()),
        ("GIT_COMMITTER_NAME", who("NAME").into()),
        ("GIT_COMMITTER_EMAIL", who("EMAIL").into()),
    ]
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
fn a_checkout_is_undone_to_the_branch_and_commit_that_it_came_from() {
    let repositories = Repositories::new();
    let app = repositories.tree();
    let before = repositories.at();
    assert_eq!(before.1, "main");
    let done = run(None, |b| {
        b.step(app.fetch());
        let commit = b.step(app.checkout("v2"));
        b.check(app.is_at(commit.map(|commit| commit.id.clone())));
        b.check(app.is_at("v2"));
    });
    assert_eq!(done.status, Status::Succeeded);
    assert_eq!(
        (repositories.release_of_app().as_str(), repositories.at().1.as_str()),
        ("v2", "HEAD")
    );

    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(app.checkout("main"));
    });
    assert_eq!(back.status, Status::RolledBack);
    assert_eq!(repositories.at().1, "HEAD", "it was a commit, so it is again");
    assert_eq!(repositories.release_of_app(), "v2");

    run(None, |b| {
        b.step(app.checkout("main"));
    });
    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(app.checkout("v2"));
    });
    assert_eq!(back.status, Status::RolledBack);
    assert_eq!(repositories.at(), before);
}

#[test]
fn a_pull_forwards_the_branch_and_is_undone() {
    let repositories = Repositories::new();
    let app = repositories.tree();
    let before = repositories.at();
    let back = run(Some(Faults::fail_after(1)), |b| {
        b.step(app.pull("main"));
    });
    assert_eq!(back.status, Status::RolledBack);
    assert_eq!(repositories.at(), before);
    assert_eq!(repositories.release_of_app(), "v1");
    let done = run(None, |b| {
        b.step(app.pull("main"));
        b.check(app.is_at("v2"));
        b.check(app.is_clean());
        b.check(app.head());
        b.check(app.log(2));
    });
    assert_eq!(done.status, Status::Succeeded);
    assert_eq!(
        (repositories.release_of_app().as_str(), repositories.at().1.as_str()),
        ("v2", "main")
    );
}

#[test]
fn changes_that_are_not_committed_are_never_lost() {
    let repositories = Repositories::new();
    let app = repositories.tree();
    std::fs::write(repositories.app().join("release"), "patched by hand").unwrap();
    for pull in [true, false] {
        let refused = run(None, |b| {
            b.step(app.fetch());
            if pull {
                b.step(app.pull("main"));
            } else {
                b.step(app.checkout("v2"));
            }
        });
        assert_eq!(refused.status, Status::RolledBack);
        let said = problem(&refused);
        assert!(said.contains("1 file is changed and not committed: release"), "{said}");
        assert!(said.contains("git stash"), "{said}");
    }
    assert_eq!(repositories.release_of_app(), "patched by hand");
    let checked = run(None, |b| {
        b.check(app.is_clean());
    });
    assert_eq!(checked.status, Status::Failed);
}

#[test]
fn branches_that_went_different_ways_are_left_alone() {
    let repositories = Repositories::new();
    std::fs::write(repositories.app().join("release"), "v1b").unwrap();
    repositories.git(&repositories.app(), &["commit", "--quiet", "-am", "A hot fix"]);
    let before = repositories.at();
    let refused = run(None, |b| {
        b.step(repositories.tree().pull("main"));
    });
    let said = problem(&refused);
    assert!(
        said.contains("`main` can't be fast-forwarded: it has commits that origin/main has not"),
        "{said}"
    );
    assert_eq!(repositories.at(), before);
}

#[test]
fn a_detached_head_is_not_pulled() {
    let repositories = Repositories::new();
    repositories.git(&repositories.app(), &["checkout", "--quiet", "--detach", "v1"]);
    let refused = run(None, |b| {
        b.step(repositories.tree().pull("main"));
    });
    let said = problem(&refused);
    assert!(said.contains("no branch is checked out"), "{said}");
}

#[test]
fn a_revision_is_never_taken_for_an_option_and_an_unknown_one_is_named() {
    let repositories = Repositories::new();
    for revision in ["v3", "--force", "-", "", "v1\nv2"] {
        let refused = run(None, |b| {
            b.step(repositories.tree().checkout(revision));
        });
        let said = problem(&refused);
        assert!(said.contains("there is no commit"), "{revision:?}: {said}");
        assert!(said.contains("git ls-remote origin"), "{said}");
    }
    let checked = run(None, |b| {
        b.check(repositories.tree().has("v1"));
    });
    assert_eq!(checked.status, Status::Succeeded);
    let checked = run(None, |b| {
        b.check(repositories.tree().has("v3"));
    });
    assert_eq!(checked.status, Status::Failed);
}

#[test]
fn a_tag_is_made_pushed_and_taken_back_from_both_places() {
    let repositories = Repositories::new();
    let app = repositories.tree();
    let tags = |dir: &Path| repositories.git(dir, &["tag", "--list", "r*"]);
    let remote = repositories.dir.path().join("remote.git");
    let back = run(Some(Faults::fail_after(2)), |b| {
        let tag = b.step(app.tag("r1", "The first; $(touch x)"));
        b.step(app.push_tag(tag));
    });
    assert_eq!(back.status, Status::RolledBack);
    assert_eq!((tags(&repositories.app()), tags(&remote)), (String::new(), String::new()));
    let twice = run(Some(Faults::repeat_every_unit()), |b| {
        let tag = b.step(app.tag("r1", "The first; $(touch x)"));
        b.step(app.push_tag(tag));
    });
    assert_eq!(twice.status, Status::Succeeded, "{:?}", twice.finished);
    assert_eq!((tags(&repositories.app()), tags(&remote)), ("r1".into(), "r1".into()));
    let kind = repositories.git(&remote, &["cat-file", "-t", "r1"]);
    assert_eq!(kind, "tag", "annotated");

    run(None, |b| {
        b.step(app.pull("main"));
    });
    let moved = run(None, |b| {
        b.step(app.tag("r1", "Somewhere else"));
    });
    let said = problem(&moved);
    assert!(said.contains("the tag `r1` is there already, on the commit"), "{said}");
}

#[test]
fn what_is_wrong_with_the_place_is_said() {
    let repositories = Repositories::new();
    let host = repositories.host();
    let none = run(None, |b| {
        b.check(Git::new(&host, repositories.dir.path()).head());
    });
    let said = problem(&none);
    assert!(said.contains("it is no git work tree"), "{said}");
    let missing = run(None, |b| {
        b.check(Git::new(&host, repositories.dir.path().join("nowhere")).head());
    });
    let said = problem(&missing);
    assert!(said.contains("nowhere"), "{said}");
    std::fs::remove_dir_all(repositories.dir.path().join("remote.git")).unwrap();
    let unreachable = run(None, |b| {
        b.step(repositories.tree().fetch());
    });
    let said = problem(&unreachable);
    assert!(said.contains("the remote can't be used"), "{said}");
    std::fs::write(repositories.app().join(".git/index.lock"), "").unwrap();
    let locked = run(None, |b| {
        b.step(repositories.tree().checkout("v1"));
    });
    let said = problem(&locked);
    assert!(said.contains("the work tree is locked") && said.contains("index.lock"), "{said}");
}
