//! What is resolved is what `ssh -G` says, and what is expanded is what `ssh` does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

struct Files(tempfile::TempDir);

impl Files {
    /// `DIR` stands for the folder of the files, the first of which is the configuration.
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let text = text.replace("DIR", dir.path().to_str().unwrap());
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    fn one(text: &str) -> Self {
        Self::new(&[("config", text)])
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("config")
    }

    fn lookup(&self, name: &str) -> Lookup {
        Lookup { name: name.to_owned(), config: Some(self.config()), user: None, port: None }
    }

    async fn resolve(&self, name: &str) -> Resolved {
        self.lookup(name).resolve().await.unwrap()
    }

    /// `ssh -G` as a user would run it.
    fn real(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        let output = Command::new("ssh")
            .arg("-G")
            .arg("-F")
            .arg(self.config())
            .arg(name)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            found.entry(keyword.to_owned()).or_default().push(value.to_owned());
        }
        found
    }
}

/// `Host`, `Match` of every kind, `Include`, wildcards, negation, and the order of it all.
const GENERAL: &[(&str, &str)] = &[
    (
        "config",
        r#"
# the first value that is found wins
Include DIR/more.conf
Host web
    HostName web1.example.org
    User deploy
    Port 2222
Host db db-*
    HostName %h.internal.example.org
    User "postgres"
    Port=5022
    IdentitiesOnly yes
    IdentityFile DIR/keys/%r@%h
Host *.example.org !secret.example.org
    User example
    ConnectTimeout 7
    ServerAliveInterval 15
    ServerAliveCountMax 4
    HashKnownHosts yes
Host secret.example.org
    HostKeyAlias vault
    StrictHostKeyChecking accept-new
    PasswordAuthentication no
    PubkeyAuthentication no
    KbdInteractiveAuthentication no
Match host web1.example.org
    IdentityFile DIR/keys/web
Match originalhost other exec "test %n = other"
    HostName 192.0.2.7
    User from-exec
Match originalhost other exec "false"
    Port 1
Match user deploy
    HostKeyAlgorithms ssh-ed25519,rsa-sha2-512
    Ciphers aes256-gcm@openssh.com
Match final host *.internal.example.org
    ConnectTimeout 3
    UserKnownHostsFile DIR/known_%h DIR/second
    GlobalKnownHostsFile none
Host v6
    HostName 2001:db8::7
Host *
    ServerAliveCountMax 9
    IdentityAgent DIR/agent
"#,
    ),
    ("more.conf", "Host web included\n    ServerAliveInterval 33\nHost included\n    Port 77\n"),
];

#[tokio::test]
async fn a_host_is_resolved_as_ssh_resolves_it() {
    let files = Files::new(GENERAL);
    let names = [
        "web",
        "db",
        "db-7",
        "included",
        "other",
        "a.example.org",
        "secret.example.org",
        "nobody@web",
        "v6",
        "WEB",
        "192.0.2.1",
        "2001:db8::1",
    ];
    for name in names {
        let (ours, real) = (files.resolve(name).await, files.real(name));
        let get = |keyword: &str| real.get(keyword).map(|values| values[0].as_str());
        assert_eq!(Some(ours.host.as_str()), get("hostname"), "{name}");
        assert_eq!(Some(ours.user.as_str()), get("user"), "{name}");
        assert_eq!(Some(ours.port.to_string().as_str()), get("port"), "{name}");
        assert_eq!(ours.identities_only, get("identitiesonly") == Some("yes"), "{name}");
        assert_eq!(ours.hash_known_hosts, get("hashknownhosts") == Some("yes"), "{name}");
        assert_eq!(ours.host_key_alias.as_deref(), get("hostkeyalias"), "{name}");
        assert_eq!(Some(ours.strict_host_key_checking.as_str()), get("stricthostkeychecking"));
        let seconds = |time: Option<Duration>, otherwise: &str| {
            time.map_or(otherwise.to_owned(), |time| time.as_secs().to_string())
        };
        assert_eq!(Some(seconds(ours.connect_timeout, "none").as_str()), get("connecttimeout"));
        assert_eq!(Some(seconds(ours.alive_interval, "0").as_str()), get("serveraliveinterval"));
        assert_eq!(Some(ours.alive_count.to_string().as_str()), get("serveralivecountmax"));
        let is_on = |keyword| matches!(get(keyword), Some("yes" | "true"));
        assert_eq!(ours.public_key_authentication, is_on("pubkeyauthentication"), "{name}");
        assert_eq!(ours.password_authentication, is_on("passwordauthentication"), "{name}");
        assert_eq!(ours.keyboard_interactive, is_on("kbdinteractiveauthentication"), "{name}");
        assert_eq!(ours.agent.as_deref().and_then(Path::to_str), get("identityagent"), "{name}");
        let chosen = [
            (ours.ciphers.as_deref(), "ciphers"),
            (ours.host_key_algorithms.as_deref(), "hostkeyalgorithms"),
        ];
        for (chosen, keyword) in chosen {
            assert!(chosen.is_none() || chosen == get(keyword), "{name}: {chosen:?}");
        }
        let known: Vec<_> =
            ours.user_known_hosts.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(Some(known.join(" ").as_str()), get("userknownhostsfile"), "{name}");
        assert_eq!(ours.identity_files.len(), real["identityfile"].len(), "{name}");
    }
}

#[tokio::test]
async fn what_was_chosen_is_told_from_what_is_usual() {
    let files = Files::new(GENERAL);
    let web = files.resolve("web").await;
    assert_eq!(web.host, "web1.example.org");
    assert_eq!(web.host_key_algorithms.as_deref(), Some("ssh-ed25519,rsa-sha2-512"));
    assert_eq!(web.ciphers.as_deref(), Some("aes256-gcm@openssh.com"));
    assert!(web.identities_chosen && web.kex_algorithms.is_none() && web.macs.is_none());
    let other = files.resolve("other").await;
    assert_eq!((other.host.as_str(), other.user.as_str()), ("192.0.2.7", "from-exec"));
    assert!(!other.identities_chosen && other.ciphers.is_none());
    let db = files.resolve("db-7").await;
    let keys = files.0.path().join("keys/postgres@db-7.internal.example.org");
    assert_eq!(db.identity_files, [keys]);
    // Of the second pass that `final` asks for, where the real name counts.
    assert_eq!(db.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(db.global_known_hosts, <[PathBuf; 0]>::default());
    assert_eq!(db.user_known_hosts.len(), 2);
}

#[tokio::test]
async fn user_and_port_of_the_caller_win() {
    let files = Files::new(GENERAL);
    let mut lookup = files.lookup("db");
    lookup.user = Some("me".to_owned());
    lookup.port = Some(99);
    let db = lookup.resolve().await.unwrap();
    assert_eq!((db.user.as_str(), db.port), ("me", 99));
    let keys = files.0.path().join("keys/me@db.internal.example.org");
    assert_eq!(db.identity_files, [keys]);
}

#[tokio::test]
async fn a_path_with_a_blank_is_one_path() {
    let files = Files::one("Host *\n UserKnownHostsFile \"DIR/of mine\" DIR/b\n");
    let dir = files.0.path();
    let known = files.resolve("a").await.user_known_hosts;
    assert_eq!(known, [dir.join("of mine"), dir.join("b")]);
}

#[tokio::test]
async fn tokens_in_identity_files_are_expanded_as_ssh_expands_them() {
    let sshd = lab::Sshd::start();
    let port = sshd.port();
    let files = Files::one(&format!(
        "Host Alias\n HostName 127.0.0.1\n Port {port}\n User somebody\n HostKeyAlias short\n \
         IdentityFile ~/none/%h_%n_%p_%r_%%\n IdentityFile DIR/%u_%i_%l_%L_%k_%C$x\n \
         IdentityFile %d/none\n IdentityFile ${{HOME}}/none\n IdentityFile ~root/none\n \
         IdentityFile \"DIR/with blank\"\n IdentityFile none\n IdentityAgent none\n \
         UserKnownHostsFile none\n"
    ));
    let output = Command::new("ssh")
        .args(["-v", "-o", "BatchMode=yes", "-F"])
        .arg(files.config())
        .args(["Alias", "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let real: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("debug1: identity file ")?.split_once(" type "))
        .map(|(path, _)| PathBuf::from(path))
        .filter(|path| !path.to_str().unwrap().ends_with("-cert"))
        .collect();
    assert_eq!(real.len(), 6, "{said}");
    assert_eq!(files.resolve("Alias").await.identity_files, real);
}

#[tokio::test]
async fn tokens_in_a_proxy_command_are_expanded_as_ssh_expands_them() {
    let files = Files::one(
        "Host alias\n HostName Real.example.org\n User somebody\n Port 2200\n\
         Host *\n ProxyCommand sh -c 'echo \"$@\" > DIR/out' - '%h' %n %p %r %% $HOME\n",
    );
    let out = files.0.path().join("out");
    for name in ["alias", "UPPER"] {
        Command::new("ssh")
            .arg("-F")
            .arg(files.config())
            .args([name, "true"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let real = fs::read_to_string(&out).unwrap();
        assert!(real.contains('%'), "{real}");
        fs::remove_file(&out).unwrap();
        let ours = files.resolve(name).await.proxy_command.unwrap();
        assert!(Command::new("sh").arg("-c").arg(ours).status().unwrap().success());
        assert_eq!(fs::read_to_string(&out).unwrap(), real);
        fs::remove_file(&out).unwrap();
    }
}

#[tokio::test]
async fn an_unknown_token_or_variable_is_an_error_that_names_it() {
    let files = Files::one(
        "Host a\n ProxyCommand nc %h %x\nHost b\n IdentityFile ${NOBODY_SET_THIS}/key\n",
    );
    let error = files.lookup("a").resolve().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "reading the ssh configuration of `a`: expanding `ProxyCommand nc %h %x`: `%x` means \
         nothing here"
    );
    let error = files.lookup("b").resolve().await.unwrap_err();
    assert!(error.to_string().ends_with("variable `NOBODY_SET_THIS` is not set"), "{error}");
}

fn route(resolved: &Resolved) -> Vec<String> {
    let mut way = Vec::new();
    let mut next = Some(resolved);
    while let Some(hop) = next {
        way.push(format!("{}@{}:{}", hop.user, hop.host, hop.port));
        next = hop.jump.as_deref();
    }
    way
}

#[tokio::test]
async fn jump_hosts_are_resolved_in_turn() {
    let files = Files::one(
        "Host app\n HostName 192.0.2.10\n User app\n ProxyJump other@gate:2022,[2001:db8::5]:23,inner\n\
         Host gate\n HostName gate.example.org\n ProxyJump outer\n\
         Host inner\n HostName 192.0.2.5\n User in\n ProxyJump never\n\
         Host outer\n HostName outer.example.org\n User out\n Port 443\n\
         Host 2001*\n User six\n\
         Host direct\n ProxyJump none\n User me\n\
         Host *\n ProxyCommand never-used\n",
    );
    // As ssh does: the list replaces what a hop of it says of itself, save for the first.
    assert_eq!(
        route(&files.resolve("app").await),
        [
            "app@192.0.2.10:22",
            "in@192.0.2.5:22",
            "six@2001:db8::5:23",
            "other@gate.example.org:2022",
            "out@outer.example.org:443",
        ]
    );
    let direct = files.resolve("direct").await;
    assert_eq!(direct.jump, None);
}

#[tokio::test]
async fn jump_hosts_that_go_in_a_circle_are_an_error() {
    let files = Files::one("Host gate\n ProxyJump door\nHost *\n ProxyJump gate\n");
    let error = files.lookup("app").resolve().await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("go in a circle: app through gate through door through gate"), "{said}");
    assert!(format!("{error:?}").contains("ProxyJump none"));
}

#[tokio::test]
async fn a_faulty_configuration_is_reported_in_the_words_of_ssh() {
    let files = Files::one("Hst a\n");
    let error = files.lookup("a").resolve().await.unwrap_err();
    assert!(error.to_string().contains("Bad configuration option: hst"), "{error}");
    let mut lookup = files.lookup("a");
    lookup.config = Some(files.0.path().join("missing"));
    let error = lookup.resolve().await.unwrap_err();
    assert!(error.to_string().contains("missing: No such file or directory"), "{error}");
}

#[tokio::test]
async fn what_is_no_name_is_refused() {
    for name in ["", "me@", "-oProxyCommand=true", "a\nb"] {
        let lookup = Lookup { name: name.to_owned(), config: None, user: None, port: None };
        let error = lookup.resolve().await.unwrap_err();
        assert!(error.to_string().ends_with("that is no name of a host"), "{error}");
    }
}

#[tokio::test]
async fn a_match_exec_that_hangs_is_ended_and_named() {
    let files = Files::one("Match exec \"echo $$ > DIR/pid; sleep 300; true\"\n Port 1\n");
    let ssh = Ssh { program: Path::new("ssh"), patience: Duration::from_secs(1) };
    let error = files.lookup("a").resolve_with(ssh).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TimedOut);
    assert!(format!("{error:?}").contains("`Match exec` in the ssh configuration that hangs"));
    let shell = fs::read_to_string(files.0.path().join("pid")).unwrap();
    let shell = shell.trim().parse().unwrap();
    lab::wait_until("the shell to be gone", Duration::from_secs(20), || !lab::is_alive(shell));
}

#[tokio::test]
async fn a_missing_ssh_says_what_to_install_or_to_give() {
    let files = Files::one("");
    let ssh = Ssh { program: Path::new("/nonexistent/ssh"), patience: PATIENCE };
    let error = files.lookup("a").resolve_with(ssh).await.unwrap_err();
    assert_eq!(
        format!("{error:?}"),
        "reading the ssh configuration of `a`: starting `ssh -G`: No such file or directory (os \
         error 2)\n  next: install OpenSSH's client (`apt-get install openssh-client`), or give \
         host, user and port explicitly"
    );
}

#[test]
fn an_agent_is_where_the_configuration_says() {
    assert_eq!(agent(Some("none")), None);
    assert_eq!(agent(Some("/run/agent")), Some(PathBuf::from("/run/agent")));
    assert_eq!(agent(Some("$HOME")), std::env::var_os("HOME").map(PathBuf::from));
    assert_eq!(agent(Some("$NOBODY_SET_THIS")), None);
    assert_eq!(agent(Some("SSH_AUTH_SOCK")), agent(None));
}
