//! What `cmd!` makes of a command line.

extern crate runbook_core as runbook;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use runbook_core::{Command, Secret};
use runbook_macros::cmd;

fn words(command: &Command) -> Vec<String> {
    std::iter::once(command.program().to_os_string())
        .chain(command.arguments().iter().cloned())
        .map(|word| word.into_string().expect("text"))
        .collect()
}

#[test]
fn words_quotes_and_braces() {
    let (port, db) = (5432u16, "shop");
    assert_eq!(words(&cmd!("pg_dump -p {port} {db}")), ["pg_dump", "-p", "5432", "shop"]);
    assert_eq!(
        words(&cmd!(r#"psql --port={port} '{db} x' "y {db}" '' '{{}}'"#)),
        ["psql", "--port=5432", "shop x", "y shop", "", "{}"]
    );
}

#[test]
fn lists_become_several_arguments() {
    let files = [PathBuf::from("a b"), PathBuf::from("c")];
    let slice: &[&str] = &["d", "e;f"];
    let none: Option<String> = None;
    assert_eq!(
        words(&cmd!("rm -f {files...} {slice...} {none...} --")),
        ["rm", "-f", "a b", "c", "d", "e;f", "--"]
    );
    assert_eq!(files.len(), 2, "the list is only borrowed");
}

#[test]
fn named_arguments_are_expressions() {
    let path = Path::new("/srv");
    let command = cmd!(
        "{program} {dir} {dir} {numbers...}",
        program = "ls".to_owned(),
        dir = path.join("x"),
        numbers = (1..3).map(|n| n * 2),
    );
    assert_eq!(words(&command), ["ls", "/srv/x", "/srv/x", "2", "4"]);
}

#[test]
fn a_named_argument_does_not_see_the_others() {
    let a = 1;
    let b = 2;
    assert_eq!(words(&cmd!("echo {a} {b}", a = b, b = a)), ["echo", "2", "1"]);
}

#[test]
fn the_result_is_an_ordinary_command() {
    let password = Secret::new("hunter2hunter2");
    let shown = cmd!("pg_dump shop").env("PGPASSWORD", &password).read_only().to_string();
    assert_eq!(shown, "PGPASSWORD=*** pg_dump shop");
}

#[test]
fn a_raw_name_and_a_name_from_a_macro_are_found() {
    macro_rules! listing {
        ($dir:ident) => {{
            let hidden = "-l";
            cmd!("ls {hidden} {dir}", dir = $dir)
        }};
    }
    let r#type = "x";
    let hidden = "/tmp";
    assert_eq!(words(&cmd!("file {r#type}")), ["file", "x"]);
    assert_eq!(words(&listing!(hidden)), ["ls", "-l", "/tmp"]);
}

proptest! {
    #[test]
    fn whatever_a_value_holds_it_is_one_argument(value in any::<String>(), list in any::<Vec<String>>()) {
        let path = PathBuf::from(&value);
        let command = cmd!("p {value} --x={value} 'a {path}' {list...} \"{value}{path}\"");
        let mut expected: Vec<OsString> =
            [value.clone(), format!("--x={value}"), format!("a {value}")].map(Into::into).into();
        expected.extend(list.iter().map(Into::into));
        expected.push(format!("{value}{value}").into());
        prop_assert_eq!(command.arguments(), expected);
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_arrive_as_they_are(bytes in any::<Vec<u8>>()) {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let value = OsString::from_vec(bytes.clone());
        let command = cmd!("p {value} x{value}");
        prop_assert_eq!(command.arguments()[0].as_bytes(), &bytes[..]);
        prop_assert_eq!(&command.arguments()[1].as_bytes()[1..], &bytes[..]);
    }
}
