//! [`Around`]: what decorators that look at every operation have in common.

use std::fmt;

use runbook_core::{BoxRead, BoxStream, Host, Process, Result};

use crate::Operation;

/// A decorator that does something before each operation, and something to its streams.
///
/// [`around!`] makes a [`Target`](runbook_core::Target) of it.
pub(crate) trait Around: fmt::Debug + Send + Sync + 'static {
    /// What it does to one operation that it let through.
    type Passage: Passage;

    fn inner(&self) -> &Host;

    /// Lets the operation through, now or later, or refuses it.
    fn admit(&self, operation: Operation) -> impl Future<Output = Result<Self::Passage>> + Send;
}

/// What is done to one operation that was let through. Each does nothing unless it says otherwise.
pub(crate) trait Passage: Send + Sync {
    /// While the target below does it.
    fn during<T: Send>(
        &self,
        work: impl Future<Output = Result<T>> + Send,
    ) -> impl Future<Output = Result<T>> + Send {
        work
    }

    /// The process that was started.
    fn process(self, process: Box<dyn Process>) -> Box<dyn Process>
    where
        Self: Sized,
    {
        process
    }

    /// What is read from a file.
    fn reading(self, from: BoxRead) -> BoxRead
    where
        Self: Sized,
    {
        from
    }

    /// What is to be written to a file.
    fn content(&self, from: BoxRead) -> BoxRead {
        from
    }

    /// The stream to a service.
    fn socket(self, stream: BoxStream) -> BoxStream
    where
        Self: Sized,
    {
        stream
    }
}

impl Passage for () {}

/// Implements `Target` for a type that implements [`Around`].
macro_rules! around {
    ($decorator:ty) => {
        const _: () = {
            use std::path::Path;
            use std::time::Duration;

            use runbook_core::{
                Address, BoxRead, BoxStream, Command, FileInfo, Process, Result, Spawn, Target,
                WriteOptions,
            };

            use crate::Operation;
            use crate::around::Passage as _;

            #[async_trait::async_trait]
            impl Target for $decorator {
                fn name(&self) -> &str {
                    self.inner().name()
                }

                fn identity(&self) -> Option<String> {
                    self.inner().target().identity()
                }

                fn prepare(&self) {
                    self.inner().target().prepare();
                }

                async fn spawn(
                    &self,
                    command: &Command,
                    spawn: &Spawn,
                ) -> Result<Box<dyn Process>> {
                    let passage = self.admit(Operation::command(command, spawn)).await?;
                    let process =
                        passage.during(self.inner().target().spawn(command, spawn)).await?;
                    Ok(passage.process(process))
                }

                async fn end_leftovers(
                    &self,
                    cookie: &str,
                    grace: Duration,
                ) -> Result<Vec<String>> {
                    let passage = self.admit(Operation::EndLeftovers(cookie.to_owned())).await?;
                    passage.during(self.inner().target().end_leftovers(cookie, grace)).await
                }

                async fn read(&self, path: &Path) -> Result<BoxRead> {
                    let passage = self.admit(Operation::Read(path.to_owned())).await?;
                    let content = passage.during(self.inner().target().read(path)).await?;
                    Ok(passage.reading(content))
                }

                async fn write(
                    &self,
                    path: &Path,
                    content: BoxRead,
                    options: &WriteOptions,
                ) -> Result<()> {
                    let passage = self.admit(Operation::Write(path.to_owned())).await?;
                    let content = passage.content(content);
                    passage.during(self.inner().target().write(path, content, options)).await
                }

                async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
                    let passage = self.admit(Operation::Stat(path.to_owned())).await?;
                    passage.during(self.inner().target().stat(path)).await
                }

                async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
                    let passage = self.admit(Operation::List(path.to_owned())).await?;
                    passage.during(self.inner().target().list(path)).await
                }

                async fn create_dir(&self, path: &Path) -> Result<()> {
                    let passage = self.admit(Operation::CreateDir(path.to_owned())).await?;
                    passage.during(self.inner().target().create_dir(path)).await
                }

                async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
                    let operation = Operation::Copy(from.to_owned(), to.to_owned());
                    let passage = self.admit(operation).await?;
                    passage.during(self.inner().target().copy(from, to)).await
                }

                async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
                    let operation = Operation::Rename(from.to_owned(), to.to_owned());
                    let passage = self.admit(operation).await?;
                    passage.during(self.inner().target().rename(from, to)).await
                }

                async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
                    let operation = Operation::Symlink(to.to_owned(), link.to_owned());
                    let passage = self.admit(operation).await?;
                    passage.during(self.inner().target().symlink(to, link)).await
                }

                async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
                    let passage = self.admit(Operation::SetMode(path.to_owned(), mode)).await?;
                    passage.during(self.inner().target().set_mode(path, mode)).await
                }

                async fn remove(&self, path: &Path) -> Result<()> {
                    let passage = self.admit(Operation::Remove(path.to_owned())).await?;
                    passage.during(self.inner().target().remove(path)).await
                }

                async fn remove_tree(&self, path: &Path) -> Result<()> {
                    let passage = self.admit(Operation::RemoveTree(path.to_owned())).await?;
                    passage.during(self.inner().target().remove_tree(path)).await
                }

                async fn connect(&self, address: &Address) -> Result<BoxStream> {
                    let passage = self.admit(Operation::Connect(address.clone())).await?;
                    let stream = passage.during(self.inner().target().connect(address)).await?;
                    Ok(passage.socket(stream))
                }
            }
        };
    };
}
pub(crate) use around;
