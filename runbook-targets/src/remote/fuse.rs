//! A *fuse* burns beside a shell until there is a lifeline: a process that ends what its shell runs
//! when the server's process is gone, or when no lifeline came for long.
//!
//! A connection that lives for less than a second or two needs no lifeline then, whose channel and
//! login shell would be the dearest part of it.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runbook_core::{Failure, Problem, Result};
use tokio::task::JoinHandle;

use super::channel::Channels;
use super::lifeline::{Lifeline, TREE, Whom};
use super::target::{Inner, Limits};
use super::words::compact;

static SCRIPT: LazyLock<String> = LazyLock::new(|| compact(include_str!("fuse.sh")));

/// The fuse of the shell with this mark, as it is told to it.
pub(super) fn script(lifeline: &Lifeline, mark: &str, limits: &Limits) -> String {
    // As long as the lifeline may take, and then as long as it would bear silence.
    // No more than any shell can count.
    let patience = limits.greeting.div_duration_f32(limits.beat).ceil().min(1e9);
    let mut script = Lifeline::told(&format!("{}$", mark.replace('.', "[.]")), limits);
    let _ = writeln!(script, "_id={} _beats=$((_beats+{patience}))", lifeline.id);
    script.push_str(&TREE);
    script.push_str(&SCRIPT);
    script
}

/// The lifeline that will be opened in a while.
#[derive(Default)]
pub(super) struct Later(Mutex<State>);

#[derive(Default)]
struct State {
    /// What opens it. It ends with its runtime.
    task: Option<JoinHandle<()>>,
    /// Why it could not be opened so far.
    trouble: Option<Problem>,
}

impl Later {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Channels> Inner<C> {
    /// Opens a lifeline in a while, unless it is open by then. Called before each use of a shell that
    /// may have nothing but its fuse.
    pub(super) fn open_later(self: &Arc<Self>, lifeline: &Arc<Lifeline>) {
        let Some(later) = self.limits.later.filter(|_| !lifeline.is_open()) else { return };
        let mut state = lifeline.later.state();
        if state.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let (inner, lifeline) = (Arc::downgrade(self), Arc::downgrade(lifeline));
        state.task = Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(later).await;
                let (Some(inner), Some(lifeline)) = (inner.upgrade(), lifeline.upgrade()) else {
                    return;
                };
                // If it can't be opened, what runs is ended when its fuse has burnt down.
                let Err(failure) = lifeline.open(&inner.channels, &inner.limits).await else {
                    return;
                };
                lifeline.later.state().trouble = Some(failure.to_problem());
                if !lifeline.lives() {
                    return;
                }
            }
        }));
    }

    /// Why what runs could not be watched over, if that is so.
    pub(super) fn why_unwatched(&self, lifeline: &Lifeline) -> Option<Failure> {
        let trouble = lifeline.later.state().trouble.clone().filter(|_| !lifeline.is_open())?;
        let doing = format!("opening a second channel to {}, to watch over it", self.name());
        Some(Failure::from(trouble).while_doing(doing))
    }

    /// Ends the tree of a command, and its shell too if `shell`.
    pub(super) async fn kill(
        &self,
        lifeline: &Lifeline,
        whom: &Whom,
        shell: bool,
        grace: Duration,
    ) -> Result<()> {
        lifeline.open(&self.channels, &self.limits).await?;
        lifeline.kill(whom, shell, grace).await
    }
}
