//! The runbooks: what is done, in which order.

mod checklist;
mod data;
mod database;
mod operate;
mod queue;
mod release;
mod site;
mod visitors;

use runbook::{Runbook, Severity};

pub(crate) use self::checklist::release_checklist;
pub(crate) use self::data::{backup, restore, restore_files};
pub(crate) use self::database::database_slow;
pub(crate) use self::operate::{start, status, stop};
pub(crate) use self::queue::{queue_blocked, redis_down};
pub(crate) use self::release::{deploy, return_to, verify};
pub(crate) use self::site::quick_plan;
pub(crate) use self::visitors::{csrf_403, many_401};
use crate::platform::Platform;

/// What all incidents begin with.
fn incident(b: &mut Runbook, eaf: &Platform, severity: Severity) {
    b.severity(severity).escalation(&eaf.escalation);
    b.lock(eaf.lock());
}
