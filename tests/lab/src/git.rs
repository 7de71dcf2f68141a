//! A bare git remote with the releases of the lab's application.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::{Folder, app};

/// A release of the lab's application: two good ones, and three that a deploy must put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 1.0.0, tag `v1`: good.
    First,
    /// 1.1.0, tag `v2`: good, with a migration and a route (`/api/v1/version`) of its own.
    Second,
    /// 1.2.0, tag `v3-does-not-build`: `npm run build` fails.
    DoesNotBuild,
    /// 1.3.0, tag `v4-crashes`: it starts, listens, and crashes, again and again.
    Crashes,
    /// 1.4.0, tag `v5-unhealthy`: it runs, and its health route says 503.
    Unhealthy,
}

impl Release {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] =
        [Self::First, Self::Second, Self::DoesNotBuild, Self::Crashes, Self::Unhealthy];

    /// Its tag (annotated).
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::First => "v1",
            Self::Second => "v2",
            Self::DoesNotBuild => "v3-does-not-build",
            Self::Crashes => "v4-crashes",
            Self::Unhealthy => "v5-unhealthy",
        }
    }

    /// A branch that ends with it.
    #[must_use]
    pub fn branch(self) -> &'static str {
        match self {
            Self::First => "release/1.0",
            Self::Second => "release/1.1",
            Self::DoesNotBuild => "release/1.2",
            Self::Crashes => "release/1.3",
            Self::Unhealthy => "release/1.4",
        }
    }

    /// The version that its health route tells.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::First => "1.0.0",
            Self::Second => "1.1.0",
            Self::DoesNotBuild => "1.2.0",
            Self::Crashes => "1.3.0",
            Self::Unhealthy => "1.4.0",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::First => "Publish the platform",
            Self::Second => "Keep the teacher's comment on a copy",
            Self::DoesNotBuild => "Show marks on the dashboard",
            Self::Crashes => "Warm the cache up at the start",
            Self::Unhealthy => "Ask the language model for its health",
        }
    }
}

/// A bare repository with every [`Release`]; each but the first descends from the first one, and
/// `main` is the second.
///
/// ```
/// let remote = lab::Remote::new();
/// remote.publish(lab::Release::Crashes);
/// assert_eq!(remote.commit("main"), remote.commit_of(lab::Release::Crashes));
/// ```
#[derive(Debug)]
pub struct Remote {
    path: PathBuf,
    _folder: Folder,
}

impl Remote {
    /// One in a temporary folder.
    ///
    /// # Panics
    /// git is not there, or fails.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that runs git surprises")]
    pub fn new() -> Self {
        Self::inside(&Folder::new())
    }

    /// One in `folder/git/eaf_platform.git`.
    ///
    /// # Panics
    /// git is not there, or fails.
    #[must_use]
    pub fn inside(folder: &Folder) -> Self {
        let git = folder.subfolder("git");
        let remote = Self { path: git.join("eaf_platform.git"), _folder: folder.clone() };
        let work = git.join("work");
        copy_tree(&app::source(), &work).unwrap_or_else(|error| {
            panic!("copying the application to {}: {error}", work.display())
        });
        run(git_in(&work).args(["init", "-q", "-b", Release::First.branch()]));
        for release in Release::ALL {
            if release != Release::First {
                run(git_in(&work).args(["checkout", "-q", "v1", "-b", release.branch()]));
                edit(&work, release);
            }
            run(git_in(&work).args(["add", "--all"]));
            run(git_in(&work).args(["commit", "-q", "-m", release.subject()]));
            run(git_in(&work).args(["tag", "-a", release.tag(), "-m", release.version()]));
        }
        run(git_in(&work).args(["branch", "-q", "main", "v2^{commit}"]));
        run(git_in(&git).args(["clone", "-q", "--bare"]).arg(&work).arg(&remote.path));
        run(git_in(&remote.path).args(["symbolic-ref", "HEAD", "refs/heads/main"]));
        fs::remove_dir_all(&work)
            .unwrap_or_else(|error| panic!("removing {}: {error}", work.display()));
        remote
    }

    /// Its path, which is its URL.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a release the end of `main`, by force: what a `git pull` gets.
    ///
    /// # Panics
    /// git fails.
    pub fn publish(&self, release: Release) {
        let commit = self.commit_of(release);
        run(git_in(&self.path).args(["update-ref", "refs/heads/main", &commit]));
    }

    /// The commit of a release.
    ///
    /// # Panics
    /// git fails.
    #[must_use]
    pub fn commit_of(&self, release: Release) -> String {
        self.commit(&format!("refs/tags/{}", release.tag()))
    }

    /// The commit of a revision.
    ///
    /// # Panics
    /// There is none of that name.
    #[must_use]
    pub fn commit(&self, revision: &str) -> String {
        let wanted = format!("{revision}^{{commit}}");
        run(git_in(&self.path).args(["rev-parse", "--verify", "--quiet", &wanted]))
    }

    /// Makes a work tree with `main` checked out at a release; its `origin` is this.
    ///
    /// # Panics
    /// git fails.
    pub fn clone_to(&self, path: &Path, release: Release) {
        run(git_in(Path::new("/")).args(["clone", "-q"]).arg(&self.path).arg(path));
        run(git_in(path).args(["reset", "-q", "--hard", &self.commit_of(release)]));
    }
}

/// git there, as the lab's committer, with nobody's configuration.
fn git_in(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir);
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "Lab")
            .env(format!("GIT_{who}_EMAIL"), "lab@example.org")
            .env(format!("GIT_{who}_DATE"), "2026-02-25T10:00:00Z");
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Makes a release of the first one's files.
fn edit(work: &Path, release: Release) {
    let change = |file: &str, old: &str, new: &str| {
        let path = work.join(file);
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("reading {file}: {error}"));
        assert!(text.contains(old), "{file} of the application has no {old:?} any more");
        fs::write(&path, text.replace(old, new))
            .unwrap_or_else(|error| panic!("writing {file}: {error}"));
    };
    for (file, indent) in
        [("package.json", "  "), ("package-lock.json", "  "), ("package-lock.json", "      ")]
    {
        let line = |version| {
            format!("\n{indent}\"name\": \"eaf-platform\",\n{indent}\"version\": \"{version}\"")
        };
        change(file, &line("1.0.0"), &line(release.version()));
    }
    match release {
        Release::First => {}
        Release::Second => {
            change(
                "database/schema.prisma",
                "  mark      Int?\n",
                "  mark      Int?\n  comment   String?\n",
            );
            let migration = work.join("database/migrations/20260225100000_comment");
            fs::create_dir(&migration).expect("a folder for the migration");
            let sql = "-- AlterTable\nALTER TABLE \"Copy\" ADD COLUMN \"comment\" TEXT;\n";
            fs::write(migration.join("migration.sql"), sql).expect("the migration");
            change(
                "packages/web/src/app.js",
                "  accounts(app, site);\n",
                "  app.get('/api/v1/version', (request, response) => response.json(site.build));\n  accounts(app, site);\n",
            );
        }
        Release::DoesNotBuild => {
            change(
                "packages/web/src/accounts.js",
                "<h1>Dashboard</h1>",
                "<h1>${marks.map((mark => mark)}</h1>",
            );
        }
        Release::Crashes => change(
            "packages/web/src/server.js",
            "for (const signal of",
            "setTimeout(() => {\n  const cache = undefined;\n  cache.warmUp();\n}, 150);\n\nfor (const signal of",
        ),
        Release::Unhealthy => change(
            "packages/web/src/health.js",
            "    const status = db !== 'ok' ?",
            "    const model = 'no provider answers';\n    const status = model !== 'ok' || db !== 'ok' ?",
        ),
    }
}

/// Copies the application's own files: not what npm, a build or a person left among them.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if ["node_modules", "dist", ".data", ".env"].iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to.join(name))?;
        } else {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
