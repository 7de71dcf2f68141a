//! A deploy of a shop, and what can happen to it: a plan made with the builder, and events made by
//! hand at fixed times, each sequence one that a journal would take.

mod runs;
mod script;

use std::sync::Arc;
use std::time::Duration;

use runbook_core::{
    About, Check, Context, Harmless, Input, IntoInput, Irreversible, Manual, Observer, Out,
    Outline, ParamGiven, Result, Retry, Rollback, Rolling, Runbook, Step, Verdict, Visit, Wait,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::runs::*;
pub(crate) use self::script::*;

/// What a step of the fixture says about itself.
#[derive(Clone)]
pub(crate) struct Say {
    id: &'static str,
    title: String,
    doc: &'static str,
    preview: String,
}

/// A step that records what was there; one with nothing to undo; one that can't be undone.
pub(crate) struct Change(Say, Vec<Input<String>>);
pub(crate) struct Plain(Say);
pub(crate) struct Forever(Say);
/// A check.
pub(crate) struct Look(pub(crate) &'static str, pub(crate) &'static str);

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Was(String);

macro_rules! step {
    ($name:ident, $rollback:ty) => {
        impl Step for $name {
            type Output = String;
            type Rollback = $rollback;
            fn about(&self) -> About {
                let say = &self.0;
                About::new(say.id, &say.title).doc(say.doc).preview(&say.preview)
            }
            fn inputs(&self, visit: &mut dyn Visit) {
                self.each_input(visit);
            }
            async fn run(&self, _: &Context) -> Result<String> {
                Ok(String::new())
            }
        }
    };
}
step!(Change, Was);
step!(Plain, Harmless);
step!(Forever, Irreversible);

impl Change {
    fn each_input(&self, visit: &mut dyn Visit) {
        self.1.iter().for_each(|input| visit.see("input", input));
    }
}
impl Plain {
    fn each_input(&self, _: &mut dyn Visit) {}
}
impl Forever {
    fn each_input(&self, _: &mut dyn Visit) {}
}

impl Rollback<Change> for Was {
    async fn record(_: &Change, _: &Observer) -> Result<Self> {
        Ok(Self(String::new()))
    }
    async fn rollback(&self, _: &Change, _: Option<&String>, _: &Context) -> Result<()> {
        Ok(())
    }
}

impl Check for Look {
    type Evidence = u32;
    fn about(&self) -> About {
        About::new(self.0, self.1)
    }
    async fn check(&self, _: &Observer) -> Result<Verdict<u32>> {
        Ok(Verdict::pass(0, ""))
    }
}

fn say(id: &'static str, title: impl Into<String>, doc: &'static str, preview: &str) -> Say {
    Say { id, title: title.into(), doc, preview: preview.into() }
}

/// A step that can be undone.
pub(crate) fn change(id: &'static str, title: String) -> Change {
    Change(say(id, title, "", id), vec![])
}

/// The plan: every kind of unit and block.
pub(crate) fn outline() -> Arc<Outline> {
    let mut b = Runbook::new("deploy");
    b.title("Deploy a release of the shop");
    b.doc(
        "Brings a release to all web servers, one after the other, and puts the old one back if \
         anything goes wrong.\n\n## Before you begin\nTell *#shop* that you deploy. Takes about \
         `5 min`.",
    );
    b.params(vec![
        ParamGiven { name: "release".into(), values: vec!["v2.4.0".into()], secret: false },
        ParamGiven { name: "token".into(), values: vec!["***".into()], secret: true },
    ]);
    b.lock("site:shop");
    b.check(Look("disk-has-room", "The disk has room"));
    let (dump, release) = b.group("Prepare", |b| {
        let both = b.parallel("Back up and fetch", |b| {
            let dump = b.step(
                Change(
                    say(
                        "dump-the-database",
                        "Dump the database",
                        "A dump of the whole shop, with a checksum beside it.",
                        "pg_dump -Fc -f /var/backups/shop.dump shop",
                    ),
                    vec![],
                )
                .timeout(Duration::from_secs(600))
                .verify(Look("dump-is-whole", "The dump is whole")),
            );
            let fetch = say(
                "fetch-the-release",
                "Fetch the release",
                "",
                "curl -fsSO https://releases.example.org/shop-v2.4.0.tar.zst",
            );
            let retry = Retry::times(3).pause(Duration::from_secs(2));
            (dump, b.step(Change(fetch, vec![]).retry(retry).timeout(Duration::from_secs(60))))
        });
        b.observe(Look("cache-is-warm", "The cache is warm"));
        both
    });
    let pending = b.step(Plain(say(
        "list-migrations",
        "List the migrations to run",
        "",
        "shopctl migrate --list",
    )));
    let needed = pending.map(|list| !list.is_empty());
    b.when("Migrate", needed, |b| {
        b.irreversible(
            Forever(say(
                "migrate-the-database",
                "Migrate the database",
                "Old and new code both work with the new tables.",
                "shopctl migrate",
            ))
            .confirm("The dump is whole. Migrate the database now?"),
            "migrations only add tables and columns; the dump is there if they must go",
        );
    });
    rolling(&mut b, &["web-1", "web-2"], dump, release);
    b.ladder("Make the shop answer", Look("shop-answers", "The shop answers"), |ladder| {
        ladder.remedy("Flush the cache", |b| {
            b.step(Plain(say("flush-the-cache", "Flush the cache", "", "valkey-cli flushdb")));
        });
        ladder.remedy("Restart the workers", |b| {
            let words = say("restart-the-workers", "Restart the workers", "", "pm2 reload all");
            b.step(Change(words, vec![]));
        });
        ladder.escalate("the person on call, oncall@example.org");
    });
    b.manual(
        Manual::new("Buy something in the shop")
            .doc("Use the test card. The order must show up in the office.")
            .ask::<u32>("Which number did the order get?"),
    );
    b.finally(|b| {
        b.step(Plain(say(
            "remove-temporary-files",
            "Remove the temporary files",
            "",
            "rm -rf /tmp/shop-deploy",
        )));
    });
    Arc::clone(b.build().expect("the fixture is wired well").outline())
}

fn rolling(b: &mut Runbook, hosts: &[&str], dump: Out<String>, release: Out<String>) {
    let careful = Rolling { at_once: 1, max_failed: 0, canary: 1, pause: Duration::from_secs(10) };
    b.each(hosts, careful, |host, b| {
        let words = say(
            "switch-to-the-release",
            format!("Switch {host} to the release"),
            "An atomic switch of the link `current`.",
            &format!("ssh {host} ln -sfn /srv/shop/v2.4.0 /srv/shop/current"),
        );
        b.step(
            Change(words, vec![release.into_input(), dump.into_input()])
                .requires(Look("host-is-idle", "No deploy is under way on the host")),
        );
        b.wait_until(
            Look("host-is-healthy", "The host is healthy"),
            Wait::at_most(Duration::from_secs(30)),
        );
    });
}

pub(crate) const DISK: &str = "disk-has-room";
pub(crate) const DUMP: &str = "prepare/back-up-and-fetch/dump-the-database";
pub(crate) const FETCH: &str = "prepare/back-up-and-fetch/fetch-the-release";
pub(crate) const CACHE: &str = "prepare/cache-is-warm";
pub(crate) const LIST: &str = "list-migrations";
pub(crate) const MIGRATE: &str = "migrate/migrate-the-database";
pub(crate) const SWITCH_1: &str = "each/web-1/switch-to-the-release";
pub(crate) const HEALTHY_1: &str = "each/web-1/host-is-healthy";
pub(crate) const SWITCH_2: &str = "each/web-2/switch-to-the-release";
pub(crate) const HEALTHY_2: &str = "each/web-2/host-is-healthy";
pub(crate) const FLUSH: &str = "make-the-shop-answer/flush-the-cache/flush-the-cache";
pub(crate) const RESTART: &str = "make-the-shop-answer/restart-the-workers/restart-the-workers";
pub(crate) const BUY: &str = "buy-something-in-the-shop";
pub(crate) const CLEAN: &str = "remove-temporary-files";
