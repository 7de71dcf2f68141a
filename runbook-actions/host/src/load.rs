//! Load, memory and what uses them, as far as this machine, or this container, may go.

use std::collections::BTreeMap;
use std::time::Duration;

use runbook_core::{Check, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::cgroup::Limits;
use crate::machine::{Machine, script};

/// The load of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Load {
    /// Processes that ran or waited for a disk, on average of one minute. In a container: those of
    /// the whole machine.
    pub one: f64,
    /// Of five minutes.
    pub five: f64,
    /// Of fifteen.
    pub fifteen: f64,
    /// How many cores may be used; in a container, its limit.
    pub cores: f64,
}

/// The memory of a machine or container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Memory {
    /// What may be used at most; in a container, its limit.
    pub total: Bytes,
    /// What programs can still have without anything being swapped.
    pub available: Bytes,
    /// Whether a container's limit, not the machine, sets the total.
    pub limited: bool,
    /// Swap there is.
    pub swap_total: Bytes,
    /// Swap that is not used.
    pub swap_free: Bytes,
}

/// What the processors did between two looks, in percent of their time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cpu {
    /// Worked.
    pub busy: f64,
    /// Had nothing to do but wait for a disk.
    pub io_wait: f64,
    /// Were taken by another guest of the same machine.
    pub stolen: f64,
}

/// A process and what it uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Its id.
    pub pid: u32,
    /// Its program, as the kernel calls it: at most 15 characters.
    pub program: String,
    /// Percent of one core, between two looks.
    pub cpu: f64,
    /// Memory that it has.
    pub memory: Bytes,
}

/// By what the top processes are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cpu => "processor time",
            Self::Memory => "memory",
        })
    }
}

impl Machine {
    /// The load of the last five minutes is at most `per_core` for each core that may be used.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("health");
    /// b.check(web.load_below(1.5));
    /// ```
    #[must_use]
    pub fn load_below(&self, per_core: f64) -> impl Check<Evidence = Load> {
        load_below(self, per_core)
    }

    /// Programs can have so much more memory; in a container, within its limit.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Bytes, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("health");
    /// b.check(web.memory_available(Bytes::mib(512)));
    /// ```
    #[must_use]
    pub fn memory_available(&self, least: Bytes) -> impl Check<Evidence = Memory> {
        memory_available(self, least)
    }

    /// At most `percent` of the swap is used; none at all is fine.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("health");
    /// b.check(web.swap_below(50));
    /// ```
    #[must_use]
    pub fn swap_below(&self, percent: u8) -> impl Check<Evidence = Memory> {
        swap_below(self, percent)
    }

    /// The processors wait for disks at most `percent` of the time; looks for a second.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("slow");
    /// b.check(web.io_wait_below(20.0));
    /// ```
    #[must_use]
    pub fn io_wait_below(&self, percent: f64) -> impl Check<Evidence = Cpu> {
        io_wait_below(self, percent)
    }

    /// The `count` processes that use most now; it always passes. Looks for a second: what `ps`
    /// says of processor time is the average of a process's whole life.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{By, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("slow");
    /// b.check(web.top_processes(5, By::Cpu));
    /// ```
    #[must_use]
    pub fn top_processes(&self, count: u32, by: By) -> impl Check<Evidence = Vec<Usage>> {
        top_processes(self, count, by)
    }

    async fn memory(&self, cx: &Observer) -> Result<Memory> {
        let limits = Limits::of(self, cx).await?;
        let text = limits.file("/proc/meminfo");
        let fields = meminfo(text);
        let field = |name: &str| fields.get(name).copied();
        let (Some(total), Some(free)) = (field("MemTotal"), field("MemFree")) else {
            return Err(self.odd("/proc/meminfo", text).failure());
        };
        // Kernels before 3.14 don't say what is available.
        let available = field("MemAvailable")
            .unwrap_or_else(|| free + field("Buffers").unwrap_or(0) + field("Cached").unwrap_or(0));
        let mut memory = Memory {
            total: Bytes::new(total),
            available: Bytes::new(available),
            limited: false,
            swap_total: Bytes::new(field("SwapTotal").unwrap_or(0)),
            swap_free: Bytes::new(field("SwapFree").unwrap_or(0)),
        };
        for limit in limits.memory() {
            memory.limited |= limit.most < memory.total.get();
            memory.total = memory.total.min(Bytes::new(limit.most));
            memory.available =
                memory.available.min(Bytes::new(limit.most.saturating_sub(limit.used)));
        }
        Ok(memory)
    }

    /// Two looks at what a script prints, a second apart.
    async fn twice(&self, cx: &Observer, text: &'static str) -> Result<(String, String)> {
        let first = self.look(cx, script(text)).await?;
        tokio::select! {
            why = cx.stopped() => return Err(why),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        let second = self.look(cx, script(text)).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&first.stdout), text(&second.stdout)))
    }
}

/// The load is bearable
#[check(
    title = "The load of {machine} is at most {per_core} a core",
    preview = "cat /proc/loadavg"
)]
async fn load_below(cx: &Observer, machine: &Machine, per_core: f64) -> Result<Verdict<Load>> {
    let limits = Limits::of(machine, cx).await?;
    let text = limits.file("/proc/loadavg");
    let numbers: Vec<f64> = text.split(' ').take(3).filter_map(|word| word.parse().ok()).collect();
    let ([one, five, fifteen], Some(cores)) = (numbers.as_slice(), limits.cores()) else {
        return Err(machine.odd("/proc/loadavg", text).failure());
    };
    let load = Load { one: *one, five: *five, fifteen: *fifteen, cores };
    let why = format!("{one} {five} {fifteen} for {cores} cores");
    Ok(Verdict::pass_if(load.five <= per_core * cores, load, why))
}

/// Enough memory
#[check(title = "{machine} has {least} of memory available", preview = "cat /proc/meminfo")]
async fn memory_available(
    cx: &Observer,
    machine: &Machine,
    least: Bytes,
) -> Result<Verdict<Memory>> {
    let memory = machine.memory(cx).await?;
    let limited = if memory.limited { ", the limit of its container" } else { "" };
    let why = format!("{} of {} are available{limited}", memory.available, memory.total);
    Ok(Verdict::pass_if(memory.available >= least, memory, why))
}

/// Little swap is used
#[check(title = "{machine} uses at most {percent} % of its swap", preview = "cat /proc/meminfo")]
async fn swap_below(cx: &Observer, machine: &Machine, percent: u8) -> Result<Verdict<Memory>> {
    let memory = machine.memory(cx).await?;
    let (total, free) = (memory.swap_total, memory.swap_free);
    if total == Bytes::new(0) {
        return Ok(Verdict::pass(memory, "it has none"));
    }
    let used = Bytes::new(total.get().saturating_sub(free.get()));
    let good = u128::from(used.get()) * 100 <= u128::from(total.get()) * u128::from(percent);
    Ok(Verdict::pass_if(good, memory, format!("{used} of {total} are used")))
}

/// The disks keep up
#[check(
    title = "The processors of {machine} wait for disks at most {percent} % of the time",
    preview = "cat /proc/stat"
)]
async fn io_wait_below(cx: &Observer, machine: &Machine, percent: f64) -> Result<Verdict<Cpu>> {
    let (before, after) = machine.twice(cx, "cat /proc/stat").await?;
    let Some(cpu) = cpu(&before, &after) else {
        return Err(machine.odd("/proc/stat", &after).failure());
    };
    let why = format!(
        "{:.0} % waiting for disks, {:.0} % busy, {:.0} % stolen",
        cpu.io_wait, cpu.busy, cpu.stolen
    );
    Ok(Verdict::pass_if(cpu.io_wait <= percent, cpu, why))
}

/// The greediest processes
#[check(title = "The {count} processes of {machine} with most {by}")]
async fn top_processes(
    cx: &Observer,
    machine: &Machine,
    count: u32,
    by: By,
) -> Result<Verdict<Vec<Usage>>> {
    let ticks = machine.look(cx, script("getconf CLK_TCK; getconf PAGESIZE")).await?.text();
    let numbers: Vec<u64> = ticks.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let [ticks, page] = numbers[..] else {
        return Err(machine.odd("`getconf`", &ticks).failure());
    };
    // Processes that end meanwhile make cat complain: that is no failure.
    let look = "cat /proc/uptime /proc/[0-9]*/stat 2>/dev/null; exit 0";
    let (before, after) = machine.twice(cx, look).await?;
    let seconds = (uptime(&after) - uptime(&before)).max(0.01);
    let before = processes(&before);
    let mut all: Vec<Usage> = processes(&after)
        .into_iter()
        .map(|(key, process)| {
            let earlier = before.get(&key).map_or(0, |process| process.ticks);
            let used = process.ticks.saturating_sub(earlier);
            Usage {
                pid: key.0,
                program: process.program,
                cpu: used as f64 / ticks.max(1) as f64 / seconds * 100.0,
                memory: Bytes::new(process.pages.saturating_mul(page)),
            }
        })
        .collect();
    match by {
        By::Cpu => all.sort_by(|a, b| b.cpu.total_cmp(&a.cpu).then(b.memory.cmp(&a.memory))),
        By::Memory => all.sort_by_key(|usage| std::cmp::Reverse(usage.memory)),
    }
    all.truncate(count as usize);
    let shown: Vec<_> = all
        .iter()
        .map(|one| format!("{} ({}) {:.0} % {}", one.program, one.pid, one.cpu, one.memory))
        .collect();
    Ok(Verdict::pass(all, shown.join(", ")))
}

fn meminfo(text: &str) -> BTreeMap<&str, u64> {
    let field = |line: &'_ str| -> Option<u64> {
        let kib = line.trim().trim_end_matches("kB").trim();
        kib.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
    };
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.filter_map(|(name, value)| Some((name, field(value)?))).collect()
}

/// Between two looks at `/proc/stat`.
fn cpu(before: &str, after: &str) -> Option<Cpu> {
    let times = |text: &str| -> Option<Vec<u64>> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Vec<u64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        // Guests' time, the ninth and tenth, is in the user's already.
        (times.len() >= 5).then(|| times.into_iter().take(8).collect())
    };
    let (before, after) = (times(before)?, times(after)?);
    // Waiting for disks may count backwards.
    let spent: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a.saturating_sub(*b)).collect();
    let all: u64 = spent.iter().sum();
    let percent =
        |at: usize| spent.get(at).map_or(0.0, |spent| *spent as f64 * 100.0 / all.max(1) as f64);
    let (idle, io_wait, stolen) = (percent(3), percent(4), percent(7));
    Some(Cpu { busy: (100.0 - idle - io_wait - stolen).max(0.0), io_wait, stolen })
}

/// One line of `/proc/PID/stat`.
struct ProcessStat {
    program: String,
    ticks: u64,
    pages: u64,
}

/// By id and start, since ids are used again.
fn processes(text: &str) -> BTreeMap<(u32, u64), ProcessStat> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    // The name may hold anything, line ends and brackets too: a record ends where a line of
    // numbers does.
    while let Some(open) = rest.find(" (") {
        let start = rest.get(..open).map_or("", |head| head.rsplit('\n').next().unwrap_or(head));
        let Some(close) = end_of_name(rest, open + 2) else { break };
        let line_end = rest.get(close..).and_then(|tail| tail.find('\n'));
        let end = line_end.map_or(rest.len(), |at| close + at);
        let fields: Vec<&str> = rest.get(close + 2..end).unwrap_or("").split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        if let (Ok(pid), Some(user), Some(system), Some(started), Some(pages)) =
            (start.parse(), number(11), number(12), number(19), number(21))
        {
            let program = rest.get(open + 2..close).unwrap_or("").to_owned();
            found.insert((pid, started), ProcessStat { program, ticks: user + system, pages });
        }
        rest = rest.get(end..).unwrap_or("");
    }
    found
}

/// Where the name that begins at `from` ends: at most 15 bytes on, at a bracket that the state
/// follows.
fn end_of_name(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let last = bytes.len().min(from + 64);
    let is_end = |at: &usize| {
        bytes.get(*at) == Some(&b')')
            && bytes.get(at + 1) == Some(&b' ')
            && bytes.get(at + 2).is_some_and(u8::is_ascii_alphabetic)
            && bytes.get(at + 3) == Some(&b' ')
    };
    (from..last).find(is_end)
}

fn uptime(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let tail = "S 1 1 1 0 -1 0 0 0 0 0 70 30 0 0 20 0 1 0 555 1000 25 1";
        let text = format!("10.0 20.0\n7 (a) b\n(c) {tail}\n8 (sh) {tail}\n");
        let all = processes(&text);
        let seven = &all[&(7, 555)];
        assert_eq!((seven.program.as_str(), seven.ticks, seven.pages), ("a) b\n(c", 100, 25));
        assert_eq!(all[&(8, 555)].program, "sh");
    }

    #[test]
    fn waiting_for_disks_is_counted_between_two_looks() {
        let before = "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n";
        let after = "cpu  110 0 110 740 140 0 0 0 0 0\n";
        let cpu = cpu(before, after).unwrap();
        assert_eq!((cpu.busy.round(), cpu.io_wait.round()), (20.0, 40.0));
    }
}
