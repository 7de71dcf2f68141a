//! What an operator gets wrong, and what is said then: one table of texts.

use std::fmt::Write as _;

use lab::Release;

use crate::Test;
use crate::operator::Stage;

pub(crate) const TESTS: &[Test] = &[(
    "every_mistake_says_what_where_and_what_to_do",
    every_mistake_says_what_where_and_what_to_do,
)];

fn every_mistake_says_what_where_and_what_to_do(stage: &Stage) {
    let config = stage.config();
    let mut table = String::new();
    let mut case = |title: &str, text: &str, words: &[&str]| {
        stage.write("eaf-premium.toml", text);
        let said = stage.ask(words);
        let at = ["\n✗ ", "\n↶ "].iter().find_map(|mark| said.text.rfind(mark));
        let end = at.map_or(said.text.as_str(), |at| &said.text[at..]);
        let code = said.code.unwrap_or(-1);
        let text = stage.fixed(end.trim());
        write!(table, "{title}: exit code {code}\n\n{text}\n\n\n").unwrap();
    };
    case("a wrong flag", &config, &["run", "deploy", "--revison", "v2"]);
    case("a wrong name", &config, &["run", "deplyo"]);
    case("a parameter that is missing", &config, &["run", "return-to"]);
    let missing = config.replace("name = \"eaf-platform\"\n", "");
    case("a key that is missing", &missing, &["run", "status"]);
    let unknown = config.replace("worker_port", "workers_port");
    case("a key that is not known", &unknown, &["run", "status"]);
    let wrong = config.replace("url = \"https", "url = \"htps");
    case("a value that is none", &wrong, &["run", "status"]);
    case("an environment that is not there", &config, &["--env", "prod", "run", "status"]);
    let secret = config.replace("file = \"", "file = \"/nowhere");
    case("a password file that is not there", &secret, &["run", "deploy"]);

    let world = &stage.world;
    let known = stage.path("known_hosts");
    stage.write_ssh_config("ssh_config", stage.nobodys_port, &known);
    case("a host that is not reached", &config, &["run", "deploy"]);
    stage.write("nobody", "");
    stage.write_ssh_config("ssh_config", world.sshd().port(), &stage.path("nobody"));
    case("a host key that is not known", &config, &["run", "deploy"]);
    let alias =
        config.replace("alias = \"eaf-lab\"", "alias = \"eaf-lab\", user = \"nobody-here\"");
    stage.write_ssh_config("ssh_config", world.sshd().port(), &known);
    case("a user who is not let in", &alias, &["run", "deploy"]);

    stage.write("wrong-password", "correct horse");
    let password = config.replacen("/database-password", "/wrong-password", 1);
    case("a wrong password of the database", &password, &["run", "deploy"]);
    let program = config.replace("command = [\"service\"]", "command = [\"servise\"]");
    world.redis().stop();
    case("a program that is not on the host", &program, &["run", "redis-down"]);
    world.redis().start_again();
    let folder = config.replace("/eaf_platform\"", "/eaf_platfrom\"");
    case("a folder that is not there", &folder, &["run", "deploy"]);

    let file = world.tree().join("package.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n")).unwrap();
    case("a work tree with changes", &config, &["run", "deploy"]);
    std::fs::write(&file, text).unwrap();
    case("a commit that is not there", &config, &["run", "deploy", "--revision", "v9"]);
    case("migrations that were forgotten", &config, &["run", "deploy"]);
    let _ = std::fs::remove_dir_all(world.home().join("backups"));
    case("no dump to restore", &config, &["run", "restore"]);
    assert_eq!(stage.version(), Release::First.version());

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("errors", table));
}
