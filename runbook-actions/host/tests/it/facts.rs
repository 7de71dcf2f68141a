//! Facts, compared with what other programs say.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::{Folder, SmallDisk};
use runbook_core::testing::{FakeTarget, Reply, prefix};
use runbook_core::{Address, Host, Level};
use runbook_host::{By, Bytes, Clamd, Machine};

use crate::support::{cannot_look, here, look, said};

#[test]
fn free_room_is_what_the_system_says() {
    let verdict = look(here().disk_free("/", Bytes::new(1)));
    let disk = verdict.evidence();
    assert_eq!(disk.mount, "/");
    let blocks = said("stat", &["-f", "-c", "%S %b", "/"]);
    let numbers: Vec<u64> = blocks.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(disk.size.get() / 1024, numbers[0] * numbers[1] / 1024);
    assert!(!look(here().disk_free("/", Bytes::gib(1 << 30))).passed());
}

#[test]
fn a_full_disk_is_found_and_named() {
    let folder = Folder::new();
    let Some(disk) = SmallDisk::mount(&folder, "a disk", 1 << 20) else {
        // Mounting takes root: what `df` prints of such names is parsed in the unit tests.
        return;
    };
    let path = disk.path().to_str().unwrap();
    let free = look(here().disk_free(path, Bytes::kib(512)));
    assert!(free.passed(), "{}", free.why());
    assert_eq!(free.evidence().mount, path);
    fs::create_dir(disk.path().join("large one")).unwrap();
    fs::write(disk.path().join("large one/file"), vec![0; 1 << 20]).ok();
    fs::create_dir(disk.path().join("small")).ok();
    let free = look(here().disk_free(path, Bytes::kib(512)));
    assert!(!free.passed());
    assert_eq!(free.evidence().percent_used(), 100);
    assert!(free.why().contains("512.0 KiB are wanted"), "{}", free.why());
    let largest = look(here().largest_folders(path, 1));
    assert_eq!(largest.evidence()[0].path, format!("{path}/large one"));
    let full = look(here().disks_below(99));
    assert!(!full.passed() && full.why().contains(path), "{}", full.why());
}

#[test]
fn no_inodes_are_no_room() {
    let folder = Folder::new();
    let Some(disk) = SmallDisk::mount(&folder, "inodes", 1 << 20) else { return };
    let path = disk.path().to_str().unwrap();
    assert!(look(here().inodes_free(path, 10)).passed());
    let files = (0..).take_while(|n| fs::write(disk.path().join(n.to_string()), "").is_ok());
    assert!(files.count() > 0);
    let verdict = look(here().inodes_free(path, 10));
    assert_eq!((verdict.passed(), verdict.evidence().free), (false, 0), "{}", verdict.why());
}

#[test]
fn what_df_can_not_say_fails_with_the_reason() {
    let said = cannot_look(here().disk_free("/nonexistent/-x y", Bytes::new(1)));
    assert!(said.contains("No such file"), "{said}");
    let fake = FakeTarget::new("odd-1");
    fake.on(prefix("df")).reply(Reply::stdout("something else\n"));
    let said = cannot_look(Machine::new(&Host::new(fake)).disk_free("/", Bytes::new(1)));
    assert!(said.contains("odd-1: `df` says what is not understood: \"something else\""), "{said}");
}

#[test]
fn memory_is_what_the_kernel_says_within_the_limits() {
    let verdict = look(here().memory_available(Bytes::mib(1)));
    let memory = verdict.evidence();
    let info = fs::read_to_string("/proc/meminfo").unwrap();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total: u64 = total.trim().trim_end_matches(" kB").parse().unwrap();
    if memory.limited {
        assert!(memory.total < Bytes::kib(total));
    } else {
        assert_eq!(memory.total, Bytes::kib(total));
    }
    assert!(memory.available <= memory.total && memory.available > Bytes::new(0));
    assert!(!look(here().memory_available(Bytes::gib(1 << 20))).passed());
    assert!(look(here().swap_below(100)).passed());
}

#[test]
fn load_is_for_the_cores_that_may_be_used() {
    let verdict = look(here().load_below(10_000.0));
    assert!(verdict.passed(), "{}", verdict.why());
    let cores: f64 = said("nproc", &[]).trim().parse().unwrap();
    assert!(verdict.evidence().cores <= cores && verdict.evidence().cores > 0.0);
}

#[test]
fn a_busy_process_is_at_the_top() {
    let mut busy = std::process::Command::new("sh");
    let busy = lab::Child::spawn(busy.args(["-c", "while :; do :; done"]));
    let verdict = look(here().top_processes(50, By::Cpu));
    let found = verdict.evidence().iter().find(|usage| usage.pid == busy.pid()).unwrap();
    assert_eq!(found.program, "sh");
    assert!(found.cpu > 0.0 && found.memory > Bytes::new(0), "{found:?}");
    let by_memory = look(here().top_processes(3, By::Memory));
    let sizes: Vec<_> = by_memory.evidence().iter().map(|usage| usage.memory).collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
}

#[test]
fn waiting_for_disks_is_a_share() {
    let verdict = look(here().io_wait_below(100.0));
    let cpu = verdict.evidence();
    assert!(verdict.passed() && (0.0..=100.1).contains(&(cpu.busy + cpu.io_wait + cpu.stolen)));
}

#[test]
fn names_resolve_as_getent_says() {
    let verdict = look(here().resolves("localhost"));
    assert!(verdict.passed(), "{}", verdict.why());
    assert!(verdict.evidence().iter().all(std::net::IpAddr::is_loopback));
    assert!(look(here().resolves_to("127.0.0.1", "127.0.0.1".parse().unwrap())).passed());
    assert!(!look(here().resolves_to("127.0.0.1", "192.0.2.1".parse().unwrap())).passed());
    let verdict = look(here().resolves("no-such-host.invalid"));
    assert_eq!(verdict.why(), "no-such-host.invalid does not resolve");
}

#[test]
fn ports_of_other_hosts_are_reached_or_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(look(here().reaches("127.0.0.1", port)).passed());
    drop(listener);
    assert!(!look(here().reaches("127.0.0.1", port)).passed());
}

#[test]
fn ping_says_what_came_back() {
    if std::process::Command::new("ping").arg("-V").output().is_err() {
        return; // It is not installed here.
    }
    let verdict = look(here().pings("127.0.0.1"));
    assert!(verdict.passed() && verdict.why().contains(" 0% packet loss"), "{}", verdict.why());
    let said = cannot_look(here().pings("-f"));
    assert!(said.contains("is no name"), "{said}");
}

#[test]
fn this_machines_clock_agrees_with_itself() {
    let verdict = look(here().clock_within(Duration::from_secs(5)));
    assert_ne!(verdict.level(), Level::Fail, "{}", verdict.why());
    let verdict = look(here().clock_agrees_with(&here(), Duration::from_secs(5)));
    assert_ne!(verdict.level(), Level::Fail, "{}", verdict.why());
}

#[test]
fn a_clock_that_is_off_is_found() {
    let fake = FakeTarget::new("late-1");
    let late = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 60;
    // As busybox prints it, which does not know %N.
    fake.on(prefix("date")).reply(Reply::stdout(format!("{late}.%N\n")));
    let late = Machine::new(&Host::new(fake));
    let verdict = look(late.clock_within(Duration::from_secs(5)));
    assert_eq!(verdict.level(), Level::Fail, "{}", verdict.why());
    assert!(verdict.why().contains("s behind this machine's"), "{}", verdict.why());
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let verdict = look(here().clock_agrees_with_date(date, Duration::from_secs(5)));
    assert!(verdict.why().contains("ahead of the server's"), "{}", verdict.why());
    let said = cannot_look(here().clock_agrees_with_date("soon", Duration::from_secs(5)));
    assert!(said.contains("\"soon\" is no date"), "{said}");
}

#[test]
fn what_runs_here_is_known() {
    let verdict = look(here().os());
    let os = verdict.evidence();
    assert_eq!(os.kernel, said("uname", &["-r"]).trim());
    assert_eq!(os.host_name, said("uname", &["-n"]).trim());
    assert!(os.uptime > 0.0);
}

#[test]
fn tools_are_recent_enough_or_not() {
    assert!(look(here().tool_at_least("python3", "3.5")).passed());
    let verdict = look(here().tool_at_least("python3", "99"));
    assert!(!verdict.passed() && verdict.why().starts_with("it is 3."), "{}", verdict.why());
    let said = cannot_look(here().tool_at_least("no-such-tool", "1"));
    assert!(said.contains("no-such-tool"), "{said}");
}

#[test]
fn the_virus_scanner_answers() {
    let fake = FakeTarget::new("scan-1");
    let address = Address::Unix("/run/clamav/clamd.ctl".into());
    fake.listen(&address, |mut stream| {
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut asked = [0; 6];
            stream.read_exact(&mut asked).await.unwrap();
            let answer: &[u8] = if &asked == b"zPING\0" { b"PONG\0" } else { b"UNKNOWN\0" };
            stream.write_all(answer).await.unwrap();
        });
    });
    let host = Host::new(fake);
    assert!(look(Clamd::new(&host, address).answers()).passed());
    let said = cannot_look(Clamd::new(&host, Address::Tcp("localhost".into(), 3310)).answers());
    assert!(said.contains("clamav-daemon"), "{said}");
}
