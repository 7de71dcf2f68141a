use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::WriteOptions;
use crate::error::Result;
use crate::secret::Secret;
use crate::testing::{FakeTarget, Surroundings};

const MIB: u64 = 1 << 20;

fn world() -> (FakeTarget, Host, Surroundings) {
    let target = FakeTarget::new("web-1").dir("/srv");
    (target.clone(), Host::new(target), Surroundings::new())
}

fn told(around: &Surroundings) -> Vec<Transfer> {
    let transfer = |event| match event {
        EventKind::Transfer(transfer) => Some(*transfer),
        _ => None,
    };
    around.events().into_iter().filter_map(transfer).collect()
}

fn outline(of: &[Transfer]) -> Vec<(Direction, TransferState, u64, Option<u64>)> {
    of.iter().map(|t| (t.direction, t.state, t.done, t.total)).collect()
}

#[tokio::test]
async fn a_small_file_is_told_once_when_it_has_arrived() {
    let (_, host, around) = world();
    let cx = around.context();
    cx.on(&host).write("/srv/motd", "welcome").await.unwrap();
    assert_eq!(cx.on(&host).read_text("/srv/motd").await.unwrap(), "welcome");
    cx.on(&host).write("/srv/empty", "").await.unwrap();
    use {Direction::*, TransferState::*};
    assert_eq!(
        outline(&told(&around)),
        [(Up, Done, 7, Some(7)), (Down, Done, 7, Some(7)), (Up, Done, 0, Some(0))]
    );
    let event = serde_json::to_value(&around.events()[0]).unwrap();
    insta::assert_snapshot!(event, @r#"{"transfer":{"direction":"up","done":7,"elapsed_ms":0,"host":"web-1","path":"/srv/motd","state":"done","total":7,"unit":"unit"}}"#);
}

/// Sends `mebibytes`, one in each tenth of a second.
async fn slowly(around: &Surroundings, host: &Host, mebibytes: u64, said: Option<u64>) {
    let (mut from, to) = tokio::io::duplex(MIB as usize);
    let feed = async move {
        let piece = vec![b'x'; MIB as usize];
        for _ in 0..mebibytes {
            from.write_all(&piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let options = WriteOptions { size: said, ..WriteOptions::default() };
    let cx = around.context();
    let access = cx.on(host);
    let write = access.write_from("/srv/shop.tar.gz", Box::new(to), &options);
    let ((), written) = tokio::join!(feed, write);
    written.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_from_its_beginning_to_its_end_but_not_with_every_piece() {
    let (_, host, around) = world();
    slowly(&around, &host, 40, Some(40 * MIB)).await;
    let told = told(&around);
    let (first, last) = (told.first().unwrap(), told.last().unwrap());
    assert_eq!((first.done, first.state), (0, TransferState::Moving));
    assert_eq!((last.done, last.state), (40 * MIB, TransferState::Done));
    assert!(told.iter().all(|t| t.total == Some(40 * MIB)), "{told:?}");
    assert!(told.is_sorted_by_key(|t| (t.done, t.elapsed_ms)), "{told:?}");
    // Four seconds, in which it moved 40 times and more.
    assert!((12..=18).contains(&told.len()), "{} events", told.len());
    assert_eq!(last.file_name(), "shop.tar.gz");
    let rate = last.rate().unwrap();
    assert!((9 * MIB..=11 * MIB).contains(&rate), "{rate}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_unknown_length_has_a_total_at_its_end_only() {
    let (_, host, around) = world();
    slowly(&around, &host, 10, None).await;
    let told = told(&around);
    let (last, before) = told.split_last().unwrap();
    assert!(before.len() > 1 && before.iter().all(|t| t.total.is_none()), "{told:?}");
    assert_eq!((last.total, last.state), (Some(10 * MIB), TransferState::Done));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_longer_than_was_said_has_no_total() {
    let (_, host, around) = world();
    slowly(&around, &host, 10, Some(5 * MIB)).await;
    let told = told(&around);
    let over: Vec<_> = told.iter().filter(|t| t.done > 5 * MIB).map(|t| t.total).collect();
    let (last, before) = over.split_last().unwrap();
    assert_eq!(*last, Some(10 * MIB));
    assert!(!before.is_empty() && before.iter().all(Option::is_none), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_download_finds_out_how_much_is_to_come() {
    let (target, host, around) = world();
    drop(target.file("/srv/dump", vec![b'x'; 8 * MIB as usize]));
    let mut file = around.observer().on(&host).open("/srv/dump").await.unwrap();
    let mut piece = vec![0; MIB as usize];
    for _ in 0..8 {
        file.read_exact(&mut piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let moving = told(&around);
    assert_eq!(moving[0].total, None);
    assert!(moving[2..].iter().all(|t| t.total == Some(8 * MIB)), "{moving:?}");
    assert!(moving.iter().all(|t| t.state == TransferState::Moving), "{moving:?}");
    assert_eq!(file.read(&mut piece).await.unwrap(), 0);
    assert_eq!(told(&around).last().unwrap().state, TransferState::Done);
}

#[tokio::test]
async fn what_does_not_arrive_is_told_as_cut() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Poller<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Poll::Ready(Err(std::io::Error::other("the pipe broke")))
        }
    }
    let (target, host, around) = world();
    drop(target.file("/srv/dump", vec![b'x'; 8 * MIB as usize]));
    let cx = around.context();
    let broken = b"some".chain(Broken);
    let options = WriteOptions::default().size(10);
    let written: Result<()> = cx.on(&host).write_from("/srv/a", Box::new(broken), &options).await;
    assert!(written.is_err());
    let mut head = [0; 5];
    cx.on(&host).open("/srv/dump").await.unwrap().read_exact(&mut head).await.unwrap();
    use {Direction::*, TransferState::*};
    assert_eq!(outline(&told(&around)), [(Up, Cut, 4, Some(10)), (Down, Cut, 5, None)]);
}

#[tokio::test]
async fn a_large_file_is_told_with_its_hash_once_it_has_arrived() {
    // As `head -c .. /dev/zero | tr '\0' x | sha256sum` says.
    let small = Some("1abe08ebecf1c18cab71f6fe28aaddf20268f85bad78bb9a72f88ca47c874662");
    let large = Some("8f990ba0b577b51cf009ea049368c16bbda1b21e1b93be07a824758bb253c39b");
    let larger = Some("154b8ed3c2383ce429058768595935faf7851b5c38db2b1732594be1d88bc05a");
    let sums = [
        (SMALL, None, None),
        (SMALL + 1, small, None),
        (LARGE, large, None),
        (LARGE + 1, larger, larger),
    ];
    for (size, up, down) in sums {
        let (_, host, around) = world();
        let cx = around.context();
        cx.on(&host).write("/srv/shop", vec![b'x'; size as usize]).await.unwrap();
        cx.on(&host).read("/srv/shop").await.unwrap();
        let told = told(&around);
        let (done, moving): (Vec<_>, Vec<_>) =
            told.iter().partition(|t| t.state == TransferState::Done);
        let said: Vec<_> = done.iter().map(|t| (t.direction, t.sha256.as_deref())).collect();
        assert_eq!(said, [(Direction::Up, up), (Direction::Down, down)], "{size}");
        assert!(moving.iter().all(|t| t.sha256.is_none()), "{moving:?}");
    }
}

#[tokio::test]
async fn a_large_file_that_does_not_arrive_has_no_hash() {
    let (target, host, around) = world();
    drop(target.file("/srv/dump", vec![b'x'; 8 * MIB as usize]));
    let cx = around.context();
    let mut most = vec![0; 8 * MIB as usize - 1];
    cx.on(&host).open("/srv/dump").await.unwrap().read_exact(&mut most).await.unwrap();
    let nowhere = cx.on(&host).write("/missing/dump", most).await;
    assert!(nowhere.is_err());
    let told = told(&around);
    assert_eq!(told.iter().filter(|t| t.state == TransferState::Cut).count(), 2, "{told:?}");
    assert!(told.iter().all(|t| t.sha256.is_none()), "{told:?}");
}

#[tokio::test]
async fn no_secret_is_in_the_name_of_a_file() {
    let (_, host, around) = world();
    let secret = Secret::new("k3ep-th1s-quiet");
    let path = format!("/srv/{}.txt", secret.expose());
    around.context().on(&host).write(path, "x").await.unwrap();
    assert_eq!(told(&around)[0].path, "/srv/***.txt");
}

#[test]
fn a_journal_keeps_only_what_has_a_hash() {
    let mut transfer = Transfer {
        unit: UnitId::new("upload"),
        host: "web-1".into(),
        path: "/srv/a".into(),
        direction: Direction::Up,
        state: TransferState::Moving,
        done: 1,
        total: None,
        elapsed_ms: 0,
        sha256: None,
    };
    assert_eq!(transfer.rate(), None);
    let event = EventKind::Transfer(Box::new(transfer.clone()));
    assert!(!event.is_durable());
    assert_eq!(event.unit().unwrap().as_str(), "upload");
    transfer.sha256 = Some("9f".repeat(32));
    assert!(EventKind::Transfer(Box::new(transfer)).is_durable());
}
