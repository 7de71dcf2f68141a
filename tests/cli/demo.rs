//! A small program with runbooks of all kinds, which the tests of the command line run. Its steps
//! write files under the `root` of its environment.

#![allow(missing_docs, unreachable_pub)]

#[path = "steps.rs"]
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use runbook::{
    Args, Book, BookSpec, Catalog, Contact, Error, Escalation, Inventory, Lock, Manual, Param,
    ParamKind, ParamSpec, Rolling, Runbook, Secret, Selection, Severity, Share, Step, Wait,
};
use serde::Deserialize;

use self::steps::{Announce, Exists, Hold, Mood, Write};

fn main() -> ExitCode {
    runbook::cli::main(catalog())
}

/// Where the shop lives.
#[derive(Deserialize)]
pub struct Shop {
    pub root: PathBuf,
    /// `[test.hosts.web-1]` and `[test.groups.web]`.
    #[serde(flatten)]
    pub fleet: Inventory<Web>,
}

/// What is known of each host.
#[derive(Deserialize)]
pub struct Web {
    pub weight: u8,
}

pub fn catalog() -> Catalog<Shop> {
    Catalog::new("demo")
        .doc("Runbooks of a shop that does not exist")
        .version("1.2.3")
        .book::<Deploy>()
        .book::<Broken>()
        .book::<Hopeless>()
        .book::<Outage>()
        .book::<Stuck>()
        .book::<Ask>()
        .book::<Both>()
        .book::<Slow>()
        .book::<Rollout>()
        .book::<Stubborn>()
        .book::<Sealed>()
        .book::<Drift>()
        .book::<Restart>()
}

fn param(name: &str, doc: &str, kind: ParamKind) -> ParamSpec {
    ParamSpec { name: name.into(), doc: doc.into(), kind, default: None }
}

fn spec(name: &str, title: &str, doc: &str, params: Vec<ParamSpec>) -> BookSpec {
    BookSpec { name: name.into(), title: title.into(), doc: doc.into(), params }
}

/// Succeeds.
struct Deploy;

fn deploy_params() -> Vec<ParamSpec> {
    let size = ParamKind::new("small or large", "string").choices(["small", "large"]);
    vec![
        param("release", "The release to deploy, as it is tagged.", String::kind()),
        ParamSpec {
            default: Some("3".into()),
            ..param("keep_last", "How many old releases to keep.", u8::kind())
        },
        ParamSpec { default: Some("small".into()), ..param("size", "How big.", size) },
        param("announce", "Tell the customers.", bool::kind()),
        param("tag", "A label of the release.", Vec::<String>::kind()),
    ]
}

impl Book<Shop> for Deploy {
    fn spec() -> BookSpec {
        spec(
            "deploy",
            "Deploy a release",
            "Puts the release in place and switches to it.\n\nThe old release is put back if the \
             new one does not come up.",
            deploy_params(),
        )
    }
    fn fill(b: &mut Runbook, env: &Shop, args: &Args) -> Result<(), Error> {
        let params = deploy_params();
        let release: String = args.parse(&params[0])?;
        let keep: u8 = args.parse(&params[1])?;
        let announce: bool = args.parse(&params[3])?;
        b.check(Exists(env.root.clone()));
        let backup = b.step(Write::new(&env.root, "backup", "dump of the shop").says(3));
        b.group("Switch the release", |b| {
            b.step(Write::new(&env.root, "release", backup.map(move |_| release.clone())));
            b.step(Write::new(&env.root, "current", "new").confirm("Switch the customers over?"));
        });
        b.step(Write::new(&env.root, "keep", keep.to_string()));
        if announce {
            b.irreversible(
                Announce(env.root.clone()),
                "an announcement can be corrected by another",
            );
        }
        b.finally(|b| {
            b.step(Write::new(&env.root, "log", "deployed"));
        });
        Ok(())
    }
}

/// Fails in its last step and is rolled back.
struct Broken;

impl Book<Shop> for Broken {
    fn spec() -> BookSpec {
        spec("broken", "Deploy a release that does not come up", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        b.step(Write::new(&env.root, "release", "v2"));
        b.irreversible(Announce(env.root.clone()), "an announcement can be corrected by another");
        b.step(Write::new(&env.root, "current", "new").says(12));
        b.step(Write::new(&env.root, "health", "ok").says(2).mood(Mood::Fails));
        b.step(Write::new(&env.root, "never", "reached"));
        Ok(())
    }
}

/// Fails with nothing to undo, in a check.
struct Hopeless;

impl Book<Shop> for Hopeless {
    fn spec() -> BookSpec {
        spec("hopeless", "Look for what is not there", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        b.check(Exists(env.root.clone()));
        b.check(Exists(env.root.join("not-there")));
        b.step(Write::new(&env.root, "never", "reached"));
        Ok(())
    }
}

/// Its rollback fails.
struct Stuck;

impl Book<Shop> for Stuck {
    fn spec() -> BookSpec {
        spec("stuck", "Change what can not be put back", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        b.step(Write::new(&env.root, "first", "1"));
        b.step(Write::new(&env.root, "second", "2").mood(Mood::CantUndo));
        b.step(Write::new(&env.root, "third", "3").mood(Mood::Fails));
        Ok(())
    }
}

/// Asks for an approval, a confirmation and a value.
struct Ask;

impl Book<Shop> for Ask {
    fn spec() -> BookSpec {
        spec("ask", "Ask for everything", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        b.step(Write::new(&env.root, "before", "1"));
        b.step(Write::new(&env.root, "approved", "yes").confirm("Really go on?"));
        b.manual(Manual::new("Call the hosting company").doc("The number is in the contract."));
        let ticket = b.manual(Manual::new("Open a ticket").ask::<u16>("Which number did it get?"));
        b.step(Write::new(&env.root, "ticket", ticket.map(|number| number.to_string())));
        Ok(())
    }
}

/// Asks two things at the same time.
struct Both;

impl Book<Shop> for Both {
    fn spec() -> BookSpec {
        spec("both", "Ask two things at once", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        b.parallel("Ask", |b| {
            b.step(Write::new(&env.root, "left", "1").confirm("Go left?"));
            b.step(Write::new(&env.root, "right", "1").confirm("Go right?"));
        });
        Ok(())
    }
}

/// Waits until a file called `go` is there.
struct Slow;

impl Book<Shop> for Slow {
    fn spec() -> BookSpec {
        spec("slow", "Wait for a long time", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        b.lock(Lock::on("site:demo").lease(Duration::from_secs(600)));
        b.step(Write::new(&env.root, "first", "1"));
        b.step(Hold { root: env.root.clone(), stubborn: false });
        b.step(Write::new(&env.root, "last", "3"));
        Ok(())
    }
}

/// The same, and does not listen when it is to end.
struct Stubborn;

impl Book<Shop> for Stubborn {
    fn spec() -> BookSpec {
        spec("stubborn", "Wait and do not listen", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        b.step(Write::new(&env.root, "first", "1"));
        b.step(Hold { root: env.root.clone(), stubborn: true });
        Ok(())
    }
}

/// Blocks of all kinds.
struct Rollout;

impl Book<Shop> for Rollout {
    fn spec() -> BookSpec {
        let pace = ParamSpec {
            default: Some("0s".into()),
            ..param("pace", "How long each step takes.", Duration::kind())
        };
        spec("rollout", "Roll a release out to all hosts", "", vec![pace])
    }
    fn fill(b: &mut Runbook, env: &Shop, args: &Args) -> Result<(), Error> {
        let pace: Duration = args.parse(&Self::spec().params[0])?;
        let root = &env.root;
        let write = |name: &str, text: &str| Write::new(root, name, text).says(4).pace(pace);
        b.check(Exists(root.clone()));
        b.parallel("Prepare", |b| {
            b.step(write("dump", "dump of the database"));
            b.step(write("archive", "archive of the site"));
            b.group("Fetch the release", |b| {
                b.step(write("fetched", "v2"));
                b.step(write("unpacked", "v2"));
            });
        });
        let found = b.observe(Exists(root.join("maintenance")));
        b.when("Leave maintenance", found.passed(), |b| {
            b.step(write("maintenance", "off"));
        });
        let rolling = Rolling { at_once: 1, canary: 1, max_failed: 1, pause: Duration::ZERO };
        b.each(["web1", "web2", "web3"], rolling, |host, b| {
            b.step(write(&format!("{host}-stopped"), "yes"));
            let mood = if *host == "web2" { Mood::Fails } else { Mood::Well };
            b.step(write(&format!("{host}-release"), "v2").mood(mood));
            b.step(write(&format!("{host}-started"), "yes"));
        });
        let looks = Wait::at_most(Duration::from_secs(5)).every(Duration::from_millis(20));
        b.ladder("Bring the site up", Exists(root.join("up")), |ladder| {
            ladder
                .wait(Wait::at_most(Duration::ZERO))
                .remedy("Reload it", |b| {
                    b.step(write("reloaded", "yes"));
                })
                .remedy("Restart it", |b| {
                    b.step(write("up", "yes"));
                })
                .remedy("Reboot the host", |b| {
                    b.step(write("rebooted", "yes"));
                })
                .escalate("the person on call for the network");
        });
        b.wait_until(Exists(root.join("up")), looks);
        Ok(())
    }
}

/// An incident that no remedy helps, unless a file `up` is there.
struct Outage;

impl Book<Shop> for Outage {
    fn spec() -> BookSpec {
        spec("outage", "Bring the shop back", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        let kim = Contact::new("Kim").role("on call").reach("+1 555 0100")?.reach("#shop")?;
        let lee = Contact::new("Lee").role("lead").reach("lee@example.org")?;
        b.severity(Severity::SEV2);
        b.escalation(&Escalation::at_once([kim]).after(Duration::from_secs(15 * 60), [lee]));
        b.ladder("Bring it back", Exists(env.root.join("up")), |ladder| {
            ladder.remedy("Reload it", |b| {
                b.step(Write::new(&env.root, "reloaded", "yes"));
            });
        });
        b.checklist("Afterwards", ["See that orders come in", "Write down why"].map(Manual::new));
        Ok(())
    }
}

/// Takes a secret.
struct Sealed;

impl Book<Shop> for Sealed {
    fn spec() -> BookSpec {
        let password = param("db_password", "The password of the database.", Secret::kind());
        spec("sealed", "Log in with a password", "", vec![password])
    }
    fn fill(b: &mut Runbook, env: &Shop, args: &Args) -> Result<(), Error> {
        let password: Secret = args.parse(&Self::spec().params[0])?;
        let length = password.expose().len().to_string();
        b.step(Write::new(&env.root, "length", length).says(1).leaks(password));
        b.step(Write::new(&env.root, "later", "1").confirm("Go on?"));
        Ok(())
    }
}

/// Is another runbook when a file called `variant` says so.
struct Drift;

impl Book<Shop> for Drift {
    fn spec() -> BookSpec {
        spec("drift", "Change between two runs", "", vec![])
    }
    fn fill(b: &mut Runbook, env: &Shop, _: &Args) -> Result<(), Error> {
        let variant = std::fs::read_to_string(env.root.join("variant")).unwrap_or_default();
        b.step(Write::new(&env.root, "first", "1"));
        b.step(Write::new(&env.root, "second", variant).confirm("Go on?"));
        Ok(())
    }
}

/// Restarts hosts of the inventory. A host fails if a file says so.
struct Restart;

fn restart_params() -> Vec<ParamSpec> {
    let or = |default: &str, spec: ParamSpec| ParamSpec { default: Some(default.into()), ..spec };
    vec![
        param("hosts", "Which hosts.", Selection::kind()),
        or("1", param("at_once", "So many at the same time.", Share::kind())),
        or("0", param("max_failed", "So many may fail.", Share::kind())),
        or("0s", param("pause", "How long to wait between batches.", std::time::Duration::kind())),
    ]
}

impl Book<Shop> for Restart {
    fn spec() -> BookSpec {
        spec("restart", "Restart the web servers", "One batch after the other.", restart_params())
    }
    fn fill(b: &mut Runbook, env: &Shop, args: &Args) -> Result<(), Error> {
        let params = restart_params();
        let hosts: Selection = args.parse(&params[0])?;
        let at_once: Share = args.parse(&params[1])?;
        let max_failed: Share = args.parse(&params[2])?;
        let pause = args.parse(&params[3])?;
        let hosts = env.fleet.select(&hosts)?;
        let rolling = Rolling {
            at_once: at_once.of(hosts.len()),
            max_failed: max_failed.within(hosts.len()),
            canary: 1,
            pause,
        };
        b.each(hosts.iter(), rolling, |host, b| {
            let weight = host.values().weight.to_string();
            let fails = env.root.join(format!("fails-{host}")).exists();
            let stays = env.root.join(format!("stays-{host}")).exists();
            let mood = if stays { Mood::CantUndo } else { Mood::Well };
            b.step(Write::new(&env.root, &format!("{host}-drained"), weight).mood(mood));
            let mood = if fails { Mood::Fails } else { Mood::Well };
            b.step(Write::new(&env.root, &format!("{host}-restarted"), "yes").mood(mood));
        });
        Ok(())
    }
}
