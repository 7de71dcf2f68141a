//! A Docker daemon of the test's own.

use lab::{Docker, with_environment};

#[test]
fn a_daemon_runs_containers_and_leaves_nothing_behind() {
    let Some(docker) = Docker::shared() else { return };
    let folder = docker.socket().parent().unwrap().to_owned();
    let container = docker.run(docker.busybox(), &[], &["sleep", "1000"]);
    assert_eq!(docker.docker(&["exec", container.name(), "whoami"]), "root");
    let debian = docker.run(docker.bash(), &["-u", "app"], &["sleep", "1000"]);
    let script =
        "[[ $(id -u) = 1000 ]] && ls --version | head -1 && ps -e | wc -l && grep -c . /etc/passwd";
    let said = docker.docker(&["exec", debian.name(), "bash", "-c", script]);
    assert!(said.contains("coreutils"), "{said}");
    assert!(!with_environment("LAB_DOCKER", folder.to_str().unwrap()).is_empty());

    let id = container.id().to_owned();
    drop((container, debian));
    assert!(!docker.docker(&["ps", "-aq", "--no-trunc"]).contains(&id));
    let (first, second) = (docker.clone(), Docker::shared().unwrap());
    assert_eq!(first.host(), second.host(), "it is shared while anybody holds it");
    drop((first, second, docker));
    assert!(!folder.exists());
    assert!(with_environment("LAB_DOCKER", folder.to_str().unwrap()).is_empty());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(folder.to_str().unwrap()));
}
