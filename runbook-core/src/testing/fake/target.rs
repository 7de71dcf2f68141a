//! [`Target`] for [`FakeTarget`].

use std::ffi::OsStr;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncReadExt;

use super::process::FakeProcess;
use super::reply::{End, Scripted};
use super::{Call, CommandCall, FakeTarget, line};
use crate::command::{Command, Stdin};
use crate::error::{During, Failure, Result};
use crate::target::{Address, BoxRead, BoxStream, FileInfo, Process, Spawn, Target, WriteOptions};

#[async_trait]
impl Target for FakeTarget {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> Option<String> {
        self.world().identity.clone()
    }

    fn prepare(&self) {
        self.world().prepared += 1;
    }

    async fn spawn(&self, command: &Command, spawn: &Spawn) -> Result<Box<dyn Process>> {
        let line = line(command);
        let call = CommandCall {
            args: std::iter::once(command.program())
                .chain(command.arguments().iter().map(|arg| arg.as_os_str()))
                .map(OsStr::to_owned)
                .collect(),
            env: command.environment().map(|(name, _)| name.to_owned()).collect(),
            dir: command.directory().map(Path::to_owned),
            stdin: match command.standard_input() {
                Stdin::Bytes(bytes) => bytes.clone(),
                Stdin::Secret(_) => b"***".to_vec(),
                Stdin::Empty | Stdin::Piped => Vec::new(),
            },
            read_only: spawn.read_only,
            cookie: spawn.cookie.clone(),
            line: line.clone(),
        };
        let (at, scripted) = {
            let mut world = self.connected()?;
            world.commands += 1;
            let at = world.calls.len();
            world.calls.push(Call::Command(call.clone()));
            let nth = world.commands;
            if let Some(problem) = world.fail_commands.remove(&nth) {
                return Err(problem.into());
            }
            let scripted = world
                .scripts
                .iter_mut()
                .rev()
                .find(|(matcher, _)| matcher.matches(&line, command))
                .and_then(|(_, script)| script.next());
            let otherwise = || world.otherwise.clone().map(Scripted::Reply);
            let scripted = scripted.or_else(otherwise).ok_or_else(|| {
                let scripted: Vec<_> =
                    world.scripts.iter().map(|(matcher, _)| format!("{matcher:?}")).collect();
                let scripted =
                    if scripted.is_empty() { "nothing".to_owned() } else { scripted.join(", ") };
                Failure::msg(format!("no reply is scripted for it (scripted: {scripted})"))
                    .next("script one with `on(..).reply(..)`, or a default with `otherwise(..)`")
            })?;
            (at, scripted)
        };
        // A closure may look at this target and change it.
        let reply = match scripted {
            Scripted::Reply(reply) => reply,
            Scripted::With(reply) => reply(&call),
        };
        if let End::NotStarted(problem) = reply.end {
            return Err(problem.into());
        }
        Ok(Box::new(FakeProcess::start(self, line, at, reply, command.standard_input())))
    }

    async fn end_leftovers(&self, cookie: &str, _: Duration) -> Result<Vec<String>> {
        let mut world = self.connected()?;
        world.calls.push(Call::EndLeftovers(cookie.to_owned()));
        let (ended, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut world.leftovers).into_iter().partition(|(of, _)| of == cookie);
        world.leftovers = left;
        Ok(ended.into_iter().map(|(_, process)| process).collect())
    }

    async fn read(&self, path: &Path) -> Result<BoxRead> {
        let content = self
            .connected()?
            .files
            .read(path)
            .map_err(|why| self.refused(&format!("reading {}", path.display()), &why))?;
        Ok(Box::new(Cursor::new(content)))
    }

    async fn write(&self, path: &Path, mut from: BoxRead, options: &WriteOptions) -> Result<()> {
        let line = format!("write {}", path.display());
        let mut content = Vec::new();
        let read = from.read_to_end(&mut content).await;
        read.during("reading what is to be written").during(format!("{line} on {}", self.name))?;
        self.change(line, |files| files.write(path, content, options))
    }

    async fn stat(&self, path: &Path) -> Result<Option<FileInfo>> {
        Ok(self.connected()?.files.stat(path))
    }

    async fn list(&self, path: &Path) -> Result<Vec<FileInfo>> {
        self.connected()?
            .files
            .list(path)
            .map_err(|why| self.refused(&format!("listing {}", path.display()), &why))
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        self.change(format!("create folder {}", path.display()), |files| files.create_dir(path))
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let line = format!("copy {} to {}", from.display(), to.display());
        self.change(line, |files| files.copy(from, to))
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let line = format!("rename {} to {}", from.display(), to.display());
        self.change(line, |files| files.rename(from, to))
    }

    async fn symlink(&self, to: &Path, link: &Path) -> Result<()> {
        let line = format!("link {} to {}", link.display(), to.display());
        self.change(line, |files| files.symlink(to, link))
    }

    async fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let line = format!("set mode of {} to {mode:o}", path.display());
        self.change(line, |files| files.set_mode(path, mode))
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        self.change(format!("remove {}", path.display()), |files| files.remove(path))
    }

    async fn remove_tree(&self, path: &Path) -> Result<()> {
        self.change(format!("remove tree {}", path.display()), |files| files.remove_tree(path))
    }

    async fn connect(&self, address: &Address) -> Result<BoxStream> {
        let listeners: Vec<_> = {
            let mut world = self.connected()?;
            world.calls.push(Call::Connect(address.to_string()));
            let there = world.listeners.iter().rev().filter(|(at, _)| at == address);
            there.map(|(_, listener)| listener.clone()).collect()
        };
        let listener = listeners.into_iter().find(|listener| (listener.open)());
        let listener = listener.ok_or_else(|| {
            self.refused(&format!("connecting to {address}"), "nothing listens there")
                .next("script it with `listen(..)`")
        })?;
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        (listener.serve)(theirs);
        Ok(Box::new(ours))
    }
}
