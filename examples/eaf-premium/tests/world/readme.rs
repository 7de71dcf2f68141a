//! The operator's day of the README, as it is.

use std::fmt::Write as _;
use std::path::Path;

use lab::Release;

use crate::Test;
use crate::operator::Stage;

pub(crate) const TESTS: &[Test] =
    &[("the_day_of_the_readme_is_a_real_one", the_day_of_the_readme_is_a_real_one)];

const BEGIN: &str = "<!-- the day -->\n";
const END: &str = "<!-- the end of the day -->";

fn the_day_of_the_readme_is_a_real_one(stage: &Stage) {
    let mut day = String::new();
    let mut tell = |text: &str, words: &[&str], shown: fn(&str) -> String| {
        let said = stage.fixed(&shown(&stage.ask(words).text));
        // What was seen last of what was waited for is another thing each time.
        let lines = said.lines().map(|line| {
            if line.contains(" (not within ")
                && let Some((waited, _)) = line.split_once(" answers ")
            {
                return format!("{waited} answers not in time: ..");
            }
            match line.split_once(" does not run: ") {
                Some((what, _)) => format!("{what} does not run: .."),
                None => line.to_owned(),
            }
        });
        let said = lines.collect::<Vec<_>>().join("\n");
        let words = words.join(" ");
        write!(day, "{text}\n\n```text\n$ eaf-premium {words}\n{said}\n```\n\n").unwrap();
    };
    let whole: fn(&str) -> String = |text| text.trim().to_owned();
    let end: fn(&str) -> String = |text| {
        let at = ["\n✓ ", "\n✗ ", "\n↶ ", "\n? "].iter().find_map(|mark| text.rfind(mark));
        text[at.unwrap_or(0)..].trim().to_owned()
    };
    let top: fn(&str) -> String = |text| {
        let top = |line: &&str| !line.starts_with("| ") && !line.starts_with("**What to do");
        let lines = text.lines().take_while(top);
        let untimed = lines.map(|line| line.split(", in ").next().unwrap_or(line));
        untimed.collect::<Vec<_>>().join("\n").trim().to_owned()
    };
    // What follows is what `verify` shows as well.
    let plan: fn(&str) -> String =
        |text| format!("{}\n..", text.split("\n6 ▾").next().unwrap_or(text).trim());
    tell("What can be done:", &["list"], whole);
    tell(
        "What a deploy would do now, and what it finds; nothing is changed:",
        &["plan", "deploy", "--migrate"],
        plan,
    );
    stage.world.remote().publish(Release::Crashes);
    let text = "Somebody pushed a release that crashes. The deploy finds out, puts everything back, \
                and says why:";
    tell(text, &["run", "deploy"], end);
    stage.world.remote().publish(Release::Second);
    tell("The next one is good:", &["run", "deploy", "--migrate"], end);
    tell("A backup, and a restore of it:", &["run", "backup"], end);
    tell("The restore stops the site around it:", &["run", "restore", "--yes"], end);
    stage.world.redis().stop();
    tell("At night Redis is down:", &["run", "redis-down", "--reason", "paged at 3"], end);
    let text = "Somebody changed the password of the database, twenty minutes ago. Against that no \
                remedy helps:";
    stage.world.forget_database_password();
    tell(text, &["run", "quick-plan", "--began", "20m"], end);
    let world = &stage.world;
    world.postgres().change_password(world.role(), world.password());
    world.wait_for_site();
    tell("What is left of it in the morning, at its top:", &["report", "last"], top);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (old, after) = rest.split_once(END).unwrap();
    let new = format!("\n{}\n\n", day.trim());
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, format!("{before}{BEGIN}{new}{END}{after}")).unwrap();
    } else {
        assert_eq!(old, new, "INSTA_UPDATE=always writes it anew");
    }
}
