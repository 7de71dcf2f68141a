//! Connections that are made before anything is asked of a host.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::Sshd;
use runbook_core::{Secret, Target};
use runbook_targets::{Auth, Ssh};

use crate::support::{comes_true, soon};
use crate::{locked_key, to};

/// How often somebody has logged in.
fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

async fn look(ssh: &Ssh) -> Result<(), String> {
    match soon(ssh.stat(Path::new("/"))).await {
        Ok(found) => found.map(drop).ok_or_else(|| "there is no root".to_owned()),
        Err(failure) => Err(format!("{failure:?}")),
    }
}

#[tokio::test]
async fn a_host_is_logged_in_to_before_anything_is_asked_of_it_and_only_once() {
    let sshd = Sshd::start();
    let ssh = to(&sshd);
    ssh.prepare();
    ssh.prepare();
    comes_true("somebody has logged in", || logins(&sshd) > 0).await;
    ssh.prepare();
    look(&ssh).await.unwrap();
    ssh.prepare();
    look(&ssh).await.unwrap();
    assert_eq!(logins(&sshd), 1);
}

#[tokio::test]
async fn what_is_asked_meanwhile_waits_for_the_connection_that_is_being_made() {
    let sshd = Sshd::start();
    let ssh = to(&sshd);
    ssh.prepare();
    look(&ssh).await.unwrap();
    assert_eq!(logins(&sshd), 1);
}

#[tokio::test]
async fn a_connection_that_nobody_used_ends_with_its_target() {
    let sshd = Sshd::start();
    let ssh = to(&sshd);
    ssh.prepare();
    comes_true("somebody has logged in", || logins(&sshd) > 0).await;
    drop(ssh);
    comes_true("no session is left", || sshd.sessions().is_empty()).await;
}

#[tokio::test]
async fn a_target_that_is_dropped_while_it_connects_leaves_nothing_behind() {
    let sshd = Sshd::start();
    sshd.freeze();
    let ssh = to(&sshd);
    ssh.prepare();
    drop(ssh);
    sshd.thaw();
    look(&to(&sshd)).await.unwrap();
    comes_true("no session is left", || sshd.sessions().is_empty()).await;
}

#[tokio::test]
async fn a_login_that_failed_ahead_is_told_to_the_first_who_asks_and_tried_again_later() {
    let sshd = Sshd::start();
    let list = sshd.dir().join("empty");
    fs::write(&list, "").unwrap();
    let fails = || to(&sshd).known_hosts(&list);
    let expected = look(&fails()).await.unwrap_err();
    let hung_up = || sshd.log().matches("Connection closed by").count();
    comes_true("the server has noted it", || hung_up() == 1).await;

    let attempts = || sshd.log().matches("Connection from").count();
    let before = attempts();
    let ssh = fails();
    let began = Instant::now();
    ssh.prepare();
    comes_true("the server has noted another", || hung_up() == 2).await;
    assert_eq!(look(&ssh).await.unwrap_err(), expected);
    let now = attempts();
    // Later than that it would have been tried again.
    if began.elapsed() < Duration::from_secs(1) {
        assert_eq!(now, before + 1);
    }
    fs::write(&list, sshd.known_hosts()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(still) = look(&ssh).await {
        assert_eq!(still, expected);
        assert!(Instant::now() < deadline, "it is never tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(logins(&sshd), 1);
}

#[tokio::test]
async fn a_passphrase_is_asked_for_once_by_who_gets_ready_and_who_waits_for_it() {
    let sshd = Sshd::start();
    let key = locked_key(&sshd);
    let asked = Arc::new(AtomicUsize::new(0));
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    let answers = std::sync::Mutex::new(answers);
    let auth = Auth::new().key_file(&key).without_agent().ask_passphrase({
        let asked = Arc::clone(&asked);
        move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            // The person takes a while.
            answers.lock().ok()?.recv().ok()?;
            Some(Secret::new("open sesame"))
        }
    });
    let ssh = to(&sshd).auth(auth);
    ssh.prepare();
    comes_true("it is asked for", || asked.load(Ordering::SeqCst) == 1).await;
    let waiting = tokio::spawn({
        let ssh = ssh.clone();
        async move { look(&ssh).await }
    });
    answer.send(()).unwrap();
    soon(waiting).await.unwrap().unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(logins(&sshd), 1);
}

#[test]
fn a_host_of_the_configuration_gets_ready_outside_of_any_runtime() {
    let sshd = Sshd::start();
    let config = sshd.dir().join("config");
    let known = sshd.dir().join("known");
    fs::write(&known, sshd.known_hosts()).unwrap();
    let text = format!(
        "Host web\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n IdentityAgent none\n \
         UserKnownHostsFile {}\n GlobalKnownHostsFile none\n",
        sshd.port(),
        sshd.user(),
        sshd.client_key().display(),
        known.display(),
    );
    fs::write(&config, text).unwrap();
    let ssh = Ssh::new("web").config_file(config);
    ssh.prepare();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(comes_true("somebody has logged in", || logins(&sshd) > 0));
    runtime().block_on(look(&ssh)).unwrap();
    assert_eq!(logins(&sshd), 1);
}
