//! What is looked at before a release.

use runbook::{Manual, Result, Runbook, Step, runbook};
use runbook_node::Severity;

use crate::env::Env;
use crate::platform::Platform;

/// Before a release: what a machine can check, and what a person must
///
/// For staging: it builds in the work tree.
#[runbook]
pub(crate) fn release_checklist(b: &mut Runbook, env: &Env) -> Result<()> {
    let eaf = &Platform::new(env)?;
    b.lock(eaf.lock());
    b.check(eaf.git.is_clean());
    let looked_at = b.group("By machine", |b| {
        for script in ["typecheck", "lint", "test:unit"] {
            b.step(eaf.npm.script(script).named(script));
        }
        b.step(eaf.npm.build("build", env.app.built.clone()).timeout(Platform::BUILD));
        b.observe(eaf.npm.audit(Severity::High));
        b.check(eaf.variables.has(Platform::required()));
        b.check(eaf.variables.is_private())
    });
    b.checklist(
        "By a person",
        [
            Manual::new("Read the diff once more for secrets")
                .doc("No key, password or token is committed; `.env.example` names new variables."),
            Manual::new("Read what the migrations do")
                .doc("They only add: the release before must still run on the new schema."),
            Manual::new("Tell who is on call what is released, and when")
                .doc(format!("That is {}.", eaf.on_call())),
        ],
    );
    b.finally(|b| {
        b.step(eaf.npm.forget_kept(&looked_at));
    });
    Ok(())
}
