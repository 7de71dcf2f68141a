//! What breaks: each fault is made for real, and its runbook finds it and mends it, or says why not.

use std::time::Duration;

use lab::wait_until;

use crate::Test;
use crate::operator::Stage;

pub(crate) const TESTS: &[Test] = &[
    ("redis_is_down", redis_is_down),
    ("redis_is_full", redis_is_full),
    ("the_worker_is_gone_and_jobs_wait", the_worker_is_gone_and_jobs_wait),
    ("postgresql_is_down", postgresql_is_down),
    ("the_database_password_is_wrong", the_database_password_is_wrong),
    ("the_connections_are_used_up", the_connections_are_used_up),
    ("a_forgotten_transaction_holds_a_lock", a_forgotten_transaction_holds_a_lock),
    ("a_statement_does_not_end", a_statement_does_not_end),
    ("the_process_crashes_again_and_again", the_process_crashes_again_and_again),
    ("somebody_else_has_the_port", somebody_else_has_the_port),
    ("nginx_refuses_its_configuration", nginx_refuses_its_configuration),
    ("the_certificate_has_expired", the_certificate_has_expired),
    ("cookies_are_not_secure", cookies_are_not_secure),
    ("users_get_403_and_the_site_is_well", users_get_403_and_the_site_is_well),
];

const SOON: Duration = Duration::from_secs(60);

/// The report of the last run names all of these.
#[track_caller]
fn diagnosis(stage: &Stage, words: &[&str]) {
    let report = stage.report();
    for word in words {
        assert!(report.contains(word), "no {word:?} in:\n{report}");
    }
}

/// Waits until so many sessions of psql did the same thing for longer than the threshold.
fn wait_for_age(stage: &Stage, sessions: usize) {
    let old = "select count(*) from pg_stat_activity where application_name like 'lab%' \
               and clock_timestamp() - state_change > interval '1.1 s'";
    let world = &stage.world;
    wait_until("the sessions to be old enough", SOON, || {
        let count = world.postgres().try_psql(world.database(), old);
        count.is_ok_and(|count| count.parse::<usize>().is_ok_and(|count| count >= sessions))
    });
}

#[track_caller]
fn is_well(stage: &Stage) {
    let health = stage.world.health().unwrap();
    assert_eq!(health.body_json()["status"], "ok", "{}", health.body_text());
}

fn redis_is_down(stage: &Stage) {
    stage.world.redis().stop();
    stage.run(&["run", "redis-down"], 0);
    diagnosis(stage, &["PING", "redis is stopped", "degraded"]);
    is_well(stage);
}

fn redis_is_full(stage: &Stage) {
    stage.world.redis().fill_memory();
    stage.run(&["run", "redis-down"], 0);
    diagnosis(stage, &["Its memory is full", "Give it the memory that it is to have"]);
    assert!(stage.world.redis().try_cli(&["set", "key", "value"]).is_ok());
    stage.world.redis().relieve();
    is_well(stage);
}

fn the_worker_is_gone_and_jobs_wait(stage: &Stage) {
    stage.world.stop_worker();
    stage.world.hand_in(3, "a short text");
    stage.run(&["run", "queue-blocked"], 0);
    diagnosis(
        stage,
        &["3 jobs wait, and no worker is connected", "eaf-worker (number 1) is stopped"],
    );
    wait_until("the jobs to be done", SOON, || {
        stage.world.redis().cli(&["llen", "bull:corrections:wait"]) == "0"
    });
}

fn postgresql_is_down(stage: &Stage) {
    stage.world.postgres().stop();
    let said = stage.run(&["run", "quick-plan"], 5);
    assert!(said.contains("Keep the data, or restore the latest dump?"), "{said}");
    let question = "postgresql-does-not-answer/decide-whether-a-backup-is-restored";
    stage.run(&["approve", "last", question, "--answer", "keep"], 0);
    stage.run(&["resume", "last"], 0);
    diagnosis(stage, &["the server can't be reached", "no server running", "Start postgresql"]);
    is_well(stage);
}

fn the_database_password_is_wrong(stage: &Stage) {
    let world = &stage.world;
    world.forget_database_password();
    let said = stage.ask(&["run", "quick-plan"]);
    world.postgres().change_password(world.role(), world.password());
    assert_eq!(said.code, Some(1), "{}", said.text);
    let call = "call now   Kim (operator on call): +1 555 0100";
    assert!(said.text.contains("SEV1") && said.text.contains(call), "{}", said.text);
    diagnosis(stage, &["password", "eaf", "Call now", "Lee (lead): +1 555 0101"]);
    world.wait_for_site();
}

fn the_connections_are_used_up(stage: &Stage) {
    let world = &stage.world;
    let all =
        world.postgres().exhaust_connections(world.database(), world.role(), world.password());
    wait_for_age(stage, all.len());
    stage.run(&["run", "database-slow", "--yes"], 0);
    diagnosis(stage, &["Too many connections", "(9", "idle"]);
    drop(all);
    is_well(stage);
}

fn a_forgotten_transaction_holds_a_lock(stage: &Stage) {
    let world = &stage.world;
    let forgotten = world.postgres().hold_lock(world.database(), "\"Copy\"");
    wait_for_age(stage, 1);
    stage.run(&["run", "database-slow", "--yes"], 0);
    diagnosis(stage, &["idle in transaction", "Copy"]);
    drop(forgotten);
    is_well(stage);
}

fn a_statement_does_not_end(stage: &Stage) {
    let world = &stage.world;
    let endless = world.postgres().long_query(world.database(), 600);
    wait_for_age(stage, 1);
    stage.run(&["run", "database-slow", "--yes"], 0);
    diagnosis(stage, &["busy with one statement", "pg_sleep"]);
    drop(endless);
    is_well(stage);
}

fn the_process_crashes_again_and_again(stage: &Stage) {
    stage.world.crash_loop();
    stage.run(&["run", "quick-plan"], 0);
    diagnosis(stage, &["cannot read the settings of undefined", "Build the same commit again"]);
    is_well(stage);
}

fn somebody_else_has_the_port(stage: &Stage) {
    let mut stranger = stage.world.take_port();
    let pid = format!("pid {}", stranger.pid());
    stage.run(&["run", "quick-plan", "--yes"], 0);
    diagnosis(stage, &["Somebody else has the site", &pid]);
    assert!(!stranger.is_running());
    is_well(stage);
}

fn nginx_refuses_its_configuration(stage: &Stage) {
    let nginx = stage.world.nginx();
    let before = nginx.break_config();
    let said = stage.run(&["run", "quick-plan"], 5);
    assert!(said.contains("Mend the line that nginx names"), "{said}");
    std::fs::write(nginx.site_file(), before).unwrap();
    let unit = "nginx-refuses-its-configuration/mend-the-configuration/by-hand/mend-the-line-that-nginx-names";
    stage.run(&["approve", "last", unit], 0);
    stage.run(&["resume", "last"], 0);
    diagnosis(stage, &["Nginx refuses its configuration", "succeeded"]);
}

fn the_certificate_has_expired(stage: &Stage) {
    let (nginx, ca) = (stage.world.nginx(), stage.world.ca());
    stage.world.expire_certificate();
    let said = stage.run(&["run", "quick-plan"], 5);
    assert!(said.contains("Renew the certificate"), "{said}");
    nginx.put_certificate(&ca.certificate(&[nginx.name()]));
    let unit = "the-certificate-is-not-good/renew-it/by-hand/renew-the-certificate";
    stage.run(&["approve", "last", unit], 0);
    stage.run(&["resume", "last"], 0);
    diagnosis(stage, &["expired", "succeeded"]);
}

fn cookies_are_not_secure(stage: &Stage) {
    let file = stage.world.env_file();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("COOKIE_SECURE=true", "COOKIE_SECURE=false")).unwrap();
    stage.world.pm2().run(&["restart", "--silent", "eaf-platform"]);
    stage.world.wait_for_site();
    stage.run(&["run", "many-401"], 0);
    diagnosis(stage, &["the cookie session is not Secure", "Have cookies sent over HTTPS only"]);
    let now = std::fs::read_to_string(&file).unwrap();
    assert!(now.contains("COOKIE_SECURE=true"), "{now}");
    stage.run(&["run", "verify"], 0);
}

fn users_get_403_and_the_site_is_well(stage: &Stage) {
    stage.run(&["run", "csrf-403"], 5);
    let unit = "the-site-was-never-at-fault/tell-the-users-to-reload-the-page";
    stage.run(&["approve", "last", unit], 0);
    stage.run(&["resume", "last"], 0);
    diagnosis(stage, &["Tell the users to reload the page", "succeeded"]);
}
