//! [`Firewall`]: what `ufw` allows, and cutting a host off from all but its operator.

use std::fmt;
use std::net::IpAddr;

use runbook_core::{Check, Context, Observer, Result, Rollback, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::machine::{Machine, command, script};

/// The firewall of a host; from [`Machine::firewall`]. It takes root.
///
/// ```
/// # use runbook_core::{Host, Runbook, testing::FakeTarget};
/// # use runbook_host::{Machine, Operator};
/// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
/// let mut b = Runbook::new("data-leak");
/// b.check(web.firewall().ufw_status());
/// // Nobody but this SSH connection's other end gets in or out.
/// b.step(web.firewall().isolate(Operator::OfThisConnection));
/// ```
#[derive(Clone)]
pub struct Firewall {
    machine: Machine,
}

/// Who keeps their way in when a host is isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The other end of the SSH connection that the runbook acts over. Refused where there is none,
    /// or it can't be seen: across `sudo`, say who it is.
    OfThisConnection,
    /// This address, to this port of the host's sshd.
    At {
        /// The operator's address, as the host sees it.
        address: IpAddr,
        /// The port that sshd listens on.
        port: u16,
    },
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfThisConnection => f.write_str("the operator of this SSH connection"),
            Self::At { address, port } => write!(f, "{address} to port {port}"),
        }
    }
}

/// What `ufw` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ufw {
    /// Whether it filters.
    pub active: bool,
    /// The rules that were added, as one would type them: `allow 80/tcp`. They are there also when
    /// it does not filter.
    pub rules: Vec<String>,
}

/// Whether a rule was there: how [`Firewall::allow`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed(bool);

/// Whether the host was isolated: how [`Firewall::isolate`] is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolated {
    v4: bool,
    v6: bool,
}

/// Our chains. Their names say whose they are to whoever finds them.
const CHAINS: [(&str, &str); 3] =
    [("INPUT", "RUNBOOK-IN"), ("OUTPUT", "RUNBOOK-OUT"), ("FORWARD", "RUNBOOK-FWD")];

impl Machine {
    /// Its firewall.
    #[must_use]
    pub fn firewall(&self) -> Firewall {
        Firewall { machine: self.clone() }
    }
}

impl Firewall {
    /// `ufw` filters; its rules are the evidence.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.check(web.firewall().ufw_status());
    /// ```
    #[must_use]
    pub fn ufw_status(&self) -> impl Check<Evidence = Ufw> {
        ufw_status(self)
    }

    /// Has `ufw` allow a port, e.g. `443/tcp`. A rollback removes the rule if it was not there.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.step(web.firewall().allow("443/tcp"));
    /// ```
    pub fn allow(&self, port: impl Into<String>) -> impl Step<Output = (), Rollback = Allowed> {
        allow(self, port.into())
    }

    /// Cuts the host off: nothing gets in, out or through, but the loopback interface and the
    /// operator's SSH. What was connected is cut off too. The rules of others stay as they are,
    /// below; a rollback takes only ours away.
    ///
    /// Refuses before it changes anything if the operator's address can't be determined, or IPv6
    /// is in use and can't be filtered.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Machine, Operator};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("data-leak");
    /// let me = Operator::At { address: "192.0.2.7".parse().unwrap(), port: 22 };
    /// b.step(web.firewall().isolate(me));
    /// ```
    #[must_use]
    pub fn isolate(&self, operator: Operator) -> impl Step<Output = Operator, Rollback = Isolated> {
        isolate(self, operator)
    }

    /// Takes the isolation away, in a later run: that of the run that isolated is not undone once
    /// it succeeded. A rollback isolates again.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Machine, Operator};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("data-leak-over");
    /// b.step(web.firewall().rejoin(Operator::OfThisConnection));
    /// ```
    #[must_use]
    pub fn rejoin(&self, operator: Operator) -> impl Step<Output = (), Rollback = Isolated> {
        rejoin(self, operator)
    }

    async fn ufw(&self, cx: &Observer) -> Result<Ufw> {
        let status = self.machine.look(cx, command("ufw", ["status"])).await?.text();
        let added = self.machine.look(cx, command("ufw", ["show", "added"])).await?.text();
        let active = match status.lines().find_map(|line| line.strip_prefix("Status: ")) {
            Some("active") => true,
            Some("inactive") => false,
            _ => return Err(self.machine.odd("`ufw status`", &status).failure()),
        };
        let rules = added.lines().filter_map(|line| line.strip_prefix("ufw "));
        Ok(Ufw { active, rules: rules.map(str::to_owned).collect() })
    }

    /// The operator's address and port.
    async fn operator(&self, cx: &Observer, operator: Operator) -> Result<(IpAddr, u16)> {
        if let Operator::At { address, port } = operator {
            return Ok((address.to_canonical(), port));
        }
        // `client client-port server server-port`; exits with 1 if there is none.
        let said = self.machine.glance(cx, command("printenv", ["SSH_CONNECTION"])).await?.text();
        let words: Vec<&str> = said.split_whitespace().collect();
        let found = match words[..] {
            // Of a link-local address the interface is said as well.
            [client, _, _, port] => {
                client.split('%').next().unwrap_or("").parse().ok().zip(port.parse().ok())
            }
            _ => None,
        };
        let (address, port): (IpAddr, u16) = found
            .ok_or_else(|| Error::OperatorUnknown { place: self.machine.to_string() }.failure())?;
        Ok((address.to_canonical(), port))
    }

    /// Whether the host speaks IPv6 at all.
    async fn has_v6(&self, cx: &Observer) -> Result<bool> {
        let files = self.machine.texts(cx, &["/proc/net/if_inet6"]).await?;
        Ok(files.values().any(|text| !text.trim().is_empty()))
    }

    async fn isolated(&self, cx: &Observer) -> Result<Isolated> {
        let v4 = self.is_cut_off(cx, "iptables").await?;
        let v6 = self.has_v6(cx).await? && self.is_cut_off(cx, "ip6tables").await?;
        Ok(Isolated { v4, v6 })
    }

    /// Whether all our chains are where they belong.
    async fn is_cut_off(&self, cx: &Observer, program: &str) -> Result<bool> {
        let rules = self.machine.look(cx, command(program, ["-w", "10", "-S"])).await?.text();
        let jumps = |(chain, ours): &(&str, &str)| {
            let jump = format!("-A {chain} -j {ours}");
            // The first of its chain, or others decide before us.
            let first = rules.lines().find(|line| line.starts_with(&format!("-A {chain} ")));
            first == Some(jump.as_str())
        };
        Ok(CHAINS.iter().all(jumps))
    }

    async fn cut_off(&self, cx: &Context, address: IpAddr, port: u16) -> Result<()> {
        let v6 = self.has_v6(cx.observer()).await?;
        if v6 {
            // Before anything is changed.
            self.machine.look(cx.observer(), command("ip6tables", ["-w", "10", "-S"])).await?;
        }
        // The family that keeps the operator first: should the second fail, the way in is there.
        let mut families = vec![("iptables", true)];
        if v6 {
            families.push(("ip6tables", false));
        }
        families.sort_by_key(|(_, is_v4)| *is_v4 != address.is_ipv4());
        for (program, is_v4) in families {
            // Chains of an isolation that was cut short are made anew.
            self.let_in(cx, program).await?;
            let keep = (is_v4 == address.is_ipv4()).then_some((address, port));
            let rules = rules(keep, is_v4);
            // One transaction: there is no moment with half of them.
            let restore = command(&format!("{program}-restore"), ["--noflush", "-w", "10"]);
            self.machine.run(cx, restore.stdin(rules)).await?;
        }
        Ok(())
    }

    /// Takes our chains away, as far as they are there.
    async fn let_in(&self, cx: &Context, program: &str) -> Result<()> {
        const SCRIPT: &str = r#"tables=$1; shift
while [ $# -ge 2 ]; do
  while "$tables" -w 10 -D "$1" -j "$2" 2>/dev/null; do :; done
  if "$tables" -w 10 -S "$2" >/dev/null 2>&1; then
    "$tables" -w 10 -F "$2" && "$tables" -w 10 -X "$2" || exit 1
  fi
  shift 2
done"#;
        let mut script = script(SCRIPT).arg(program);
        for (chain, ours) in CHAINS {
            script = script.arg(chain).arg(ours);
        }
        self.machine.run(cx, script).await?;
        Ok(())
    }

    async fn back(&self, cx: &Context) -> Result<()> {
        self.let_in(cx, "iptables").await?;
        if self.has_v6(cx.observer()).await? {
            self.let_in(cx, "ip6tables").await?;
        }
        Ok(())
    }
}

/// What `iptables-restore` reads.
fn rules(keep: Option<(IpAddr, u16)>, is_v4: bool) -> String {
    let mut text = String::from("*filter\n");
    for (_, ours) in CHAINS {
        text.push_str(&format!(":{ours} - [0:0]\n"));
    }
    text.push_str("-A RUNBOOK-IN -i lo -j ACCEPT\n-A RUNBOOK-OUT -o lo -j ACCEPT\n");
    if let Some((address, port)) = keep {
        text.push_str(&format!("-A RUNBOOK-IN -s {address} -p tcp --dport {port} -j ACCEPT\n"));
        text.push_str(&format!("-A RUNBOOK-OUT -d {address} -p tcp --sport {port} -j ACCEPT\n"));
        if !is_v4 {
            // Without its neighbours no packet of IPv6 finds its way.
            for kind in 133..=136 {
                for chain in ["RUNBOOK-IN", "RUNBOOK-OUT"] {
                    text.push_str(&format!(
                        "-A {chain} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT\n"
                    ));
                }
            }
        }
    }
    for (_, ours) in CHAINS {
        text.push_str(&format!("-A {ours} -j DROP\n"));
    }
    for (chain, ours) in CHAINS {
        text.push_str(&format!("-I {chain} 1 -j {ours}\n"));
    }
    text.push_str("COMMIT\n");
    text
}

impl fmt::Display for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.machine.fmt(f)
    }
}

impl fmt::Debug for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Firewall({})", self.machine)
    }
}

/// ufw filters
#[check(title = "ufw filters on {firewall}", preview = "ufw status")]
async fn ufw_status(cx: &Observer, firewall: &Firewall) -> Result<Verdict<Ufw>> {
    let ufw = firewall.ufw(cx).await?;
    let rules = if ufw.rules.is_empty() { "no rules".into() } else { ufw.rules.join(", ") };
    let why = format!("{}: {rules}", if ufw.active { "active" } else { "inactive" });
    Ok(Verdict::pass_if(ufw.active, ufw, why))
}

/// Allow a port
#[step(title = "Allow {port} on {firewall}", rollback = Allowed, repeatable, preview = "ufw allow {port}")]
async fn allow(cx: &Context, firewall: &Firewall, port: String) -> Result<()> {
    let firewall_command = ["allow", port_of(firewall, &port)?];
    firewall.machine.run(cx, command("ufw", firewall_command)).await?;
    let ufw = firewall.ufw(cx.observer()).await?;
    if !ufw.active {
        cx.say("the rule is added, but ufw is inactive: it filters nothing");
    }
    Ok(())
}

/// `80`, `80/tcp`, `6000:6007/udp`: nothing that ufw would take for another word.
fn port_of<'a>(firewall: &Firewall, port: &'a str) -> Result<&'a str> {
    let (numbers, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let number = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let fits = numbers.split(':').all(number) && numbers.split(':').count() <= 2;
    if fits && matches!(protocol, "tcp" | "udp") {
        return Ok(port);
    }
    let (place, port) = (firewall.to_string(), port.to_owned());
    Err(Error::NoPort { place, port }.failure())
}

impl Rollback<allow> for Allowed {
    async fn record(step: &allow, cx: &Observer) -> Result<Self> {
        let port = step.port.get(cx)?;
        let rule = format!("allow {}", port_of(&step.firewall, &port)?);
        Ok(Self(step.firewall.ufw(cx).await?.rules.contains(&rule)))
    }

    async fn rollback(&self, step: &allow, _: Option<&()>, cx: &Context) -> Result<()> {
        let now = <Self as Rollback<allow>>::record(step, cx.observer()).await?;
        if !self.0 && now.0 {
            let port = step.port.get(cx)?;
            let words = ["--force", "delete", "allow", port.as_str()];
            step.firewall.machine.run(cx, command("ufw", words)).await?;
        }
        Ok(())
    }
}

/// Cut the host off
#[step(
    title = "Cut {firewall} off from all but {operator}",
    rollback = Isolated,
    repeatable,
    preview = ["iptables-restore --noflush", "ip6tables-restore --noflush"]
)]
async fn isolate(cx: &Context, firewall: &Firewall, operator: Operator) -> Result<Operator> {
    let (address, port) = firewall.operator(cx.observer(), operator).await?;
    cx.say(format!("{address} keeps its way in to port {port}"));
    firewall.cut_off(cx, address, port).await?;
    Ok(Operator::At { address, port })
}

impl Rollback<isolate> for Isolated {
    async fn record(step: &isolate, cx: &Observer) -> Result<Self> {
        // Here, so that nothing is begun that would lock its operator out.
        step.firewall.operator(cx, step.operator.get(cx)?).await?;
        step.firewall.isolated(cx).await
    }

    async fn rollback(&self, step: &isolate, _: Option<&Operator>, cx: &Context) -> Result<()> {
        if self.v4 { Ok(()) } else { step.firewall.back(cx).await }
    }
}

/// Connect the host again
#[step(
    title = "Connect {firewall} again",
    rollback = Isolated,
    repeatable,
    preview = ["iptables -X", "ip6tables -X"]
)]
async fn rejoin(cx: &Context, firewall: &Firewall, operator: Operator) -> Result<()> {
    let _ = operator;
    firewall.back(cx).await
}

impl Rollback<rejoin> for Isolated {
    async fn record(step: &rejoin, cx: &Observer) -> Result<Self> {
        step.firewall.operator(cx, step.operator.get(cx)?).await?;
        step.firewall.isolated(cx).await
    }

    async fn rollback(&self, step: &rejoin, _: Option<&()>, cx: &Context) -> Result<()> {
        if !self.v4 {
            return Ok(());
        }
        let operator = step.operator.get(cx)?;
        let (address, port) = step.firewall.operator(cx.observer(), operator).await?;
        step.firewall.cut_off(cx, address, port).await
    }
}

#[cfg(test)]
mod tests {
    use super::rules;

    #[test]
    fn only_the_operators_family_has_a_way_in() {
        let keep = Some(("2001:db8::7".parse().unwrap(), 2222));
        let v6 = rules(keep, false);
        assert!(
            v6.contains("-A RUNBOOK-IN -s 2001:db8::7 -p tcp --dport 2222 -j ACCEPT\n"),
            "{v6}"
        );
        assert!(v6.contains("--icmpv6-type 135"), "{v6}");
        let v4 = rules(None, true);
        assert!(!v4.contains("--dport"), "{v4}");
        assert!(v4.ends_with("-I FORWARD 1 -j RUNBOOK-FWD\nCOMMIT\n"), "{v4}");
    }
}
