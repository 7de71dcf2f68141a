//! The view, over events made by hand.

use std::sync::Arc;

use runbook_core::{
    About, Actor, BlockOutcome, Check, CheckRole, Context, Event, EventKind, Harmless,
    Irreversible, Level, Manual, Mode, Observer, Problem, Question, QuestionKind, Result, Rolling,
    RunFinished, RunId, RunStarted, Runbook, Status, Step, StreamKind, Timestamp, UnitId, Verdict,
    VerdictRecord, Waiting,
};

use super::*;
use crate::cli::style::Style;

const UNICODE: Style = Style { color: false, unicode: true };

/// A step that does nothing here.
struct Do<R = Harmless>(&'static str, std::marker::PhantomData<R>);

fn step(title: &'static str) -> Do {
    Do(title, std::marker::PhantomData)
}

impl Step for Do {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new(self.0, self.0)
    }
    async fn run(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}

struct Mail;

impl Step for Mail {
    type Output = ();
    type Rollback = Irreversible;
    fn about(&self) -> About {
        About::new("mail", "Mail the customers")
    }
    async fn run(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}

struct Up;

impl Check for Up {
    type Evidence = ();
    fn about(&self) -> About {
        About::new("up", "The site is up")
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<()>> {
        Ok(Verdict::pass((), "200"))
    }
}

/// A run whose clock moves by a second with each event.
struct Story {
    view: ViewState,
    now: u64,
    lines: Vec<String>,
    columns: usize,
    style: Style,
}

impl Story {
    fn of(columns: usize, style: Style, fill: impl FnOnce(&mut Runbook)) -> Self {
        let mut b = Runbook::new("deploy");
        b.title("Deploy the shop");
        fill(&mut b);
        let plan = Arc::clone(b.build().unwrap().outline());
        let mut story = Self {
            view: ViewState::new(false),
            now: 1_773_500_966_000_000,
            lines: Vec::new(),
            columns,
            style,
        };
        story.tell(EventKind::RunStarted(Box::new(RunStarted {
            run: RunId::new("20260314-150926-k7xq"),
            mode: Mode::Run,
            by: Actor { name: "ops".into(), machine: "admin".into(), pid: 1 },
            reason: Some("new prices".into()),
            began: None,
            env: Some("live".into()),
            version: None,
            plan,
        })));
        story
    }

    fn tell(&mut self, event: EventKind) -> &mut Self {
        self.view.apply(&Event { at: Timestamp::from_micros(self.now), event });
        for what in self.view.take_settled() {
            self.lines.extend(settled(&self.view, &what, self.columns, self.style));
        }
        self.now += 1_000_000;
        self
    }

    fn start(&mut self, unit: &str) -> &mut Self {
        self.tell(EventKind::Started { unit: unit.into(), record: None })
    }

    fn done(&mut self, unit: &str) -> &mut Self {
        self.tell(EventKind::Finished { unit: unit.into(), output: None })
    }

    fn say(&mut self, unit: &str, line: &str) -> &mut Self {
        let (unit, line) = (UnitId::from(unit), line.to_owned());
        self.tell(EventKind::Output { unit, stream: StreamKind::Stdout, line })
    }

    fn enter(&mut self, block: &str) -> &mut Self {
        self.tell(EventKind::BlockStarted { block: block.into() })
    }

    fn leave(&mut self, block: &str, outcome: BlockOutcome) -> &mut Self {
        self.tell(EventKind::BlockFinished { block: block.into(), outcome })
    }

    fn check(&mut self, unit: &str, role: CheckRole, level: Level, why: &str) -> &mut Self {
        let verdict = VerdictRecord { level, why: why.into(), evidence: None };
        let title = "The site is up".into();
        self.tell(EventKind::Checked { unit: unit.into(), role, title, verdict })
    }

    /// What scrolled by, and the live part below a line.
    fn screen(&self, height: usize) -> String {
        let now = Timestamp::from_micros(self.now);
        let live = frame(&self.view, now, self.columns, height, self.style);
        assert!(live.len() < height.max(3), "{live:#?}");
        for line in &live {
            assert!(crate::cli::text::width(line) < self.columns.max(12), "{line:?}");
        }
        format!("{}\n=====\n{}", self.lines.join("\n"), live.join("\n"))
    }

    fn summary(&self) -> String {
        let command = |words: &str| format!("shop {words}");
        let ending = Ending { command: &command, columns: self.columns, style: self.style };
        summary(&self.view, &ending).join("\n")
    }
}

fn problem(message: &str) -> Problem {
    Problem {
        kind: runbook_core::FailureKind::Failed,
        message: message.into(),
        causes: vec!["connection refused".into()],
        next: Some("look at the log".into()),
    }
}

fn branches(b: &mut Runbook) {
    b.check(Up);
    b.parallel("Prepare", |b| {
        b.step(step("Dump the database"));
        b.group("Fetch", |b| {
            b.step(step("Download"));
            b.step(step("Unpack the release into a folder of its own below /srv/shop"));
        });
    });
    b.each(["web1", "web2"], Rolling::default(), |_, b| {
        b.step(step("Stop"));
        b.step(step("Start"));
    });
    for title in ["One", "Two", "Three", "Four", "Five", "Six"] {
        b.step(step(title));
    }
}

#[test]
fn branches_are_shown_beside_each_other_and_scroll_away_as_a_whole() {
    let mut story = Story::of(72, UNICODE, branches);
    story.check("up", CheckRole::Gate, Level::Pass, "200 OK").done("up");
    story.enter("prepare").enter("prepare/fetch");
    story.start("prepare/dump-the-database").start("prepare/fetch/download");
    story.say("prepare/dump-the-database", "table customers: \x1b[31m1000\x1b[0m rows\r");
    story.done("prepare/fetch/download");
    let both = story.screen(24);
    story.done("prepare/dump-the-database");
    let one = story.screen(24);
    insta::assert_snapshot!(format!("{both}\n\n#####\n{one}"));
}

#[test]
fn what_does_not_fit_is_left_out_least_important_first() {
    let mut story = Story::of(40, UNICODE, branches);
    story.check("up", CheckRole::Gate, Level::Warn, "slow: 900 ms").done("up");
    story.enter("prepare").enter("prepare/fetch");
    story.start("prepare/dump-the-database").start("prepare/fetch/download");
    story.done("prepare/fetch/download");
    story.start("prepare/fetch/unpack-the-release-into-a-folder-of-its-own-below-srv-shop");
    story.say("prepare/dump-the-database", "a line of output that is longer than the screen");
    let heights = [20, 10, 7, 5, 2].map(|height| {
        let screen = story.screen(height);
        format!("height {height}\n{}", screen.split_once("=====\n").unwrap().1)
    });
    insta::assert_snapshot!(heights.join("\n\n"));
}

#[test]
fn a_failure_shows_its_cause_its_output_and_what_is_undone() {
    for (name, style) in [("unicode", UNICODE), ("ascii", Style::PLAIN)] {
        let mut story = Story::of(72, style, |b| {
            b.step(step("Dump the database"));
            b.irreversible(Mail, "a mail can be followed by another");
            b.step(step("Start the new release").named("start"));
            b.step(step("Clean up"));
            b.finally(|b| {
                b.step(step("Leave maintenance"));
            });
        });
        story.start("dump-the-database").done("dump-the-database");
        story.start("mail").done("mail").start("start");
        for n in 0..20 {
            story.say("start", &format!("line {n}: café"));
        }
        let failure = problem("starting the release: exit code 1");
        story.tell(EventKind::Failed { unit: "start".into(), problem: failure.clone() });
        let units = vec!["start".into(), "dump-the-database".into()];
        story.tell(EventKind::RollbackStarted { cause: failure.message.clone(), units });
        story.tell(EventKind::UndoStarted { unit: "start".into() });
        story.say("start", "stopping");
        let undoing = story.screen(24);
        story.tell(EventKind::Undone { unit: "start".into() });
        story.tell(EventKind::UndoStarted { unit: "dump-the-database".into() });
        let stuck = problem("the disk is read-only");
        story.tell(EventKind::UndoFailed {
            unit: "dump-the-database".into(),
            problem: stuck.clone(),
        });
        story.start("leave-maintenance").done("leave-maintenance");
        story.tell(EventKind::RunFinished(Box::new(RunFinished {
            status: Status::Stuck,
            problem: Some(stuck),
            unit: Some("dump-the-database".into()),
            undone: vec!["start".into()],
            not_restored: vec!["dump-the-database".into()],
            kept: vec!["mail".into()],
            without: Vec::new(),
            call: Vec::new(),
            next: vec!["resume 20260314-150926-k7xq --skip".into()],
        })));
        let end = story.screen(24);
        let summary = story.summary();
        let text = format!("{undoing}\n\n#####\n{end}\n\n#####\n{summary}");
        assert!(style.unicode || text.is_ascii(), "{text}");
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn retries_progress_waits_and_locks_are_told_while_they_last() {
    let mut story = Story::of(100, UNICODE, |b| {
        b.lock("site:shop");
        b.step(step("Upload"));
        b.step(step("Connect").retry(3));
        b.wait_until(Up, runbook_core::Wait::at_most(std::time::Duration::from_secs(30)));
        b.manual(Manual::new("Call the hosting company"));
    });
    let mut screens = Vec::new();
    let mut live = |story: &Story| {
        screens.push(story.screen(24).split_once("=====\n").unwrap().1.to_owned());
    };
    story.tell(EventKind::LockWaiting {
        resource: "site:shop".into(),
        holder: runbook_core::LockHolder {
            run: RunId::new("20260314-150000-aaaa"),
            book: "backup".into(),
            by: Actor { name: "cron".into(), machine: "admin".into(), pid: 2 },
            reason: None,
            since: Timestamp::from_micros(1_773_500_000_000_000),
            expires: Timestamp::from_micros(1_773_500_990_000_000),
        },
    });
    live(&story);
    story.tell(EventKind::LockAcquired { resource: "site:shop".into() }).start("upload");
    story.tell(EventKind::Progress {
        unit: "upload".into(),
        done: 41_000_000,
        total: Some(100_000_000),
    });
    live(&story);
    story.done("upload").start("connect");
    story.tell(EventKind::Retrying {
        unit: "connect".into(),
        attempt: 1,
        problem: problem("no route to host"),
        pause_ms: 500,
    });
    live(&story);
    story.done("connect").check("up", CheckRole::Wait, Level::Fail, "503 so far");
    live(&story);
    story.check("up", CheckRole::Wait, Level::Pass, "200 OK").done("up");
    let question =
        Question { kind: QuestionKind::Confirmation, text: "Call the hosting company".into() };
    let unit = UnitId::from("call-the-hosting-company");
    story.tell(EventKind::Asked { unit: unit.clone(), question: question.clone() });
    live(&story);
    let waiting = vec![Waiting { unit, question }];
    story.tell(EventKind::Suspended { waiting });
    let end = format!("{}{}", story.screen(24), story.summary());
    insta::assert_snapshot!(format!("{}\n#####\n{end}", screens.join("\n-----\n")));
}

#[test]
fn a_file_on_its_way_is_the_last_line_of_its_unit() {
    use runbook_core::{Direction, Transfer, TransferState};
    const MIB: u64 = 1 << 20;
    let mut story = Story::of(72, UNICODE, |b| {
        b.step(step("Upload"));
        b.step(step("Fetch the dump"));
    });
    let file = |unit: &str, direction, state, done, total, elapsed_ms| {
        EventKind::Transfer(Box::new(Transfer {
            unit: unit.into(),
            host: "web1".into(),
            path: if unit == "upload" { "/srv/shop.tar.gz" } else { "/srv/\x1b[31mdump" }.into(),
            direction,
            state,
            done,
            total,
            elapsed_ms,
            sha256: (state == TransferState::Done && done >= MIB).then(|| "9f".repeat(32)),
        }))
    };
    let (up, down) = (Direction::Up, Direction::Down);
    let (moving, done) = (TransferState::Moving, TransferState::Done);
    let mut told = Vec::new();
    let mut tell = |story: &mut Story, event: EventKind| {
        story.tell(event.clone());
        let at = Timestamp::from_micros(story.now);
        let plain = crate::cli::plain::line(&story.view, &Event { at, event }, UNICODE);
        let screen = story.screen(24).split_once("=====\n").unwrap().1.to_owned();
        told.push(format!("{screen}\nplain: {plain:?}"));
    };
    story.start("upload").say("upload", "the folder is there");
    tell(&mut story, file("upload", up, moving, 0, Some(100 * MIB), 0));
    tell(&mut story, file("upload", up, moving, 42 * MIB, Some(100 * MIB), 688));
    tell(&mut story, file("upload", up, done, 100 * MIB, Some(100 * MIB), 1_639));
    story.done("upload").start("fetch-the-dump");
    tell(&mut story, file("fetch-the-dump", down, moving, 900 << 10, None, 250));
    tell(&mut story, file("fetch-the-dump", down, moving, 3 * MIB / 2, Some(5 << 30), 500));
    tell(&mut story, file("fetch-the-dump", down, TransferState::Cut, 2 * MIB, None, 700));
    tell(&mut story, file("fetch-the-dump", down, done, 900, Some(900), 0));
    insta::assert_snapshot!(told.join("\n-----\n"));
}

#[test]
fn a_branch_that_is_isolated_is_told_with_its_failure() {
    let mut story = Story::of(72, UNICODE, |b| {
        let rolling = Rolling { max_failed: 1, ..Rolling::default() };
        b.each(["web1", "web2"], rolling, |_, b| {
            b.step(step("Stop"));
            b.step(step("Start"));
        });
    });
    story.enter("each").enter("each/web1").start("each/web1/stop").done("each/web1/stop");
    story.start("each/web1/start");
    let failure = problem("exit code 1");
    story.tell(EventKind::Failed { unit: "each/web1/start".into(), problem: failure.clone() });
    story.leave("each/web1", BlockOutcome::Failed);
    story.tell(EventKind::UndoStarted { unit: "each/web1/start".into() });
    let undoing = story.screen(24);
    story.tell(EventKind::Undone { unit: "each/web1/start".into() });
    story.leave("each/web1", BlockOutcome::Isolated { problem: failure });
    story.enter("each/web2");
    insta::assert_snapshot!(format!("{undoing}\n\n#####\n{}", story.screen(24)));
}

/// Five hosts, two at the same time after a canary.
fn fleet(columns: usize) -> Story {
    let mut story = Story::of(columns, UNICODE, |b| {
        let pause = std::time::Duration::from_secs(30);
        let rolling = Rolling { at_once: 2, canary: 1, max_failed: 1, pause };
        b.each((1..=5).map(|n| format!("web-{n}")), rolling, |_, b| {
            b.step(step("Drain"));
            b.step(step("Restart"));
        });
    });
    story.enter("each");
    story
}

impl Story {
    fn host(&mut self, host: &str) -> &mut Self {
        self.enter(&format!("each/{host}"));
        for unit in ["drain", "restart"] {
            let unit = format!("each/{host}/{unit}");
            self.start(&unit).done(&unit);
        }
        self.leave(&format!("each/{host}"), BlockOutcome::Succeeded)
    }

    /// Drained, then lost.
    fn lose(&mut self, host: &str) -> &mut Self {
        let drain = format!("each/{host}/drain");
        self.enter(&format!("each/{host}")).start(&drain).done(&drain);
        let unit = UnitId::from(format!("each/{host}/restart").as_str());
        let problem = problem("no route to host");
        self.tell(EventKind::Failed { unit, problem });
        self.leave(&format!("each/{host}"), BlockOutcome::Failed);
        self.tell(EventKind::UndoStarted { unit: drain.as_str().into() })
    }

    fn end(&mut self, status: Status, without: &str) -> &mut Self {
        self.tell(EventKind::RunFinished(Box::new(RunFinished {
            status,
            problem: None,
            unit: None,
            undone: vec![],
            not_restored: vec![],
            kept: vec![],
            without: vec![without.into()],
            call: Vec::new(),
            next: vec!["report 20260314-150926-k7xq".into()],
        })))
    }
}

#[test]
fn a_fleet_shows_how_far_it_is_and_what_became_of_each_host() {
    let mut story = fleet(80);
    story.host("web-1");
    story.tell(EventKind::Pausing { block: "each".into(), pause_ms: 30_000 });
    let pausing = story.screen(24);
    story.host("web-2").lose("web-3");
    let undoing = story.screen(24);
    story.tell(EventKind::Undone { unit: "each/web-3/drain".into() });
    let isolated = BlockOutcome::Isolated { problem: problem("no route to host") };
    story.leave("each/web-3", isolated).enter("each/web-4").start("each/web-4/drain");
    let going_on = story.screen(24);
    story.done("each/web-4/drain").start("each/web-4/restart").done("each/web-4/restart");
    story.leave("each/web-4", BlockOutcome::Succeeded).host("web-5");
    story.leave("each", BlockOutcome::Succeeded).end(Status::Succeeded, "each/web-3");
    let screens = [pausing, undoing, going_on, story.screen(24)].join("\n\n#####\n");
    insta::assert_snapshot!(format!("{screens}\n\n#####\n{}", story.summary()));
}

#[test]
fn a_host_that_can_not_be_put_back_is_told_and_the_others_go_on() {
    let mut story = fleet(80);
    story.host("web-1").host("web-2").lose("web-3");
    let away = problem("no route to host");
    let drain = UnitId::from("each/web-3/drain");
    story.tell(EventKind::UndoFailed { unit: drain.clone(), problem: away.clone() });
    let outcome =
        BlockOutcome::NotRestored { problem: away.clone(), unit: drain, not_restored: away };
    story.leave("each/web-3", outcome).host("web-4").enter("each/web-5");
    let going_on = story.screen(24);
    story.end(Status::Stuck, "each/web-3");
    insta::assert_snapshot!(format!("{going_on}\n\n#####\n{}", story.summary()));
}

#[test]
fn a_quiet_run_is_drawn_once_a_second() {
    let mut story = Story::of(72, UNICODE, branches);
    story.check("up", CheckRole::Gate, Level::Pass, "200 OK").done("up").enter("prepare");
    story.start("prepare/dump-the-database");
    let at = |millis: u64| {
        let now = Timestamp::from_micros(story.now + millis * 1000);
        frame(&story.view, now, 72, 24, UNICODE)
    };
    assert_eq!(at(0), at(900));
    assert_ne!(at(0), at(1000));
}
