//! [`Axis`]: where a moment stands on the time axis of a run. Times in which no process worked on
//! the run are squeezed: a night's wait must not flatten a minute's work.

use crate::event::Timestamp;

use super::super::text::{duration, time};
use super::super::timeline::{ProcessEnd, Timeline};

/// How much of the axis a gap takes, in percent, unless it is shorter by nature.
const GAP: f64 = 6.0;

pub(super) struct Axis {
    /// Stretches in order, without holes: from, until, left edge and right edge in percent.
    stretches: Vec<(Timestamp, Timestamp, f64, f64)>,
    gaps: Vec<Gap>,
}

/// A time in which no process worked on the run.
pub(super) struct Gap {
    pub(super) left: f64,
    pub(super) width: f64,
    pub(super) interrupted: bool,
    pub(super) words: String,
}

impl Axis {
    pub(super) fn of(timeline: &Timeline) -> Self {
        // Busy and idle stretches in turn: (from, until, the process that left it idle).
        let mut parts: Vec<(Timestamp, Timestamp, Option<ProcessEnd>)> = Vec::new();
        for process in &timeline.processes {
            if let Some((_, before, _)) = parts.last().copied()
                && let Some(end) = timeline.processes.get(parts.len() / 2).map(|p| p.end)
            {
                let from = process.from.max(before);
                parts.push((before, from, Some(end)));
            }
            let from = parts.last().map_or(process.from, |part| part.1);
            parts.push((from, process.until.max(from), None));
        }
        let seconds = |from: Timestamp, until: Timestamp| until.since(from).as_secs_f64();
        let length = |idle: bool| -> f64 {
            let parts = parts.iter().filter(|part| part.2.is_some() == idle);
            parts.map(|part| seconds(part.0, part.1)).sum()
        };
        let busy = length(false);
        let whole = busy + length(true);
        let natural = |s: f64| if whole > 0.0 { s * 100.0 / whole } else { 0.0 };
        let gap = |s: f64| natural(s).min(GAP);
        let gaps_take: f64 =
            parts.iter().filter(|p| p.2.is_some()).map(|p| gap(seconds(p.0, p.1))).sum();
        // Many gaps share at most half of the axis.
        let shrink = if gaps_take > 50.0 { 50.0 / gaps_take } else { 1.0 };
        let for_work = 100.0 - gaps_take * shrink;
        let mut axis = Self { stretches: Vec::new(), gaps: Vec::new() };
        let mut left = 0.0;
        for (from, until, idle) in parts {
            let s = seconds(from, until);
            let width = match idle {
                Some(_) => gap(s) * shrink,
                None if busy > 0.0 => s * for_work / busy,
                None => 0.0,
            };
            if let Some(end) = idle {
                let interrupted = matches!(end, ProcessEnd::Open | ProcessEnd::Interrupted);
                let what = match end {
                    ProcessEnd::Open | ProcessEnd::Interrupted => "interrupted",
                    ProcessEnd::Suspended => "waited for a person",
                    ProcessEnd::Ended => "had ended",
                };
                let words = format!("{what}: {}", duration(until.since(from)));
                axis.gaps.push(Gap { left, width, interrupted, words });
            }
            axis.stretches.push((from, until, left, left + width));
            left += width;
        }
        axis
    }

    /// The gaps.
    pub(super) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The right end.
    pub(super) fn end(&self) -> Timestamp {
        self.stretches.last().map_or(Timestamp::from_micros(0), |stretch| stretch.1)
    }

    /// Where a moment stands, in percent from the left.
    pub(super) fn place(&self, at: Timestamp) -> f64 {
        for (from, until, left, right) in &self.stretches {
            if at <= *until {
                let whole = until.since(*from).as_secs_f64();
                let part = if whole > 0.0 { at.since(*from).as_secs_f64() / whole } else { 0.0 };
                return left + (right - left) * part;
            }
        }
        100.0
    }

    /// Places that are labelled with the time since the start of their stretch of work.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for (n, (from, until, left, right)) in self.stretches.iter().enumerate() {
            let idle = n % 2 == 1;
            let room = ticks.last().is_none_or(|(last, _)| left - last >= 14.0);
            if !idle && room && right > left && *left < 90.0 {
                ticks.push((*left, time(*from)));
            }
            if !idle
                && n + 1 == self.stretches.len()
                && right - ticks.last().map_or(0.0, |t| t.0) >= 28.0
            {
                ticks.push((100.0, time(*until)));
            }
        }
        ticks
    }
}
