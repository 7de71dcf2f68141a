//! Sockets as the container sees them, whatever program there is to carry them.

use insta::assert_snapshot;
use runbook_core::testing::{FakeTarget, Reply, observer, prefix};
use runbook_core::{Address, Host};
use runbook_targets::Container;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Place;
use crate::container::place;
use crate::support::{comes_true, soon};

/// The network of a container is its own, so is every port.
fn tcp() -> Address {
    Address::Tcp("localhost".into(), 7777)
}

/// Starts a service inside that says back what it hears: on a port, on a socket.
fn serve(place: &Place) {
    let id = place.container.id();
    place.container.add("socat");
    for listen in ["TCP-LISTEN:7777,fork,reuseaddr", "UNIX-LISTEN:/run/echo,fork"] {
        // Not by `PIPE`: a socat that reads what it writes itself blocks once that pipe is full.
        // After the end of one direction it waits for the rest of the other, as long as any test.
        place.docker.docker(&["exec", "-d", id, "socat", "-t", "60", listen, "EXEC:cat"]);
    }
    let up = |path: &str| {
        let mut look = place.docker.cli();
        look.args(["exec", id, "sh", "-c", path]).output().unwrap().status.success()
    };
    lab::wait_until("the services to listen", crate::support::LONG, || {
        up("[ -S /run/echo ] && grep -q ':1E61 .* 0A ' /proc/net/tcp")
    });
}

/// Takes programs away, so that another one carries the sockets.
fn without(place: &Place, programs: &[&str]) {
    let mut gone = vec!["exec", place.container.id(), "rm", "-f"];
    let paths: Vec<_> = programs.iter().map(|program| format!("/bin/{program}")).collect();
    gone.extend(paths.iter().map(String::as_str));
    place.docker.docker(&gone);
}

async fn says_back(host: &Host, address: &Address) {
    let mut stream = soon(observer().on(host).connect(address)).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"ping");
    // Many bytes, both ways at once, and the end.
    let (mut read, mut write) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut heard = vec![0; sent.len()];
    soon(async { tokio::join!(send, read.read_exact(&mut heard)) }).await.1.unwrap();
    assert!(heard == sent);
    let mut rest = Vec::new();
    soon(read.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

async fn refused(host: &Host, address: Address) -> String {
    let failure = soon(observer().on(host).connect(&address)).await.err().unwrap();
    format!("{failure:?}").replace(host.name(), "shop@web-1")
}

#[tokio::test]
async fn perl_carries_sockets() {
    let place = place!(bash);
    serve(&place);
    without(&place, &["socat", "bash"]);
    let host = place.container();
    says_back(&host, &tcp()).await;
    says_back(&host, &Address::Unix("/run/echo".into())).await;
    assert_snapshot!(refused(&host, Address::Tcp("127.0.0.1".into(), 1)).await, @r"
    connecting to 127.0.0.1:1 from shop@web-1: connection refused
      next: nothing listens there: see whether the service runs, and where
    ");
    assert_snapshot!(refused(&host, Address::Unix("/run/none".into())).await, @r"
    connecting to unix:/run/none from shop@web-1: no such file or directory
      next: there is no such socket: see whether the service runs, and where
    ");
}

#[tokio::test]
async fn socat_carries_sockets() {
    let place = place!(busybox);
    serve(&place);
    let host = place.container();
    says_back(&host, &tcp()).await;
    says_back(&host, &Address::Unix("/run/echo".into())).await;
    assert_snapshot!(refused(&host, Address::Tcp("127.0.0.1".into(), 1)).await, @r"
    connecting to 127.0.0.1:1 from shop@web-1: connection refused
      next: nothing listens there: see whether the service runs, and where
    ");
    assert_snapshot!(refused(&host, Address::Unix("/run/none".into())).await, @r"
    connecting to unix:/run/none from shop@web-1: no such file or directory
      next: there is no such socket: see whether the service runs, and where
    ");
}

#[tokio::test]
async fn netcat_carries_tcp() {
    let place = place!(busybox);
    serve(&place);
    without(&place, &["socat"]);
    let host = place.container();
    says_back(&host, &tcp()).await;
    let text = |said: String| said.replace(place.container.name(), "shop");
    assert_snapshot!(refused(&host, Address::Tcp("127.0.0.1".into(), 1)).await, @r"
    connecting to 127.0.0.1:1 from shop@web-1: connection refused
      next: nothing listens there: see whether the service runs, and where
    ");
    assert_snapshot!(text(refused(&host, Address::Unix("/run/echo".into())).await), @r"
    connecting to unix:/run/echo from shop@web-1: the container `shop` has no program that carries unix sockets
      next: add `perl` or `socat` to its image
    ");
}

#[tokio::test]
async fn bash_carries_tcp() {
    let place = place!(bash);
    serve(&place);
    without(&place, &["socat", "perl"]);
    let host = place.container();
    says_back(&host, &tcp()).await;
    assert_snapshot!(refused(&host, Address::Tcp("127.0.0.1".into(), 1)).await, @r"
    connecting to 127.0.0.1:1 from shop@web-1: connection refused
      next: nothing listens there: see whether the service runs, and where
    ");
}

#[tokio::test]
async fn without_any_program_a_container_on_the_host_network_uses_that_of_the_host() {
    let place = place!(bash, &["--network=host"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port());
    let host = place.container();
    let serve = async || {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = [0; 4];
        // Whoever only tries leaves without a word.
        if stream.read_exact(&mut heard).await.is_ok() {
            stream.write_all(&heard).await.unwrap();
            return true;
        }
        false
    };
    for missing in [&["perl"][..], &["bash"]] {
        without(&place, missing);
        let speak = async {
            let mut stream = observer().on(&host).connect(&address).await.unwrap();
            stream.write_all(b"ping").await.unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"ping");
        };
        let serve = async { while !serve().await {} };
        soon(async { tokio::join!(serve, speak) }).await;
    }
}

#[tokio::test]
async fn without_any_program_what_is_missing_is_said() {
    let place = place!(bash);
    without(&place, &["perl", "bash"]);
    let host = place.container();
    let text = |said: String| said.replace(place.container.name(), "shop");
    assert_snapshot!(text(refused(&host, tcp()).await), @r"
    connecting to localhost:7777 from shop@web-1: the container `shop` has no program that carries TCP sockets
      next: add `perl`, `socat`, `nc` or `bash` to its image
    ");
    assert_snapshot!(text(refused(&host, Address::Unix("/run/x".into())).await), @r"
    connecting to unix:/run/x from shop@web-1: the container `shop` has no program that carries unix sockets
      next: add `perl` or `socat` to its image
    ");
    assert_snapshot!(text(refused(&host, Address::Tcp("-e".into(), 1)).await), @r"connecting to -e:1 from shop@web-1: `-e` is no name of a host");
}

#[tokio::test]
async fn without_any_program_a_container_is_reached_on_its_own_address() {
    let web = FakeTarget::new("web-1");
    let inspected = "ID\n/shop\nrunning\n0\nfalse\n2026-01-01T00:00:00Z\nbridge\n192.0.2.17 \n\n";
    web.on(prefix("docker container inspect")).reply(Reply::stdout(inspected));
    web.on(prefix("docker exec")).reply(Reply::stdout("+\n!"));
    web.listen(&Address::Tcp("192.0.2.17".into(), 5432), |mut stream| {
        tokio::spawn(async move { stream.write_all(b"hello").await });
    });
    let host = Host::new(Container::new(&Host::new(web), "shop"));
    let local = Address::Tcp("localhost".into(), 5432);
    let mut stream = soon(observer().on(&host).connect(&local)).await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");

    assert_snapshot!(refused(&host, Address::Tcp("localhost".into(), 1)).await, @r"
    connecting to localhost:1 from shop@web-1: connecting to 192.0.2.17:1 on web-1: nothing listens there
      next: have the service listen on all addresses of the container `shop`, or add `perl`, `socat`, `nc` or `bash` to its image
    ");
    // Only the container knows what another name stands for.
    assert_snapshot!(refused(&host, Address::Tcp("db".into(), 5432)).await, @r"
    connecting to db:5432 from shop@web-1: the container `shop` has no program that carries TCP sockets
      next: add `perl`, `socat`, `nc` or `bash` to its image
    ");
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_no_program_behind() {
    for (image, missing) in [
        (lab::Docker::bash as super::Image, &["socat", "bash"][..]),
        (lab::Docker::busybox, &["socat"]),
    ] {
        let Some(place) = Place::start(image, &[]) else { return };
        serve(&place);
        let host = place.container();
        let top = || place.docker.docker(&["top", place.container.id(), "-eo", "pid,args"]);
        let before = top().lines().count();
        without(&place, missing);
        let mut stream = soon(observer().on(&host).connect(&tcp())).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        assert!(top().lines().count() > before);
        drop(stream);
        comes_true("only the services run", || top().lines().count() == before).await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_container() {
    let place = place!(busybox);
    serve(&place);
    let host = place.container();
    let mut stream = soon(observer().on(&host).connect(&tcp())).await.unwrap();
    place.docker.docker(&["kill", place.container.id()]);
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}
