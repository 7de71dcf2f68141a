//! What is kept beside a package for the way back.

use std::path::{Path, PathBuf};

use runbook_core::{
    Command, Context, Data, FileKind, Harmless, HostView, Observer, Out, Result, Step,
};
use runbook_macros::step;

use crate::package::Npm;

/// The folder, in the package's own, so that a rename is enough.
const FOLDER: &str = ".runbook-kept";

/// Where this run keeps the folder `name` of a package.
pub(crate) fn place(npm: &Npm, cx: &Observer, name: &Path) -> PathBuf {
    let flat = name.to_string_lossy().replace('/', "__");
    npm.dir().join(FOLDER).join(cx.run_id().as_str()).join(flat)
}

/// Makes room: what other runs kept and did not need.
pub(crate) async fn begin(npm: &Npm, cx: &Context) -> Result<()> {
    let host = cx.on(npm.host());
    let folder = npm.dir().join(FOLDER);
    if host.exists(&folder).await? {
        for old in host.list(&folder).await? {
            if !old.path.ends_with(cx.observer().run_id().as_str()) {
                host.remove_tree(&old.path).await?;
            }
        }
    }
    host.create_dir(folder.join(cx.observer().run_id().as_str())).await
}

/// A checksum over the names and contents of all files below `dir`; `None` if it is no folder.
pub(crate) async fn checksum(host: &HostView<'_>, dir: &Path) -> Result<Option<String>> {
    if !host.stat(dir).await?.is_some_and(|info| info.kind == FileKind::Dir) {
        return Ok(None);
    }
    let script = "cd -- \"$1\" && find . -type f -print0 | LC_ALL=C sort -z | \
                  xargs -0 -r sha256sum -- | sha256sum";
    let sum = Command::new("sh").args(["-c", script, "sh"]).arg(dir).read_only();
    let output = host.output(&sum).await?;
    Ok(output.text().split_whitespace().next().map(str::to_owned))
}

impl Npm {
    /// Removes what [`install`](Self::install) and [`build`](Self::build) kept for the way back:
    /// what comes before it can then no longer be undone without the registry. So it belongs into
    /// `finally`, fed by the last unit that has to go well: if that gave no output, what was kept
    /// stays; and that it could not be removed takes nothing back.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_node::Npm;
    /// # let shop = Npm::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("deploy");
    /// b.step(shop.build("build", [".next"]));
    /// let fine = b.step(shop.script("smoke-test"));
    /// b.finally(|b| {
    ///     b.step(shop.forget_kept(&fine));
    /// });
    /// # b.build().unwrap();
    /// ```
    #[must_use]
    pub fn forget_kept<T: Data>(
        &self,
        proof: &Out<T>,
    ) -> impl Step<Output = (), Rollback = Harmless> {
        forget_kept(self, proof.map(|_| ()))
    }
}

/// Remove what was kept for the way back
#[step(harmless, repeatable, title = "Remove what was kept of {npm} for the way back")]
async fn forget_kept(cx: &Context, npm: &Npm, proof: ()) -> Result<()> {
    // That it is there is all that it says.
    let () = proof;
    cx.on(npm.host()).remove_tree(npm.dir().join(FOLDER)).await
}
