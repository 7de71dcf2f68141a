//! Mail to a real server, over sockets that a target opened.

mod server;

use runbook_core::testing::{context, observer};
use runbook_core::{
    Check, Engine, FailureKind, Host, Level, MemoryStore, RunOptions, Runbook, Secret, Step,
};
use runbook_mail::{Mail, MailError, Security, SmtpConfig, TlsConfig};
use runbook_targets::Local;

use crate::server::Server;

fn mail() -> Mail {
    Mail::to(["Users <users@example.org>", "others@example.org"])
        .subject("Été\r\nBcc: x@example.org")
        .text("The shop is closed.\n.\nUntil 22:30.")
}

#[tokio::test]
async fn a_server_is_reached_in_every_way_and_no_mail_is_sent() {
    for (security, private) in [
        (Security::StartTls, "private, logged in"),
        (Security::Tls, "private, logged in"),
        (Security::Plain, "in plain text, logged in"),
    ] {
        let server = Server::start(security).await;
        let verdict = server.smtp().reachable().check(&observer()).await.unwrap();
        assert_eq!(verdict.level(), Level::Pass);
        assert_eq!(verdict.why(), format!("mail.example.org ESMTP Test ({private})"));
        let certificate = verdict.evidence().certificate.as_ref();
        assert_eq!(certificate.is_some(), security != Security::Plain);
        let heard = server.heard();
        assert!(!heard.iter().any(|line| line.starts_with("MAIL")), "{heard:?}");
        assert_eq!(heard.last().map(String::as_str), Some("QUIT"), "{security:?}");
    }
}

#[tokio::test]
async fn a_mail_arrives_with_all_its_lines_and_no_header_of_somebody_else() {
    let server = Server::start(Security::StartTls).await;
    let sent = server.smtp().send(mail().html("<p>closed</p>")).run(&context()).await.unwrap();
    assert_eq!(sent, "2.0.0 queued as 4711");
    let heard = server.heard();
    let has = |line: &str| heard.iter().any(|one| one == line);
    assert!(has("MAIL FROM:<ops@example.org>") && has("RCPT TO:<users@example.org>"), "{heard:?}");
    assert!(has("RCPT TO:<others@example.org>") && has("From: Ops <ops@example.org>"), "{heard:?}");
    assert!(has("The shop is closed.") && has("..") && has("Until 22:30."), "{heard:?}");
    assert!(has("<p>closed</p>"), "{heard:?}");
    assert!(!heard.iter().any(|line| line.starts_with("Bcc")), "{heard:?}");
}

#[tokio::test]
async fn a_secret_in_a_mail_is_scrubbed() {
    let server = Server::start(Security::Plain).await;
    let _token = Secret::new("tok_0123456789abcdef");
    let mail = Mail::to(["users@example.org"])
        .subject("tok_0123456789abcdef")
        .text("it is tok_0123456789abcdef");
    server.anonymous().send(mail).run(&context()).await.unwrap();
    let heard = server.heard().join("\n");
    assert!(heard.contains("it is ***") && !heard.contains("tok_0123456789abcdef"), "{heard}");
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_refused_mail() {
    let server = Server::start(Security::StartTls).await;
    let wrong = server.anonymous().login("ops", Secret::new("wrong horse"));
    let failure = wrong.reachable().check(&observer()).await.unwrap_err();
    let text = failure.to_string();
    assert!(text.contains("refuses user or password") && text.contains("who are you"), "{text}");
    assert!(failure.to_problem().next.unwrap().contains("check user and password"));

    let send = async |to: &str| {
        let step = server.smtp().send(Mail::to([to]).subject("x").text("y"));
        step.run(&context()).await.unwrap_err()
    };
    let refused = send("nobody@example.org").await;
    assert!(
        refused.to_string().contains("does not take the mail: ")
            && refused.to_string().contains("no such user"),
        "{refused}"
    );
    let later = send("later@example.org").await;
    assert_eq!(later.to_problem().next.unwrap(), "try again in some minutes");
    let bad = send("no address").await;
    assert!(bad.to_string().starts_with("`no address` is no address"), "{bad}");
}

#[tokio::test]
async fn a_password_is_never_sent_in_plain_text() {
    let server = Server::start(Security::Plain).await;
    let here = Host::new(Local::new());
    let far = SmtpConfig {
        security: Security::Plain,
        ..SmtpConfig::new("mail.example.org", "a@example.org")
    };
    let smtp = far.build(&here).unwrap().login("ops", Secret::new("correct horse"));
    let failure = smtp.reachable().check(&observer()).await.unwrap_err();
    assert!(failure.to_string().ends_with("would travel in plain text"), "{failure}");

    let wants_tls = SmtpConfig { security: Security::StartTls, ..server.config() };
    let smtp = wants_tls.build(&here).unwrap().login("ops", Secret::new("correct horse"));
    let failure = smtp.reachable().check(&observer()).await.unwrap_err();
    assert!(failure.to_string().ends_with("offers no STARTTLS"), "{failure}");
    assert!(!server.heard().iter().any(|line| line.starts_with("AUTH")));
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_ends_it_before_the_password() {
    for security in [Security::StartTls, Security::Tls] {
        let server = Server::start(security).await;
        let other = Server::start(security).await;
        let smtp = server.smtp().tls(other.trusted());
        let failure = smtp.reachable().check(&observer()).await.unwrap_err();
        assert!(failure.to_string().contains("the certificate of mail.example.org"), "{failure}");
        assert!(!server.heard().iter().any(|line| line.starts_with("AUTH")));
    }
}

#[tokio::test]
async fn the_wrong_port_is_told() {
    let server = Server::start(Security::Plain).await;
    let here = Host::new(Local::new());
    let tls = SmtpConfig { security: Security::Tls, ..server.config() }.build(&here).unwrap();
    let failure = tls.tls(server.trusted()).reachable().check(&observer()).await.unwrap_err();
    assert!(failure.to_string().contains("does not speak TLS"), "{failure}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let nobody = SmtpConfig { port: Some(port), ..server.config() }.build(&here).unwrap();
    let failure = nobody.reachable().check(&observer()).await.unwrap_err();
    assert!(failure.to_string().starts_with("connecting to the mail server"), "{failure}");

    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = web.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = web.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let http = SmtpConfig { port: Some(port), ..server.config() }.build(&here).unwrap();
    let failure = http.reachable().check(&observer()).await.unwrap_err();
    assert!(failure.to_string().contains("is no mail server: HTTP/1.1 400"), "{failure}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = SmtpConfig {
        port: Some(silent.local_addr().unwrap().port()),
        connect: Some("127.0.0.1".into()),
        timeout_seconds: Some(0),
        ..SmtpConfig::new("mail.example.org", "a@example.org")
    };
    let smtp = config.build(&Host::new(Local::new())).unwrap();
    let failure = smtp.send(mail()).run(&context()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TimedOut);
}

#[tokio::test]
async fn the_end_of_a_run_is_mailed() {
    let server = Server::start(Security::StartTls).await;
    let mut b = Runbook::new("Deploy the shop");
    b.check(server.anonymous().reachable());
    b.notify(server.smtp().notifier(["oncall@example.org"]));
    let plan = b.build().unwrap();
    Engine::new(MemoryStore::new()).run(&plan, RunOptions::new()).outcome().await.unwrap();
    let heard = server.heard();
    let has = |line: &str| heard.iter().any(|one| one == line);
    assert!(
        has("Subject: Deploy the shop: succeeded") && has("To: oncall@example.org"),
        "{heard:?}"
    );
}

#[test]
fn a_bad_configuration_says_what_is_bad() {
    let here = Host::new(Local::new());
    let bad = SmtpConfig::new("mail.example.org", "nobody").build(&here).unwrap_err();
    assert!(matches!(bad, MailError::Address { .. }), "{bad:?}");
    let tls = TlsConfig { ca_file: Some("/nonexistent/ca.pem".into()), ..TlsConfig::default() };
    let config =
        SmtpConfig { tls: Some(tls), ..SmtpConfig::new("mail.example.org", "a@example.org") };
    let error = config.build(&here).unwrap_err().to_string();
    assert!(error.contains("reading /nonexistent/ca.pem"), "{error}");
}
