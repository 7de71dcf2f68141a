//! [`Limits`]: what a container lets its programs have, by control groups of version 1 and 2.

use std::collections::{BTreeMap, BTreeSet};

use runbook_core::{Observer, Result};

use crate::machine::Machine;

/// Where control groups are mounted by everybody.
const ROOT: &str = "/sys/fs/cgroup";

/// What was read to know the limits.
pub(crate) struct Limits {
    files: BTreeMap<String, String>,
    folders: Vec<String>,
}

/// One limit of memory, and what is used of it.
pub(crate) struct MemoryLimit {
    pub(crate) most: u64,
    pub(crate) used: u64,
}

impl Limits {
    pub(crate) async fn of(machine: &Machine, cx: &Observer) -> Result<Self> {
        // Process 1, not our own: in a container it is in the container's group, on a machine in
        // none that is limited, whereas the session of an operator may be.
        let first = ["/proc/1/cgroup", "/proc/self/cgroup"];
        let cgroups = machine.texts(cx, &first).await?;
        let text = first.iter().find_map(|path| cgroups.get(*path)).map_or("", String::as_str);
        let folders = folders(text);
        let names = [
            "memory.max",
            "memory.current",
            "memory.stat",
            "cpu.max",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
        ];
        let mut wanted: Vec<String> =
            ["/proc/meminfo", "/proc/loadavg", "/proc/stat", "/proc/self/status"]
                .map(str::to_owned)
                .into();
        for folder in &folders {
            wanted.extend(names.iter().map(|name| format!("{folder}/{name}")));
        }
        Ok(Self { files: machine.texts(cx, &wanted).await?, folders })
    }

    /// The text of a file, empty if it can't be read.
    pub(crate) fn file(&self, path: &str) -> &str {
        self.files.get(path).map_or("", String::as_str)
    }

    fn in_folder(&self, folder: &str, name: &str) -> &str {
        self.file(&format!("{folder}/{name}")).trim()
    }

    /// Every limit of memory on the way up.
    pub(crate) fn memory(&self) -> Vec<MemoryLimit> {
        let limits = self.folders.iter().filter_map(|folder| {
            let number = |name: &str| self.in_folder(folder, name).parse::<u64>().ok();
            let (most, used) = match number("memory.max") {
                Some(most) => (most, number("memory.current")?),
                None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?),
            };
            // What the kernel would give back before it refuses: files read once.
            let stat = self.in_folder(folder, "memory.stat");
            let field = |name: &str| {
                let value = stat.lines().find_map(|line| line.strip_prefix(name))?;
                value.strip_prefix(' ')?.trim().parse::<u64>().ok()
            };
            let spare = field("total_inactive_file").or_else(|| field("inactive_file"));
            Some(MemoryLimit { most, used: used.saturating_sub(spare.unwrap_or(0)) })
        });
        limits.collect()
    }

    /// How many cores may be used.
    pub(crate) fn cores(&self) -> Option<f64> {
        let online = self.file("/proc/stat").lines().filter(|line| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        let mut cores = online.count() as f64;
        let status = self.file("/proc/self/status");
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        if let Some(allowed) = allowed.and_then(|list| count_list(list.trim())) {
            cores = if cores > 0.0 { cores.min(allowed) } else { allowed };
        }
        for folder in &self.folders {
            let max = self.in_folder(folder, "cpu.max");
            let (quota, period) = max.split_once(' ').unwrap_or((
                self.in_folder(folder, "cpu.cfs_quota_us"),
                self.in_folder(folder, "cpu.cfs_period_us"),
            ));
            if let (Ok(quota), Ok(period)) = (quota.parse::<f64>(), period.parse::<f64>())
                && quota > 0.0
                && period > 0.0
            {
                cores = cores.min(quota / period);
            }
        }
        (cores > 0.0).then_some(cores)
    }
}

/// `0-3,8`: five.
fn count_list(list: &str) -> Option<f64> {
    let mut count = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        count += last.checked_sub(first)? + 1;
    }
    Some(f64::from(count))
}

/// The folders of a process's groups and those above them, by its `cgroup` file. A path that the
/// container does not see is not there: what it does see is the root, which is last of each.
fn folders(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(kinds), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let mounts: Vec<String> = if kinds.is_empty() {
            vec![ROOT.to_owned(), format!("{ROOT}/unified")]
        } else if kinds.split(',').any(|kind| kind == "memory" || kind == "cpu") {
            let mut mounts = vec![format!("{ROOT}/{kinds}")];
            mounts.extend(kinds.split(',').map(|kind| format!("{ROOT}/{kind}")));
            mounts
        } else {
            continue;
        };
        for mount in mounts {
            let mut path = path.trim_end_matches('/');
            loop {
                found.insert(format!("{mount}{path}"));
                match path.rsplit_once('/') {
                    Some((above, _)) => path = above,
                    None => break,
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cgroup: &str, files: &[(&str, &str)]) -> Limits {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Limits { files: files.collect(), folders: folders(cgroup) }
    }

    #[test]
    fn version_2_inside_of_a_container() {
        let files = [
            ("/sys/fs/cgroup/memory.max", "104857600\n"),
            ("/sys/fs/cgroup/memory.current", "50000000\n"),
            ("/sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 20000000\n"),
            ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
            ("/proc/stat", "cpu  1\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 1\n"),
        ];
        let limits = limits("0::/\n", &files);
        let memory = limits.memory();
        assert_eq!((memory[0].most, memory[0].used), (104_857_600, 30_000_000));
        assert_eq!(limits.cores(), Some(1.5));
    }

    #[test]
    fn version_1_with_the_path_of_the_machine_that_the_container_does_not_see() {
        let files = [
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "400\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("/proc/stat", "cpu0 1\ncpu1 1\n"),
        ];
        let limits = limits("5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n3:pids:/x\n", &files);
        let memory = limits.memory();
        assert_eq!((memory.len(), memory[0].most, memory[0].used), (1, 1000, 400));
        assert_eq!(limits.cores(), Some(0.5));
    }

    #[test]
    fn no_limit_is_none() {
        let files = [
            ("/sys/fs/cgroup/init.scope/memory.max", "max\n"),
            ("/sys/fs/cgroup/init.scope/cpu.max", "max 100000\n"),
            ("/proc/stat", "cpu0 1\ncpu1 1\n"),
            ("/proc/self/status", "Name:\tcat\nCpus_allowed_list:\t0-3,8\n"),
        ];
        let limits = limits("0::/init.scope\n", &files);
        assert!(limits.memory().is_empty());
        assert_eq!(limits.cores(), Some(2.0));
    }
}
