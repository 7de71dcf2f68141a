//! [`Prisma`]: its client and its migrations.

use std::fmt;

use runbook_core::{Check, Context, Exit, Harmless, Irreversible, Observer, Result, Step, Verdict};
use runbook_macros::{check, step};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::package::Npm;

/// Prisma of a package: its client and its migrations. It is the one that the package has
/// installed; the database is the one that its schema and `.env` say.
///
/// ```
/// # use runbook_core::{Host, Runbook, testing::FakeTarget};
/// use runbook_node::{Npm, Prisma};
/// let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
/// let prisma = Prisma::new(&shop);
///
/// let mut b = Runbook::new("deploy");
/// b.step(prisma.generate());
/// b.irreversible(
///     prisma.migrate_deploy(),
///     "every migration is written so that the release before it works with it",
/// );
/// b.check(prisma.is_migrated());
/// # b.build().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Prisma {
    npm: Npm,
}

/// What Prisma says of the migrations of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Migrations {
    /// Those that are not applied yet.
    pub pending: Vec<String>,
    /// Those that failed, and block all others until they are resolved.
    pub failed: Vec<String>,
}

impl Prisma {
    /// That of a package.
    #[must_use]
    pub fn new(npm: &Npm) -> Self {
        Self { npm: npm.clone() }
    }

    /// Generates the client from the schema, into `node_modules`.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::{Npm, Prisma};
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.step(Prisma::new(&shop).generate());
    /// ```
    #[must_use]
    pub fn generate(&self) -> impl Step<Output = (), Rollback = Harmless> {
        prisma_generate(self)
    }

    /// Applies all migrations that are pending. Prisma has no way back: take a dump before, and
    /// write migrations that the release before works with.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::{Npm, Prisma};
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.irreversible(Prisma::new(&shop).migrate_deploy(), "the dump before it is verified");
    /// ```
    #[must_use]
    pub fn migrate_deploy(&self) -> impl Step<Output = (), Rollback = Irreversible> {
        prisma_migrate_deploy(self)
    }

    /// All migrations are applied, and none has failed.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::{Npm, Prisma};
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.check(Prisma::new(&shop).is_migrated());
    /// ```
    #[must_use]
    pub fn is_migrated(&self) -> impl Check<Evidence = Migrations> {
        prisma_is_migrated(self)
    }

    /// Notes a failed migration as rolled back, after a person has cleaned up what it left:
    /// [`migrate_deploy`](Self::migrate_deploy) then applies it again.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::{Npm, Prisma};
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("repair");
    /// b.irreversible(
    ///     Prisma::new(&shop).resolve_rolled_back("20260301_add_orders"),
    ///     "the table that it had made was dropped by hand",
    /// );
    /// ```
    pub fn resolve_rolled_back(
        &self,
        migration: impl Into<String>,
    ) -> impl Step<Output = (), Rollback = Irreversible> {
        prisma_resolve(self, &migration.into(), "rolled-back")
    }

    /// Notes a migration as applied, after a person has brought about what it does.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::{Npm, Prisma};
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("repair");
    /// b.irreversible(
    ///     Prisma::new(&shop).resolve_applied("20260301_add_orders"),
    ///     "the table was made by hand",
    /// );
    /// ```
    pub fn resolve_applied(
        &self,
        migration: impl Into<String>,
    ) -> impl Step<Output = (), Rollback = Irreversible> {
        prisma_resolve(self, &migration.into(), "applied")
    }
}

impl fmt::Display for Prisma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.npm)
    }
}

/// Generate the client
#[step(
    harmless,
    repeatable,
    title = "Generate Prisma's client of {prisma}",
    preview = "prisma generate"
)]
async fn prisma_generate(cx: &Context, prisma: &Prisma) -> Result<()> {
    let npm = &prisma.npm;
    npm.run(cx, &npm.local("prisma", &["generate"])).await.map(drop)
}

/// Apply the migrations
#[step(
    irreversible,
    repeatable,
    title = "Apply the migrations of {prisma}",
    preview = "prisma migrate deploy"
)]
async fn prisma_migrate_deploy(cx: &Context, prisma: &Prisma) -> Result<()> {
    let npm = &prisma.npm;
    npm.run(cx, &npm.local("prisma", &["migrate", "deploy"])).await.map(drop)
}

/// Resolve a migration
#[step(
    irreversible,
    repeatable,
    title = "Note the migration {migration} as {outcome}",
    preview = "prisma migrate resolve --{outcome} {migration}"
)]
async fn prisma_resolve(
    cx: &Context,
    prisma: &Prisma,
    migration: &str,
    outcome: &str,
) -> Result<()> {
    let npm = &prisma.npm;
    let option = format!("--{outcome}");
    npm.run(cx, &npm.local("prisma", &["migrate", "resolve", &option, migration])).await.map(drop)
}

/// All migrations are applied
#[check(title = "All migrations of {prisma} are applied", preview = "prisma migrate status")]
async fn prisma_is_migrated(cx: &Observer, prisma: &Prisma) -> Result<Verdict<Migrations>> {
    let npm = &prisma.npm;
    let command = npm.local("prisma", &["migrate", "status"]);
    let output = npm.look(cx, command.clone()).await?;
    let text = format!("{}\n{}", output.text(), String::from_utf8_lossy(&output.stderr));
    let found = Migrations {
        pending: names_below(&text, "have not yet been applied"),
        failed: names_below(&text, "have failed"),
    };
    if output.exit == Exit::Code(0) && found == Migrations::default() {
        return Ok(Verdict::pass(found, "the database is up to date"));
    }
    if found == Migrations::default() {
        return Err(Error::of(npm, &command, &output).failure());
    }
    let mut why = Vec::new();
    if !found.failed.is_empty() {
        why.push(format!("failed: {}", found.failed.join(", ")));
    }
    if !found.pending.is_empty() {
        why.push(format!("not applied: {}", found.pending.join(", ")));
    }
    Ok(Verdict::fail(found, why.join("; ")))
}

/// The lines after the one that holds `heading`, up to an empty one.
fn names_below(text: &str, heading: &str) -> Vec<String> {
    let mut lines = text.lines().skip_while(|line| !line.contains(heading)).skip(1);
    let names = lines.by_ref().take_while(|line| !line.trim().is_empty());
    names.map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::names_below;

    #[test]
    fn migrations_are_read_from_what_prisma_says() {
        let text = "2 migrations found in prisma/migrations\nFollowing migrations have not yet \
                    been applied:\n20260101_a\n20260102_b\n\nTo apply them, run `prisma ..`";
        assert_eq!(names_below(text, "have not yet been applied"), ["20260101_a", "20260102_b"]);
        assert!(names_below(text, "have failed").is_empty());
    }
}
