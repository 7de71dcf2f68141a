//! Durability hides behind the network: the shell that runs a unit's command is there before the
//! unit's record is durable, and the command is sent only after. And what a journal keeps of files.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lab::{Proxy, Sshd};
use runbook_core::{
    Context, Direction, Engine, Event, EventKind, FileStore, Host, Journal, JournalError,
    JournalStore, LockStore, Result, RunId, RunOptions, Runbook, Status, StreamKind, Transfer,
    UnitId, Verification,
};
use runbook_macros::step;

use crate::files_far::breaks_after;
use crate::support::{sh, soon};
use crate::{at, by_way_of, to};

/// Says which shell runs it, and leaves a trace
#[step(harmless)]
async fn trace(cx: &Context, host: &Host, folder: &str, number: u32) -> Result<String> {
    let script = sh("echo here >\"$0\"; echo $PPID").arg(format!("{folder}/{number}"));
    cx.on(host).run(&script).await.map(|output| output.text())
}

/// Sends a build and a small file, keeps a copy there, and fetches that
#[step(harmless)]
async fn send(cx: &Context, host: &Host, path: &str) -> Result<()> {
    let (build, copy) = (build(), format!("{path}.copy"));
    cx.on(host).write(path, build.clone()).await?;
    cx.on(host).write(format!("{path}.txt"), "small").await?;
    cx.on(host).copy(path, &copy).await?;
    assert!(cx.on(host).read(&copy).await? == build);
    Ok(())
}

fn build() -> Vec<u8> {
    (0..3_u32 << 18).flat_map(u32::to_le_bytes).collect()
}

/// What there was when the start of a unit became durable.
#[derive(Clone, Debug)]
struct Seen {
    /// Traces of commands that ran.
    traces: usize,
    processes: BTreeSet<u32>,
}

/// A store on a disk that takes its time, and looks around meanwhile.
#[derive(Clone, Debug)]
struct Slow {
    inner: FileStore,
    sshd: Arc<Sshd>,
    folder: PathBuf,
    slow: Duration,
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct SlowJournal {
    inner: Arc<dyn Journal>,
    store: Slow,
    starts: Mutex<bool>,
}

#[async_trait]
impl Journal for SlowJournal {
    fn append(&self, event: &Arc<Event>) -> Result<u64, JournalError> {
        if matches!(event.event, EventKind::Started { .. }) {
            *self.starts.lock().unwrap() = true;
        }
        self.inner.append(event)
    }

    async fn commit(&self, seq: u64) -> Result<(), JournalError> {
        let starts = std::mem::take(&mut *self.starts.lock().unwrap());
        tokio::time::sleep(self.store.slow).await;
        self.inner.commit(seq).await?;
        if starts {
            let traces = fs::read_dir(&self.store.folder).unwrap().count();
            let processes = self.store.sshd.sessions().into_iter().collect();
            self.store.seen.lock().unwrap().push(Seen { traces, processes });
        }
        Ok(())
    }

    fn spool(&self, unit: &UnitId, stream: StreamKind, line: &str) {
        self.inner.spool(unit, stream, line);
    }
}

#[async_trait]
impl JournalStore for Slow {
    async fn create(&self, run: &RunId) -> Result<Arc<dyn Journal>, JournalError> {
        let inner = self.inner.create(run).await?;
        Ok(Arc::new(SlowJournal { inner, store: self.clone(), starts: Mutex::default() }))
    }

    async fn open(&self, run: &RunId) -> Result<(Arc<dyn Journal>, Vec<Arc<Event>>), JournalError> {
        self.inner.open(run).await
    }

    async fn read(&self, run: &RunId) -> Result<Vec<Arc<Event>>, JournalError> {
        self.inner.read(run).await
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.inner.list().await
    }

    async fn verify(&self, run: &RunId) -> Result<Verification, JournalError> {
        self.inner.verify(run).await
    }

    async fn output(&self, run: &RunId, unit: &UnitId) -> Result<String, JournalError> {
        self.inner.output(run, unit).await
    }

    fn locks(&self) -> Arc<dyn LockStore> {
        self.inner.locks()
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a figure, which nothing asserts")]
async fn a_shell_waits_for_the_command_of_a_unit_before_its_record_is_durable() {
    const UNITS: u32 = 8;
    let sshd = Arc::new(Sshd::start());
    let proxy = Proxy::start(sshd.port());
    proxy.delay(Duration::from_millis(5));
    for isolated in [false, true] {
        let (folder, journal) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ssh = by_way_of(&sshd, &proxy);
        let host = Host::new(if isolated { ssh.isolated() } else { ssh });
        let mut b = Runbook::new("traces");
        let ran: Vec<_> = (0..UNITS)
            .map(|number| {
                let step = trace(&host, folder.path().to_str().unwrap(), number);
                b.step(step)
            })
            .collect();
        let plan = b.build().unwrap();
        drop(ran);
        let store = Slow {
            inner: FileStore::new(journal.path()),
            sshd: Arc::clone(&sshd),
            folder: folder.path().to_owned(),
            slow: Duration::from_millis(300),
            seen: Arc::default(),
        };
        let engine = Engine::new(store.clone());
        let since = Instant::now();
        let mut handle = engine.run(&plan, RunOptions::new().unattended());
        let mut shells = Vec::new();
        while let Some(event) = soon(handle.next()).await {
            if let EventKind::Output { line, .. } = &event.event {
                shells.extend(line.trim().parse::<u32>());
            }
        }
        assert_eq!(soon(handle.outcome()).await.unwrap().status, Status::Succeeded);
        eprintln!("{UNITS} units on a slow disk, isolated: {isolated}: {:?}", since.elapsed());
        let seen = store.seen.lock().unwrap().clone();
        assert_eq!((seen.len(), shells.len()), (UNITS as usize, UNITS as usize));
        for (number, (seen, shell)) in seen.iter().zip(&shells).enumerate() {
            assert_eq!(seen.traces, number, "no command ran before its record was durable");
            // The first one connects.
            assert!(number == 0 || seen.processes.contains(shell), "{number}: {seen:?}, {shell}");
        }
        let different: BTreeSet<_> = shells.iter().collect();
        assert_eq!(different.len(), if isolated { UNITS as usize } else { 1 });
    }
}

/// What the journal of a run has of files.
async fn kept(engine: &Engine, run: &RunId) -> Vec<Transfer> {
    let file = |event: &Arc<Event>| match &event.event {
        EventKind::Transfer(file) => Some((**file).clone()),
        _ => None,
    };
    engine.store().read(run).await.unwrap().iter().filter_map(file).collect()
}

#[tokio::test]
async fn the_journal_has_the_hash_of_a_build_that_was_sent_as_the_host_has_it() {
    let sshd = Sshd::start();
    let (folder, journal) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = Host::new(to(&sshd));
    let path = folder.path().join("shop.tar.gz").display().to_string();
    let mut b = Runbook::new("send");
    b.step(send(&host, &path));
    let plan = b.build().unwrap();
    let engine = Engine::new(FileStore::new(journal.path()));
    let outcome = soon(engine.run(&plan, RunOptions::new().unattended()).outcome()).await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded, "{outcome:?}");

    let sum = |path: &str| {
        let said = std::process::Command::new("sha256sum").arg(path).output().unwrap().stdout;
        String::from_utf8(said).unwrap()[..64].to_owned()
    };
    let kept = kept(&engine, &outcome.run).await;
    let copy = format!("{path}.copy");
    assert_eq!(
        kept.iter().map(|file| (file.direction, &file.path, &file.sha256)).collect::<Vec<_>>(),
        [(Direction::Up, &path, &Some(sum(&path))), (Direction::Down, &copy, &Some(sum(&copy)))]
    );
    assert!(engine.store().verify(&outcome.run).await.is_ok());
}

#[tokio::test]
async fn the_journal_has_nothing_of_a_build_whose_connection_was_lost() {
    let sshd = Sshd::start();
    let (folder, journal) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let host = Host::new(at(&sshd, breaks_after(sshd.port(), 1 << 20)));
    let path = folder.path().join("shop.tar.gz").display().to_string();
    let mut b = Runbook::new("send");
    b.step(send(&host, &path));
    let engine = Engine::new(FileStore::new(journal.path()));
    let plan = b.build().unwrap();
    let outcome = soon(engine.run(&plan, RunOptions::new().unattended()).outcome()).await.unwrap();
    assert_eq!(outcome.status, Status::Failed);
    let problem = outcome.finished.unwrap().problem.unwrap();
    assert!(problem.to_string().starts_with("writing /"), "{problem}");
    assert_eq!(kept(&engine, &outcome.run).await, []);
    assert!(engine.store().verify(&outcome.run).await.is_ok());
}
