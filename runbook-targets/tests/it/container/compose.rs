//! Services of compose projects, found by the labels that compose gives.

use insta::assert_snapshot;
use lab::Docker;
use runbook_core::Host;
use runbook_core::testing::context;
use runbook_targets::{Compose, Container};

use crate::container::host_of;
use crate::support::{sh, soon};

/// A container as `docker compose up` makes it for the `number`-th replica of a service.
fn service(docker: &std::sync::Arc<Docker>, service: &str, number: u32) -> lab::Container {
    let label = |name: &str, value: &str| format!("--label=com.docker.compose.{name}={value}");
    let options = [
        format!("--name=shop-{service}-{number}"),
        format!("--env=ME={service}-{number}"),
        label("project", "shop"),
        label("service", service),
        label("container-number", &number.to_string()),
        label("project.working_dir", "/srv/shop with a space"),
        label("project.config_files", "/srv/shop/compose.yaml,/srv/shop/override.yaml"),
        label("oneoff", "False"),
    ];
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    docker.run(docker.busybox(), &options, &["sleep", "100000"])
}

#[tokio::test]
async fn a_service_is_found_by_its_project() {
    // A daemon of its own: the names of its containers are fixed.
    if Docker::shared().is_none() {
        return;
    }
    let docker = std::sync::Arc::new(Docker::start());
    let host = host_of(&docker);
    let (db, _web_1, _web_2) =
        (service(&docker, "db", 1), service(&docker, "web", 1), service(&docker, "web", 2));
    let ask = async |container: Container| {
        let host = Host::new(container);
        let said = soon(context().on(&host).run(&sh("echo $ME"))).await;
        said.map(|said| said.text()).map_err(|failure| format!("{failure:?}"))
    };

    let by_name = Container::compose_service(&host, "shop", "db");
    assert_eq!(by_name.to_string(), "shop/db@local");
    assert_eq!(ask(by_name).await.unwrap(), "db-1");
    for known in [
        Compose::Dir("/srv/shop with a space".into()),
        Compose::File("/srv/shop/compose.yaml".into()),
        Compose::File("/srv/shop/override.yaml".into()),
    ] {
        assert_eq!(ask(Container::compose_service(&host, known, "db")).await.unwrap(), "db-1");
    }
    let second = Container::compose_service(&host, "shop", "web").index(2);
    assert_eq!(second.to_string(), "shop/web-2@local");
    assert_eq!(ask(second).await.unwrap(), "web-2");

    let several = ask(Container::compose_service(&host, "shop", "web")).await.unwrap_err();
    assert_snapshot!(several, @r"
    `sh -c 'echo $ME'` on shop/web@local: looking for the container shop/web on local: the service `web` has several containers: shop-web-1 (1), shop-web-2 (2)
      next: say which one with `.index(n)`
    ");
    let third = Container::compose_service(&host, "shop", "web").index(3);
    assert_snapshot!(ask(third).await.unwrap_err(), @r"
    `sh -c 'echo $ME'` on shop/web-3@local: looking for the container shop/web-3 on local: the service `web` has no container 3; it has shop-web-1 (1), shop-web-2 (2)
      next: correct the number, or scale the service
    ");
    let none = Container::compose_service(&host, "shop", "cache");
    assert_snapshot!(ask(none).await.unwrap_err(), @r"
    `sh -c 'echo $ME'` on shop/cache@local: looking for the container shop/cache on local: the service `cache` of the compose project shop has no container
      next: start it (`docker compose up -d cache`), or correct the name
    ");
    let none = Container::compose_service(&host, Compose::File("/srv/other.yaml".into()), "db");
    assert_snapshot!(ask(none).await.unwrap_err(), @r"
    `sh -c 'echo $ME'` on /srv/other.yaml/db@local: looking for the container /srv/other.yaml/db on local: the service `db` of the compose project /srv/other.yaml has no container
      next: start it (`docker compose up -d db`), or correct the name
    ");

    docker.docker(&["kill", db.name()]);
    let stopped = ask(Container::compose_service(&host, "shop", "db")).await.unwrap_err();
    assert_snapshot!(stopped, @r"
    `sh -c 'echo $ME'` on shop/db@local: the container `shop-db-1` on local does not run: it ended with exit code 137
      next: see why in its log (`docker logs shop-db-1`), and start it: `docker start shop-db-1`
    ");
}
