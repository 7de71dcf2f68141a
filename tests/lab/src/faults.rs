//! What goes wrong in the world.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::command::run;
use crate::process::signal;
use crate::{Child, Folder, Proxy, World, try_run, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);

/// Faults that concern more than one part. Those of one part are its own: [`Redis::stop`],
/// [`Redis::fill_memory`], [`Postgres::stop`], [`Postgres::exhaust_connections`],
/// [`Postgres::hold_lock`], [`Postgres::long_query`], [`Nginx::break_config`].
///
/// [`Redis::stop`]: crate::Redis::stop
/// [`Redis::fill_memory`]: crate::Redis::fill_memory
/// [`Postgres::stop`]: crate::Postgres::stop
/// [`Postgres::exhaust_connections`]: crate::Postgres::exhaust_connections
/// [`Postgres::hold_lock`]: crate::Postgres::hold_lock
/// [`Postgres::long_query`]: crate::Postgres::long_query
/// [`Nginx::break_config`]: crate::Nginx::break_config
impl World {
    /// Hands in so many copies of this text, whose corrections wait in the queue. `!fail` in the
    /// text makes them fail, `!slow 500` makes each take so many milliseconds.
    ///
    /// # Panics
    /// PostgreSQL or Redis refuses.
    pub fn hand_in(&self, count: u32, text: &str) {
        let count = count.to_string();
        run(self
            .command("node")
            .args(["scripts/hand-in.mjs", &count, text])
            .current_dir(self.tree()));
    }

    /// Ends the queue's worker in the middle of whatever it does (SIGKILL); PM2 starts another.
    /// Gives the process id that it had.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn kill_worker(&self) -> u32 {
        let pid = self.pm2().pid_of("eaf-worker").expect("the worker runs");
        signal(pid, Signal::KILL);
        pid
    }

    /// Stops the queue's worker: jobs wait from now on, until PM2 is told to start it.
    ///
    /// # Panics
    /// PM2 fails.
    pub fn stop_worker(&self) {
        self.pm2().run(&["stop", "--silent", "eaf-worker"]);
    }

    /// Breaks the built site, so that PM2 starts it again and again. A build repairs it.
    ///
    /// # Panics
    /// PM2 fails, or it does not crash in time.
    pub fn crash_loop(&self) {
        let file = self.tree().join("packages/web/dist/server.js");
        let good = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("reading {}: {error}", file.display()));
        // Not at once: PM2 takes a module that fails to load for one that runs.
        let bad = "setTimeout(() => { throw new TypeError('cannot read the settings of undefined'); }, 50);";
        fs::write(&file, format!("{bad}\n{good}"))
            .unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
        self.restart_into_a_loop();
    }

    /// Has a stranger listen on the site's port, so that the site crashes again and again, until
    /// the stranger is gone: dropped, or killed by whoever finds it.
    ///
    /// # Panics
    /// PM2 fails, or the site does not crash in time.
    #[must_use]
    pub fn take_port(&self) -> Child {
        self.pm2().run(&["stop", "--silent", "eaf-platform"]);
        let port = self.port();
        let script =
            format!("require('net').createServer((s) => s.end()).listen({port}, '127.0.0.1')");
        let stranger = Child::spawn(
            self.command("node").args(["-e", &script]).stdin(Stdio::null()).stdout(Stdio::null()),
        );
        wait_until("the stranger to have the port", DEADLINE, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        self.restart_into_a_loop();
        stranger
    }

    /// Gives the application's role a password that its `.env` does not have, and ends its
    /// sessions: the site has no database any more.
    ///
    /// [`Postgres::change_password`](crate::Postgres::change_password) with
    /// [`password`](Self::password) mends it.
    ///
    /// # Panics
    /// PostgreSQL refuses, or the site does not notice.
    pub fn forget_database_password(&self) {
        self.postgres().change_password(self.role(), "another-password");
        let end = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'",
            self.role()
        );
        self.postgres().psql(self.database(), &end);
        wait_until("the site to be without its database", DEADLINE, || {
            self.health().is_ok_and(|reply| {
                reply.status == 503 && reply.body_text().contains("password authentication failed")
            })
        });
    }

    /// Has Nginx show a certificate that has expired.
    ///
    /// # Panics
    /// Nginx does not reload.
    pub fn expire_certificate(&self) {
        self.nginx().put_certificate(&self.ca().expired(&[self.nginx().name()]));
        self.nginx().reload();
    }

    /// A way to the host's sshd that can be delayed, silenced and cut.
    #[must_use]
    pub fn ssh_proxy(&self) -> Proxy {
        Proxy::start(self.sshd().port())
    }

    /// The host's disk, full but for so many bytes: a folder of this name in its home. `None` if
    /// this process may not mount: it takes root.
    ///
    /// # Panics
    /// The folder can't be made.
    #[must_use]
    pub fn small_disk(&self, name: &str, bytes: u64) -> Option<SmallDisk> {
        SmallDisk::mount(self.folder(), &format!("home/{name}"), bytes)
    }

    fn restart_into_a_loop(&self) {
        let before = self.pm2().restarts("eaf-platform");
        self.pm2().run(&["restart", "--silent", "eaf-platform"]);
        wait_until("the site to crash again and again", DEADLINE, || {
            self.pm2().restarts("eaf-platform") >= before + 3
        });
    }
}

/// A file system of a few bytes in a folder of the lab's; gone when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    _folder: Folder,
}

impl SmallDisk {
    /// One of so many bytes (the system rounds up to pages) in a folder of this name there. `None`
    /// if this process may not mount: it takes root.
    ///
    /// # Panics
    /// The folder can't be made.
    #[must_use]
    pub fn mount(folder: &Folder, name: &str, bytes: u64) -> Option<Self> {
        let path = folder.subfolder(name);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0777"), "lab"]).arg(&path);
        try_run(&mut mount).ok().map(|_| Self { path, _folder: folder.clone() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program that still writes there must not keep it.
        let _ = try_run(Command::new("umount").arg("-l").arg(&self.path));
    }
}
