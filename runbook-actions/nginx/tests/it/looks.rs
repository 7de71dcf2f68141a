//! Checks: status, configuration test, logs, certificates.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use runbook_core::testing::observer;
use runbook_core::{Check, Level};
use runbook_nginx::{AccessLimits, Validity, Window};

use crate::site::{NAME, Site};

#[tokio::test]
async fn the_status_names_master_and_workers_and_a_stopped_one() {
    let site = Site::start();
    let nginx = site.nginx();
    // Workers name themselves a moment after the master answers.
    site.wait_for("two workers", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let nginx = nginx.clone();
        let look = async move { nginx.status().check(&observer()).await.unwrap() };
        let seen = std::thread::spawn(move || runtime.block_on(look)).join().unwrap();
        seen.evidence().processes.as_ref().is_some_and(|found| found.workers.len() == 2)
    });
    let verdict = nginx.status().check(&observer()).await.unwrap();
    assert_eq!(verdict.level(), Level::Pass);
    assert!(verdict.evidence().version.starts_with("nginx/1."), "{}", verdict.why());
    site.stop();
    let verdict = nginx.status().check(&observer()).await.unwrap();
    assert_eq!((verdict.level(), verdict.why()), (Level::Fail, "no master process runs"));
}

#[tokio::test]
async fn the_configuration_test_says_what_nginx_says() {
    let site = Site::start();
    let verdict = site.nginx().config_test().check(&observer()).await.unwrap();
    assert_eq!((verdict.level(), verdict.why()), (Level::Pass, "the syntax is ok"));
    site.write("conf.d/bad.conf", "deny everybody;\n");
    let verdict = site.nginx().config_test().check(&observer()).await.unwrap();
    assert_eq!(verdict.level(), Level::Fail);
    assert!(verdict.why().contains("invalid parameter \"everybody\""), "{}", verdict.why());
}

#[tokio::test]
async fn open_connections_are_counted() {
    let site = Site::start();
    let nginx = site.nginx();
    let verdict =
        nginx.connections(&site.address(), "/status", 60).check(&observer()).await.unwrap();
    assert_eq!(verdict.level(), Level::Pass, "{}", verdict.why());
    assert!(verdict.evidence().active >= 1 && verdict.evidence().requests >= 1);
    let full = nginx.connections(&site.address(), "/status", 0).check(&observer()).await.unwrap();
    assert_eq!(full.level(), Level::Warn);
    let none = nginx.connections(&site.address(), "/", 60).check(&observer()).await.unwrap_err();
    assert!(none.to_string().contains("is no `stub_status` page"), "{none}");
}

#[tokio::test]
async fn errors_in_the_real_logs_are_counted_and_odd_lines_survived() {
    let site = Site::start();
    let nginx = site.nginx();
    site.write("conf.d/app.conf", "upstream app { server 127.0.0.1:1; }\n");
    runbook_core::Step::run(&nginx.reload(), &runbook_core::testing::context()).await.unwrap();
    for _ in 0..12 {
        assert_eq!(site.get("/x").0, 502);
    }
    let (access, errors) = (site.path("access.log"), site.path("error.log"));
    site.wait_for("the log", || site.read("access.log").lines().count() >= 12);
    let mut odd = std::fs::read(&access).unwrap();
    odd.extend(b"\xff\xfe not a request\n\n");
    std::fs::write(&access, odd).unwrap();

    let window = Window::last(Duration::from_secs(3600));
    let look = || nginx.access_log(&access, window, AccessLimits::default());
    let verdict = look().check(&observer()).await.unwrap();
    assert_eq!(verdict.level(), Level::Fail, "{}", verdict.why());
    let seen = verdict.evidence();
    assert_eq!((seen.requests, seen.statuses[&502], seen.odd), (12, 12, 1));
    assert_eq!(seen.clients, [("127.0.0.1".to_owned(), 12)]);

    let verdict = nginx.error_log(&errors, window).check(&observer()).await.unwrap();
    assert_eq!(verdict.level(), Level::Fail);
    let wanted = "http://127.0.0.1:1: failed (111: Connection refused)";
    assert!(verdict.evidence().unreachable[wanted] >= 1, "{:?}", verdict.evidence());

    // Rotated away a moment ago: the window reaches back to it.
    std::fs::rename(&access, site.path("access.log.1")).unwrap();
    std::fs::write(&access, "").unwrap();
    assert_eq!(look().check(&observer()).await.unwrap().evidence().requests, 12);
}

#[tokio::test]
async fn denied_requests_warn_and_old_ones_do_not_count() {
    let site = Site::start();
    let line = |day: &str, status: u16, client: &str| {
        format!("{client} - - [{day}:00:00:00 +0000] \"GET / HTTP/1.1\" {status} 0 \"-\" \"-\"\n")
    };
    let today = runbook_core::Timestamp::now().to_string();
    let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let month = today[5..7].parse::<usize>().unwrap() - 1;
    let today = format!("{}/{}/{}", &today[8..10], &months[month * 4..][..3], &today[..4]);
    let mut text = String::new();
    for _ in 0..10 {
        text.push_str(&line("01/Jan/2001", 500, "192.0.2.1"));
        text.push_str(&line(&today, 401, "192.0.2.66"));
        text.push_str(&line(&today, 200, "192.0.2.7"));
    }
    site.write("access.log", &text);
    let day = Window { minutes: 24 * 60 + 5 };
    let check = site.nginx().access_log(site.path("access.log"), day, AccessLimits::default());
    let verdict = check.check(&observer()).await.unwrap();
    assert_eq!(verdict.level(), Level::Warn, "{}", verdict.why());
    assert!(
        verdict.why().ends_with("10 with 401 or 403 (50.0 %), most to 192.0.2.66 (10)"),
        "{}",
        verdict.why()
    );
    assert_eq!(verdict.evidence().requests, 20);
}

#[tokio::test]
async fn certificates_are_found_in_the_configuration_and_judged_by_their_sites() {
    let site = Site::start();
    let verdict = site.nginx().certificates(Validity::default()).check(&observer()).await.unwrap();
    assert_eq!(verdict.why(), "the configuration names no certificate");
    let key = KeyPair::generate().unwrap();
    let make = |names: &[&str], days: u32| {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        params.not_after = (std::time::SystemTime::now() + day * days + day / 2).into();
        params.self_signed(&key).unwrap().pem()
    };
    let tls = format!("server {{ server_name {NAME} *.x.org _; ssl_certificate cert.pem; }}\n");
    site.write("conf.d/tls.conf", &tls);
    for (names, days, level, why) in [
        (vec![NAME], 60, Level::Pass, "60 days left"),
        (vec![NAME], 9, Level::Warn, "9 days left"),
        (
            vec!["other.example.org"],
            60,
            Level::Fail,
            "it is for other.example.org, not for shop.example.org",
        ),
    ] {
        site.write("cert.pem", &make(&names, days));
        let verdict =
            site.nginx().certificates(Validity::default()).check(&observer()).await.unwrap();
        assert_eq!(verdict.level(), level, "{}", verdict.why());
        assert!(verdict.why().contains(why), "{}", verdict.why());
    }
}

#[tokio::test]
async fn of_a_log_that_is_too_long_only_the_end_is_read_and_that_is_said() {
    use std::io::{Seek as _, Write as _};
    let site = Site::start();
    let path = site.path("long.log");
    let mut file = std::fs::File::create(&path).unwrap();
    // Sparse: it takes no room.
    file.seek(std::io::SeekFrom::Start(100 << 20)).unwrap();
    let now = runbook_core::Timestamp::now().to_string();
    let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let month = now[5..7].parse::<usize>().unwrap() - 1;
    let time =
        format!("{}/{}/{}:{}", &now[8..10], &months[month * 4..][..3], &now[..4], &now[11..19]);
    for _ in 0..3 {
        write!(file, "\n192.0.2.7 - - [{time} +0000] \"GET / HTTP/1.1\" 200 0").unwrap();
    }
    let window = Window { minutes: 60 };
    let check = site.nginx().access_log(&path, window, AccessLimits::default());
    let verdict = check.check(&observer()).await.unwrap();
    assert_eq!((verdict.evidence().requests, verdict.evidence().cut), (3, true));
    assert!(verdict.why().ends_with("of the log's last 8 MiB only"), "{}", verdict.why());
}
