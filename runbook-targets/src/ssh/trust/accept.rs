//! Adding a key to the list of known hosts.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use runbook_core::{During as _, Failure, Result};
use rustix::fs::{FlockOperation, flock};

use super::Trust;
use crate::ssh::key::PublicKey;
use crate::ssh::known_hosts::{Verdict, hashed, judge};

/// The lock is held for as long as it takes to append a line.
const PATIENCE: Duration = Duration::from_secs(10);

impl Trust {
    /// Adds the key of a host that was unknown a moment ago.
    pub(super) fn accept(&self, key: &PublicKey) -> Result<()> {
        let Some(path) = self.user_lists.first() else {
            return Err(Failure::msg("there is no list to add the new key to")
                .next("name one as `UserKnownHostsFile` in the ssh configuration"));
        };
        let mut list = open(path).during(format!("opening {}", path.display()))?;
        lock(&list).during(format!("locking {}", path.display()))?;
        // Another process may have been faster, maybe with another key.
        let verdict = judge(&self.lists()?, &self.host, key);
        if verdict != Verdict::Unknown {
            return self.refuse(&verdict, key);
        }
        self.append(&mut list, key).during(format!("adding the key to {}", path.display()))
    }

    fn append(&self, list: &mut File, key: &PublicKey) -> std::io::Result<()> {
        let mut content = Vec::new();
        list.read_to_end(&mut content)?;
        let name = self.host.to_string();
        let name = if self.hash { hashed(&name, &salt()?) } else { name };
        let mut line = format!("{name} {key}\n");
        if content.last().is_some_and(|last| *last != b'\n') {
            line.insert(0, '\n');
        }
        // One write, at the end wherever that is by now: `ssh` takes no lock.
        list.write_all(line.as_bytes())?;
        match list.sync_data() {
            // `/dev/null` is a list as well.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn lock(list: &File) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match flock(list, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Failure::msg("another process does not let go of it")
                    .next("look who has it open: `fuser -v` and the path"));
            }
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}

fn salt() -> std::io::Result<[u8; 20]> {
    let mut salt = [0; 20];
    File::open("/dev/urandom")?.read_exact(&mut salt)?;
    Ok(salt)
}
