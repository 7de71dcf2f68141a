//! Annotated tags, here and on the remote.

use runbook_core::{Context, IntoInput, Observer, Result, Rollback, Step};
use runbook_macros::step;
use serde::{Deserialize, Serialize};

use crate::commit::short;
use crate::error::Error;
use crate::repository::Git;

/// What a tag named before, if it was there: how [`Git::tag`] and [`Git::push_tag`] are undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagWas(Option<String>);

impl Git {
    /// Makes an annotated tag on the commit that is checked out; fine if it is there on that very
    /// commit. Never moves one. A rollback removes it if it was not there.
    ///
    /// The host's git must know who makes it (`user.name` and `user.email`).
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("release");
    /// let tag = b.step(app.tag("v2", "The second release"));
    /// b.step(app.push_tag(tag));
    /// ```
    pub fn tag(
        &self,
        name: impl IntoInput<String>,
        message: impl IntoInput<String>,
    ) -> impl Step<Output = String, Rollback = TagWas> {
        tag(self, name, message)
    }

    /// Pushes a tag to the remote; never moves one there. A rollback removes it from the remote if
    /// it was not there: whoever fetched it meanwhile keeps it.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_git::Git;
    /// # let app = Git::new(&Host::new(FakeTarget::new("web-1")), "/srv/shop");
    /// # let mut b = Runbook::new("release");
    /// b.step(app.push_tag("v2"));
    /// ```
    pub fn push_tag(
        &self,
        name: impl IntoInput<String>,
    ) -> impl Step<Output = String, Rollback = TagWas> {
        push_tag(self, name)
    }

    /// What a tag is here: the id of the tag itself.
    async fn tag_here(&self, cx: &Observer, name: &str) -> Result<Option<String>> {
        let reference = format!("refs/tags/{name}");
        let format = "--format=%(objectname)%09%(refname)";
        let said = self.look(cx, &["for-each-ref", format, "--", &reference]).await?;
        Ok(id_of(&said, &reference))
    }

    /// What a tag is on the remote.
    async fn tag_there(&self, cx: &Observer, name: &str) -> Result<Option<String>> {
        let reference = format!("refs/tags/{name}");
        let said = self.look(cx, &["ls-remote", "--tags", self.remote_name(), &reference]).await?;
        Ok(id_of(&said, &reference))
    }
}

/// The id of a reference in lines of `id TAB reference`.
fn id_of(lines: &str, reference: &str) -> Option<String> {
    let mut pairs = lines.lines().filter_map(|line| line.split_once('\t'));
    pairs.find(|(_, name)| *name == reference).map(|(id, _)| id.to_owned())
}

/// Make the tag
#[step(
    title = "Tag {git} as {name}",
    rollback = TagWas,
    repeatable,
    preview = "git tag -a {name} -m {message}"
)]
async fn tag(cx: &Context, git: &Git, name: String, message: String) -> Result<String> {
    let head = git.resolve(cx.observer(), "HEAD").await?;
    if git.tag_here(cx.observer(), &name).await?.is_some() {
        let tagged = git.resolve(cx.observer(), &format!("refs/tags/{name}")).await?;
        if tagged == head {
            return Ok(name);
        }
        let commit = short(&tagged).to_owned();
        return Err(Error::TagTaken { place: git.to_string(), tag: name, commit }.failure());
    }
    git.run(cx, &["tag", "-a", "-m", &message, "--", &name, &head]).await?;
    Ok(name)
}

impl Rollback<tag> for TagWas {
    async fn record(step: &tag, cx: &Observer) -> Result<Self> {
        step.git.tag_here(cx, &step.name.get(cx)?).await.map(TagWas)
    }

    async fn rollback(&self, step: &tag, _: Option<&String>, cx: &Context) -> Result<()> {
        let name = step.name.get(cx)?;
        if self.0.is_none() && step.git.tag_here(cx.observer(), &name).await?.is_some() {
            step.git.run(cx, &["tag", "-d", "--", &name]).await?;
        }
        Ok(())
    }
}

/// Push the tag
#[step(
    title = "Push the tag {name} of {git}",
    rollback = TagWas,
    repeatable,
    preview = "git push origin {name}"
)]
async fn push_tag(cx: &Context, git: &Git, name: String) -> Result<String> {
    let Some(here) = git.tag_here(cx.observer(), &name).await? else {
        let (place, remote) = (git.to_string(), git.remote_name().to_owned());
        return Err(Error::UnknownRevision { place, revision: name, remote }.failure());
    };
    match git.tag_there(cx.observer(), &name).await? {
        Some(there) if there == here => return Ok(name),
        Some(there) => {
            let place = format!("{} of {git}", git.remote_name());
            let commit = short(&there).to_owned();
            return Err(Error::TagTaken { place, tag: name, commit }.failure());
        }
        None => {}
    }
    let refspec = format!("refs/tags/{name}:refs/tags/{name}");
    git.run(cx, &["push", "--quiet", "--", git.remote_name(), &refspec]).await?;
    Ok(name)
}

impl Rollback<push_tag> for TagWas {
    async fn record(step: &push_tag, cx: &Observer) -> Result<Self> {
        step.git.tag_there(cx, &step.name.get(cx)?).await.map(TagWas)
    }

    async fn rollback(&self, step: &push_tag, _: Option<&String>, cx: &Context) -> Result<()> {
        let name = step.name.get(cx)?;
        if self.0.is_none() && step.git.tag_there(cx.observer(), &name).await?.is_some() {
            let refspec = format!(":refs/tags/{name}");
            step.git.run(cx, &["push", "--quiet", "--", step.git.remote_name(), &refspec]).await?;
        }
        Ok(())
    }
}
