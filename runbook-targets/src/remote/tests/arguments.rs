//! Bytes arrive as they were given.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use runbook_core::testing::context;
use runbook_core::{Command, Host};

use super::here::{Far, Here, SHELLS};
use super::support::soon;
use crate::remote::Limits;

/// Any bytes but NUL, with those more often that mean something to a shell.
fn word() -> impl Strategy<Value = OsString> + Clone {
    let byte = prop_oneof![
        2 => 1_u8..=255,
        1 => prop::sample::select(b" '\"\\$`!*?[]{}~#&|;<>()\n\t\r=-%\x01\x02\x1e\x7f\x81\x82\x83\x88\xff".to_vec()),
        1 => b'a'..=b'z',
    ];
    prop::collection::vec(byte, 0..24).prop_map(OsString::from_vec)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn both_modes() -> impl Iterator<Item = Limits> {
    SHELLS
        .into_iter()
        .flat_map(|sh| [false, true].map(|isolated| Limits { sh, isolated, ..Limits::default() }))
}

/// Words that a shell might take for a part of what stands beside them, too.
#[test]
fn any_bytes_arrive_as_arguments_alone() {
    let runtime = runtime();
    let _inside = runtime.enter();
    for limits in both_modes() {
        let host = Host::new(Far::with(&Here::new(), limits.clone()));
        let near = prop::sample::select(vec!["0", "1", "12", "&1", "3>", "{", "}", "A=b", "!"]);
        let words = prop_oneof![word(), near.prop_map(OsString::from)];
        TestRunner::new(cases(60))
            .run(&prop::collection::vec(words, 0..5), |args| {
                let command =
                    Command::new("sh").args(["-c", "printf '%s\\0' \"$@\"", "sh"]).args(&args);
                let got = runtime.block_on(soon(context().on(&host).run(&command))).unwrap();
                let mut expected = Vec::new();
                for word in &args {
                    expected.extend_from_slice(word.as_bytes());
                    expected.push(0);
                }
                // Without arguments the format is said once.
                let expected = if args.is_empty() { vec![0] } else { expected };
                prop_assert_eq!(got.stdout, expected, "{:?}", limits);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn any_bytes_arrive_as_arguments_environment_and_input() {
    let runtime = runtime();
    let _inside = runtime.enter();
    for limits in both_modes() {
        let host = Host::new(Far::with(&Here::new(), limits.clone()));
        let given = (
            prop::collection::vec(word(), 0..5),
            word(),
            prop::collection::vec(any::<u8>(), 0..200),
        );
        TestRunner::new(cases(60))
            .run(&given, |(args, value, input)| {
                let command = Command::new("sh")
                    .args(["-c", "printf '%s\\0' \"$@\" \"$VALUE\"; cat", "sh"])
                    .args(&args)
                    .env("VALUE", value.clone())
                    .stdin(input.clone());
                let got = runtime.block_on(soon(context().on(&host).run(&command))).unwrap();
                let mut expected = Vec::new();
                for word in args.iter().chain([&value]) {
                    expected.extend_from_slice(word.as_bytes());
                    expected.push(0);
                }
                expected.extend_from_slice(&input);
                prop_assert_eq!(got.stdout, expected, "{:?}", limits);
                prop_assert_eq!(got.stderr, b"");
                Ok(())
            })
            .unwrap();
    }
}

/// Those that the shell itself does instead of a program.
#[test]
fn any_bytes_are_echoed_as_the_program_would() {
    let runtime = runtime();
    let _inside = runtime.enter();
    for sh in SHELLS {
        let host = Host::new(Far::new(&Here::new(), sh));
        TestRunner::new(cases(60))
            .run(&prop::collection::vec(word(), 0..4), |args| {
                let command = Command::new("echo").args(&args);
                let got = runtime.block_on(soon(context().on(&host).run(&command))).unwrap();
                let real = std::process::Command::new("/bin/echo").args(&args).output().unwrap();
                // Another program than this machine's is BusyBox's own.
                if sh != "busybox sh" || !args.iter().any(|arg| arg.as_bytes().contains(&b'-')) {
                    prop_assert_eq!(got.stdout, real.stdout);
                }
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn files_may_have_any_name_and_any_content() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let name = word().prop_filter("a name", |name| {
        !name.is_empty() && name != "." && name != ".." && !name.as_bytes().contains(&b'/')
    });
    for sh in SHELLS {
        let far = Host::new(Far::new(&Here::new(), sh));
        let given = (name.clone(), name.clone(), prop::collection::vec(any::<u8>(), 0..600));
        TestRunner::new(cases(25))
            .run(&given, |(name, other, content)| {
                prop_assume!(name != other);
                let folder = tempfile::tempdir().unwrap();
                let (path, to) = (folder.path().join(&name), folder.path().join(&other));
                runtime.block_on(soon(async {
                    let (cx, host) = (context(), &far);
                    let on = cx.on(host);
                    on.write(&path, content.clone()).await.unwrap();
                    assert_eq!(std::fs::read(&path).unwrap(), content);
                    assert_eq!(on.read(&path).await.unwrap(), content);
                    assert_eq!(on.stat(&path).await.unwrap().unwrap().size, content.len() as u64);
                    on.symlink(&name, &to).await.unwrap();
                    assert_eq!(std::fs::read_link(&to).unwrap().as_os_str(), name);
                    let mut expected = [path.clone(), to.clone()];
                    expected.sort();
                    let listed = on.list(folder.path()).await.unwrap();
                    assert_eq!(
                        listed.iter().map(|info| info.path.clone()).collect::<Vec<_>>(),
                        expected
                    );
                    let link = listed.into_iter().find_map(|info| info.link).unwrap();
                    assert_eq!(link.as_os_str(), name);
                    on.copy(&path, &to).await.unwrap();
                    on.remove(&path).await.unwrap();
                    on.rename(&to, &path).await.unwrap();
                    assert_eq!(std::fs::read(&path).unwrap(), content);
                    on.remove_tree(&path).await.unwrap();
                    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
                }));
                Ok(())
            })
            .unwrap();
    }
}
