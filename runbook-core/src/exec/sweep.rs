//! Ends what a killed process of a run left running, before its unit goes on.

use std::collections::BTreeSet;

use tokio::sync::Mutex;

use crate::context::Observer;
use crate::error::{During, Result};
use crate::event::EventKind;
use crate::target::Host;

/// The hosts of a unit that are still to be swept.
pub(crate) struct Sweep {
    interrupted: bool,
    /// By name. Held while a host is swept, so that no second command starts meanwhile.
    swept: Mutex<BTreeSet<String>>,
}

impl Sweep {
    /// `interrupted`: the process that ran this unit before was killed.
    pub(crate) fn new(interrupted: bool) -> Self {
        Self { interrupted, swept: Mutex::default() }
    }
}

/// Ends what a killed process of this run left running on `host`, once per unit and host.
pub(crate) async fn sweep(cx: &Observer, host: &Host) -> Result<()> {
    let scope = cx.scope();
    if !scope.sweep.interrupted {
        return Ok(());
    }
    let mut swept = scope.sweep.swept.lock().await;
    if swept.contains(host.name()) {
        return Ok(());
    }
    let cookie = format!("{}:{}", scope.run, scope.unit);
    let ended = host.target().end_leftovers(&cookie, scope.grace).await.during(format!(
        "ending on {host} what the interrupted run of {} left behind",
        scope.unit
    ))?;
    if !ended.is_empty() {
        scope.sink.keep(EventKind::LeftoversEnded {
            unit: scope.unit.clone(),
            host: host.name().to_owned(),
            processes: ended
                .iter()
                .map(|process| crate::secret::scrub(process).into_owned())
                .collect(),
        });
    }
    swept.insert(host.name().to_owned());
    Ok(())
}
