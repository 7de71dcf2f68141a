//! Questions: answered while the process lives, or after it ended.

use runbook_core::*;

use crate::engine;
use crate::support::*;

#[tokio::test]
async fn questions_wait_for_answers_through_the_handle() {
    let world = World::default();
    let mut b = Runbook::new("ask");
    b.step(world.put("a", "1").confirm("Really?"));
    let number = b.manual(Manual::new("Open a ticket").ask::<u16>("Which number?"));
    b.manual(Manual::new("Tell the team"));
    b.step(world.put("b", number.map(u16::to_string)));
    let plan = b.build().unwrap();
    let mut handle = engine().run(&plan, RunOptions::new());
    let control = handle.control();
    while let Some(event) = handle.next().await {
        if let EventKind::Asked { unit, question } = &event.event {
            match &question.kind {
                QuestionKind::Value { accepts } => {
                    let wrong = Answer::Value("many".into());
                    let error = control.answer(unit, wrong, "ann").unwrap_err();
                    assert_eq!(
                        error.to_string(),
                        format!("`open-a-ticket`: \"many\": expected {accepts}")
                    );
                    control.answer(unit, Answer::Value("42".into()), "ann").unwrap();
                }
                _ => control.approve(unit, "ann").unwrap(),
            }
        }
    }
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    assert_eq!(world.get("b").unwrap(), "42");
}

#[tokio::test]
async fn unattended_questions_suspend_and_resume_goes_on_after_the_answer() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("ask");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "1").confirm("Really?"));
    let plan = b.build().unwrap();
    let (outcome, events) = watch(engine.run(&plan, RunOptions::new().unattended())).await;
    assert_eq!(outcome.status, Status::Suspended);
    assert_eq!(events.last().unwrap(), "suspended");
    let unit = UnitId::from("put-b");
    let wrong = engine.answer(&outcome.run, &"put-a".into(), Answer::Yes, "ann").await;
    assert!(wrong.unwrap_err().to_string().contains("these do: put-b"));
    engine.answer(&outcome.run, &unit, Answer::Yes, "ann").await.unwrap();
    let on = ResumeOptions::forward(RunOptions::new().unattended());
    let (outcome, events) = watch(engine.resume(&outcome.run, &plan, on)).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(!events.contains(&"start put-a".into()));
    assert_eq!(world.map().len(), 2);
}

#[tokio::test]
async fn a_no_fails_the_unit_and_rolls_back() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("ask");
    b.step(world.put("a", "1"));
    b.step(world.put("b", "1").confirm("Really?"));
    let plan = b.build().unwrap();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new().unattended())).await;
    engine.answer(&outcome.run, &"put-b".into(), Answer::No, "ann").await.unwrap();
    let on = ResumeOptions::forward(RunOptions::new().unattended());
    let (outcome, _) = watch(engine.resume(&outcome.run, &plan, on)).await;
    assert_eq!(outcome.status, Status::RolledBack);
    assert!(world.map().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_asked_for_again() {
    let world = World::default();
    let engine = engine();
    let mut b = Runbook::new("ask");
    let number = b.manual(Manual::new("Open a ticket").ask::<u16>("Which number?"));
    b.step(world.put("ticket", number.map(u16::to_string)));
    let plan = b.build().unwrap();
    let (outcome, _) = watch(engine.run(&plan, RunOptions::new().unattended())).await;
    let unit = UnitId::from("open-a-ticket");
    for wrong in [Answer::Yes, Answer::Value("many".into())] {
        engine.answer(&outcome.run, &unit, wrong, "ann").await.unwrap();
        let on = ResumeOptions::forward(RunOptions::new().unattended());
        let (again, _) = watch(engine.resume(&outcome.run, &plan, on)).await;
        assert_eq!(again.status, Status::Suspended);
        let question = &again.state.waiting()[0].question.text;
        assert!(question.contains("expected a whole number from 0 to 65535"), "{question}");
    }
    engine.answer(&outcome.run, &unit, Answer::Value("42".into()), "ann").await.unwrap();
    let on = ResumeOptions::forward(RunOptions::new().unattended());
    let (outcome, _) = watch(engine.resume(&outcome.run, &plan, on)).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(world.get("ticket").unwrap(), "42");
}
