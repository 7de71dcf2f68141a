//! Whom to call and when: the arithmetic, the configuration, and what an engine makes of it.
#![allow(missing_docs)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use runbook_core::*;
use support::*;

const MINUTE: Duration = Duration::from_secs(60);

fn contact(name: &str) -> Contact {
    Contact::new(name).reach("+1 555 0100").unwrap()
}

fn on_call() -> Escalation {
    Escalation::at_once([contact("Kim")]).after(15 * MINUTE, [contact("Lee")])
}

fn waits() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(prop_oneof![0..5u64, 0..10_000_000u64, any::<u64>()], 0..8)
}

fn of(waits: &[u64]) -> Escalation {
    waits.iter().enumerate().fold(Escalation::default(), |all, (n, ms)| {
        all.after(Duration::from_millis(*ms), [contact(&n.to_string())])
    })
}

proptest! {
    /// In whatever order they are given, levels stand in order of time, and nobody is lost.
    #[test]
    fn levels_are_in_order_and_complete(waits in waits()) {
        let escalation = of(&waits);
        let levels = escalation.levels();
        prop_assert!(levels.is_sorted_by(|a, b| a.after < b.after));
        let called: usize = levels.iter().map(|level| level.call.len()).sum();
        prop_assert_eq!(called, waits.len());
        let json = serde_json::to_string(&escalation).unwrap();
        prop_assert_eq!(serde_json::from_str::<Escalation>(&json).unwrap(), escalation);
    }

    /// Somebody is due as soon as the time has come, and stays so.
    #[test]
    fn who_is_due_stays_due(waits in waits(), elapsed: u64, more: u64) {
        let escalation = of(&waits);
        let elapsed = Duration::from_millis(elapsed);
        let due = escalation.due(elapsed);
        prop_assert!(due.iter().all(|level| level.after <= elapsed));
        prop_assert!(escalation.levels()[due.len()..].iter().all(|level| level.after > elapsed));
        let later = escalation.due(elapsed.saturating_add(Duration::from_millis(more)));
        prop_assert!(later.starts_with(due));
    }

    /// A moment at which somebody is called is one that can be written, and agrees with who is due.
    #[test]
    fn calls_and_who_is_due_agree(
        waits in waits(),
        began in 0..4_000_000_000_000_000u64,
        elapsed in 0..100_000_000_000u64,
    ) {
        let escalation = of(&waits);
        let began = Timestamp::from_micros(began);
        let elapsed = Duration::from_millis(elapsed);
        let calls: Vec<Call> = escalation.calls(began).collect();
        prop_assert!(calls.iter().all(|call| call.from >= began));
        prop_assert!(calls.iter().all(|call| call.from.to_string().ends_with('Z')));
        let due = calls.iter().filter(|call| call.from <= began.after(elapsed)).count();
        prop_assert_eq!(due, escalation.due(elapsed).len());
    }
}

#[test]
fn a_graver_severity_is_greater() {
    let mut all = [Severity::SEV2, Severity::SEV4, Severity::SEV1, Severity::SEV3];
    all.sort();
    assert_eq!(all.map(|severity| severity.to_string()), ["SEV4", "SEV3", "SEV2", "SEV1"]);
    let own = Severity::new(1, "P1", "nobody can pay", 10 * MINUTE);
    assert!(own > Severity::SEV2 && own != Severity::SEV1);
    assert_eq!(own.sentence(), "P1 (nobody can pay): an answer is due within 10 min");
}

fn read(contacts: &str, escalation: &str) -> Result<People, String> {
    let json = format!(r#"{{ "contacts": {contacts}, "escalation": {escalation} }}"#);
    serde_json::from_str(&json).map_err(|error| {
        let text = error.to_string();
        text.split(" at line").next().unwrap_or(&text).to_owned()
    })
}

const KIM: &str = r##"{ "kim": { "name": "Kim", "reach": ["+1 555 0100", "#ops"] } }"##;

#[test]
fn a_configuration_gives_contacts_and_escalations_by_name() {
    let levels = r#"{ "night": [{ "call": ["kim"] }, { "after": "15 min", "call": ["kim"] }] }"#;
    let people = read(KIM, levels).unwrap();
    let night = people.escalation("night").unwrap();
    assert_eq!(
        night.to_string(),
        "at once Kim: +1 555 0100 or #ops; after 15 min Kim: +1 555 0100 or #ops"
    );
    assert_eq!(
        night.advice(14 * MINUTE),
        "call now Kim: +1 555 0100 or #ops; after 15 min Kim: +1 555 0100 or #ops"
    );
    let unknown = people.contact("kin").unwrap_err();
    assert_eq!(unknown.to_string(), "there is no contact `kin`; there is: kim");
}

#[test]
fn what_is_wrong_in_a_configuration_is_named() {
    let said: Vec<String> = [
        (r#"{ "kim": { "name": "Kim", "reach": ["+1 555 O100"] } }"#, "{}"),
        (r#"{ "kim": { "name": "Kim", "reach": ["kim@"] } }"#, "{}"),
        (r#"{ "kim": { "name": "Kim", "reach": ["https://kim:word@example.org"] } }"#, "{}"),
        (r#"{ "kim": { "name": "Kim", "reach": ["ask around"] } }"#, "{}"),
        (r#"{ "kim": { "name": "Kim", "reach": [] } }"#, "{}"),
        (r#"{ "kim": { "name": " ", "reach": ["112"] } }"#, "{}"),
        (r#"{ "kim": { "name": "Kim", "phone": "112" } }"#, "{}"),
        (KIM, r#"{ "night": [] }"#),
        (KIM, r#"{ "night": [{ "call": [] }] }"#),
        (KIM, r#"{ "night": [{ "call": ["lee"] }] }"#),
        (KIM, r#"{ "night": [{ "after": "soon", "call": ["kim"] }] }"#),
        (KIM, r#"{ "night": [{ "call": ["kim"] }, { "after": "0s", "call": ["kim"] }] }"#),
        (KIM, r#"{ "night": [{ "then": ["kim"] }] }"#),
    ]
    .iter()
    .map(|(contacts, escalation)| read(contacts, escalation).unwrap_err())
    .collect();
    insta::assert_snapshot!(said.join("\n"));
}

/// Whom a run that can't help says to call when it ends, in names.
async fn called(options: RunOptions, fill: impl FnOnce(&mut Ladder<'_>)) -> String {
    let world = World::default();
    let mut b = Runbook::new("down");
    b.escalation(&on_call());
    b.ladder("up again", world.is("service", "up"), fill);
    let engine = Engine::new(MemoryStore::new());
    let outcome = engine.run(&b.build().unwrap(), options).outcome().await.unwrap();
    names(&outcome)
}

fn names(outcome: &Outcome) -> String {
    let call = &outcome.finished.as_ref().unwrap().call;
    call.iter().map(|contact| contact.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_run_that_could_not_help_says_whom_to_call_now() {
    assert_eq!(called(RunOptions::new(), |_| {}).await, "Kim");
    let older = || RunOptions::new().began(Timestamp::now().before(20 * MINUTE));
    assert_eq!(called(older(), |_| {}).await, "Kim, Lee");
    let own = |ladder: &mut Ladder<'_>| {
        ladder.call(&Escalation::at_once([contact("Max")]));
    };
    assert_eq!(called(older(), own).await, "Max");
}

#[tokio::test]
async fn a_resume_does_not_make_an_incident_younger() {
    let engine = Engine::new(MemoryStore::new());
    let plan = |phone: &str| {
        let world = World::default();
        let mut b = Runbook::new("down");
        let kim = Contact::new("Kim").reach(phone).unwrap();
        b.escalation(&Escalation::at_once([kim]).after(15 * MINUTE, [contact("Lee")]));
        b.manual(Manual::new("Look around"));
        b.ladder("up again", world.is("service", "up"), |_| {});
        b.build().unwrap()
    };
    let options = RunOptions::new().unattended().began(Timestamp::now().before(20 * MINUTE));
    let outcome = engine.run(&plan("112"), options).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Suspended);
    engine.answer(&outcome.run, &"look-around".into(), Answer::Yes, "ann").await.unwrap();
    // The number was changed meanwhile: that is no other plan.
    let on = ResumeOptions::forward(RunOptions::new().unattended());
    let outcome = engine.resume(&outcome.run, &plan("113"), on).outcome().await.unwrap();
    assert_eq!(names(&outcome), "Kim, Lee");
    assert_eq!(outcome.finished.unwrap().call[0].to_string(), "Kim: 113");
}

#[tokio::test]
async fn a_checklist_waits_for_all_its_items_at_once_and_takes_each_by_itself() {
    let engine = Engine::new(MemoryStore::new());
    let mut b = Runbook::new("go-live");
    b.checklist("Before", ["One", "Two", "Three"].map(Manual::new));
    let plan = b.build().unwrap();
    let unattended = || RunOptions::new().unattended();
    let outcome = engine.run(&plan, unattended()).outcome().await.unwrap();
    let waiting = |outcome: &Outcome| -> Vec<String> {
        outcome.state.waiting().iter().map(|waiting| waiting.unit.to_string()).collect()
    };
    assert_eq!(waiting(&outcome), ["before/one", "before/two", "before/three"], "in order");
    for id in ["before/three", "before/one"] {
        engine.answer(&outcome.run, &id.into(), Answer::Yes, "ann").await.unwrap();
    }
    let on = || ResumeOptions::forward(unattended());
    let outcome = engine.resume(&outcome.run, &plan, on()).outcome().await.unwrap();
    assert_eq!(waiting(&outcome), ["before/two"], "what was ticked off is not asked again");
    engine.answer(&outcome.run, &"before/two".into(), Answer::Yes, "ann").await.unwrap();
    let outcome = engine.resume(&outcome.run, &plan, on()).outcome().await.unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
}

/// Through the handle, items are confirmed in any order, and one no ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_checklist_is_confirmed_in_any_order_and_a_no_ends_it() {
    for no in [false, true] {
        let mut b = Runbook::new("go-live");
        b.checklist("Before", ["One", "Two", "Three"].map(Manual::new));
        let plan = b.build().unwrap();
        let mut run = Engine::new(MemoryStore::new()).run(&plan, RunOptions::new());
        let control = run.control();
        let mut asked = Vec::new();
        while let Some(event) = run.next().await {
            let EventKind::Asked { unit, .. } = &event.event else { continue };
            asked.push(unit.clone());
            if asked.len() == 3 {
                let ids: Vec<&str> = asked.iter().map(UnitId::as_str).collect();
                assert_eq!(ids, ["before/one", "before/two", "before/three"], "in order");
                for unit in asked.iter().rev().take(if no { 1 } else { 3 }) {
                    let answer = if no { Answer::No } else { Answer::Yes };
                    control.answer(unit, answer, "ann").unwrap();
                }
            }
        }
        let status = run.outcome().await.unwrap().status;
        assert_eq!(status, if no { Status::Failed } else { Status::Succeeded });
    }
}

/// Keeps what it is told.
struct Told(Arc<Mutex<Vec<News>>>);

#[async_trait]
impl Notifier for Told {
    fn to(&self) -> String {
        "#ops".into()
    }
    async fn notify(&self, news: &News) -> Result<()> {
        self.0.lock().unwrap().push(news.clone());
        Ok(())
    }
}

#[tokio::test]
async fn who_is_told_learns_how_grave_it_is_and_whom_to_call() {
    let told = Arc::new(Mutex::new(Vec::new()));
    for value in ["up", "down"] {
        let world = World::default();
        world.set("service", Some(value));
        let mut b = Runbook::new("look");
        b.title("Look at the service");
        b.severity(Severity::SEV2).escalation(&on_call());
        b.check(world.is("service", "up"));
        b.notify(Told(Arc::clone(&told)));
        let engine = Engine::new(MemoryStore::new());
        engine.run(&b.build().unwrap(), RunOptions::new()).outcome().await.unwrap();
    }
    let told = told.lock().unwrap();
    let (well, failed) = (&told[0], &told[1]);
    assert_eq!(well.subject(), "SEV2: Look at the service: succeeded");
    assert!(!well.text().contains("call"), "{}", well.text());
    assert_eq!(failed.subject(), "SEV2: Look at the service: failed");
    let last = "call now Kim: +1 555 0100; after 15 min Lee: +1 555 0100";
    assert_eq!(failed.text().lines().last(), Some(last));
    assert!(failed.severity > Some(Severity::SEV3), "a notifier may choose by it");
}

#[test]
fn a_secret_in_a_contact_is_not_shown() {
    let secret = Secret::new("hunter2-hunter2");
    let mut b = Runbook::new("down");
    let leak = Contact::new("Kim").role(secret.expose()).reach("#hunter2-hunter2").unwrap();
    b.severity(Severity::new(1, "P1", "the password is hunter2-hunter2", MINUTE));
    b.escalation(&Escalation::at_once([leak.clone()]));
    b.ladder("up again", World::default().is("service", "up"), |ladder| {
        ladder.call(&Escalation::at_once([leak]));
    });
    let plan = b.build().unwrap();
    let json = serde_json::to_string(&**plan.outline()).unwrap();
    assert!(!json.contains("hunter2"), "{json}");
    let back: Outline = serde_json::from_str(&json).unwrap();
    assert_eq!(back, **plan.outline(), "what is scrubbed can be read again");
}

/// The head of a run as it was written before runs knew severities.
#[test]
fn older_journals_are_read() {
    let old = r#"{"run_started":{"run":"20260314-150926-k7xq","mode":"run","by":{"name":"kim",
        "machine":"ops-1","pid":1},"plan":{"book":"down","title":"Down","nodes":[{"block":{"id":
        "up","kind":{"ladder":{"check":"up","escalate":"call +1 555 0100"}},"title":"Up",
        "children":[]}}],"fingerprint":"f"}}}"#;
    let event: EventKind = serde_json::from_str(old).unwrap();
    let EventKind::RunStarted(start) = &event else { panic!("a head") };
    assert_eq!((start.began, &start.plan.severity, &start.plan.escalation), (None, &None, &None));
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let again = serde_json::to_string(&event).unwrap();
    assert_eq!(value(&again), value(old), "nothing is added to what has nothing to say");
}
