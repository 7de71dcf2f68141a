//! The whole world.

use std::time::Instant;

use lab::{Release, World};

#[test]
fn the_world_works_and_leaves_nothing() {
    let start = Instant::now();
    let world = World::start();
    eprintln!("the world started in {:.1} s", start.elapsed().as_secs_f32());

    let health = world.health().unwrap().body_json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], Release::First.version());
    assert_eq!(health["commit"], world.ssh("git -C eaf_platform rev-parse HEAD"));

    let by_nginx = lab::try_run(world.curl().arg(world.url("/api/v1/health"))).unwrap();
    assert!(by_nginx.contains("\"status\":\"ok\""), "{by_nginx}");

    login_and_correct(&world);

    // What an operator does, as the operator does it.
    assert!(world.ssh("pm2 jlist").contains("\"name\":\"eaf-worker\""));
    let port = world.postgres().port();
    let rows = world.ssh(&format!(
        "psql -h 127.0.0.1 -p {port} -U eaf -Atc 'select count(*) from \"User\"' eaf_prod"
    ));
    assert_eq!(rows, "2");
    assert!(
        world.ssh("cd eaf_platform && npm run db:status").contains("Database schema is up to date")
    );
    for server in ["postgresql", "redis", "nginx"] {
        world.ssh(&format!(
            "service {server} stop && service {server} start && service {server} status"
        ));
    }
    world.ssh("cd eaf_platform && git pull -q --ff-only && npm install && npm run build && npm run db:migrate && pm2 restart eaf-platform");
    world.wait_for_site();
    assert_eq!(world.health().unwrap().body_json()["version"], Release::Second.version());

    let folder = world.folder().path().to_owned();
    drop(world);
    assert!(!folder.exists());
    assert_eq!(super::leftovers::processes_of(&folder), [0_u32; 0]);
}

/// A student logs in, hands a copy in, and it is corrected.
fn login_and_correct(world: &World) {
    let jar = world.folder().path().join("cookies");
    let curl = |arguments: &[&str]| {
        let mut curl = world.curl();
        curl.arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar).args(arguments);
        lab::try_run(&mut curl).unwrap()
    };
    let login = world.url("/login");
    let page = curl(&["--include", &login]);
    assert!(page.to_lowercase().contains("content-security-policy: default-src 'self'"), "{page}");
    let token = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let (email, password) = world.student();
    let form = format!("email={email}&password={password}");
    let code = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let post = |data: &str| curl(&[&code[..], &["--data", data, &login]].concat());
    assert_eq!(post(&form), "403", "without the token");
    assert_eq!(post(&format!("csrf={token}&email={email}&password=wrong")), "401");
    assert_eq!(post(&format!("csrf={token}&{form}")), "303");
    assert!(curl(&[&world.url("/api/v1/me")]).contains(email));
    let header = format!("X-CSRF-Token: {token}");
    let copy = curl(&[
        "--header",
        &header,
        "--data",
        "title=Essay&text=three+short+words",
        &world.url("/api/v1/copies"),
    ]);
    let copy: serde_json::Value = serde_json::from_str(&copy).unwrap();
    let url = world.url(&format!("/api/v1/copies/{}", copy["id"]));
    lab::wait_until("the copy to be corrected", std::time::Duration::from_secs(20), || {
        curl(&[&url]).contains("\"mark\":3")
    });
}
