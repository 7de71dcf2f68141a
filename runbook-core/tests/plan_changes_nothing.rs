//! `plan` and `check` change nothing: neither on a target, nor on disk, nor in the journal.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use runbook_core::testing::{FakeTarget, Reply};
use runbook_core::*;
use serde::{Deserialize, Serialize};

struct DiskFree(Host);

impl Check for DiskFree {
    type Evidence = String;
    fn about(&self) -> About {
        About::new("disk-free", "The disk has room").preview("df -P /")
    }
    async fn check(&self, cx: &Observer) -> Result<Verdict<String>> {
        let df = cx.on(&self.0).output(&Command::new("df").args(["-P", "/"]).read_only()).await?;
        Ok(Verdict::pass(df.text(), "it has"))
    }
}

/// Changes everything that it can reach: the host, and a folder of this machine.
struct Deploy {
    host: Host,
    folder: PathBuf,
}

#[derive(Clone, Serialize, Deserialize)]
struct Was(Option<String>);

impl Step for Deploy {
    type Output = ();
    type Rollback = Was;
    fn about(&self) -> About {
        About::new("deploy", "Deploy").preview("deploy --now")
    }
    async fn satisfied(&self, cx: &Observer) -> Result<Option<()>> {
        Ok(cx.on(&self.host).exists("/srv/new").await?.then_some(()))
    }
    async fn run(&self, cx: &Context) -> Result<()> {
        fs::write(self.folder.join("new"), "new")?;
        let host = cx.on(&self.host);
        host.run(&Command::new("deploy").arg("--now")).await?;
        host.write("/srv/new", "new").await?;
        host.remove("/srv/old").await
    }
}

impl Rollback<Deploy> for Was {
    async fn record(step: &Deploy, cx: &Observer) -> Result<Self> {
        Ok(Was(cx.on(&step.host).read_text("/srv/old").await.ok()))
    }
    async fn rollback(&self, step: &Deploy, _: Option<&()>, cx: &Context) -> Result<()> {
        let _ = fs::remove_file(step.folder.join("new"));
        cx.on(&step.host).remove("/srv/new").await?;
        match &self.0 {
            Some(text) => cx.on(&step.host).write("/srv/old", text.as_str()).await,
            None => Ok(()),
        }
    }
}

fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let modified = path.metadata().unwrap().modified().unwrap();
            if path.is_dir() {
                all.push((path.clone(), Vec::new(), modified));
                open.push(path);
            } else {
                all.push((path.clone(), fs::read(&path).unwrap(), modified));
            }
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn looking_leaves_the_target_the_folder_and_the_journal_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old"), "old").unwrap();
    let target = FakeTarget::new("web-1").dir("/srv").file("/srv/old", "old");
    target.on("df -P /").reply(Reply::stdout("lots"));
    target.on("deploy --now").reply(Reply::ok());
    let host = Host::new(target.clone());
    let build = || {
        let mut b = Runbook::new("deploy");
        b.lock("site:shop");
        b.check(DiskFree(host.clone()));
        let deploy = Deploy { host: host.clone(), folder: folder.path().into() };
        b.step(deploy.requires(DiskFree(host.clone())).verify(DiskFree(host.clone())));
        b.build().unwrap()
    };
    let journal = folder.path().join("journal");
    let engine = Engine::new(FileStore::new(&journal));
    let before = snapshot(folder.path());
    let tree = target.tree();
    for _ in 0..2 {
        let outcome = engine.plan(&build(), RunOptions::new()).outcome().await.unwrap();
        assert_eq!(outcome.status, Status::Succeeded);
        let outcome = engine.check(&build(), RunOptions::new()).outcome().await.unwrap();
        assert_eq!(outcome.status, Status::Succeeded);
    }
    assert_eq!(snapshot(folder.path()), before);
    assert_eq!(target.changes(), Vec::<String>::new());
    assert_eq!(target.tree(), tree);
    let commands: Vec<_> = target.commands().into_iter().map(|call| call.line).collect();
    assert!(!commands.is_empty() && commands.iter().all(|line| line == "df -P /"), "{commands:?}");

    // The same plan, run, does change all of them: the test can fail.
    let outcome = engine.run(&build(), RunOptions::new()).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    assert_ne!(snapshot(folder.path()), before);
    assert!(!target.changes().is_empty());
}
