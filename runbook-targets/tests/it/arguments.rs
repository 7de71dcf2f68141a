//! Whatever bytes an argument or a file name holds, they arrive unchanged.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use proptest::collection::vec;
use proptest::prelude::*;
use runbook_core::testing::context;
use runbook_core::{Command, Target, WriteOptions};
use runbook_targets::Local;

use crate::support::{here, soon};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Bytes without NUL; every second one of those that shells, options and paths trip over.
pub(crate) fn bytes(
    length: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(b" '\"\\$`\n\t-*?~&|;<>(){}[]!#%=\x01\x7f\x80\xc3\xff".to_vec());
    vec(prop_oneof![odd, 1_u8..=255], length)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arguments_arrive_unchanged(args in vec(bytes(0..40), 0..6)) {
        // The kernel's own copy of the arguments; `sh` neither reads nor changes those after `-c`.
        let command = args.iter().fold(
            Command::new("sh").args(["-c", "cat /proc/$$/cmdline", "sh"]),
            |command, arg| command.arg(OsStr::from_bytes(arg)),
        );
        let output = runtime().block_on(soon(context().on(&here()).run(&command))).unwrap();
        let mut expected = b"sh\0-c\0cat /proc/$$/cmdline\0sh\0".to_vec();
        for arg in &args {
            expected.extend_from_slice(arg);
            expected.push(0);
        }
        prop_assert_eq!(output.stdout, expected);
    }

    #[test]
    fn file_names_arrive_unchanged(name in bytes(1..80)) {
        let name: Vec<u8> = name.into_iter().filter(|byte| *byte != b'/').collect();
        prop_assume!(!name.is_empty() && name != b"." && name != b"..");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OsString::from_vec(name));
        let local = Local::new();
        runtime().block_on(async {
            let content = std::io::Cursor::new(b"content".to_vec());
            local.write(&path, Box::new(content), &WriteOptions::default()).await.unwrap();
            let inside = local.list(folder.path()).await.unwrap();
            prop_assert_eq!(inside.len(), 1);
            prop_assert_eq!(&inside[0].path, &path);
            prop_assert_eq!(std::fs::read(&path).unwrap(), b"content");
            local.remove(&path).await.unwrap();
            prop_assert!(local.stat(&path).await.unwrap().is_none());
            Ok(())
        })?;
    }
}
