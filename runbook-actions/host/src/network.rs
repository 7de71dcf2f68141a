//! The network from here: names, other hosts, and clocks.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runbook_core::{Address, Check, IntoInput, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::clock::parse_http_date;
use crate::error::Error;
use crate::machine::{Machine, command};

/// By how much a clock is ahead, and how well that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Skew {
    /// Seconds that the machine's clock is ahead of the other; behind, if negative.
    pub seconds: f64,
    /// The truth is at most so many seconds away from that.
    pub uncertainty: f64,
}

impl Machine {
    /// Another host answers to `ping`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.check(web.pings("db-1.example.org"));
    /// ```
    pub fn pings(&self, name: impl Into<String>) -> impl Check<Evidence = String> {
        pings(self, name.into())
    }

    /// A TCP port of a host takes connections from here.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.check(web.reaches("db-1.example.org", 5432));
    /// ```
    pub fn reaches(&self, name: impl Into<String>, port: u16) -> impl Check<Evidence = ()> {
        reaches(self, name.into(), port)
    }

    /// A name resolves on the host, to anything; the addresses are its evidence.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.check(web.resolves("api.example.org"));
    /// ```
    pub fn resolves(&self, name: impl Into<String>) -> impl Check<Evidence = Vec<IpAddr>> {
        resolves(self, name.into())
    }

    /// A name resolves on the host to `address`, and to nothing else.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("api-down");
    /// b.check(web.resolves_to("api.example.org", "192.0.2.10".parse().unwrap()));
    /// ```
    pub fn resolves_to(
        &self,
        name: impl Into<String>,
        address: IpAddr,
    ) -> impl Check<Evidence = Vec<IpAddr>> {
        resolves_to(self, name.into(), address)
    }

    /// The clock is within `most` of that of the machine that runs the runbook.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # use std::time::Duration;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("preflight");
    /// b.check(web.clock_within(Duration::from_secs(2)));
    /// ```
    #[must_use]
    pub fn clock_within(&self, most: Duration) -> impl Check<Evidence = Skew> {
        clock_within(self, most)
    }

    /// The clock is within `most` of another host's.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # use std::time::Duration;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let db = Machine::new(&Host::new(FakeTarget::new("db-1")));
    /// # let mut b = Runbook::new("preflight");
    /// b.check(web.clock_agrees_with(&db, Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn clock_agrees_with(&self, other: &Self, most: Duration) -> impl Check<Evidence = Skew> {
        clock_agrees_with(self, other, most)
    }

    /// The clock is within `most` of the `Date` header of an answer that just came; it counts
    /// whole seconds. A header of long ago shows a clock that is ahead.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # use std::time::Duration;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("preflight");
    /// let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    /// b.check(web.clock_agrees_with_date(date, Duration::from_secs(5)));
    /// ```
    pub fn clock_agrees_with_date(
        &self,
        date: impl IntoInput<String>,
        most: Duration,
    ) -> impl Check<Evidence = Skew> {
        clock_agrees_with_date(self, date, most)
    }

    async fn addresses(&self, cx: &Observer, name: &str) -> Result<Vec<IpAddr>> {
        let output = self.glance(cx, command("getent", ["ahosts", "--", name])).await?;
        let mut found: Vec<IpAddr> = output
            .text()
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// By how much the clock is ahead of ours.
    async fn skew(&self, cx: &Observer) -> Result<Skew> {
        let before = now();
        let text = self.look(cx, command("date", ["+%s.%N"])).await?.text();
        let after = now();
        // Where %N is unknown, there are whole seconds.
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let Ok(seconds) = whole.parse::<f64>() else {
            return Err(self.odd("`date`", &text).failure());
        };
        let exact = part.len() == 9;
        let fraction = format!("0.{part}").parse::<f64>().ok().filter(|_| exact).unwrap_or(0.5);
        let round_trip = (after - before).max(0.0) / 2.0;
        Ok(Skew {
            seconds: seconds + fraction - (before + round_trip),
            uncertainty: round_trip + if exact { 0.0 } else { 0.5 },
        })
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The other host answers
#[check(title = "{machine} reaches {name} by ping", preview = "ping -c 3 {name}")]
async fn pings(cx: &Observer, machine: &Machine, name: String) -> Result<Verdict<String>> {
    machine.refuse_option(&name)?;
    let ping = command("ping", ["-n", "-c", "3", "-W", "2", &name]);
    let output = machine.glance(cx, ping.timeout(Duration::from_secs(20))).await?;
    let text = output.text();
    let last: Vec<_> = text.lines().rev().filter(|line| !line.is_empty()).take(2).collect();
    let mut why = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    if why.is_empty() {
        why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    }
    Ok(Verdict::pass_if(output.exit.success(), why.clone(), why))
}

/// The port takes connections
#[check(title = "{machine} reaches port {port} of {name}")]
async fn reaches(cx: &Observer, machine: &Machine, name: String, port: u16) -> Result<Verdict<()>> {
    let address = Address::Tcp(name, port);
    let connect = tokio::time::timeout(Duration::from_secs(10), async {
        cx.on(machine.host()).connect(&address).await
    });
    Ok(match connect.await {
        Ok(Ok(_)) => Verdict::pass((), format!("{address} takes connections")),
        Ok(Err(failure)) => Verdict::fail((), failure.to_string()),
        Err(_) => Verdict::fail((), format!("{address} did not answer within 10 seconds")),
    })
}

/// The name is known
#[check(title = "{name} resolves on {machine}", preview = "getent ahosts {name}")]
async fn resolves(cx: &Observer, machine: &Machine, name: String) -> Result<Verdict<Vec<IpAddr>>> {
    let found = machine.addresses(cx, &name).await?;
    let why = list(&name, &found);
    Ok(Verdict::pass_if(!found.is_empty(), found, why))
}

/// The name is known as it should be
#[check(title = "{name} resolves to {address} on {machine}", preview = "getent ahosts {name}")]
async fn resolves_to(
    cx: &Observer,
    machine: &Machine,
    name: String,
    address: IpAddr,
) -> Result<Verdict<Vec<IpAddr>>> {
    let found = machine.addresses(cx, &name).await?;
    let why = list(&name, &found);
    Ok(Verdict::pass_if(found == [address], found, why))
}

fn list(name: &str, found: &[IpAddr]) -> String {
    if found.is_empty() {
        return format!("{name} does not resolve");
    }
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The clock is right
#[check(title = "The clock of {machine} is close to ours", preview = "date +%s")]
async fn clock_within(cx: &Observer, machine: &Machine, most: Duration) -> Result<Verdict<Skew>> {
    Ok(judge(machine.skew(cx).await?, most, "this machine's"))
}

/// Two clocks agree
#[check(title = "The clocks of {machine} and {other} agree", preview = "date +%s")]
async fn clock_agrees_with(
    cx: &Observer,
    machine: &Machine,
    other: &Machine,
    most: Duration,
) -> Result<Verdict<Skew>> {
    let here = machine.skew(cx).await?;
    let there = other.skew(cx).await?;
    let skew = Skew {
        seconds: here.seconds - there.seconds,
        uncertainty: here.uncertainty + there.uncertainty,
    };
    Ok(judge(skew, most, &format!("{other}'s")))
}

/// The clock agrees with a server's
#[check(title = "The clock of {machine} agrees with {date}", preview = "date +%s")]
async fn clock_agrees_with_date(
    cx: &Observer,
    machine: &Machine,
    date: String,
    most: Duration,
) -> Result<Verdict<Skew>> {
    let Some(there) = parse_http_date(&date) else {
        return Err(Error::NoDate { place: machine.to_string(), text: date }.failure());
    };
    let ours = now();
    let here = machine.skew(cx).await?;
    let skew = Skew {
        // The header names the second that had begun.
        seconds: ours + here.seconds - (there as f64 + 0.5),
        uncertainty: here.uncertainty + 0.5,
    };
    Ok(judge(skew, most, "the server's"))
}

/// Fails only for what is certain.
fn judge(skew: Skew, most: Duration, whose: &str) -> Verdict<Skew> {
    let off = skew.seconds.abs();
    let (least, limit) = (off - skew.uncertainty, most.as_secs_f64());
    let side = if skew.seconds < 0.0 { "behind" } else { "ahead of" };
    let why = format!("{off:.3} s {side} {whose}, give or take {:.3} s", skew.uncertainty);
    if least > limit {
        Verdict::fail(skew, why)
    } else if off > limit || skew.uncertainty > limit {
        Verdict::warn(skew, why)
    } else {
        Verdict::pass(skew, why)
    }
}
