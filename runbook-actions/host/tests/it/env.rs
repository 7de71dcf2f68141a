//! `.env` files: read, changed, put back, never shown.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use runbook_core::{Engine, FileStore, RunOptions, Runbook, Secret, Status};
use runbook_host::{EnvFile, Generate, Required};

use crate::support::{false_check, here, look, refused, succeed, undone, wait};

const FILE: &str = "# The shop\nPORT=3000\nexport DATABASE_URL=\"postgres://shop:pw-of-the-shop@db/shop\"  # primary\nSMTP_URL=\n\nSESSION_SECRET='old-session-secret'\n";

struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(shop.path(), FILE).unwrap();
        fs::set_permissions(shop.path(), fs::Permissions::from_mode(0o640)).unwrap();
        shop
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(".env")
    }

    fn env(&self) -> EnvFile {
        here().env_file(self.path())
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.path()).unwrap().mode() & 0o777
    }
}

#[test]
fn what_is_missing_is_named_with_what_breaks() {
    let shop = Shop::new();
    let verdict = look(shop.env().has([
        Required::new("DATABASE_URL", "nothing works"),
        Required::new("SMTP_URL", "no mail is sent"),
        Required::new("STRIPE_KEY", "nobody can pay"),
    ]));
    assert!(!verdict.passed());
    assert_eq!(
        verdict.why(),
        "SMTP_URL is empty: no mail is sent; STRIPE_KEY is not there: nobody can pay"
    );
    assert!(look(shop.env().has([Required::new("PORT", "nothing listens")])).passed());
}

#[test]
fn a_value_is_set_and_everything_else_stays() {
    let shop = Shop::new();
    let secret = Secret::new("new-session-secret");
    succeed(|b| {
        b.step(shop.env().set_secret("SESSION_SECRET", &secret));
        b.step(shop.env().set("PORT", "3001"));
        b.step(shop.env().set("NEW", "a b"));
    });
    let expected =
        FILE.replace("old-session-secret", "new-session-secret").replace("PORT=3000", "PORT=3001");
    assert_eq!(shop.text(), format!("{expected}NEW='a b'\n"));
    assert_eq!(shop.mode(), 0o640);
    for entry in fs::read_dir(shop.dir.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != ".env" {
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{entry:?}");
        }
    }
}

#[test]
fn what_was_set_is_put_back_and_no_copy_is_left() {
    let shop = Shop::new();
    undone(|b| {
        b.step(shop.env().set_secret("SESSION_SECRET", &Secret::new("new-session-secret")));
        b.step(shop.env().rotate("DATABASE_URL", Generate::hex(32)));
    });
    assert_eq!(shop.text(), FILE);
    assert_eq!((shop.mode(), shop.files()), (0o640, 1));
}

#[test]
fn a_secret_is_in_no_file_of_the_journal() {
    let shop = Shop::new();
    let journal = tempfile::tempdir().unwrap();
    let mut b = Runbook::new("rotate");
    let env = shop.env();
    b.step(env.rotate("SESSION_SECRET", Generate::base64url(32)));
    b.check(env.has([Required::new("SESSION_SECRET", "nobody can sign in")]));
    let plan = b.build().unwrap();
    let engine = Engine::new(FileStore::new(journal.path()));
    let outcome = wait(async { engine.run(&plan, RunOptions::new()).outcome().await }).unwrap();
    assert_eq!(outcome.status, Status::Succeeded);
    let text = shop.text();
    let value = text.lines().find_map(|line| line.strip_prefix("SESSION_SECRET=")).unwrap();
    let value = value.trim_matches('\'');
    assert_eq!(value.len(), 43, "32 bytes as base64");
    let mut files = 0;
    let mut folders = vec![journal.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let kept = fs::read_to_string(&path).unwrap();
            for secret in [value, "old-session-secret", "pw-of-the-shop"] {
                assert!(!kept.contains(secret), "{}", path.display());
            }
        }
    }
    assert!(files > 0);
}

#[test]
fn two_rotations_give_two_secrets() {
    let shop = Shop::new();
    let mut seen = Vec::new();
    for _ in 0..2 {
        succeed(|b| {
            b.step(shop.env().rotate("SESSION_SECRET", Generate::hex(16)));
        });
        seen.push(shop.text());
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn what_can_not_be_right_is_refused_and_nothing_changes() {
    let shop = Shop::new();
    let link = shop.dir.path().join("link");
    std::os::unix::fs::symlink(shop.path(), &link).unwrap();
    for (said, why) in [
        (refused(|b| b.step(shop.env().set("A B", "x"))), "can't be the name"),
        (refused(|b| b.step(shop.env().set("PORT", "a\\'b"))), "it holds a backslash"),
        (refused(|b| b.step(here().env_file(&link).set("PORT", "1"))), "but a link to"),
        (refused(|b| b.step(shop.env().rotate("PORT", Generate::hex(4)))), "not between"),
        (refused(|b| b.step(here().env_file("/nonexistent").set("A", "1"))), "not there"),
    ] {
        assert!(said.contains(why), "{said}");
    }
    assert_eq!((shop.text().as_str(), shop.files()), (FILE, 2));
    fs::write(shop.path(), "A=1\nA=2\n").unwrap();
    let said = refused(|b| b.step(shop.env().set("A", "3")));
    assert!(said.contains("A is assigned 2 times"), "{said}");
    fs::write(shop.path(), "A=1\nB='not closed, and secret\n").unwrap();
    let said = refused(|b| b.step(shop.env().set("A", "3")));
    assert!(said.contains(".env on local:2: a quote is not closed"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_copy_that_somebody_changed_is_not_put_back() {
    let shop = Shop::new();
    let dir = shop.dir.path().to_owned();
    let outcome = crate::support::run(|b| {
        b.step(shop.env().set("PORT", "3001"));
        b.step(Spoil(dir));
        b.check(false_check());
    });
    assert_eq!(outcome.status, Status::Stuck);
}

/// Changes every copy.
struct Spoil(PathBuf);

impl runbook_core::Step for Spoil {
    type Output = ();
    type Rollback = runbook_core::Harmless;
    fn about(&self) -> runbook_core::About {
        runbook_core::About::new("spoil", "Spoil the copies")
    }
    async fn run(&self, _: &runbook_core::Context) -> runbook_core::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if !path.ends_with(".env") {
                fs::write(path, "spoilt")?;
            }
        }
        Ok(())
    }
}

#[test]
fn a_file_that_all_may_read_is_not_private() {
    let shop = Shop::new();
    assert!(look(shop.env().is_private()).passed());
    fs::set_permissions(shop.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let verdict = look(shop.env().is_private());
    assert_eq!((verdict.passed(), verdict.why()), (false, "its mode is 0644"));
}
