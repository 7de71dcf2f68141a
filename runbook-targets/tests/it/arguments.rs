//! Whatever bytes an argument, the value of a variable or a file name holds, they arrive unchanged.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use runbook_core::testing::context;
use runbook_core::{Command, Host, ToArg};
use runbook_macros::cmd;
use runbook_targets::{InDir, WithEnv};
use tokio::runtime::Runtime;

use crate::support::{here, soon};

#[test]
fn bytes_survive_the_way_to_this_machine() {
    bytes_survive(&here(), "/tmp", 64);
}

#[test]
fn bytes_survive_a_folder_and_an_environment() {
    // The folder's own name is one that a shell would trip over.
    let folder = tempfile::Builder::new().prefix("-$(x) '\"\\\n* ").tempdir().unwrap();
    let inner = Host::new(WithEnv::new(here()).env("OTHER", "`'\"\n$HOME\\"));
    let host = Host::new(InDir::new(inner, folder.path()));
    bytes_survive(&host, folder.path(), 32);
}

#[test]
fn bytes_survive_sudo() {
    let Some(host) = crate::sudo::nobody() else { return };
    bytes_survive(&host, "/tmp", 16);
}

/// All that has to survive on the way to `host`; `folder` is one there that may be written to.
pub(crate) fn bytes_survive(host: &Host, folder: impl AsRef<Path>, cases: u32) {
    let runtime = Runtime::new().unwrap();
    let runtime = &runtime;
    check(cases, vec(bytes(0..40), 0..6), |args| runtime.block_on(soon(arguments(host, args))));
    check(cases, bytes(0..80), |value| runtime.block_on(soon(value_of_a_variable(host, value))));
    let folder = runtime.block_on(soon(new_folder(host, folder.as_ref())));
    check(cases, name(), |name| runtime.block_on(soon(file_name(host, &folder, name))));
    runtime.block_on(soon(context().on(host).remove(&folder))).unwrap();
}

fn check<T: Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    test: impl Fn(T) -> TestCaseResult,
) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let mut runner = TestRunner::new(config);
    if let Err(failed) = runner.run(&strategy, test) {
        panic!("{failed}");
    }
}

/// Bytes without NUL; every second one of those that shells, options and paths trip over.
fn bytes(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = OsString> {
    let odd = prop::sample::select(b" '\"\\$`\n\t-*?~&|;<>(){}[]!#%=\x01\x7f\x80\xc3\xff".to_vec());
    let bytes = vec(prop_oneof![odd, 1_u8..=255], length).prop_map(OsString::from_vec);
    // Text of other scripts, too.
    prop_oneof![4 => bytes, 1 => "\\PC{0,12}".prop_map(OsString::from)]
}

fn name() -> impl Strategy<Value = OsString> {
    let name = bytes(1..80).prop_map(|name| {
        let bytes = name.into_vec().into_iter().filter(|byte| *byte != b'/' && *byte != 0);
        OsString::from_vec(bytes.collect())
    });
    name.prop_filter("names something", |name| {
        !name.is_empty() && name != OsStr::new(".") && name != OsStr::new("..")
    })
}

async fn arguments(host: &Host, args: Vec<OsString>) -> TestCaseResult {
    // The kernel's own copy of the arguments; `sh` neither reads nor changes those after `-c`.
    // (A shell may become the last program that it is to run, so `cat` is not the last one.)
    let script = "cat /proc/$$/cmdline; :";
    let built = Command::new("sh").args(["-c", script, "sh"]).args(&args);
    for command in [built, cmd!("sh -c {script} sh {args...}")] {
        let output = context().on(host).run(&command).await.unwrap();
        let mut expected = b"sh\0-c\0cat /proc/$$/cmdline; :\0sh\0".to_vec();
        for arg in &args {
            expected.extend_from_slice(arg.to_arg().as_encoded_bytes());
            expected.push(0);
        }
        prop_assert_eq!(output.stdout, expected);
    }
    Ok(())
}

async fn value_of_a_variable(host: &Host, value: OsString) -> TestCaseResult {
    // As the kernel gave them to the program.
    let command = Command::new("cat").arg("/proc/self/environ").env("VALUE", &*value);
    let output = context().on(host).run(&command).await.unwrap();
    let mut expected = b"VALUE=".to_vec();
    expected.extend_from_slice(value.as_encoded_bytes());
    let mut found = output.stdout.split(|byte| *byte == 0);
    let found = found.find(|record| record.starts_with(b"VALUE="));
    prop_assert_eq!(found, Some(&*expected));
    Ok(())
}

async fn new_folder(host: &Host, parent: &Path) -> std::path::PathBuf {
    let template = parent.join("runbook-test-XXXXXX");
    let made = context().on(host).run(&cmd!("mktemp -d {template}")).await.unwrap();
    made.text().into()
}

async fn file_name(host: &Host, folder: &Path, name: OsString) -> TestCaseResult {
    let (cx, path) = (context(), folder.join(&name));
    let on = cx.on(host);
    on.write(&path, "content").await.unwrap();
    let inside = on.list(folder).await.unwrap();
    let paths: Vec<_> = inside.iter().map(|info| &info.path).collect();
    prop_assert_eq!(paths, [&path]);
    // By another program as well: the name that it has is the name that was meant.
    let said = on.run(&Command::new("cat").arg(&path)).await.unwrap();
    prop_assert_eq!(said.stdout, b"content");
    let renamed = folder.join("renamed");
    on.rename(&path, &renamed).await.unwrap();
    on.copy(&renamed, &path).await.unwrap();
    prop_assert_eq!(on.read(&path).await.unwrap(), b"content");
    on.symlink(&name, &renamed).await.unwrap();
    let link = on.stat(&renamed).await.unwrap().unwrap();
    prop_assert_eq!(link.link.as_deref(), Some(Path::new(&name)));
    on.remove(&renamed).await.unwrap();
    on.remove(&path).await.unwrap();
    prop_assert!(!on.exists(&path).await.unwrap());
    Ok(())
}
