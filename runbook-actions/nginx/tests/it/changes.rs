//! Changes: what breaks is put back, what is fine serves at once, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runbook_core::testing::context;
use runbook_core::{Engine, MemoryStore, Rollback, RunFinished, RunOptions, Runbook, Status, Step};
use runbook_nginx::{Before, Change, Edit, Server, Upstream};

use crate::site::{NAME, Site};

/// Runs a runbook to its end.
async fn run(fill: impl FnOnce(&mut Runbook)) -> RunFinished {
    let mut b = Runbook::new("Change nginx");
    fill(&mut b);
    let plan = b.build().unwrap();
    let run = Engine::new(MemoryStore::new()).run(&plan, RunOptions::new());
    run.outcome().await.unwrap().finished.unwrap()
}

fn problem(end: &RunFinished) -> String {
    end.problem.as_ref().unwrap().message.clone()
}

#[tokio::test]
async fn a_broken_change_is_not_switched_and_the_site_answers_as_before() {
    let site = Site::start();
    let (before, files) = (site.read("conf.d/app.conf"), site.files());
    let master = site.pid();
    let broken = Edit::Content("upstream app { servr 127.0.0.1:1; }\n".into());
    let end = run(|b| {
        b.step(site.nginx().change(site.path("conf.d/app.conf"), broken));
    })
    .await;
    assert_eq!(end.status, Status::RolledBack);
    let said = problem(&end);
    assert!(
        said.contains("nginx refuses the configuration: [emerg] unknown directive \"servr\""),
        "{said}"
    );
    assert!(said.contains("conf.d/app.conf:1") && !said.contains("untested"), "{said}");
    assert_eq!(site.read("conf.d/app.conf"), before);
    assert_eq!(site.files(), files, "nothing is left beside");
    assert_eq!(site.get("/"), (200, "one".into()));
    assert_eq!(site.pid(), master);
}

#[tokio::test]
async fn a_change_whose_verification_fails_is_put_back() {
    let site = Site::start();
    let before = site.read("conf.d/app.conf");
    let nginx = site.nginx();
    // Accepted by `nginx -t`, and nobody listens there.
    let nowhere = Upstream::new("app")
        .with(Server::new("127.0.0.1:1"))
        .without(format!("127.0.0.1:{}", site.apps[0]));
    let end = run(|b| {
        let change = nginx.change(site.path("conf.d/app.conf"), Edit::Upstream(nowhere));
        b.step(change.verify(nginx.answers(&site.address(), NAME, "/", 200u16)));
    })
    .await;
    assert_eq!(end.status, Status::RolledBack);
    assert!(problem(&end).contains("status 502"), "{}", problem(&end));
    assert_eq!(site.read("conf.d/app.conf"), before);
    assert_eq!(site.get("/"), (200, "one".into()));
}

#[tokio::test]
async fn a_reload_ends_with_new_workers_of_the_same_master() {
    let site = Site::start();
    let nginx = site.nginx();
    let patient = site.nginx_given(u64::MAX);
    let before = patient.reload().run(&context()).await.unwrap();
    let after = nginx.reload().run(&context()).await.unwrap();
    assert_eq!(before.master, after.master);
    assert_eq!(after.workers.len(), 2);
    assert!(after.workers.iter().all(|pid| !before.workers.contains(pid)), "{before:?} {after:?}");
}

#[tokio::test]
async fn a_reload_that_nginx_gives_up_is_found_and_put_back() {
    let site = Site::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = site.path("conf.d/new.conf");
    let edit = Edit::Content(format!("server {{ listen 127.0.0.1:{port}; }}\n"));
    let end = run(|b| {
        b.step(site.nginx().change(&file, edit));
    })
    .await;
    assert_eq!(end.status, Status::RolledBack);
    assert!(problem(&end).contains("Address already in use"), "{}", problem(&end));
    assert!(!file.exists());
    assert_eq!(site.get("/"), (200, "one".into()));
}

#[tokio::test]
async fn an_address_is_denied_and_let_in_again() {
    let site = Site::start();
    let nginx = site.nginx();
    let (files, file) = (site.files(), site.path("conf.d/block.conf"));
    let end = run(|b| {
        b.step(nginx.deny(&file, "127.0.0.1"));
    })
    .await;
    assert_eq!(end.status, Status::Succeeded, "{:?}", end.problem);
    assert_eq!(site.get("/").0, 403);
    let end = run(|b| {
        b.step(nginx.undeny(&file, "127.0.0.1"));
    })
    .await;
    assert_eq!(end.status, Status::Succeeded, "{:?}", end.problem);
    assert_eq!(site.get("/"), (200, "one".into()));

    // And undone: the file that was not there before is gone again.
    std::fs::remove_file(&file).unwrap();
    for backup in site.files().iter().filter(|name| name.contains(".block.conf.before-")) {
        std::fs::remove_file(site.path(backup)).unwrap();
    }
    let end = run(|b| {
        let deny = nginx.deny(&file, "127.0.0.0/8");
        b.step(deny.verify(nginx.answers(&site.address(), NAME, "/", 200u16)));
    })
    .await;
    assert_eq!(end.status, Status::RolledBack);
    assert_eq!(site.files(), files);
    assert_eq!(site.get("/").0, 200);
}

#[tokio::test]
async fn the_maintenance_page_is_shown_and_taken_away() {
    let site = Site::start();
    let nginx = site.nginx();
    let before = site.read("available/shop");
    // By its link: the file that the link leads to is changed, and the link stays.
    let file = site.path("sites/shop");
    let page = site.path("www/back soon.html");
    let on = nginx.maintenance_on(&file, NAME, &page).run(&context()).await.unwrap();
    assert_eq!(on.file, site.path("available/shop"));
    assert_eq!(site.get("/any/path"), (503, "<h1>back soon</h1>".into()));
    assert_eq!(site.ask("POST", "/api/orders"), (503, "maintenance".into()));
    assert!(std::fs::symlink_metadata(&file).unwrap().is_symlink());
    assert!(site.read("available/shop").contains("# the shop"));

    nginx.maintenance_off(&file, NAME).run(&context()).await.unwrap();
    assert_eq!(site.read("available/shop"), before);
    assert_eq!(site.get("/").0, 200);

    let missing = nginx.maintenance_on(&file, NAME, site.path("www/none.html"));
    let failure = missing.run(&context()).await.unwrap_err().to_string();
    assert!(failure.contains("which is not there"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_is_switched_without_a_failed_request() {
    let site = Arc::new(Site::start());
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (site, stop) = (Arc::clone(&site), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut bodies = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let (status, body) = site.get("/");
                    assert_eq!(status, 200, "{body}");
                    bodies.push(body);
                }
                bodies
            })
        })
        .collect();
    let nginx = site.nginx();
    let file = site.path("conf.d/app.conf");
    let [one, two] = site.apps.map(|port| format!("127.0.0.1:{port}"));
    for (to, from) in [(&two, &one), (&one, &two), (&two, &one)] {
        let switch = Upstream::new("app").least_conn().with(Server::new(to)).without(from);
        nginx.change(&file, Edit::Upstream(switch)).run(&context()).await.unwrap();
    }
    assert_eq!(site.get("/"), (200, "two".into()));
    stop.store(true, Ordering::SeqCst);
    let bodies: Vec<String> = clients.into_iter().flat_map(|one| one.join().unwrap()).collect();
    assert!(bodies.iter().any(|body| body == "one") && bodies.len() > 10, "{}", bodies.len());
    let text = site.read("conf.d/app.conf");
    assert!(text.contains("    # the first box\n") && text.contains(&two), "{text}");
}

#[tokio::test]
async fn what_is_no_part_of_the_configuration_is_not_written() {
    let site = Site::start();
    let file = site.path("www/block.conf");
    let failed = site.nginx().deny(&file, "192.0.2.66").run(&context()).await;
    let failure = failed.unwrap_err();
    assert!(failure.to_string().contains("is not part of the configuration"), "{failure}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_file_that_is_not_understood_is_not_touched() {
    let site = Site::start();
    let lua = "upstream app { balancer_by_lua_block { x = \"}\" } }\n";
    site.write("conf.d/app.conf", lua);
    let failed =
        site.nginx().upstream(site.path("conf.d/app.conf"), "app", []).run(&context()).await;
    let failure = failed.unwrap_err().to_string();
    assert!(failure.contains("app.conf line 1: `balancer_by_lua_block`"), "{failure}");
    assert_eq!(site.read("conf.d/app.conf"), lua);
}

#[tokio::test]
async fn a_stopped_nginx_is_not_changed() {
    let site = Site::start();
    site.stop();
    let failed =
        site.nginx().deny(site.path("conf.d/block.conf"), "192.0.2.66").run(&context()).await;
    let failure = failed.unwrap_err().to_string();
    assert!(failure.starts_with("nginx is not running"), "{failure}");
    assert!(!site.path("conf.d/block.conf").exists());
    let failure = site.nginx().reload().run(&context()).await.unwrap_err().to_string();
    assert!(failure.starts_with("nginx is not running"), "{failure}");
}

#[tokio::test]
async fn a_change_that_was_killed_half_way_is_undone_and_swept() {
    let site = Site::start();
    let nginx = site.nginx();
    let (files, file) = (site.files(), site.path("conf.d/block.conf"));
    let step = nginx.deny(&file, "127.0.0.1");
    let cx = context();
    let before = Before::record(&step, &cx).await.unwrap();
    // Killed after the switch and before the reload, with its twins still there.
    site.write("conf.d/block.conf", "deny 127.0.0.1;\n");
    site.write("conf.d/.block.conf.untested", "deny 127.0.0.1;\n");
    site.write(".nginx.conf.untested", "");
    for _ in 0..2 {
        before.rollback(&step, None, &cx).await.unwrap();
        let now = Before::record(&step, &cx).await.unwrap();
        assert!(Rollback::<Change>::restored(&before, &now));
        assert_eq!(site.files(), files);
        assert_eq!(site.get("/"), (200, "one".into()));
    }
    // And run again instead of undone, as `repeatable` says.
    site.write("conf.d/block.conf", "deny 127.0.0.1;\n");
    let done = step.run(&cx).await.unwrap();
    assert!(!done.different);
    assert_eq!(site.get("/").0, 403, "also what was switched before is reloaded");
}

#[tokio::test]
async fn what_was_there_is_kept_beside_for_its_owner_only_and_not_in_the_journal() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::start();
    let (file, original) = (site.path("conf.d/app.conf"), site.read("conf.d/app.conf"));
    let step = site.nginx().deny(&file, "192.0.2.66");
    let cx = context();
    let before = Before::record(&step, &cx).await.unwrap();
    let journaled = serde_json::to_string(&before).unwrap();
    assert!(!journaled.contains("127.0.0.1"), "{journaled}");
    let before: Before = serde_json::from_str(&journaled).unwrap();
    step.run(&cx).await.unwrap();
    let backup = || site.files().into_iter().find(|name| name.contains(".app.conf.before-"));
    let backup_path = site.path(&backup().unwrap());
    let mode = std::fs::metadata(&backup_path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // One that somebody has touched is not put back.
    std::fs::write(&backup_path, "# nothing").unwrap();
    let failure = before.rollback(&step, None, &cx).await.unwrap_err().to_string();
    assert!(failure.contains("is gone, or is not what was there"), "{failure}");
    assert!(site.read("conf.d/app.conf").contains("192.0.2.66"));
    std::fs::write(&backup_path, &original).unwrap();
    before.rollback(&step, None, &cx).await.unwrap();
    assert_eq!(site.read("conf.d/app.conf"), original);
    assert_eq!(backup(), None);
}

#[tokio::test]
async fn the_backups_of_the_last_three_changes_are_kept() {
    let site = Site::start();
    let nginx = site.nginx();
    for last in 1..=5 {
        let end = run(|b| {
            b.step(nginx.deny(site.path("conf.d/app.conf"), format!("192.0.2.{last}")));
        })
        .await;
        assert_eq!(end.status, Status::Succeeded, "{:?}", end.problem);
    }
    let backups = site.files().into_iter().filter(|name| name.contains(".before-")).count();
    assert_eq!(backups, 3);
}

#[tokio::test]
async fn a_file_that_somebody_else_changed_since_is_left_to_people() {
    let site = Site::start();
    let nginx = site.nginx();
    let file = site.path("conf.d/block.conf");
    let end = run(|b| {
        b.step(nginx.deny(&file, "192.0.2.66"));
        b.step(overwrites(&file));
        b.check(nginx.answers(&site.address(), NAME, "/", 418u16));
    })
    .await;
    assert_eq!(end.status, Status::Stuck);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine now\n");
}

struct Overwrites(std::path::PathBuf);

impl Step for Overwrites {
    type Output = ();
    type Rollback = runbook_core::Harmless;
    fn about(&self) -> runbook_core::About {
        runbook_core::About::new("overwrites", "Overwrite a file")
    }
    async fn run(&self, _: &runbook_core::Context) -> runbook_core::Result<()> {
        Ok(std::fs::write(&self.0, "# mine now\n")?)
    }
}

fn overwrites(file: &std::path::Path) -> Overwrites {
    Overwrites(file.to_owned())
}
