//! The wall time of a deploy by the program, beside the same commands typed as one shell script over
//! ssh, in turn. The script looks at what the runbook looks at, and waits as long for processes to
//! be steady; it keeps no journal and nothing to go back to.
//!
//! ```text
//! cargo bench -p eaf-premium --bench deploy -- ROUNDS
//! ```
#![allow(missing_docs, dead_code, clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/world/operator.rs"]
mod operator;

use std::process::Stdio;
use std::time::Instant;

use crate::operator::Stage;
use lab::Release;

const SCRIPT: &str = r#"
set -eu
cd eaf_platform
test -z "$(git status --porcelain)"
psql -XAtqc 'select version()' "$DB" >/dev/null
online() { pm2 jlist --silent | node -e '
    const app = JSON.parse(require("fs").readFileSync(0)).find((app) => app.name === process.argv[1]);
    if (app.pm2_env.status !== "online") process.exit(1);
    console.log(app.pm2_env.restart_time, app.pid);' "$1"; }
online eaf-platform >/dev/null; online eaf-worker >/dev/null
git fetch --quiet origin; git checkout --quiet main; git merge --quiet --ff-only origin/main
npm ci --silent --no-audit --no-fund >/dev/null
npm run --silent build >/dev/null
mkdir -p ../backups/database
pg_dump --format=custom --file=../backups/database/d.dump "$DB"
sha256sum ../backups/database/d.dump >../backups/database/d.dump.sha256
pg_restore --list ../backups/database/d.dump >/dev/null
sha256sum --quiet --check ../backups/database/d.dump.sha256
(cd database && npx prisma migrate deploy >/dev/null 2>&1)
pm2 restart --silent eaf-worker; pm2 restart --silent eaf-platform
steady() {
    until curl -fsS "http://127.0.0.1:$2$3" >/dev/null 2>&1; do sleep 0.5; done
    before=$(online "$1"); sleep 2; test "$before" = "$(online "$1")"
}
steady eaf-platform "$PORT" /api/v1/health; steady eaf-worker "$WORKER" /
curl -fsS "http://127.0.0.1:$PORT/api/v1/health" | grep -q '"ok"'
curl -fsS "http://127.0.0.1:$WORKER/" | grep -q '"ok"'
site() { curl -fsS --cacert "$CA" --resolve "$NAME:$HTTPS:127.0.0.1" "$@"; }
site "https://$NAME:$HTTPS/api/v1/health" | grep -q '"ok"'
jar=$(mktemp); trap 'rm -f "$jar"' EXIT
login() {
    csrf=$(site -c "$jar" "https://$NAME:$HTTPS/login" | sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p')
    site -b "$jar" -c "$jar" -L --data-urlencode "csrf=$csrf" --data-urlencode "email=$EMAIL" \
        --data-urlencode "password=$PASSWORD" "https://$NAME:$HTTPS/login" | grep -q Dashboard
}
login; : >"$jar"; login
site "https://$NAME:$HTTPS/api/v1/rag/search?q=fleurs" | grep -q results
site -D - -o /dev/null "https://$NAME:$HTTPS/login" | grep -qi "script-src 'self'"
! tail -n 50 "$(pm2 jlist --silent | node -e '
    console.log(JSON.parse(require("fs").readFileSync(0))[0].pm2_env.pm_err_log_path)')" | grep -q TypeError
"#;

fn main() {
    let words = std::env::args().skip(1).find(|word| word != "--bench");
    let rounds = words.map_or(3, |word| word.parse::<usize>().unwrap());
    let stage = Stage::set();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        for first in [true, false] {
            stage.reset();
            let began = Instant::now();
            if first == (round % 2 == 0) {
                stage.run(&["run", "deploy", "--migrate"], 0);
                keep(round, &mut ours, began);
            } else {
                script(&stage);
                keep(round, &mut theirs, began);
            }
            assert_eq!(stage.version(), Release::Second.version());
        }
    }
    stage.strike();
    println!("a deploy, {rounds} rounds: ours {ours:.2?} s, the script {theirs:.2?} s");
    let (ours, theirs) = (median(ours), median(theirs));
    println!("medians: ours {ours:.2} s, the script {theirs:.2} s: {:.3} times", ours / theirs);
}

/// The first round warms up.
fn keep(round: usize, times: &mut Vec<f64>, began: Instant) {
    if round > 0 {
        times.push(began.elapsed().as_secs_f64());
    }
}

fn script(stage: &Stage) {
    let world = &stage.world;
    let nginx = world.nginx();
    let variables = [
        ("DB", world.postgres().url(world.database(), world.role(), world.password())),
        ("PORT", world.port().to_string()),
        ("WORKER", world.worker_port().to_string()),
        ("CA", nginx.ca().display().to_string()),
        ("NAME", nginx.name().to_owned()),
        ("HTTPS", nginx.https_port().to_string()),
        ("EMAIL", world.student().0.to_owned()),
        ("PASSWORD", world.student().1.to_owned()),
    ];
    let bin = world.postgres().command("psql", "").get_program().to_owned();
    let bin = std::path::Path::new(&bin).parent().unwrap().display().to_string();
    let mut text = format!("PATH={bin}:$PATH\n");
    for (name, value) in variables {
        text += &format!("{name}='{value}'\n");
    }
    let mut ssh = world.sshd().ssh();
    ssh.arg("sh -s").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ssh.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, (text + SCRIPT).as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the script: {said}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
