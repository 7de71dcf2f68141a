//! [`Change`]: a change of one file of the configuration, from the test to the new workers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use runbook::{
    About, Context, Input, IntoInput, Observer, Result, Rollback, Step, Visit, WriteOptions,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::client::Nginx;
use crate::control::{processes, reload_tested};
use crate::edit::Edit;
use crate::error::NginxError;
use crate::tree::{follow, hidden_twin};
use crate::upstream::{Server, Upstream};

impl Nginx {
    /// Changes a file of the configuration.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_nginx::{Edit, Nginx};
    /// fn limit(b: &mut Runbook, nginx: &Nginx) {
    ///     let text = "client_max_body_size 5m;\n".to_owned();
    ///     b.step(nginx.change("/etc/nginx/conf.d/limits.conf", Edit::Content(text)));
    /// }
    /// ```
    pub fn change(&self, file: impl Into<PathBuf>, edit: impl IntoInput<Edit>) -> Change {
        Change { nginx: self.clone(), file: file.into(), edit: edit.into_input() }
    }

    /// Changes servers of an upstream: adds those that it has not, and gives the others their
    /// parameters. More is said with [`Upstream`] and [`change`](Self::change).
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_nginx::{Edit, Nginx, Server, Upstream};
    /// fn scale_out(b: &mut Runbook, nginx: &Nginx) {
    ///     let file = "/etc/nginx/conf.d/app.conf";
    ///     b.step(nginx.upstream(file, "app", [Server::new("10.0.0.3:8000").weight(2)]));
    ///     let fewer = Upstream::new("app").least_conn().without("10.0.0.1:8000");
    ///     b.step(nginx.change(file, Edit::Upstream(fewer)));
    /// }
    /// ```
    pub fn upstream(
        &self,
        file: impl Into<PathBuf>,
        name: impl Into<String>,
        servers: impl IntoIterator<Item = Server>,
    ) -> Change {
        let upstream = servers.into_iter().fold(Upstream::new(name), Upstream::with);
        self.change(file, Edit::Upstream(upstream))
    }

    /// Denies an address, or a network like `192.0.2.0/24`, in a file that is included where it
    /// is to hold; the file may be a new one.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_nginx::Nginx;
    /// fn block(b: &mut Runbook, nginx: &Nginx) {
    ///     b.step(nginx.deny("/etc/nginx/conf.d/block.conf", "192.0.2.66"));
    /// }
    /// ```
    pub fn deny(&self, file: impl Into<PathBuf>, address: impl IntoInput<String>) -> Change {
        self.change(file, address.into_input().map(|address| Edit::Deny(address.clone())))
    }

    /// Takes a denial back.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_nginx::Nginx;
    /// fn unblock(b: &mut Runbook, nginx: &Nginx) {
    ///     b.step(nginx.undeny("/etc/nginx/conf.d/block.conf", "192.0.2.66"));
    /// }
    /// ```
    pub fn undeny(&self, file: impl Into<PathBuf>, address: impl IntoInput<String>) -> Change {
        self.change(file, address.into_input().map(|address| Edit::Undeny(address.clone())))
    }

    /// Answers every request of a site with status 503 and a page.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_nginx::Nginx;
    /// fn deploy(b: &mut Runbook, nginx: &Nginx) {
    ///     let site = "/etc/nginx/sites-available/shop";
    ///     b.step(nginx.maintenance_on(site, "shop.example.org", "/var/www/maintenance.html"));
    ///     // ..
    ///     b.step(nginx.maintenance_off(site, "shop.example.org"));
    /// }
    /// ```
    pub fn maintenance_on(
        &self,
        file: impl Into<PathBuf>,
        site: impl Into<String>,
        page: impl Into<PathBuf>,
    ) -> Change {
        self.change(file, Edit::MaintenanceOn { site: site.into(), page: page.into() })
    }

    /// Lets requests of a site through again.
    ///
    /// ```
    /// use runbook_core::Runbook;
    /// use runbook_nginx::Nginx;
    /// fn back(b: &mut Runbook, nginx: &Nginx) {
    ///     b.step(nginx.maintenance_off("/etc/nginx/sites-available/shop", "shop.example.org"));
    /// }
    /// ```
    pub fn maintenance_off(&self, file: impl Into<PathBuf>, site: impl Into<String>) -> Change {
        self.change(file, Edit::MaintenanceOff { site: site.into() })
    }
}

/// A step that changes one file of the configuration; see [`Nginx::change`].
///
/// Verify it with any check: `.verify(..)`. If that fails, the file is put back and nginx reloaded.
/// The file's old content stays on the host, in a hidden file beside it that only its owner can
/// read; the journal has its checksum. The backups of the last three changes of a file are kept.
#[derive(Clone)]
#[must_use = "a step does nothing until it is added to a runbook"]
pub struct Change {
    nginx: Nginx,
    file: PathBuf,
    edit: Input<Edit>,
}

/// The output of [`Change`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changed {
    /// The file, links followed.
    pub file: PathBuf,
    /// The SHA-256 of its content.
    pub sha256: String,
    /// Whether it was different before.
    pub different: bool,
}

impl Step for Change {
    type Output = Changed;
    type Rollback = Before;

    fn about(&self) -> About {
        let edit = self.edit.shown();
        let title = match self.edit.known() {
            Some(edit) => format!("{edit} ({})", self.nginx),
            None => format!("Change {} ({})", self.file.display(), self.nginx),
        };
        let file = self.file.display();
        About::new("change-nginx", title)
            .arg("file", &file)
            .arg("edit", edit)
            .preview(format!("write beside {file}, nginx -t"))
            .preview(format!("switch {file}, nginx -s reload, wait for new workers"))
            .repeatable()
    }

    fn inputs(&self, visit: &mut dyn Visit) {
        visit.see("edit", &self.edit);
    }

    async fn run(&self, cx: &Context) -> Result<Changed> {
        let Self { nginx, .. } = self;
        let host = nginx.host();
        let edit = self.edit.get(cx)?;
        let before = Before::look(self, cx).await?;
        // Before anything is written: what is not running can't be reloaded.
        if processes(cx, nginx).await?.is_none() {
            let pid_file = nginx.pid_file(cx).await?;
            return Err(NginxError::NotRunning { pid_file }.into_failure());
        }
        if let Edit::MaintenanceOn { page, .. } = &edit
            && !cx.on(host).exists(page).await?
        {
            let what = format!("the page {}, which is not there", page.display());
            let file = self.file.clone();
            return Err(
                NginxError::Edit { file, why: format!("it would show {what}") }.into_failure()
            );
        }
        let text =
            edit.apply(&self.file, before.content.as_deref()).map_err(NginxError::into_failure)?;
        test_beside(cx, nginx, &before.file, &text).await?;
        let different = before.content.as_deref() != Some(text.as_str());
        let sha256 = sha256(&text);
        if different {
            if let Some(content) = &before.content {
                back_up(cx, nginx, &before, content).await?;
            }
            cx.on(host).write(&before.file, text).await?;
        }
        // Also if nothing is different: a run that was killed may have written and not reloaded.
        reload_tested(cx, nginx).await?;
        Ok(Changed { file: before.file, sha256, different })
    }
}

/// What was in the file before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The file, links followed.
    file: PathBuf,
    /// What was in it; only known to whoever looked. It may hold secrets, which are no business of
    /// the journal's.
    #[serde(skip)]
    content: Option<String>,
    /// Its checksum; `None` if there was no such file.
    sha256: Option<String>,
    /// Where its content is kept once it is changed.
    backup: PathBuf,
}

impl Before {
    async fn look(step: &Change, cx: &Observer) -> Result<Self> {
        let host = &step.nginx.host;
        let file = follow(cx, host, &step.file).await?;
        let content = match cx.on(host).exists(&file).await? {
            true => Some(cx.on(host).read_text(&file).await?),
            false => None,
        };
        let sha256 = content.as_deref().map(sha256);
        let name = backups_of(&file) + &format!("{}-{}", cx.run_id(), cx.unit_id());
        let backup = file.with_file_name(name.replace('/', "-"));
        Ok(Self { file, content, sha256, backup })
    }
}

impl Rollback<Change> for Before {
    async fn record(step: &Change, cx: &Observer) -> Result<Self> {
        Self::look(step, cx).await
    }

    async fn rollback(&self, step: &Change, done: Option<&Changed>, cx: &Context) -> Result<()> {
        let nginx = &step.nginx;
        let file = || self.file.clone();
        let now = Self::look(step, cx).await?;
        let ours = done.map(|done| Some(done.sha256.clone()));
        if now.sha256 != self.sha256 && ours.is_some_and(|ours| ours != now.sha256) {
            return Err(NginxError::ChangedSince { file: file() }.into_failure());
        }
        if now.sha256 != self.sha256 {
            match &self.sha256 {
                Some(_) => {
                    let text = self.kept(cx, nginx).await?;
                    cx.on(&nginx.host).write(&self.file, text).await?;
                }
                None => cx.on(&nginx.host).remove(&self.file).await?,
            }
        }
        cx.on(&nginx.host).remove(&self.backup).await?;
        sweep(cx, nginx, &self.file).await?;
        if processes(cx, nginx).await?.is_none() {
            cx.say("nginx is not running, so it is not reloaded");
            return Ok(());
        }
        let tested = nginx.test(cx, &nginx.config.main).await?;
        if !tested.good {
            return Err(Nginx::refused(&tested.said));
        }
        // Also if the file was as before: an undo that was killed may have written only.
        reload_tested(cx, nginx).await.map(|_| ())
    }

    fn restored(&self, now: &Self) -> bool {
        self.sha256 == now.sha256
    }
}

impl Before {
    /// What was in the file, from its backup.
    async fn kept(&self, cx: &Context, nginx: &Nginx) -> Result<String> {
        let host = cx.on(&nginx.host);
        if host.exists(&self.backup).await? {
            let text = host.read_text(&self.backup).await?;
            if Some(sha256(&text)) == self.sha256 {
                return Ok(text);
            }
        }
        let (file, backup) = (self.file.clone(), self.backup.clone());
        Err(NginxError::Backup { file, backup }.into_failure())
    }
}

/// `.app.conf.before-`: a leading dot is matched by no `*`, so nginx does not read it.
fn backups_of(file: &Path) -> String {
    format!(".{}.before-", file.file_name().unwrap_or_default().to_string_lossy())
}

/// So many backups of a file are kept, this one included.
const BACKUPS: usize = 3;

/// Keeps what is in the file, on disk before the file is switched; an earlier attempt may have.
async fn back_up(cx: &Context, nginx: &Nginx, before: &Before, content: &str) -> Result<()> {
    let host = cx.on(&nginx.host);
    if host.exists(&before.backup).await? {
        return Ok(());
    }
    host.write_with(&before.backup, content, &WriteOptions::mode(0o600)).await?;
    let folder = before.file.parent().unwrap_or(Path::new("/"));
    let beginning = backups_of(&before.file);
    let mut all: Vec<_> = host.list(folder).await?.into_iter().map(|info| info.path).collect();
    all.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&beginning))
            && *path != before.backup
    });
    // Their names begin with the time.
    all.sort();
    for old in all.iter().rev().skip(BACKUPS - 1) {
        host.remove(old).await?;
    }
    Ok(())
}

/// Tests the whole configuration with `text` in the place of `file`, and leaves nothing behind.
async fn test_beside(cx: &Context, nginx: &Nginx, file: &Path, text: &str) -> Result<()> {
    let host = nginx.host();
    let tree = nginx.tree(cx).await?;
    let mut written = Vec::new();
    let tested = async {
        tree.stage(cx, host, file, text, &mut written).await?;
        nginx.test(cx, &hidden_twin(&nginx.config.main)).await
    }
    .await;
    for path in &written {
        cx.on(host).remove(path).await?;
    }
    let mut tested = tested?;
    if tested.good {
        return Ok(());
    }
    // The operator knows the files by their own names.
    for path in &written {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let own = name.trim_start_matches('.').trim_end_matches(".untested").to_owned();
        for line in &mut tested.said {
            *line = line.replace(&*name, &own);
        }
    }
    Err(Nginx::refused(&tested.said))
}

/// Removes what a killed run may have left beside the files.
async fn sweep(cx: &Context, nginx: &Nginx, file: &Path) -> Result<()> {
    cx.on(&nginx.host).remove(hidden_twin(file)).await?;
    // A configuration that can't be read has none: it was read before they were written.
    if let Ok(tree) = nginx.tree(cx).await {
        for one in &tree.files {
            cx.on(&nginx.host).remove(hidden_twin(&one.path)).await?;
        }
    }
    Ok(())
}

fn sha256(text: &str) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
