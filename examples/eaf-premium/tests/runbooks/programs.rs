//! The programs of the platform: git, npm and Prisma, PM2, Nginx, and the scripts that start servers.

use runbook::prelude::*;
use runbook::testing::{FakeTarget, Reply};
use serde_json::json;

use crate::platform::{COMMITS, Platform, SITE, TREE, WORKER};

/// Plays them on `target`.
pub(crate) fn play(target: &FakeTarget, platform: &Platform) {
    type Program = fn(&Platform, &[&str]) -> Reply;
    let programs: [(&'static str, Program); 6] = [
        ("git", git),
        ("npm", npm),
        ("/var/www/eaf_platform/node_modules/.bin/prisma", prisma),
        ("env", unmarked),
        ("nginx", nginx),
        ("ps", ps),
    ];
    for (program, play) in programs {
        let platform = platform.clone();
        let ours = move |command: &Command| command.program() == program;
        target.on(ours).reply_with(move |call| {
            let words: Vec<_> = call.args[1..].iter().map(|word| word.to_string_lossy()).collect();
            let words: Vec<&str> = words.iter().map(|word| &**word).collect();
            let reply = play(&platform, &words);
            platform.settle();
            reply
        });
    }
}

fn unknown(program: &str, words: &[&str]) -> Reply {
    Reply::exit(127).stderr(format!("the fake does not play `{program} {}`\n", words.join(" ")))
}

/// One work tree, one branch, and a remote that is ahead.
fn git(eaf: &Platform, words: &[&str]) -> Reply {
    let mut state = eaf.state();
    let commit = |name: &str| {
        let name = name.strip_suffix("^{commit}").unwrap_or(name);
        match name {
            "HEAD" => Some(state.head),
            "main" | "refs/heads/main" => Some(state.main),
            "refs/remotes/origin/main" => Some(state.fetched),
            // The tag of the first release.
            "v1" => Some(0),
            id => COMMITS.iter().position(|(known, _)| *known == id),
        }
    };
    let log = |at: usize| {
        let (id, subject) = COMMITS[at];
        format!("{id}\0002026-01-0{}T03:04:05+00:00\0Kim\0{subject}\0\n", at + 1)
    };
    let to = match words {
        ["rev-parse", "--verify", "--quiet", name] => {
            return commit(name).map_or(Reply::exit(1), |at| Reply::stdout(COMMITS[at].0));
        }
        ["symbolic-ref", "--quiet", "--short", "HEAD"] if state.on_branch => {
            return Reply::stdout("main\n");
        }
        ["symbolic-ref", ..] => return Reply::exit(1),
        ["show-ref", "--verify", "--quiet", "refs/heads/main"]
        | ["status", "--porcelain=v1", "-z", "--untracked-files=no"] => return Reply::ok(),
        ["show-ref", ..] => return Reply::exit(1),
        ["log", "-1", _, id, "--"] => {
            return commit(id).map_or(Reply::exit(128), |at| Reply::stdout(log(at)));
        }
        ["log", "-n5", _] => {
            return Reply::stdout((0..=state.head).rev().map(log).collect::<String>());
        }
        ["merge-base", "--is-ancestor", one, other] => {
            return Reply::exit(i32::from(commit(one) > commit(other)));
        }
        ["fetch", "--tags", "--", "origin", ..] => {
            state.fetched = state.remote;
            return Reply::ok();
        }
        ["checkout", "--quiet", "main", "--"] => {
            state.on_branch = true;
            state.main
        }
        ["checkout", "--quiet", "--detach", id, "--"] if commit(id).is_some() => {
            let to = commit(id).unwrap_or_default();
            state.on_branch = false;
            to
        }
        ["merge", "--quiet", "--ff-only", id] | ["reset", "--quiet", "--keep", id, "--"]
            if commit(id).is_some() =>
        {
            commit(id).unwrap_or_default()
        }
        _ => return unknown("git", words),
    };
    state.head = to;
    if state.on_branch {
        state.main = to;
    }
    drop(state);
    eaf.write("package.json", COMMITS[to].1);
    Reply::ok()
}

/// Packages and builds are those of the commit that is checked out.
fn npm(eaf: &Platform, words: &[&str]) -> Reply {
    let Some(release) = eaf.read("package.json") else {
        return Reply::exit(254).stderr("npm error enoent Could not read package.json: ENOENT\n");
    };
    match words {
        ["ci"] => {
            eaf.disk.remove(format!("{TREE}/node_modules"));
            eaf.write("node_modules/.package-lock.json", &release);
            eaf.write("node_modules/.prisma/client", &release);
            Reply::ok()
        }
        ["run", "build"] => match eaf.read("node_modules/.package-lock.json") {
            Some(packages) if packages == release => {
                eaf.disk.remove(format!("{TREE}/.next"));
                eaf.write(".next/BUILD_ID", &release);
                Reply::ok()
            }
            _ => Reply::exit(1).stderr("Error: Cannot find module 'next'\n"),
        },
        ["run", "typecheck" | "lint" | "test:unit"] => Reply::ok(),
        ["audit", "--omit=dev", "--json"] => Reply::stdout(
            json!({"metadata": {"vulnerabilities": {"low": 1, "moderate": 0, "high": 0, "critical": 0}}})
                .to_string(),
        ),
        _ => unknown("npm", words),
    }
}

/// The third release brings a migration.
fn prisma(eaf: &Platform, words: &[&str]) -> Reply {
    const NEW: &str = "20260301_marks";
    let release = eaf.read("package.json").unwrap_or_default();
    let pending =
        release == COMMITS[2].1 && !eaf.state().migrations.iter().any(|known| known == NEW);
    match words {
        ["generate"] => {
            eaf.write("node_modules/.prisma/client", &release);
            Reply::ok()
        }
        ["migrate", "status"] if pending => Reply::exit(1).and_stdout(format!(
            "Following migration have not yet been applied:\n{NEW}\n\nTo apply them, run `prisma`\n"
        )),
        ["migrate", "status"] => Reply::stdout("Database schema is up to date!\n"),
        ["migrate", "deploy"] if !eaf.db.is_running() => {
            Reply::exit(1).stderr("Error: P1001: Can't reach database server\n")
        }
        ["migrate", "deploy"] => {
            if pending {
                eaf.state().migrations.push(NEW.into());
            }
            Reply::ok()
        }
        _ => unknown("prisma", words),
    }
}

/// `env -u .. -u ..` before PM2, and before the scripts that start servers.
fn unmarked(eaf: &Platform, words: &[&str]) -> Reply {
    match words.get(4..).unwrap_or_default() {
        ["node", "-", "pm2"] => Reply::stdout(list(eaf)),
        ["pm2", word, app] if [SITE, WORKER].contains(app) => {
            match *word {
                "start" if !eaf.runs(app) => eaf.start(app),
                "start" => {}
                "stop" => eaf.stop(app),
                "restart" => eaf.restart(app),
                _ => return unknown("pm2", words),
            }
            Reply::ok()
        }
        ["sudo", "-n", "service", name, action] => service(eaf, name, action),
        _ => unknown("env", words),
    }
}

fn list(eaf: &Platform) -> String {
    let state = eaf.state();
    let apps = state.apps.iter().enumerate().map(|(id, (name, app))| {
        let word = match (app.pid, app.errored) {
            (Some(_), _) => "online",
            (None, true) => "errored",
            (None, false) => "stopped",
        };
        json!({
            "name": name, "id": id, "pid": app.pid, "state": word, "restarts": app.restarts,
            "started_ms": app.started, "memory": 1, "cpu": 0, "dir": TREE, "out_log": "",
            "error_log": format!("/var/log/{name}.log"),
        })
    });
    json!(apps.collect::<Vec<_>>()).to_string()
}

fn service(eaf: &Platform, name: &str, action: &str) -> Reply {
    let runs = match name {
        "postgresql" => eaf.db.is_running(),
        "redis-server" => eaf.redis.is_running(),
        _ => return Reply::exit(1).stderr(format!("{name}: unrecognized service\n")),
    };
    match (name, action) {
        (_, "status") if runs => Reply::stdout(format!("{name} is running\n")),
        (_, "status") => Reply::exit(3).and_stdout(format!("{name} is stopped\n")),
        ("postgresql", "start") => {
            eaf.db.start();
            Reply::ok()
        }
        (_, "start") => {
            eaf.redis.start();
            Reply::ok()
        }
        _ => unknown("service", &[name, action]),
    }
}

fn nginx(eaf: &Platform, words: &[&str]) -> Reply {
    let main = eaf.disk.read("/etc/nginx/nginx.conf").unwrap_or_default();
    let good = !String::from_utf8_lossy(&main).contains("lisden");
    match words {
        ["-v"] => Reply::ok().stderr("nginx version: nginx/1.22.1\n"),
        ["-c", _, "-t"] if good => Reply::ok().stderr(
            "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n\
             nginx: configuration file /etc/nginx/nginx.conf test is successful\n",
        ),
        ["-c", _, "-t"] => Reply::exit(1).stderr(
            "nginx: [emerg] unknown directive \"lisden\" in /etc/nginx/nginx.conf:3\n\
             nginx: configuration file /etc/nginx/nginx.conf test failed\n",
        ),
        ["-c", _, "-s", "reload"] if good => {
            let mut state = eaf.state();
            state.next_pid += 1;
            state.nginx_workers = vec![state.next_pid];
            drop(state);
            eaf.read_certificate();
            Reply::ok()
        }
        _ => unknown("nginx", words),
    }
}

fn ps(eaf: &Platform, _: &[&str]) -> Reply {
    let workers = eaf.state().nginx_workers.clone();
    let workers = workers.iter().map(|pid| format!("{pid} 100 nginx: worker process\n"));
    let master = "100 1 nginx: master process /usr/sbin/nginx\n".to_owned();
    Reply::stdout(master + &workers.collect::<String>())
}
