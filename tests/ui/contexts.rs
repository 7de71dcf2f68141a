//! The context of the other kind, by value, or not in front.

use runbook::{Context, Observer, Result, Runbook, Verdict, check, step};

#[check]
async fn answers(cx: &Context) -> Result<Verdict<()>> {
    cx.say("asked");
    Ok(Verdict::pass((), "it does"))
}

#[step(harmless)]
async fn look(cx: &Observer) -> Result<()> {
    cx.say("looked");
    Ok(())
}

#[step(harmless)]
async fn by_value(cx: Context) -> Result<()> {
    cx.say("looked");
    Ok(())
}

#[step(harmless)]
async fn behind(name: &str, cx: &Context) -> Result<()> {
    cx.say(name);
    Ok(())
}

fn main() {
    let mut b = Runbook::new("look");
    b.check(answers());
    b.step(look());
    b.step(by_value());
    b.step(behind("x"));
}
