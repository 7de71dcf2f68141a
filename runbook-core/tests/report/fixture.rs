//! A deploy of a shop, and what can happen to it: a plan made with the builder, and events made by
//! hand at fixed times, each sequence one that a journal would take.

use std::sync::Arc;
use std::time::Duration;

use runbook_core::report::Timeline;
use runbook_core::{
    About, Actor, Answer, BlockOutcome, Check, CheckRole, Context, Decision, Event, EventKind,
    FailureKind, Harmless, Input, IntoInput, Irreversible, Level, LockHolder, Manual, Mode,
    Observer, Out, Outline, ParamGiven, Problem, Question, QuestionKind, Result, ResumeMode, Retry,
    Rollback, Rolling, RunFinished, RunId, RunStarted, RunState, Runbook, SkipReason, Status, Step,
    Timestamp, UnitId, Verdict, VerdictRecord, Visit, Wait, Waiting,
};
use serde::{Deserialize, Serialize};

/// What a step of the fixture says about itself.
#[derive(Clone)]
pub(crate) struct Say {
    id: &'static str,
    title: String,
    doc: &'static str,
    preview: String,
}

/// A step that records what was there; one with nothing to undo; one that can't be undone.
pub(crate) struct Change(Say, Vec<Input<String>>);
pub(crate) struct Plain(Say);
pub(crate) struct Forever(Say);
/// A check.
pub(crate) struct Look(pub(crate) &'static str, pub(crate) &'static str);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Was(String);

macro_rules! step {
    ($name:ident, $rollback:ty) => {
        impl Step for $name {
            type Output = String;
            type Rollback = $rollback;
            fn about(&self) -> About {
                let say = &self.0;
                About::new(say.id, &say.title).doc(say.doc).preview(&say.preview)
            }
            fn inputs(&self, visit: &mut dyn Visit) {
                self.each_input(visit);
            }
            async fn run(&self, _: &Context) -> Result<String> {
                Ok(String::new())
            }
        }
    };
}
step!(Change, Was);
step!(Plain, Harmless);
step!(Forever, Irreversible);

impl Change {
    fn each_input(&self, visit: &mut dyn Visit) {
        self.1.iter().for_each(|input| visit.see("input", input));
    }
}
impl Plain {
    fn each_input(&self, _: &mut dyn Visit) {}
}
impl Forever {
    fn each_input(&self, _: &mut dyn Visit) {}
}

impl Rollback<Change> for Was {
    async fn record(_: &Change, _: &Observer) -> Result<Self> {
        Ok(Self(String::new()))
    }
    async fn rollback(&self, _: &Change, _: Option<&String>, _: &Context) -> Result<()> {
        Ok(())
    }
}

impl Check for Look {
    type Evidence = u32;
    fn about(&self) -> About {
        About::new(self.0, self.1)
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<u32>> {
        Ok(Verdict::pass(0, ""))
    }
}

fn say(id: &'static str, title: impl Into<String>, doc: &'static str, preview: &str) -> Say {
    Say { id, title: title.into(), doc, preview: preview.into() }
}

/// A step that can be undone.
pub(crate) fn change(id: &'static str, title: String) -> Change {
    Change(say(id, title, "", id), vec![])
}

/// The plan: every kind of unit and block.
pub(crate) fn outline() -> Arc<Outline> {
    let mut b = Runbook::new("deploy");
    b.title("Deploy a release of the shop");
    b.doc(
        "Brings a release to all web servers, one after the other, and puts the old one back if \
         anything goes wrong.\n\n## Before you begin\nTell *#shop* that you deploy. Takes about \
         `5 min`.",
    );
    b.params(vec![
        ParamGiven { name: "release".into(), values: vec!["v2.4.0".into()], secret: false },
        ParamGiven { name: "token".into(), values: vec!["***".into()], secret: true },
    ]);
    b.lock("site:shop");
    b.check(Look("disk-has-room", "The disk has room"));
    let (dump, release) = b.group("Prepare", |b| {
        let both = b.parallel("Back up and fetch", |b| {
            let dump = b.step(
                Change(
                    say(
                        "dump-the-database",
                        "Dump the database",
                        "A dump of the whole shop, with a checksum beside it.",
                        "pg_dump -Fc -f /var/backups/shop.dump shop",
                    ),
                    vec![],
                )
                .timeout(Duration::from_secs(600))
                .verify(Look("dump-is-whole", "The dump is whole")),
            );
            let fetch = say(
                "fetch-the-release",
                "Fetch the release",
                "",
                "curl -fsSO https://releases.example.org/shop-v2.4.0.tar.zst",
            );
            let retry = Retry::times(3).pause(Duration::from_secs(2));
            (dump, b.step(Change(fetch, vec![]).retry(retry).timeout(Duration::from_secs(60))))
        });
        b.observe(Look("cache-is-warm", "The cache is warm"));
        both
    });
    let pending = b.step(Plain(say(
        "list-migrations",
        "List the migrations to run",
        "",
        "shopctl migrate --list",
    )));
    let needed = pending.map(|list| !list.is_empty());
    b.when("Migrate", needed, |b| {
        b.irreversible(
            Forever(say(
                "migrate-the-database",
                "Migrate the database",
                "Old and new code both work with the new tables.",
                "shopctl migrate",
            ))
            .confirm("The dump is whole. Migrate the database now?"),
            "migrations only add tables and columns; the dump is there if they must go",
        );
    });
    rolling(&mut b, &["web-1", "web-2"], dump, release);
    b.ladder("Make the shop answer", Look("shop-answers", "The shop answers"), |ladder| {
        ladder.remedy("Flush the cache", |b| {
            b.step(Plain(say("flush-the-cache", "Flush the cache", "", "valkey-cli flushdb")));
        });
        ladder.remedy("Restart the workers", |b| {
            let words = say("restart-the-workers", "Restart the workers", "", "pm2 reload all");
            b.step(Change(words, vec![]));
        });
        ladder.escalate("the person on call, oncall@example.org");
    });
    b.manual(
        Manual::new("Buy something in the shop")
            .doc("Use the test card. The order must show up in the office.")
            .ask::<u32>("Which number did the order get?"),
    );
    b.finally(|b| {
        b.step(Plain(say(
            "remove-temporary-files",
            "Remove the temporary files",
            "",
            "rm -rf /tmp/shop-deploy",
        )));
    });
    Arc::clone(b.build().expect("the fixture is wired well").outline())
}

fn rolling(b: &mut Runbook, hosts: &[&str], dump: Out<String>, release: Out<String>) {
    let careful = Rolling { at_once: 1, max_failed: 0, canary: 1, pause: Duration::from_secs(10) };
    b.each(hosts, careful, |host, b| {
        let words = say(
            "switch-to-the-release",
            format!("Switch {host} to the release"),
            "An atomic switch of the link `current`.",
            &format!("ssh {host} ln -sfn /srv/shop/v2.4.0 /srv/shop/current"),
        );
        b.step(
            Change(words, vec![release.into_input(), dump.into_input()])
                .requires(Look("host-is-idle", "No deploy is under way on the host")),
        );
        b.wait_until(
            Look("host-is-healthy", "The host is healthy"),
            Wait::at_most(Duration::from_secs(30)),
        );
    });
}

pub(crate) const DISK: &str = "disk-has-room";
pub(crate) const DUMP: &str = "prepare/back-up-and-fetch/dump-the-database";
pub(crate) const FETCH: &str = "prepare/back-up-and-fetch/fetch-the-release";
pub(crate) const CACHE: &str = "prepare/cache-is-warm";
pub(crate) const LIST: &str = "list-migrations";
pub(crate) const MIGRATE: &str = "migrate/migrate-the-database";
pub(crate) const SWITCH_1: &str = "each/web-1/switch-to-the-release";
pub(crate) const HEALTHY_1: &str = "each/web-1/host-is-healthy";
pub(crate) const SWITCH_2: &str = "each/web-2/switch-to-the-release";
pub(crate) const HEALTHY_2: &str = "each/web-2/host-is-healthy";
pub(crate) const FLUSH: &str = "make-the-shop-answer/flush-the-cache/flush-the-cache";
pub(crate) const RESTART: &str = "make-the-shop-answer/restart-the-workers/restart-the-workers";
pub(crate) const BUY: &str = "buy-something-in-the-shop";
pub(crate) const CLEAN: &str = "remove-temporary-files";

/// Events at fixed times.
pub(crate) struct Script {
    pub(crate) outline: Arc<Outline>,
    pub(crate) events: Vec<Arc<Event>>,
    now: u64,
}

pub(crate) fn unit(id: &str) -> UnitId {
    UnitId::new(id)
}

pub(crate) fn actor(name: &str, pid: u32) -> Actor {
    Actor { name: name.into(), machine: "ops-1".into(), pid }
}

pub(crate) fn problem(kind: FailureKind, message: &str) -> Problem {
    Problem { kind, message: message.into(), causes: vec![], next: None }
}

fn json(text: &str) -> Box<serde_json::value::RawValue> {
    serde_json::value::RawValue::from_string(text.into()).expect("JSON")
}

pub(crate) const RUN: &str = "20260314-150926-k7xq";

impl Script {
    /// A run of the fixture that began on 2026-03-14 at 15:09:26.
    pub(crate) fn start(mode: Mode) -> Self {
        Self::of(outline(), mode)
    }

    /// The same of another plan.
    pub(crate) fn of(outline: Arc<Outline>, mode: Mode) -> Self {
        let start = RunStarted {
            run: RunId::new(RUN),
            mode,
            by: actor("kim", 4242),
            reason: Some("OPS-17: the new checkout".into()),
            began: None,
            env: Some("production".into()),
            version: Some("1.8.0".into()),
            plan: Arc::clone(&outline),
        };
        let mut script = Self { outline, events: vec![], now: 1_773_500_966_535_897 };
        script.add(0, EventKind::RunStarted(Box::new(start)));
        script
    }

    /// One event, so many milliseconds after the last.
    pub(crate) fn add(&mut self, after_ms: u64, event: EventKind) -> &mut Self {
        self.now += after_ms * 1000;
        self.events.push(Arc::new(Event { at: Timestamp::from_micros(self.now), event }));
        self
    }

    pub(crate) fn started(&mut self, after_ms: u64, id: &str) -> &mut Self {
        use runbook_core::UndoKind;
        let undo = self.outline.unit(&unit(id)).map(|unit| unit.undo);
        let record = (undo == Some(UndoKind::Recorded)).then(|| json("\"v2.3.9\""));
        self.add(after_ms, EventKind::Started { unit: unit(id), record })
    }

    pub(crate) fn finished(&mut self, after_ms: u64, id: &str, output: &str) -> &mut Self {
        let output = (!output.is_empty()).then(|| json(output));
        self.add(after_ms, EventKind::Finished { unit: unit(id), output })
    }

    pub(crate) fn failed(&mut self, after_ms: u64, id: &str, problem: Problem) -> &mut Self {
        self.add(after_ms, EventKind::Failed { unit: unit(id), problem })
    }

    pub(crate) fn skipped(&mut self, after_ms: u64, id: &str, why: SkipReason) -> &mut Self {
        self.add(after_ms, EventKind::Skipped { unit: unit(id), why, output: None })
    }

    pub(crate) fn undone(&mut self, took_ms: u64, id: &str) -> &mut Self {
        self.add(20, EventKind::UndoStarted { unit: unit(id) });
        self.add(took_ms, EventKind::Undone { unit: unit(id) })
    }

    pub(crate) fn looked(
        &mut self,
        after_ms: u64,
        id: &str,
        role: CheckRole,
        title: &str,
        level: Level,
        why: &str,
    ) -> &mut Self {
        let evidence = (level != Level::Pass).then(|| json("{\"status\":503}"));
        let verdict = VerdictRecord { level, why: why.into(), evidence };
        self.add(
            after_ms,
            EventKind::Checked { unit: unit(id), role, title: title.into(), verdict },
        )
    }

    pub(crate) fn entered(&mut self, block: &str) -> &mut Self {
        self.add(1, EventKind::BlockStarted { block: unit(block) })
    }

    pub(crate) fn left(&mut self, block: &str, outcome: BlockOutcome) -> &mut Self {
        self.add(1, EventKind::BlockFinished { block: unit(block), outcome })
    }

    pub(crate) fn end(&mut self, status: Status, with: impl FnOnce(&mut RunFinished)) -> &mut Self {
        let mut end = RunFinished {
            status,
            problem: None,
            unit: None,
            undone: vec![],
            not_restored: vec![],
            kept: vec![],
            without: Vec::new(),
            call: Vec::new(),
            next: vec![],
        };
        with(&mut end);
        self.add(30, EventKind::LockReleased { resource: "site:shop".into() });
        self.add(5, EventKind::RunFinished(Box::new(end)));
        self.add(120, EventKind::Notified { to: "#shop".into(), problem: None })
    }

    /// The timeline; the events must be a sequence that a journal would take.
    pub(crate) fn timeline(&self) -> Timeline {
        RunState::fold(&self.events).expect("a journal would take these events");
        let mut timeline = Timeline::of(&self.outline, &self.events);
        timeline.program = Some("shopctl".into());
        timeline
    }

    /// Up to the migration's question.
    pub(crate) fn prepare(&mut self) -> &mut Self {
        let holder = LockHolder {
            run: RunId::new("20260314-150801-a2b3"),
            book: "backup".into(),
            by: actor("cron", 900),
            reason: None,
            since: Timestamp::from_micros(1_773_500_881_000_000),
            expires: Timestamp::from_micros(1_773_500_999_000_000),
        };
        let resource = "site:shop".to_owned();
        self.add(3, EventKind::LockWaiting { resource: resource.clone(), holder });
        self.add(4_200, EventKind::LockAcquired { resource });
        let why = "91 % of /srv is used, 12 GB are free";
        self.looked(40, DISK, CheckRole::Gate, "The disk has room", Level::Warn, why);
        self.finished(1, DISK, "12");
        self.entered("prepare").entered("prepare/back-up-and-fetch");
        self.started(2, DUMP).started(1, FETCH);
        let dns = problem(FailureKind::Failed, "curl: (6) could not resolve releases.example.org");
        let retry =
            EventKind::Retrying { unit: unit(FETCH), attempt: 1, problem: dns, pause_ms: 2000 };
        self.add(310, retry);
        self.finished(6_400, FETCH, "\"/srv/shop/v2.4.0\"");
        self.finished(5_700, DUMP, "\"/var/backups/shop.dump\"");
        let sum = "sha256 is the same";
        self.looked(300, DUMP, CheckRole::Verify, "The dump is whole", Level::Pass, sum);
        self.left("prepare/back-up-and-fetch", BlockOutcome::Succeeded);
        let cold = "hit rate 12 %";
        self.looked(80, CACHE, CheckRole::Observation, "The cache is warm", Level::Fail, cold);
        self.finished(1, CACHE, "{\"level\":\"fail\",\"why\":\"hit rate 12 %\",\"evidence\":12}");
        self.left("prepare", BlockOutcome::Succeeded);
        self.started(1, LIST).finished(180, LIST, "\"0042_checkout\"");
        self.entered("migrate")
    }

    pub(crate) fn ask_to_migrate(&mut self) -> &mut Self {
        self.add(2, EventKind::Asked { unit: unit(MIGRATE), question: migrate_question() })
    }

    pub(crate) fn approve(&mut self, after_ms: u64, by: &str) -> &mut Self {
        let answer = Answer::Yes;
        self.add(after_ms, EventKind::Answered { unit: unit(MIGRATE), by: by.into(), answer })
    }

    pub(crate) fn migrate(&mut self) -> &mut Self {
        self.started(2, MIGRATE).finished(3_100, MIGRATE, "");
        self.left("migrate", BlockOutcome::Succeeded).entered("each")
    }

    pub(crate) fn switch(&mut self, id: &str) -> &mut Self {
        let title = "No deploy is under way on the host";
        self.looked(30, id, CheckRole::Requires, title, Level::Pass, "no lock file");
        self.started(2, id).finished(700, id, "")
    }

    /// Looks until the host is healthy.
    pub(crate) fn healthy(&mut self, id: &str) -> &mut Self {
        let title = "The host is healthy";
        for _ in 0..3 {
            self.looked(1000, id, CheckRole::Wait, title, Level::Fail, "503 from /health");
        }
        self.looked(1000, id, CheckRole::Wait, title, Level::Pass, "200 from /health");
        self.finished(1, id, "200")
    }

    /// The first host is switched and healthy, the second one never becomes so.
    pub(crate) fn second_host_fails(&mut self) -> &mut Self {
        self.entered("each/web-1").switch(SWITCH_1).healthy(HEALTHY_1);
        self.left("each/web-1", BlockOutcome::Succeeded);
        self.add(10_000, EventKind::BlockStarted { block: unit("each/web-2") });
        self.switch(SWITCH_2);
        for _ in 0..30 {
            let why = "502 from /health";
            self.looked(1000, HEALTHY_2, CheckRole::Wait, "The host is healthy", Level::Fail, why);
        }
        self.failed(1, HEALTHY_2, unhealthy());
        self.left("each/web-2", BlockOutcome::Failed).left("each", BlockOutcome::Failed)
    }

    pub(crate) fn roll_back(&mut self) -> &mut Self {
        let units = [SWITCH_2, SWITCH_1, DUMP, FETCH].map(unit).to_vec();
        let cause = "“The host is healthy” failed on web-2".to_owned();
        self.add(4, EventKind::RollbackStarted { cause, units })
    }

    pub(crate) fn clean(&mut self) -> &mut Self {
        self.started(5, CLEAN).finished(60, CLEAN, "")
    }
}

pub(crate) fn migrate_question() -> Question {
    let text = "The dump is whole. Migrate the database now?".to_owned();
    Question { kind: QuestionKind::Approval, text }
}

pub(crate) fn unhealthy() -> Problem {
    Problem {
        kind: FailureKind::TimedOut,
        message: "waiting for `http://192.0.2.12/health` on web-2: still 502 after 30 s\n\
                  last answer: upstream sent no header"
            .into(),
        causes: vec!["connect to 127.0.0.1:3000: connection refused".into()],
        next: Some("read /var/log/shop/web.log on web-2; the release may want Node 22".into()),
    }
}

pub(crate) fn succeeded() -> Script {
    let mut s = Script::start(Mode::Run);
    s.prepare().ask_to_migrate().approve(21_000, "robin").migrate();
    s.entered("each/web-1").switch(SWITCH_1).healthy(HEALTHY_1);
    s.left("each/web-1", BlockOutcome::Succeeded).entered("each/web-2");
    s.switch(SWITCH_2).healthy(HEALTHY_2);
    s.left("each/web-2", BlockOutcome::Succeeded).left("each", BlockOutcome::Succeeded);
    s.entered("make-the-shop-answer");
    s.skipped(100, FLUSH, SkipReason::NotNeeded).skipped(1, RESTART, SkipReason::NotNeeded);
    s.left("make-the-shop-answer", BlockOutcome::Succeeded);
    let question = Question {
        kind: QuestionKind::Value { accepts: "a whole number from 0 to 4294967295".into() },
        text: "Which number did the order get?".into(),
    };
    s.add(1, EventKind::Asked { unit: unit(BUY), question });
    let answer = Answer::Value("4711".into());
    s.add(95_000, EventKind::Answered { unit: unit(BUY), by: "kim".into(), answer });
    s.finished(1, BUY, "4711").clean();
    s.end(Status::Succeeded, |_| {});
    s
}

pub(crate) fn rolled_back() -> Script {
    let mut s = Script::start(Mode::Run);
    s.prepare().ask_to_migrate().approve(21_000, "robin").migrate();
    s.second_host_fails().roll_back();
    s.undone(640, SWITCH_2).undone(590, SWITCH_1).undone(45, DUMP).undone(30, FETCH).clean();
    s.end(Status::RolledBack, |end| {
        end.problem = Some(unhealthy());
        end.unit = Some(unit(HEALTHY_2));
        end.undone = [SWITCH_2, SWITCH_1, DUMP, FETCH].map(unit).to_vec();
        end.kept = vec![unit(MIGRATE)];
        end.next = vec![format!("report {RUN}"), "run deploy --release v2.3.9".into()];
    });
    s
}

pub(crate) fn stuck() -> Script {
    let mut s = Script::start(Mode::Run);
    s.prepare().ask_to_migrate().approve(21_000, "robin").migrate();
    s.second_host_fails().roll_back();
    s.undone(640, SWITCH_2);
    s.add(20, EventKind::UndoStarted { unit: unit(SWITCH_1) });
    let lost = Problem {
        kind: FailureKind::Disconnected,
        message: "putting the link `current` back on web-1: ssh: connection reset by peer".into(),
        causes: vec![],
        next: Some("see that web-1 is up, and put the link back to v2.3.9".into()),
    };
    s.add(8_000, EventKind::UndoFailed { unit: unit(SWITCH_1), problem: lost.clone() });
    s.clean();
    s.end(Status::Stuck, |end| {
        // The engine stops at the first step that can't be put back.
        end.problem = Some(lost);
        end.unit = Some(unit(SWITCH_1));
        end.undone = vec![unit(SWITCH_2)];
        end.not_restored = vec![unit(SWITCH_1)];
        end.kept = vec![unit(MIGRATE)];
        end.next = vec![
            format!("resume {RUN} --retry"),
            format!("resume {RUN} --skip"),
            format!("report {RUN}"),
        ];
    });
    s
}

pub(crate) fn suspended() -> Script {
    let mut s = Script::start(Mode::Run);
    s.prepare().ask_to_migrate();
    let waiting = vec![Waiting { unit: unit(MIGRATE), question: migrate_question() }];
    s.add(1, EventKind::Suspended { waiting });
    s
}

/// Killed in the middle of a switch; the operator was asked what to do, hours later.
pub(crate) fn interrupted() -> Script {
    let mut s = suspended();
    s.approve(7_260_000, "robin");
    let resumed = EventKind::RunResumed { by: actor("kim", 5151), mode: ResumeMode::Forward };
    s.add(60_000, resumed);
    s.migrate().entered("each/web-1");
    s.started(2, SWITCH_1);
    s
}

pub(crate) fn resumed() -> Script {
    let mut s = interrupted();
    let resumed = EventKind::RunResumed { by: actor("robin", 77), mode: ResumeMode::Forward };
    s.add(48_600_000, resumed);
    let processes = vec!["ln -sfn /srv/shop/v2.4.0 /srv/shop/current".into()];
    let host = "web-1".to_owned();
    s.add(200, EventKind::LeftoversEnded { unit: unit(SWITCH_1), host, processes });
    let question = Question {
        kind: QuestionKind::Interrupted,
        text: "it was interrupted and can't tell how far it got: retry, skip or roll back?".into(),
    };
    s.add(5, EventKind::Asked { unit: unit(SWITCH_1), question });
    let decided =
        EventKind::Decided { unit: unit(SWITCH_1), by: "robin".into(), decision: Decision::Retry };
    s.add(30_000, decided);
    s.started(3, SWITCH_1).finished(650, SWITCH_1, "").healthy(HEALTHY_1);
    s.left("each/web-1", BlockOutcome::Succeeded).entered("each/web-2");
    s.switch(SWITCH_2).healthy(HEALTHY_2);
    s.left("each/web-2", BlockOutcome::Succeeded).left("each", BlockOutcome::Succeeded);
    s.entered("make-the-shop-answer");
    s.looked(90, FLUSH, CheckRole::Ladder, "The shop answers", Level::Fail, "no answer in 5 s");
    s.entered("make-the-shop-answer/flush-the-cache");
    s.started(3, FLUSH).finished(400, FLUSH, "");
    s.left("make-the-shop-answer/flush-the-cache", BlockOutcome::Succeeded);
    s.looked(90, FLUSH, CheckRole::Ladder, "The shop answers", Level::Pass, "200 in 80 ms");
    s.skipped(1, RESTART, SkipReason::NotNeeded);
    s.left("make-the-shop-answer", BlockOutcome::Succeeded);
    let answer = Answer::Value("4712".into());
    s.add(40_000, EventKind::Answered { unit: unit(BUY), by: "robin".into(), answer });
    s.finished(1, BUY, "4712").clean();
    s.end(Status::Succeeded, |_| {});
    s
}

/// `check`: the disk is full.
pub(crate) fn checked() -> Script {
    let mut s = Script::start(Mode::Check);
    let full = "100 % of /srv is used";
    s.looked(40, DISK, CheckRole::Gate, "The disk has room", Level::Fail, full);
    let failed = problem(FailureKind::Refused, "The disk has room: 100 % of /srv is used");
    s.failed(1, DISK, failed.clone());
    let warm = "hit rate 97 %";
    s.looked(30, CACHE, CheckRole::Observation, "The cache is warm", Level::Pass, warm);
    s.finished(1, CACHE, "");
    let busy = "lock file of run 20260314-150801-a2b3";
    let title = "No deploy is under way on the host";
    s.looked(9, SWITCH_1, CheckRole::Requires, title, Level::Fail, busy);
    s.skipped(1, HEALTHY_1, SkipReason::NoInput);
    s.add(
        1,
        EventKind::RunFinished(Box::new(RunFinished {
            status: Status::Failed,
            problem: Some(problem(FailureKind::Refused, full)),
            unit: Some(unit(DISK)),
            undone: vec![],
            not_restored: vec![],
            kept: vec![],
            without: Vec::new(),
            call: Vec::new(),
            next: vec![],
        })),
    );
    s
}

/// `plan`: nothing is changed, and little is known.
pub(crate) fn planned() -> Script {
    let mut s = Script::start(Mode::Plan);
    s.looked(40, DISK, CheckRole::Gate, "The disk has room", Level::Pass, "41 % is used");
    s.finished(1, DISK, "");
    let would = |unit_id, satisfied| EventKind::Previewed { unit: unit(unit_id), satisfied };
    s.add(2, would(DUMP, Some(false))).add(2, would(FETCH, Some(true)));
    s.looked(30, CACHE, CheckRole::Observation, "The cache is warm", Level::Pass, "97 %");
    s.finished(1, CACHE, "");
    for id in [LIST, MIGRATE, SWITCH_1, SWITCH_2, FLUSH, RESTART, BUY, CLEAN] {
        s.add(1, would(id, None));
    }
    s.skipped(1, HEALTHY_1, SkipReason::NoInput).skipped(1, HEALTHY_2, SkipReason::NoInput);
    s.add(
        1,
        EventKind::RunFinished(Box::new(RunFinished {
            status: Status::Succeeded,
            problem: None,
            unit: None,
            undone: vec![],
            not_restored: vec![],
            kept: vec![],
            without: Vec::new(),
            call: Vec::new(),
            next: vec![],
        })),
    );
    s
}

/// The second host fails, is undone by itself, and the run goes on without it.
pub(crate) fn isolated() -> Script {
    let mut s = Script::start(Mode::Run);
    s.prepare().ask_to_migrate().approve(21_000, "robin").migrate().second_host_fails();
    s.undone(640, SWITCH_2);
    s.left("each/web-2", BlockOutcome::Isolated { problem: unhealthy() });
    s.skipped(100, FLUSH, SkipReason::NotNeeded).skipped(1, RESTART, SkipReason::NotNeeded);
    s.finished(1, BUY, "4711").clean();
    s.end(Status::Succeeded, |end| end.without = vec![unit("each/web-2")]);
    s
}
