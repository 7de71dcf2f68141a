//! Secrets: what is scrubbed, in which forms, and that no error or panic shows one.

use std::process::Command;

use proptest::prelude::*;
use runbook_core::{Failure, Secret, contains_secret, quote, scrub, scrub_panics};

#[test]
fn text_without_secrets_stays_as_it_is() {
    let text = "nothing to see here";
    assert!(matches!(scrub(text), std::borrow::Cow::Borrowed(same) if same == text));
    assert!(!contains_secret(text));
    assert_eq!(scrub(""), "");
}

#[test]
fn an_empty_secret_is_none() {
    let secret = Secret::new("");
    assert_eq!(secret.expose(), "");
    assert_eq!(scrub("a b"), "a b");
}

#[test]
fn every_occurrence_is_masked() {
    let _secret = Secret::new("zebra-crossing");
    assert_eq!(scrub("zebra-crossing, zebra-crossing!"), "***, ***!");
    assert_eq!(scrub("an é before zebra-crossing and ü after"), "an é before *** and ü after");
    assert!(contains_secret("xzebra-crossingx"));
}

#[test]
fn a_secret_stays_registered_when_it_is_dropped() {
    drop(Secret::new("long-gone-token"));
    assert_eq!(scrub("long-gone-token"), "***");
}

#[test]
fn of_secrets_that_share_text_nothing_is_left_over() {
    let _longer = Secret::new("correct-horse-battery");
    let _shorter = Secret::new("correct-horse");
    let _overlapping = Secret::new("battery-staple");
    assert_eq!(scrub("correct-horse-battery!"), "***!");
    assert_eq!(scrub("correct-horse-batter!"), "***-batter!");
    assert_eq!(scrub("correct-horse-battery-staple!"), "***!");
}

#[test]
fn secrets_of_several_lines_are_found_line_by_line() {
    let key = "-----BEGIN PRIVATE KEY-----\nMIIBVAIBADANBg\n  kqhkiG9w0BAQEF\nshort\n-----END PRIVATE KEY-----\n";
    let _secret = Secret::new(key);
    assert_eq!(scrub("line 2 is MIIBVAIBADANBg."), "line 2 is ***.");
    assert_eq!(scrub("kqhkiG9w0BAQEF"), "***");
    assert_eq!(scrub("a short line"), "a short line", "too short to tell from other text");
    assert_eq!(scrub("-----BEGIN PRIVATE KEY-----"), "-----BEGIN PRIVATE KEY-----");
    assert_eq!(scrub(&format!("<{key}>")), "<***>");
    assert_eq!(scrub(&format!("{key:?}")), "\"***\"");
}

#[test]
fn a_short_secret_is_found_where_it_stands_alone() {
    let _pin = Secret::new("q7z");
    assert_eq!(scrub("the pin is q7z."), "the pin is ***.");
    assert_eq!(scrub("q7z"), "***");
    assert_eq!(scrub("xq7z q7zx éq7z 1q7z"), "xq7z q7zx éq7z 1q7z");
}

#[test]
fn a_secret_is_found_in_other_encodings() {
    let _secret = Secret::new("p@ss \"w/rd\" $1 'é'");
    for (form, shown) in [
        (r#"{"password":"p@ss \"w/rd\" $1 'é'"}"#, r#"{"password":"***"}"#),
        (r#"{"password":"p@ss \"w/rd\" $1 '\u00e9'"}"#, r#"{"password":"***"}"#),
        (r#"{"password":"p@ss \"w\/rd\" $1 'é'"}"#, r#"{"password":"***"}"#),
        (r#"psql 'p@ss "w/rd" $1 '\''é'\'''"#, "psql '***'"),
        (r#"p@ss\ \"w/rd\"\ \$1\ \'é\'"#, "***"),
        ("pg://ada:p%40ss%20%22w%2Frd%22%20%241%20%27%C3%A9%27@db", "pg://ada:***@db"),
        ("pg://ada:p%40ss%20%22w%2frd%22%20%241%20%27%c3%a9%27@db", "pg://ada:***@db"),
        ("pg://ada:p%40ss%20%22w%2Frd%22%20%241%20'%C3%A9'@db", "pg://ada:***@db"),
        ("password=p%40ss+%22w%2Frd%22+%241+%27%C3%A9%27&x", "password=***&x"),
        ("cEBzcyAidy9yZCIgJDEgJ8OpJw==", "***"),
        ("cEBzcyAidy9yZCIgJDEgJ8OpJw", "***"),
    ] {
        assert_eq!(scrub(form), shown, "{form}");
        assert!(contains_secret(form));
    }
}

#[test]
fn basic_authorisation_does_not_show_the_password() {
    let _secret = Secret::new("open sesame 99");
    // ada:open sesame 99
    let header = "Authorization: Basic YWRhOm9wZW4gc2VzYW1lIDk5";
    let clean = scrub(header);
    assert_ne!(clean, header);
    assert!(clean.starts_with("Authorization: Basic YWRhO"), "{clean}");
    assert!(!clean.contains("wZW4gc2VzYW1lIDk5"), "{clean}");
}

#[test]
fn debug_shows_nothing() {
    let secret = Secret::new("hidden-in-debug");
    assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
    assert_eq!(format!("{secret:#?}"), "***");
}

#[test]
fn a_failure_that_quotes_a_secret_is_written_down_without_it() {
    let _secret = Secret::new("told-by-mistake");
    let problem = Failure::msg("login with told-by-mistake refused")
        .while_doing("calling api?key=told-by-mistake")
        .next("check told-by-mistake")
        .to_problem();
    let text = serde_json::to_string(&problem).unwrap();
    assert!(!text.contains("told-by-mistake"), "{text}");
    assert_eq!(problem.message, "calling api?key=***: login with *** refused");
}

#[test]
fn a_secret_comes_from_the_environment() {
    let this = std::env::current_exe().unwrap();
    let child = |value: &std::ffi::OsStr| {
        let output = Command::new(&this)
            .args(["--exact", "child_reads_its_environment", "--nocapture"])
            .env("SECRET_TEST_CHILD", "1")
            .env("SECRET_TEST_VALUE", value)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = |why: &str| {
        format!(
            "reading a secret from the environment variable `SECRET_TEST_VALUE`: {why}\n  \
             next: set `SECRET_TEST_VALUE` and try again"
        )
    };
    assert!(child("in the environment".as_ref()).contains("got 18 bytes"));
    assert!(child("".as_ref()).contains(&said("it is empty")));
    use std::os::unix::ffi::OsStrExt as _;
    let broken = std::ffi::OsStr::from_bytes(b"half a secret \xff");
    let heard = child(broken);
    assert!(heard.contains(&said("its value is not UTF-8")), "{heard}");
    assert!(!heard.contains("half a secret"), "{heard}");
}

#[test]
fn child_reads_its_environment() {
    use std::io::Write as _;
    if std::env::var_os("SECRET_TEST_CHILD").is_none() {
        return;
    }
    let mut err = std::io::stderr();
    match Secret::from_env("SECRET_TEST_VALUE") {
        Ok(secret) => writeln!(err, "got {} bytes", secret.expose().len()),
        Err(error) => writeln!(err, "{error:?}"),
    }
    .unwrap();
}

#[test]
fn a_secret_comes_from_a_file_without_its_last_newline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    for (content, text) in [
        ("from-a-file-1\n", "from-a-file-1"),
        ("from-a-file-2\r\n", "from-a-file-2"),
        ("from-a-file-3\n\n", "from-a-file-3\n"),
        (" from-a-file-4 ", " from-a-file-4 "),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(Secret::read_file(&path).unwrap().expose(), text);
    }
    let said = |error: Failure| error.to_string().replace(&path.display().to_string(), "FILE");
    std::fs::write(&path, "\n").unwrap();
    let error = Secret::read_file(&path).unwrap_err();
    assert_eq!(said(error), "reading a secret from FILE: it is empty");
    std::fs::write(&path, b"half a secret \xff").unwrap();
    let error = Secret::read_file(&path).unwrap_err();
    assert_eq!(said(error), "reading a secret from FILE: its content is not UTF-8");
    std::fs::remove_file(&path).unwrap();
    let error = Secret::read_file(&path).unwrap_err();
    assert_eq!(said(error), "reading a secret from FILE: No such file or directory (os error 2)");
}

#[test]
fn a_panic_does_not_show_a_secret() {
    let run = |test: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("SECRET_TEST_CHILD", "1")
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        assert!(!output.status.success());
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let told = run("child_panics_with_a_secret");
    assert!(told.contains("the password *** was refused"), "{told}");
    assert!(told.contains("' panicked at runbook-core/tests/secret.rs:"), "{told}");
    assert!(!told.contains("blurted-out"), "{told}");
    let told = run("child_panics_without_a_secret");
    assert!(told.contains("nothing to hide"), "{told}");
}

#[test]
fn child_panics_with_a_secret() {
    if std::env::var_os("SECRET_TEST_CHILD").is_some() {
        let secret = Secret::new("blurted-out");
        scrub_panics();
        panic!("the password {} was refused", secret.expose());
    }
}

#[test]
fn child_panics_without_a_secret() {
    if std::env::var_os("SECRET_TEST_CHILD").is_some() {
        let _secret = Secret::new("blurted-out");
        scrub_panics();
        panic!("nothing to hide");
    }
}

#[test]
fn many_secrets_are_found_in_one_pass() {
    let secrets: Vec<_> = (0..50).map(|at| format!("token-{at:04}-of-many")).collect();
    let kept: Vec<_> = secrets.iter().map(|secret| Secret::new(secret.as_str())).collect();
    let text = secrets.join(" and ");
    let clean = scrub(&text);
    assert_eq!(clean, vec!["***"; kept.len()].join(" and "));
}

proptest! {
    // All of these stay registered, and each one makes the next search larger.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_form_of_a_secret_gets_through(
        // Long and odd enough not to stand in the text around it by chance.
        secret in "[a-zA-Z0-9 '\"\\\\/$@%&=+\n\téß€😀-]{12,40}",
        before in "[a-z]{0,5}",
        after in "[a-z]{0,5}",
    ) {
        let secret = Secret::new(format!("K{secret}K"));
        let plain = secret.expose();
        for text in [
            plain.to_owned(),
            serde_json::to_string(plain).unwrap(),
            format!("{plain:?}"),
            quote(plain).into_owned(),
        ] {
            let told = format!("{before}{text}{after}");
            prop_assert!(contains_secret(&told));
            let clean = scrub(&told);
            prop_assert!(!clean.contains(plain));
            let left = clean.replace("***", "");
            // Quotes of the form around the secret may stay.
            let left = left.strip_prefix(&*before).and_then(|left| left.strip_suffix(&*after));
            let left = left.unwrap();
            prop_assert!(left.chars().all(|c| "\"'\\".contains(c)), "{left:?} of {told:?}");
        }
    }
}
