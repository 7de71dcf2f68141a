//! Expansions fit wherever a fn may stand, and trip no lint.
#![deny(warnings, missing_docs, clippy::pedantic)]

extern crate runbook_core as runbook;

use runbook_core::{Runbook, Step};

/// A module as an action crate has it.
pub mod actions {
    use runbook_core::{Context, Observer, Result, Verdict};
    use runbook_macros::{check, cmd, runbook, step};

    /// Public, with a doc comment: nothing else needs one.
    ///
    /// # Errors
    /// None.
    #[step(harmless)]
    pub async fn public(cx: &Context, public: String) -> Result<()> {
        let _ = cmd!("echo {public}");
        cx.say(public);
        Ok(())
    }

    /// One name in both namespaces.
    ///
    /// # Errors
    /// None.
    #[check]
    pub async fn judged(_cx: &Observer, judged: &str) -> Result<Verdict<usize>> {
        Ok(Verdict::pass(judged.len(), "always"))
    }

    /// A runbook, public too.
    #[runbook]
    pub fn routine(b: &mut runbook_core::Runbook, words: Vec<String>) {
        for word in words {
            b.step(public(word));
        }
    }

    #[step(harmless)]
    #[cfg(any())]
    async fn left_out(gone: Gone) -> Result<()> {}

    #[runbook]
    #[cfg(any())]
    fn left_out_too(b: &mut runbook_core::Runbook, gone: Gone) {}

    #[step(irreversible, id = "move-it")]
    #[inline]
    #[allow(unused_variables)]
    pub(crate) async fn r#move(r#where: &str) -> Result<()> {
        let unused = 1;
        Ok(())
    }
}

mod importing {
    // One `use` brings the fn and the type.
    pub(crate) use super::actions::r#move;

    pub(crate) fn moved(step: r#move) -> r#move {
        drop(step);
        r#move("there")
    }
}

macro_rules! services {
    ($($name:ident $title:literal)*) => {$(
        #[runbook_macros::step(harmless, title = $title)]
        async fn $name(host: &str, times: u8) -> runbook_core::Result<u8> {
            let _ = host;
            Ok(times)
        }
    )*};
}
services! {
    start "Start on {host}"
    stop "Stop on {host} {times} times"
}

#[test]
fn fns_from_a_macro_become_steps() {
    assert_eq!(start("web-1", 1).about().title(), "Start on web-1");
    assert_eq!(stop("web-1", 2).about().title(), "Stop on web-1 2 times");
}

#[test]
fn a_step_may_stand_in_a_fn() {
    #[runbook_macros::step(harmless)]
    async fn local(n: u8) -> runbook_core::Result<u8> {
        Ok(n)
    }
    assert_eq!(local(1u8).about().title(), "Local");
}

#[test]
fn raw_names_are_shown_without_their_mark() {
    let about = importing::moved(importing::r#move("here")).about();
    assert_eq!((about.id(), about.title()), ("move-it", "Move"));
}

#[test]
fn a_catalog_over_any_environment_takes_a_runbook_without_one() {
    let over_text = runbook_core::Catalog::<String>::new("a").book::<actions::routine>();
    let over_nothing = runbook_core::Catalog::<()>::new("b").book::<actions::routine>();
    assert_eq!(over_text.books().count() + over_nothing.books().count(), 2);
    let mut b = Runbook::new("both");
    actions::routine(&mut b, vec!["a".into(), "b".into()]);
    b.check(actions::judged("c"));
    assert_eq!(b.build().expect("it is wired rightly").outline().units().count(), 3);
}
