use std::time::Duration;

use insta::assert_snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::{Surroundings, context, observer};
use crate::{FileKind, Host, Secret, WriteOptions};

fn host(target: &FakeTarget) -> Host {
    Host::new(target.clone())
}

#[tokio::test]
async fn an_unscripted_command_says_what_is_scripted() {
    let target = FakeTarget::new("web-1");
    target.on("uptime").reply(Reply::ok());
    target.on(prefix("ls -l")).reply(Reply::ok());
    let failure = context().on(&host(&target)).run(&Command::new("lsof")).await.unwrap_err();
    assert_snapshot!(format!("{failure:?}"), @r"
    `lsof` on web-1: no reply is scripted for it (scripted: `uptime`, `ls -l ..`)
      next: script one with `on(..).reply(..)`, or a default with `otherwise(..)`
    ");
}

#[tokio::test]
async fn replies_come_in_order_and_the_last_one_stays() {
    let target = FakeTarget::new("web-1");
    target.on("curl localhost").replies([Reply::exit(7), Reply::exit(7), Reply::stdout("up")]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let curl = Command::new("curl").arg("localhost").read_only();
        seen.push(observer().on(&host(&target)).status(&curl).await.unwrap().exit);
    }
    use crate::Exit::Code;
    assert_eq!(seen, [Code(7), Code(7), Code(0), Code(0)]);
}

#[tokio::test]
async fn a_prefix_matches_whole_words() {
    let target = FakeTarget::new("web-1");
    target.on(prefix("ls")).reply(Reply::ok());
    let host = host(&target);
    context().on(&host).run(&Command::new("ls")).await.unwrap();
    context().on(&host).run(&Command::new("ls").arg("/tmp")).await.unwrap();
    context().on(&host).run(&Command::new("lsblk")).await.unwrap_err();
}

#[tokio::test]
async fn the_record_holds_what_a_command_was_given_and_no_secret() {
    let target = FakeTarget::new("db-1");
    target.otherwise(Reply::ok());
    let command = Command::new("psql")
        .arg("shop db")
        .env("PGPASSWORD", Secret::new("hidden-from-the-record"))
        .dir("/srv")
        .stdin(Secret::new("hidden-from-the-record-too"));
    context().on(&host(&target)).run(&command).await.unwrap();
    let call = target.commands().remove(0);
    assert_eq!(call.line, "psql 'shop db'");
    assert_eq!(call.args, ["psql", "shop db"]);
    assert_eq!(call.env, ["PGPASSWORD"]);
    assert_eq!(call.dir.as_deref(), Some(Path::new("/srv")));
    assert_eq!(call.cookie, "test:unit");
    assert!(!format!("{call:?}").contains("hidden"));
}

#[tokio::test]
async fn the_nth_command_or_change_fails_on_demand() {
    let target = FakeTarget::new("web-1");
    target.otherwise(Reply::ok());
    let host = host(&target);
    let cx = context();
    target.fail_command(2, Failure::new(FailureKind::Disconnected, "cable cut"));
    target.fail_change(2, Failure::msg("disk full").next("free some space"));
    cx.on(&host).run(&Command::new("one")).await.unwrap();
    let cut = cx.on(&host).run(&Command::new("two")).await.unwrap_err();
    assert_eq!(cut.kind(), FailureKind::Disconnected);
    cx.on(&host).run(&Command::new("three")).await.unwrap();
    cx.on(&host).write("/a", "a").await.unwrap();
    let full = cx.on(&host).write("/b", "b").await.unwrap_err();
    assert_snapshot!(format!("{full:?}"), @r"
    disk full
      next: free some space
    ");
    assert!(!cx.on(&host).exists("/b").await.unwrap());
    cx.on(&host).write("/b", "b").await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_cuts_off_what_runs_and_all_that_follows() {
    let target = FakeTarget::new("web-1");
    target.otherwise(Reply::never_ends());
    let (host, cx) = (host(&target), context());
    let (failure, ()) = tokio::join!(
        async { cx.on(&host).run(&Command::new("sleep")).await.unwrap_err() },
        async { target.disconnect() }
    );
    assert_eq!(failure.kind(), FailureKind::Disconnected);
    assert_eq!(cx.on(&host).stat("/").await.unwrap_err().kind(), FailureKind::Disconnected);
    target.reconnect();
    cx.on(&host).stat("/").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reply_can_take_its_time() {
    let target = FakeTarget::new("web-1");
    target.on("slow").reply(Reply::stdout("done").after(Duration::from_secs(60)));
    let begin = tokio::time::Instant::now();
    context().on(&host(&target)).run(&Command::new("slow")).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(60));
}

#[tokio::test]
async fn the_streams_of_a_command_end_with_it_before_anybody_waits() {
    let target = FakeTarget::new("web-1");
    target.otherwise(Reply::stdout("all of it").after(Duration::from_millis(1)));
    let (host, cx) = (host(&target), context());
    let mut running = cx.on(&host).spawn(&Command::new("cat")).await.unwrap();
    let mut said = String::new();
    running.stdout().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "all of it");
    assert!(running.wait().await.unwrap().success());
}

#[tokio::test]
async fn what_listens_can_be_spoken_with() {
    let target = FakeTarget::new("cache-1");
    let address = Address::Unix("/run/cache.sock".into());
    target.listen(&address, |mut stream| {
        tokio::spawn(async move {
            let mut ping = [0; 4];
            stream.read_exact(&mut ping).await.unwrap();
            stream.write_all(b"pong").await.unwrap();
        });
    });
    let (host, cx) = (host(&target), observer());
    let mut stream = cx.on(&host).connect(&address).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "pong");
    let nobody = cx.on(&host).connect(&Address::Tcp("::1".into(), 1)).await.err().unwrap();
    assert_snapshot!(nobody, @"connecting to [::1]:1 on cache-1: nothing listens there");
}

#[tokio::test]
async fn a_reply_may_change_the_disk() {
    let target = FakeTarget::new("web-1").dir("/srv");
    let disk = target.disk();
    target.on("pm2 start shop").reply_with(move |_| {
        disk.write("/srv/pids/shop.pid", "7").unwrap();
        Reply::ok()
    });
    context().on(&host(&target)).run(&Command::new("pm2").args(["start", "shop"])).await.unwrap();
    assert_eq!(target.text("/srv/pids/shop.pid"), "7");
    assert_eq!(target.changes(), ["pm2 start shop"]);
}

#[test]
fn a_copy_on_the_disk_keeps_modes_and_links_and_refuses_what_is_in_the_way() {
    let target = FakeTarget::new("web-1")
        .file_with_mode("/srv/a/one", "1", 0o600)
        .file("/srv/a2/other", "2")
        .link("/srv/a/link", "one");
    let disk = target.disk();
    disk.copy("/srv/a", "/srv/b").unwrap();
    assert_eq!(disk.stat("/srv/b/one").unwrap().mode, 0o600);
    assert_eq!(disk.stat("/srv/b/link").unwrap().link.as_deref(), Some(Path::new("one")));
    assert!(disk.stat("/srv/b2").is_none());
    assert_eq!(disk.copy("/srv/a", "/srv/b").unwrap_err(), "/srv/b is in the way");
    assert_eq!(disk.copy("/srv/c", "/srv/d").unwrap_err(), "no such file or directory");
    drop(target);
    assert_eq!(disk.write("/srv/x", "").unwrap_err(), "the target is gone");
}

#[tokio::test]
async fn files_keep_modes_and_links_as_a_real_system_does() {
    let target = FakeTarget::new("web-1")
        .file_with_mode("/etc/shop.conf", "old", 0o600)
        .file("/srv/releases/1/index.html", "one")
        .link("/srv/current", "releases/1");
    let (host, around) = (host(&target), Surroundings::new());
    let cx = around.context();
    let fs = cx.on(&host);

    fs.write("/etc/shop.conf", "new").await.unwrap();
    let info = fs.stat("/etc/shop.conf").await.unwrap().unwrap();
    assert_eq!((info.mode, info.kind, info.size), (0o600, FileKind::File, 3));
    fs.write_with("/etc/shop.conf", "new", &WriteOptions::mode(0o640)).await.unwrap();
    assert_eq!(fs.stat("/etc/shop.conf").await.unwrap().unwrap().mode, 0o640);

    assert_eq!(fs.read_text("/srv/current/index.html").await.unwrap(), "one");
    fs.create_dir("/srv/releases/2/assets").await.unwrap();
    fs.copy("/srv/current/index.html", "/srv/releases/2/index.html").await.unwrap();
    fs.symlink("releases/2", "/srv/current").await.unwrap();
    let current = fs.stat("/srv/current").await.unwrap().unwrap();
    assert_eq!(current.link.as_deref(), Some(Path::new("releases/2")));
    let names: Vec<_> =
        fs.list("/srv/current").await.unwrap().into_iter().map(|info| info.path).collect();
    assert_eq!(names, ["/srv/current/assets", "/srv/current/index.html"].map(PathBuf::from));

    fs.rename("/srv/releases", "/srv/old").await.unwrap();
    assert_eq!(target.text("/srv/old/2/index.html"), "one");
    fs.remove_tree("/srv/old").await.unwrap();
    fs.remove("/srv/old").await.unwrap();
    assert!(!fs.exists("/srv/old/1").await.unwrap());

    let mut refused = Vec::new();
    refused.push(fs.write("/missing/file", "x").await.unwrap_err());
    refused.push(fs.write("/etc", "x").await.unwrap_err());
    refused.push(fs.remove("/etc").await.unwrap_err());
    refused.push(fs.read("/etc").await.unwrap_err());
    refused.push(fs.read("/etc/shop.conf/x").await.unwrap_err());
    refused.push(fs.list("/srv/current").await.unwrap_err());
    refused.push(fs.create_dir("/etc/shop.conf").await.unwrap_err());
    refused.push(fs.rename("/nothing", "/etc/x").await.unwrap_err());
    refused.push(fs.rename("/etc", "/etc/x").await.unwrap_err());
    let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert_snapshot!(refused.join("\n"), @r"
    write /missing/file on web-1: no such file or directory
    write /etc on web-1: is a directory
    remove /etc on web-1: directory not empty
    reading /etc on web-1: is a directory
    reading /etc/shop.conf/x on web-1: not a directory
    listing /srv/current on web-1: no such file or directory
    create folder /etc/shop.conf on web-1: /etc/shop.conf is in the way
    rename /nothing to /etc/x on web-1: no such file or directory
    rename /etc to /etc/x on web-1: it is inside itself
    ");
}

#[tokio::test]
async fn looking_changes_nothing() {
    let target = FakeTarget::new("web-1").file("/etc/motd", "hello");
    target.otherwise(Reply::ok());
    let (host, cx) = (host(&target), observer());
    let before = target.tree();
    cx.on(&host).read("/etc/motd").await.unwrap();
    cx.on(&host).list("/etc").await.unwrap();
    cx.on(&host).output(&Command::new("df").read_only()).await.unwrap();
    assert!(target.changes().is_empty());
    assert_eq!(target.tree(), before);
}
