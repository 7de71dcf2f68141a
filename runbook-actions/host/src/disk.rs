//! Disks: what is free where, and what takes the room.

use runbook_core::{Check, IntoInput, Observer, Result, Verdict};
use runbook_macros::check;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::machine::{Machine, command, script};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Disk {
    /// What is mounted: a device, or what the system calls it.
    pub source: String,
    /// Where.
    pub mount: String,
    /// Its size.
    pub size: Bytes,
    /// What is used.
    pub used: Bytes,
    /// What an ordinary user may still write.
    pub free: Bytes,
}

impl Disk {
    /// How full it is for an ordinary user, as `df` counts: rounded up.
    ///
    /// ```
    /// # let json = r#"{"source":"a","mount":"/","size":100,"used":90,"free":5}"#;
    /// let disk: runbook_host::Disk = serde_json::from_str(json).unwrap();
    /// assert_eq!(disk.percent_used(), 95);
    /// ```
    #[must_use]
    pub fn percent_used(&self) -> u8 {
        let (used, free) = (u128::from(self.used.get()), u128::from(self.free.get()));
        if used + free == 0 {
            return 0;
        }
        // At most 100 by its terms.
        u8::try_from((used * 100).div_ceil(used + free)).unwrap_or(100)
    }
}

/// The inodes of a file system: how many files it can hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Inodes {
    /// How many there are; 0 if this kind of file system does not count them.
    pub total: u64,
    /// How many are free.
    pub free: u64,
}

/// What a folder takes, with all below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FolderSize {
    /// Which.
    pub path: String,
    /// What it takes on the disk.
    pub size: Bytes,
}

impl Machine {
    /// The file system that holds `path` has so much room for an ordinary user.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::{Bytes, Machine};
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("preflight");
    /// b.check(web.disk_free("/var/backups", Bytes::gib(5)));
    /// ```
    pub fn disk_free(
        &self,
        path: impl Into<String>,
        least: impl IntoInput<Bytes>,
    ) -> impl Check<Evidence = Disk> {
        disk_free(self, path.into(), least)
    }

    /// No file system is fuller than `percent`; those that are made up by the kernel, or are full
    /// by their nature (images), are not asked.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("health");
    /// b.check(web.disks_below(90));
    /// ```
    #[must_use]
    pub fn disks_below(&self, percent: u8) -> impl Check<Evidence = Vec<Disk>> {
        disks_below(self, percent)
    }

    /// The file system that holds `path` has `percent` of its inodes free: one without can hold no
    /// further file, however much room there is.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("health");
    /// b.check(web.inodes_free("/var", 10));
    /// ```
    pub fn inodes_free(
        &self,
        path: impl Into<String>,
        percent: u8,
    ) -> impl Check<Evidence = Inodes> {
        inodes_free(self, path.into(), percent)
    }

    /// The `count` largest folders below `path` on the same file system, largest first; it always
    /// passes. A folder counts with all below it.
    ///
    /// ```
    /// # use runbook_core::{Host, Runbook, testing::FakeTarget};
    /// # use runbook_host::Machine;
    /// # let web = Machine::new(&Host::new(FakeTarget::new("web-1")));
    /// # let mut b = Runbook::new("disk-full");
    /// b.check(web.largest_folders("/var", 10));
    /// ```
    pub fn largest_folders(
        &self,
        path: impl Into<String>,
        count: u32,
    ) -> impl Check<Evidence = Vec<FolderSize>> {
        largest_folders(self, path.into(), count)
    }

    /// The file system that holds `path`.
    pub(crate) async fn disk(&self, cx: &Observer, path: &str) -> Result<Disk> {
        let text = self.look(cx, command("df", ["-P", "-k", "--", path])).await?.text();
        let disk = text.lines().skip(1).find_map(parse_df);
        disk.ok_or_else(|| self.odd("`df`", &text).failure())
    }
}

/// Enough room
#[check(title = "{path} on {machine} has {least} free", preview = "df -Pk {path}")]
async fn disk_free(
    cx: &Observer,
    machine: &Machine,
    path: String,
    least: Bytes,
) -> Result<Verdict<Disk>> {
    let disk = machine.disk(cx, &path).await?;
    let why = shown(&disk);
    let why = if disk.free >= least { why } else { format!("{why}; {least} are wanted") };
    Ok(Verdict::pass_if(disk.free >= least, disk, why))
}

/// No disk is full
#[check(title = "No disk of {machine} is fuller than {percent} %", preview = "df -Pk")]
async fn disks_below(cx: &Observer, machine: &Machine, percent: u8) -> Result<Verdict<Vec<Disk>>> {
    // A mount that does not answer or may not be looked at makes df fail; the others still count.
    let output = machine.glance(cx, command("df", ["-P", "-k"])).await?;
    let text = output.text();
    let disks: Vec<Disk> = text.lines().skip(1).filter_map(parse_df).filter(is_disk).collect();
    if disks.is_empty() {
        return Err(machine.odd("`df`", &text).failure());
    }
    let full: Vec<_> = disks.iter().filter(|disk| disk.percent_used() > percent).collect();
    let fullest = disks.iter().max_by_key(|disk| disk.percent_used());
    let why = if full.is_empty() {
        fullest.map(shown).unwrap_or_default()
    } else {
        full.iter().map(|disk| shown(disk)).collect::<Vec<_>>().join("; ")
    };
    Ok(Verdict::pass_if(full.is_empty(), disks, why))
}

/// Room for more files
#[check(title = "{path} on {machine} has {percent} % of its inodes free")]
async fn inodes_free(
    cx: &Observer,
    machine: &Machine,
    path: String,
    percent: u8,
) -> Result<Verdict<Inodes>> {
    let text = machine.look(cx, command("stat", ["-f", "-c", "%c %d", "--", &path])).await?.text();
    let numbers: Option<Vec<u64>> = text.split(' ').map(|word| word.trim().parse().ok()).collect();
    let Some([total, free]) = numbers.as_deref() else {
        return Err(machine.odd("`stat -f`", &text).failure());
    };
    let inodes = Inodes { total: *total, free: *free };
    if inodes.total == 0 {
        return Ok(Verdict::pass(inodes, "this kind of file system does not count them"));
    }
    let share = u128::from(inodes.free) * 100 / u128::from(inodes.total);
    let why = format!("{} of {} are free ({share} %)", inodes.free, inodes.total);
    Ok(Verdict::pass_if(share >= u128::from(percent), inodes, why))
}

/// The largest folders
#[check(title = "The {count} largest folders of {path} on {machine}", preview = "du -xk {path}")]
async fn largest_folders(
    cx: &Observer,
    machine: &Machine,
    path: String,
    count: u32,
) -> Result<Verdict<Vec<FolderSize>>> {
    // Sorted and cut on the host: the list of all may be longer than what is kept of an output.
    const SCRIPT: &str = r#"cd -- "$1" || exit 1
du -xk . | sort -rn | head -n "$2""#;
    let most = u64::from(count) + 1;
    let output = machine.look(cx, script(SCRIPT).arg(&path).arg(most)).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let sizes = text.lines().filter_map(|line| {
        let (kib, folder) = line.split_once('\t')?;
        // The folder itself comes first.
        let below = folder.strip_prefix("./")?;
        let path = format!("{}/{below}", path.trim_end_matches('/'));
        Some(FolderSize { path, size: Bytes::kib(kib.parse().ok()?) })
    });
    let sizes: Vec<_> = sizes.take(count as usize).collect();
    let shown: Vec<_> = sizes.iter().map(|one| format!("{} {}", one.path, one.size)).collect();
    let why = if shown.is_empty() { "it has no folders".into() } else { shown.join(", ") };
    let hidden = output.stderr.iter().filter(|byte| **byte == b'\n').count();
    if hidden > 0 {
        let why = format!("{why}; {hidden} could not be looked into");
        return Ok(Verdict::warn(sizes, why));
    }
    Ok(Verdict::pass(sizes, why))
}

fn shown(disk: &Disk) -> String {
    let percent = disk.percent_used();
    format!("{} of {} are free on {} ({percent} % used)", disk.free, disk.size, disk.mount)
}

/// Whether it can fill up and is worth a word.
fn is_disk(disk: &Disk) -> bool {
    let made_up = ["/proc", "/sys", "/dev", "/snap", "/run/credentials"];
    let below = |folder: &&str| {
        disk.mount
            .strip_prefix(*folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    disk.size > Bytes::new(0)
        && !disk.source.starts_with("/dev/loop")
        && (disk.mount == "/dev/shm" || !made_up.iter().any(below))
}

/// A line of `df -Pk`. Both ends may hold spaces and numbers; four numbers in a row, the last with
/// a percent sign and before a path, stand only in the middle.
fn parse_df(line: &str) -> Option<Disk> {
    let mut words = Vec::new();
    let mut at = 0;
    for word in line.split(' ') {
        if !word.is_empty() {
            words.push((at, word));
        }
        at += word.len() + 1;
    }
    words.windows(5).find_map(|five| {
        let [(start, size), (_, used), (_, free), (_, percent), (mount, path)] = five else {
            return None;
        };
        if !(percent.ends_with('%') || *percent == "-") || !path.starts_with('/') || *start == 0 {
            return None;
        }
        Some(Disk {
            source: line.get(..*start)?.trim_end().to_owned(),
            mount: line.get(*mount..)?.to_owned(),
            size: Bytes::kib(size.parse().ok()?),
            used: Bytes::kib(used.parse().ok()?),
            // What is kept for root may be in use: then it is negative.
            free: Bytes::kib(free.parse::<i64>().ok()?.max(0).unsigned_abs()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_ends_may_hold_spaces_and_numbers() {
        let disk = parse_df("//nas/My 1 Disk  2048 1024 1024 50% /mnt/a 50% b  c").unwrap();
        assert_eq!(disk.source, "//nas/My 1 Disk");
        assert_eq!(disk.mount, "/mnt/a 50% b  c");
        assert_eq!((disk.size, disk.percent_used()), (Bytes::mib(2), 50));
    }

    #[test]
    fn room_kept_for_root_is_no_free_room() {
        let disk = parse_df("/dev/sda1 100 99 -5 106% /").unwrap();
        assert_eq!((disk.free, disk.percent_used()), (Bytes::new(0), 100));
    }

    #[test]
    fn what_is_no_line_of_df_is_none() {
        assert_eq!(parse_df("df: /root/x: Permission denied"), None);
        assert_eq!(parse_df(""), None);
    }
}
