//! The runbooks as tests: pages and plans as snapshots, and the fault matrix of those whose programs
//! can be played by a fake. Those that talk to PostgreSQL, Redis and the site are run for real, by
//! `tests/world`.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use eaf_premium::Env;
use runbook::harness::{Case, Fakes, Harness, Test};
use runbook::prelude::*;
use runbook::testing::{FakeTarget, Reply, prefix};

const CONFIG: &str = r#"
host = "local"
account = { email = "watch@eaf.example", password = { file = "PASSWORD" } }
site = { url = "https://eaf.example" }
queue = { name = "corrections", memory_mib = 512 }
database = { database = "eaf_prod", port = 5435, user = "eaf", password = "nobody-uses-this" }
database_admin = { database = "eaf_prod", port = 5435, password = "nobody-uses-this" }
redis = { password = "nobody-uses-this" }
backups = { dir = "/var/backups/eaf" }
people.contacts.kim = { name = "Kim", role = "operator on call", reach = ["+1 555 0100"] }
people.contacts.lee = { name = "Lee", role = "lead", reach = ["+1 555 0101"] }
people.escalation.technical = [{ call = ["kim"] }, { after = "15 min", call = ["lee"] }]

[app]
dir = "/var/www/eaf_platform"
name = "eaf-platform"
port = 3000
worker = "eaf-worker"
worker_port = 3001
built = [".next"]
"#;

const VARIABLES: &str = "DATABASE_URL=x\nDIRECT_URL=x\nREDIS_URL=x\nSESSION_SECRET=x\n\
    COOKIE_SECURE=true\nCRON_SECRET=x\nLLM_PROVIDER=mistral\nMISTRAL_API_KEY=x\n\
    STORAGE_PROVIDER=local\nMAX_UPLOAD_SIZE_MB=5\n";

fn main() -> ExitCode {
    let harness = Harness::new(eaf_premium::catalog, host)
        .snapshots(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"))
        // What a build keeps for the way back goes with the next one, or the end of a run.
        .book("release-checklist", |case| case.may_leave("/var/www/eaf_platform/.runbook-kept"))
        .book("return-to", |case| real(case).arg("commit", "v1"));
    let of_servers = [
        "status",
        "start",
        "deploy",
        "verify",
        "backup",
        "restore",
        "restore-files",
        "quick-plan",
        "many-401",
        "csrf-403",
        "queue-blocked",
        "redis-down",
        "database-slow",
    ];
    of_servers.into_iter().fold(harness, |harness, book| harness.book(book, real)).main()
}

fn real(case: Case<Env>) -> Case<Env> {
    let why = "it speaks to real servers: tests/world runs it, breaks it and kills it";
    [Test::Run, Test::FailEveryUnit, Test::RepeatEveryUnit, Test::CrashAtEveryLine]
        .into_iter()
        .fold(case, |case, test| case.without(test, why))
}

/// A host on which PM2, git and npm do what they are told.
fn host() -> Fakes<Env> {
    let target = FakeTarget::new("eaf").dir("/var/www/eaf_platform").file_with_mode(
        "/var/www/eaf_platform/.env",
        VARIABLES,
        0o600,
    );
    target.otherwise(Reply::ok());
    for program in ["git", "npm", "cp", "sh"] {
        target.on(prefix(program)).reply(Reply::ok());
    }
    let states = ["eaf-platform", "eaf-worker"].map(|name| (name.to_owned(), "online"));
    let states = Arc::new(Mutex::new(BTreeMap::from(states)));
    let pm2 =
        |command: &Command| command.arguments().iter().any(|word| word == "pm2" || word == "node");
    target.on(pm2).reply_with(move |call| {
        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<_> = call.args.iter().map(|word| word.to_string_lossy()).collect();
        let told = |word: &str| words.iter().any(|one| one == word);
        for (name, state) in states.iter_mut().filter(|(name, _)| told(name.as_str())) {
            let _ = name;
            *state = if told("stop") { "stopped" } else { "online" };
        }
        let apps = states.iter().enumerate().map(|(id, (name, state))| {
            format!(
                r#"{{"name":"{name}","id":{id},"pid":{},"state":"{state}","restarts":0,"started_ms":1,"memory":1,"cpu":0,"dir":"/","out_log":"","error_log":""}}"#,
                if *state == "online" { "7" } else { "null" }
            )
        });
        Reply::stdout(format!("[{}]", apps.collect::<Vec<_>>().join(",")))
    });
    let password = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/password");
    let env: Env = toml::from_str(&CONFIG.replace("PASSWORD", password))
        .unwrap_or_else(|error| panic!("the configuration of the fakes: {error}"));
    Fakes::new(env.on(Host::new(target.clone()))).target(&target)
}
