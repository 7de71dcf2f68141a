//! Ports: who listens, who is connected, and stopping who should not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use runbook_core::{Check, Context, Harmless, Irreversible, Observer, Result, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::machine::{Machine, script};
use crate::sockets::{LISTEN, Socket};

/// How long a process gets between SIGTERM and SIGKILL, and after that to be gone.
const GRACE: Duration = Duration::from_secs(10);

/// A port that something listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The addresses; `0.0.0.0` and `::` are all.
    pub addresses: Vec<IpAddr>,
    /// The processes that hold it; none are seen of other users without root.
    pub owners: Vec<Owner>,
}

/// A process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Owner {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// When it started, in the kernel's ticks since boot: ids are used again, this tells.
    pub started: u64,
    /// Its program: the last part of what it was started as, or what the kernel calls it.
    pub program: String,
    /// What it was started as, cut to 200 characters.
    pub command: String,
    /// The systemd service that it belongs to.
    pub unit: Option<String>,
}

impl Owner {
    fn is(&self, program: &str) -> bool {
        self.program == program
    }
}

/// The connections of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connections {
    /// All but the listening sockets.
    pub total: u32,
    /// By state, as `ss` calls them: `established`, `time-wait` ..
    pub states: BTreeMap<String, u32>,
    /// The addresses with most, most first, ten at most.
    pub peers: Vec<(IpAddr, u32)>,
}

impl Machine {
    /// The ports that something listens on, and who; it always passes.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.check(web.listening());
    /// ```
    #[must_use]
    pub fn listening(&self) -> impl Check<Evidence = Vec<Listener>> {
        listening(self)
    }

    /// Nothing listens on a port.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("start");
    /// b.check(web.port_free(3000));
    /// ```
    #[must_use]
    pub fn port_free(&self, port: u16) -> impl Check<Evidence = Option<Listener>> {
        port_free(self, port)
    }

    /// `program` and nothing else listens on a port. Of another user's processes it takes root to
    /// see which: otherwise it fails, and says so.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.check(web.port_owned_by(443, "nginx"));
    /// ```
    pub fn port_owned_by(
        &self,
        port: u16,
        program: impl Into<String>,
    ) -> impl Check<Evidence = Option<Listener>> {
        port_owned_by(self, port, program.into())
    }

    /// A port has at most so many connections, of all states.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("slow");
    /// b.check(web.connections_below(5000, 1000));
    /// ```
    #[must_use]
    pub fn connections_below(&self, port: u16, most: u32) -> impl Check<Evidence = Connections> {
        connections_below(self, port, most)
    }

    /// Ends the processes that listen on a port: SIGTERM, and SIGKILL after ten seconds. Refuses
    /// if any of them is another program than `program`, can't be seen, or is a systemd service
    /// (which systemd would start again: stop that, or
    /// [restart it](Self::restart_port_owner)). Fine if nothing listens.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("port-taken");
    /// b.irreversible(web.stop_port_owner(5000, "python3"), "left behind by a crashed deploy");
    /// ```
    pub fn stop_port_owner(
        &self,
        port: u16,
        program: impl Into<String>,
    ) -> impl Step<Output = Vec<Owner>, Rollback = Irreversible> {
        stop_port_owner(self, port, program.into())
    }

    /// Restarts the systemd service that listens on a port. Refuses if that is another program
    /// than `program`, or no service.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.step(web.restart_port_owner(8000, "gunicorn"));
    /// ```
    pub fn restart_port_owner(
        &self,
        port: u16,
        program: impl Into<String>,
    ) -> impl Step<Output = String, Rollback = Harmless> {
        restart_port_owner(self, port, program.into())
    }

    /// Who listens on a port, if anybody.
    async fn listener(&self, cx: &Observer, port: u16) -> Result<Option<Listener>> {
        let mut all = self.listeners(cx, |socket| socket.port == port).await?;
        Ok(all.pop())
    }

    async fn listeners(
        &self,
        cx: &Observer,
        wanted: impl Fn(&Socket) -> bool,
    ) -> Result<Vec<Listener>> {
        let mut sockets = self.sockets(cx).await?;
        sockets.retain(|socket| socket.state == LISTEN && wanted(socket));
        if sockets.is_empty() {
            return Ok(Vec::new());
        }
        let holders = self.holders(cx).await?;
        let pids = |socket: &Socket| holders.get(&socket.inode).into_iter().flatten().copied();
        let all: BTreeSet<u32> = sockets.iter().flat_map(pids).collect();
        let owners = self.owners(cx, &all).await?;
        let mut ports: BTreeMap<u16, (BTreeSet<IpAddr>, BTreeSet<u32>)> = BTreeMap::new();
        for socket in &sockets {
            let (addresses, held) = ports.entry(socket.port).or_default();
            addresses.insert(socket.address);
            held.extend(pids(socket));
        }
        let listeners = ports.into_iter().map(|(port, (addresses, held))| Listener {
            port,
            addresses: addresses.into_iter().collect(),
            owners: held.iter().filter_map(|pid| owners.get(pid)).cloned().collect(),
        });
        Ok(listeners.collect())
    }

    /// Which processes hold which sockets, as far as they may be looked at.
    async fn holders(&self, cx: &Observer) -> Result<BTreeMap<u64, BTreeSet<u32>>> {
        // One process for all: a `readlink` for each would take seconds.
        const SCRIPT: &str =
            r"ls -l /proc/[0-9]*/fd 2>/dev/null | grep -e '^/proc/' -e 'socket:\['; exit 0";
        let text = self.look(cx, script(SCRIPT)).await?.text();
        let mut holders: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        let mut pid = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("/proc/") {
                pid = rest.strip_suffix("/fd:").and_then(|pid| pid.parse().ok());
            } else if let Some(pid) = pid
                && let Some((_, inode)) = line.rsplit_once("socket:[")
                && let Ok(inode) = inode.trim_end_matches(']').parse()
            {
                holders.entry(inode).or_default().insert(pid);
            }
        }
        Ok(holders)
    }

    /// What these processes are; those that ended meanwhile are left out.
    async fn owners(&self, cx: &Observer, pids: &BTreeSet<u32>) -> Result<BTreeMap<u32, Owner>> {
        if pids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names = ["stat", "cmdline", "cgroup"];
        let paths: Vec<String> =
            pids.iter().flat_map(|pid| names.map(|name| format!("/proc/{pid}/{name}"))).collect();
        let files = self.texts(cx, &paths).await?;
        let file = |pid: u32, name: &str| {
            files.get(&format!("/proc/{pid}/{name}")).map_or("", String::as_str)
        };
        let owners = pids.iter().filter_map(|pid| {
            let owner =
                owner(*pid, file(*pid, "stat"), file(*pid, "cmdline"), file(*pid, "cgroup"))?;
            Some((*pid, owner))
        });
        Ok(owners.collect())
    }

    /// Who listens on a port, each of them the program that is expected.
    async fn expected(&self, cx: &Observer, port: u16, program: &str) -> Result<Option<Listener>> {
        let Some(listener) = self.listener(cx, port).await? else { return Ok(None) };
        let place = self.to_string();
        if listener.owners.is_empty() {
            return Err(Error::HiddenOwner { place, port }.failure());
        }
        if listener.owners.iter().any(|owner| !owner.is(program)) {
            let found = shown(&listener);
            return Err(
                Error::OtherOwner { place, port, expected: program.into(), found }.failure()
            );
        }
        Ok(Some(listener))
    }

    /// Sends a signal to those of these processes that are still the same.
    async fn signal(&self, cx: &Context, signal: &str, owners: &[Owner]) -> Result<()> {
        const SCRIPT: &str = r#"signal=$1; shift; set -f
while [ $# -ge 2 ]; do
  if stat=$(cat "/proc/$1/stat" 2>/dev/null); then
    rest=${stat##*) }
    started=$(printf '%s\n' $rest | sed -n 20p)
    if [ "$started" = "$2" ]; then kill "-$signal" "$1" 2>/dev/null || [ ! -d "/proc/$1" ] || exit 1; fi
  fi
  shift 2
done"#;
        let mut command = script(SCRIPT).arg(signal);
        for owner in owners {
            command = command.arg(owner.pid).arg(owner.started);
        }
        self.run(cx, command).await?;
        Ok(())
    }

    /// Waits until none of these processes is left; those that are.
    async fn gone(&self, cx: &Observer, owners: &[Owner]) -> Result<Vec<Owner>> {
        let deadline = Instant::now() + GRACE;
        let pids = owners.iter().map(|owner| owner.pid).collect();
        loop {
            let now = self.owners(cx, &pids).await?;
            let same =
                |owner: &&Owner| now.get(&owner.pid).is_some_and(|o| o.started == owner.started);
            let left: Vec<Owner> = owners.iter().filter(same).cloned().collect();
            if left.is_empty() || Instant::now() >= deadline {
                return Ok(left);
            }
            tokio::select! {
                why = cx.stopped() => return Err(why),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    }
}

/// Who listens
#[check(title = "What listens on {machine}", preview = "cat /proc/net/tcp /proc/net/tcp6")]
async fn listening(cx: &Observer, machine: &Machine) -> Result<Verdict<Vec<Listener>>> {
    let all = machine.listeners(cx, |_| true).await?;
    let lines: Vec<_> = all.iter().map(shown).collect();
    let why = if lines.is_empty() { "nothing listens".into() } else { lines.join("; ") };
    Ok(Verdict::pass(all, why))
}

/// The port is free
#[check(title = "Nothing listens on port {port} of {machine}")]
async fn port_free(
    cx: &Observer,
    machine: &Machine,
    port: u16,
) -> Result<Verdict<Option<Listener>>> {
    let listener = machine.listener(cx, port).await?;
    let why = listener.as_ref().map_or("nothing listens there".into(), shown);
    Ok(Verdict::pass_if(listener.is_none(), listener, why))
}

/// The right program listens
#[check(title = "{program} listens on port {port} of {machine}")]
async fn port_owned_by(
    cx: &Observer,
    machine: &Machine,
    port: u16,
    program: String,
) -> Result<Verdict<Option<Listener>>> {
    let Some(listener) = machine.listener(cx, port).await? else {
        return Ok(Verdict::fail(None, format!("nothing listens on port {port}")));
    };
    let good =
        !listener.owners.is_empty() && listener.owners.iter().all(|owner| owner.is(&program));
    let why = shown(&listener);
    Ok(Verdict::pass_if(good, Some(listener), why))
}

/// Not too many connections
#[check(title = "Port {port} of {machine} has at most {most} connections")]
async fn connections_below(
    cx: &Observer,
    machine: &Machine,
    port: u16,
    most: u32,
) -> Result<Verdict<Connections>> {
    let mut sockets = machine.sockets(cx).await?;
    sockets.retain(|socket| socket.port == port && socket.state != LISTEN);
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    let mut peers: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for socket in &sockets {
        *states.entry(socket.state.to_owned()).or_default() += 1;
        *peers.entry(socket.peer).or_default() += 1;
    }
    let mut peers: Vec<_> = peers.into_iter().collect();
    peers.sort_by_key(|(address, count)| (std::cmp::Reverse(*count), *address));
    peers.truncate(10);
    let total = u32::try_from(sockets.len()).unwrap_or(u32::MAX);
    let list: Vec<_> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let why = match peers.first() {
        Some((address, count)) => {
            format!("{total}: {}; most from {address}: {count}", list.join(", "))
        }
        None => "none".into(),
    };
    Ok(Verdict::pass_if(total <= most, Connections { total, states, peers }, why))
}

/// Stop who listens
#[step(irreversible, title = "Stop {program} on port {port} of {machine}", preview = "kill")]
async fn stop_port_owner(
    cx: &Context,
    machine: &Machine,
    port: u16,
    program: String,
) -> Result<Vec<Owner>> {
    let Some(listener) = machine.expected(cx.observer(), port, &program).await? else {
        cx.say(format!("nothing listens on port {port}"));
        return Ok(Vec::new());
    };
    if let Some(owner) = listener.owners.iter().find(|owner| owner.unit.is_some()) {
        let (place, unit) = (machine.to_string(), owner.unit.clone().unwrap_or_default());
        return Err(Error::IsService { place, port, unit }.failure());
    }
    cx.say(shown(&listener));
    // Workers are ended by their parent, in order.
    let held: BTreeSet<u32> = listener.owners.iter().map(|owner| owner.pid).collect();
    let heads: Vec<Owner> =
        listener.owners.iter().filter(|owner| !held.contains(&owner.parent)).cloned().collect();
    machine.signal(cx, "TERM", &heads).await?;
    let left = machine.gone(cx.observer(), &listener.owners).await?;
    if !left.is_empty() {
        cx.say(format!("{} did not end on SIGTERM: SIGKILL", count(&left)));
        machine.signal(cx, "KILL", &left).await?;
        machine.gone(cx.observer(), &left).await?;
    }
    if let Some(again) = machine.listener(cx.observer(), port).await? {
        let (place, found) = (machine.to_string(), shown(&again));
        return Err(Error::StillTaken { place, port, found }.failure());
    }
    Ok(listener.owners)
}

/// Restart who listens
#[step(
    harmless,
    title = "Restart the service of {program} on port {port} of {machine}",
    preview = "systemctl restart"
)]
async fn restart_port_owner(
    cx: &Context,
    machine: &Machine,
    port: u16,
    program: String,
) -> Result<String> {
    let place = machine.to_string();
    let Some(listener) = machine.expected(cx.observer(), port, &program).await? else {
        return Err(Error::NobodyListens { place, port }.failure());
    };
    let units: BTreeSet<_> = listener.owners.iter().map(|owner| owner.unit.as_deref()).collect();
    let units: Vec<_> = units.into_iter().collect();
    let [Some(unit)] = units[..] else {
        return Err(Error::NoService { place, port, found: shown(&listener) }.failure());
    };
    machine.service(unit).again(cx, "restart").await?;
    Ok(unit.to_owned())
}

fn count(owners: &[Owner]) -> String {
    match owners {
        [_] => "1 process".into(),
        many => format!("{} processes", many.len()),
    }
}

fn shown(listener: &Listener) -> String {
    let owners: BTreeSet<String> = listener
        .owners
        .iter()
        .map(|owner| match &owner.unit {
            Some(unit) => format!("{} (pid {}, {unit})", owner.program, owner.pid),
            None => format!("{} (pid {})", owner.program, owner.pid),
        })
        .collect();
    let owners = if owners.is_empty() {
        "a process that is not visible to this user".into()
    } else {
        owners.into_iter().collect::<Vec<_>>().join(", ")
    };
    format!("port {}: {owners}", listener.port)
}

/// What the kernel says of a process; none if it is gone.
fn owner(pid: u32, stat: &str, cmdline: &str, cgroup: &str) -> Option<Owner> {
    let (open, close) = (stat.find('(')?, stat.rfind(") ")?);
    let name = stat.get(open + 1..close)?;
    let fields: Vec<&str> = stat.get(close + 2..)?.split_whitespace().collect();
    // A zombie holds nothing; only its parent has not looked yet.
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let words: Vec<&str> = cmdline.split('\0').filter(|word| !word.is_empty()).collect();
    // A program may write over what it was started as (`nginx: master process ..`).
    let first = words.first().and_then(|word| word.split(['/']).next_back()).unwrap_or("");
    let cut = name.len() == 15 && first.starts_with(name);
    let renamed = first.is_empty() || first.contains([' ', ':']);
    let program = if renamed && !cut { name } else { first };
    let unit = cgroup.lines().find_map(|line| {
        line.split(['/', ':']).rev().find(|part| part.ends_with(".service")).map(str::to_owned)
    });
    // A user's own manager is no service of the machine.
    let unit = unit.filter(|unit| !unit.starts_with("user@"));
    Some(Owner {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        program: program.to_owned(),
        command: runbook_core::scrub(&words.join(" ")).chars().take(200).collect(),
        unit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "S 7 1 1 0 -1 0 0 0 0 0 70 30 0 0 20 0 1 0 555 1000 25";

    #[test]
    fn a_program_that_renames_itself_is_known_by_its_name() {
        let stat = format!("9 (nginx) {TAIL}");
        let cgroup = "0::/system.slice/nginx.service\n";
        let nginx = owner(9, &stat, "nginx: master process nginx\0\0\0", cgroup).unwrap();
        assert_eq!((nginx.program.as_str(), nginx.parent, nginx.started), ("nginx", 7, 555));
        assert_eq!(nginx.unit.as_deref(), Some("nginx.service"));
    }

    #[test]
    fn a_program_is_the_last_part_of_its_path() {
        let stat = format!("9 (MainThread) {TAIL}");
        let node = owner(9, &stat, "/usr/bin/node\0server.js\0", "0::/\n").unwrap();
        assert_eq!(
            (node.program.as_str(), node.command.as_str()),
            ("node", "/usr/bin/node server.js")
        );
        assert_eq!(node.unit, None);
    }

    #[test]
    fn a_zombie_holds_nothing() {
        let stat = format!("9 (node) {}", TAIL.replacen('S', "Z", 1));
        assert_eq!(owner(9, &stat, "", ""), None);
    }
}
