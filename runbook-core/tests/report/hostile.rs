//! Whatever the texts of a run are, they can't add markup to a report, nor break it.

use std::sync::Arc;

use proptest::prelude::*;
use pulldown_cmark::{Event as Md, Options, Parser, Tag, TagEnd};
use runbook_core::report::{
    Timeline, catalog_page, json, junit, mermaid, page, timeline_html, timeline_markdown,
};
use runbook_core::{BookSpec, Event, Outline, Param, ParamSpec};
use serde_json::Value;

use crate::fixture::{self, Script};
use crate::incident;

/// What is tried everywhere.
const NASTY: &[&str] = &[
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "a | b || c \\| d",
    "`one` ``two`` ```three\n```\nfour\n~~~\nfive",
    "`<b>` and `a|b` and a lone `",
    "\n\n# heading\n\n- item\n\n***\n\n    code\n\n1. one",
    "heading\n===\n\nother\n---\n",
    "]]> --> <!-- open <![CDATA[ <?pi",
    "\u{202e}gnp.exe\u{2066}\u{feff}\u{200b}",
    "\0\u{1}\u{7}\u{b}\u{1b}[31mred\u{1b}[0m\u{7f}\u{9d}\u{fffe}\u{ffff}",
    "[link](javascript:alert(1)) ![image](https://example.org/x.png)",
    "&amp; &#60; &lt;b&gt; &bogus",
    "line one\r\nline two\rline three\u{2028}line four",
    "*a* **b** _c_ ~~d~~ \\* \\",
    "end\nsubgraph x\nclick n1 href \"javascript:x\" %%{init}%% ; # \" --> n1",
    "שלום עולם 你好 👩‍🚒",
    "",
    " ",
];

/// The keys under which texts stand in outlines and events; everything else is kept.
const TEXTS: &[&str] = &[
    "title",
    "doc",
    "preview",
    "args",
    "irreversible_because",
    "requires",
    "verify",
    "question",
    "reason",
    "env",
    "version",
    "name",
    "machine",
    "values",
    "resource",
    "message",
    "causes",
    "next",
    "why",
    "text",
    "by",
    "cause",
    "to",
    "host",
    "processes",
    "book",
    "check",
    "escalate",
    "accepts",
    "line",
    "meaning",
    "hours",
];
/// The keys under which ids stand, which must stay what they are to each other.
const IDS: &[&str] =
    &["id", "unit", "block", "needs", "units", "undone", "not_restored", "kept", "run"];

/// The same with `text` in place of every text and `id` at the end of every id.
fn poisoned(value: &mut Value, key: &str, text: &str, id: &str) {
    match value {
        Value::String(old) if TEXTS.contains(&key) => text.clone_into(old),
        Value::Object(fields) if key == "skipped" => {
            poisoned(&mut fields["unit"], "unit", text, id);
        }
        Value::String(old) if IDS.contains(&key) => old.push_str(id),
        // A check has a role of a few words, a person one in any.
        Value::Object(fields) if fields.contains_key("reach") => {
            for (key, value) in fields {
                let key = if key == "role" { "name" } else { key };
                poisoned(value, key, text, id);
            }
        }
        // The name and value of an argument stand in pairs.
        Value::Array(items) => items.iter_mut().for_each(|item| poisoned(item, key, text, id)),
        // Evidence and outputs are opaque; why a unit was skipped is one of a few words.
        Value::Object(fields) if !["evidence", "output", "skipped"].contains(&key) => {
            fields.iter_mut().for_each(|(key, value)| poisoned(value, key, text, id));
        }
        _ => {}
    }
}

fn with_text(script: &Script, text: &str, id: &str) -> Timeline {
    let events: Vec<Arc<Event>> = script
        .events
        .iter()
        .map(|event| {
            let mut value = serde_json::to_value(&**event).expect("JSON");
            poisoned(&mut value, "", text, id);
            Arc::new(serde_json::from_value(value).expect("an event"))
        })
        .collect();
    Timeline::of(&with_texts(&script.outline, text, id), &events)
}

fn with_texts(outline: &Outline, text: &str, id: &str) -> Outline {
    let mut value = serde_json::to_value(outline).expect("JSON");
    poisoned(&mut value, "", text, id);
    serde_json::from_value(value).expect("an outline")
}

fn scripts() -> [Script; 6] {
    [
        fixture::rolled_back(),
        fixture::stuck(),
        fixture::suspended(),
        fixture::resumed(),
        fixture::checked(),
        incident::failed(),
    ]
}

/// Checks all that can be read as markup in an HTML page against what the report itself writes.
fn only_known_markup(html: &str) {
    const ELEMENTS: &str = " html head meta title style body main header table thead tbody tr th td p span h1 h2 h3 dl dt dd \
        div pre ul ol li b i bdi code br section details summary time small footer ";
    const ATTRIBUTES: &str = " lang charset http-equiv name content class style title open datetime \
        aria-hidden ";
    let document = roxmltree::Document::parse(html.trim_start_matches("<!DOCTYPE html>"))
        .unwrap_or_else(|error| panic!("{error} in {html}"));
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(ELEMENTS.contains(&format!(" {name} ")), "<{name}>");
        for attribute in node.attributes() {
            let known = ATTRIBUTES.contains(&format!(" {} ", attribute.name()));
            assert!(known, "{} of <{name}>", attribute.name());
            let plain = |c: char| c.is_ascii_alphanumeric() || "-:;.% ".contains(c);
            if matches!(attribute.name(), "class" | "style") {
                assert!(attribute.value().chars().all(plain), "{}", attribute.value());
            }
        }
    }
}

/// The blocks of a Markdown page, in order; with `outer`, only the headings that stand in no
/// list and no quotation.
fn blocks(markdown: &str, outer: bool) -> Vec<String> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut depth = 0;
    let mut found = Vec::new();
    for event in Parser::new_ext(markdown, options) {
        match &event {
            Md::Html(html) | Md::InlineHtml(html) => panic!("HTML {html:?} in:\n{markdown}"),
            // Documentation is Markdown of the runbook's author and may have links.
            Md::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) if !outer => {
                panic!("a link to {dest_url:?} in:\n{markdown}")
            }
            _ => {}
        }
        match event {
            Md::Start(Tag::List(_) | Tag::Item | Tag::BlockQuote(_)) => {
                depth += 1;
                if !outer {
                    found.push("list".into());
                }
            }
            Md::End(TagEnd::List(_) | TagEnd::Item | TagEnd::BlockQuote(_)) => depth -= 1,
            Md::Start(Tag::Heading { level, .. }) if !outer || depth == 0 => {
                found.push(level.to_string());
            }
            Md::Start(Tag::CodeBlock(_)) if !outer => found.push("code".into()),
            Md::Start(Tag::Table(_)) if !outer => found.push("table".into()),
            Md::Start(Tag::TableRow) if !outer => found.push("row".into()),
            Md::Start(Tag::TableCell) if !outer => found.push("cell".into()),
            Md::Rule if !outer => found.push("rule".into()),
            _ => {}
        }
    }
    found
}

/// All reports of a run with `text` everywhere have the shape that they have with a plain word.
fn holds(script: &Script, text: &str, id: &str) {
    let timeline = with_text(script, text, id);
    only_known_markup(&timeline_html(&timeline));

    let xml = junit(&timeline);
    let document = roxmltree::Document::parse(&xml).unwrap_or_else(|e| panic!("{e} in {xml}"));
    let cases = |name| document.descendants().filter(|n| n.has_tag_name(name)).count();
    let plain = junit(&with_text(script, "word", ""));
    assert_eq!(cases("testcase"), plain.matches("<testcase ").count());
    assert_eq!(cases("failure"), plain.matches("<failure ").count());
    assert_eq!(cases("error"), plain.matches("<error ").count());

    let report: serde_json::Value = serde_json::from_str(&json(&timeline)).expect("JSON");
    let units = report["units"].as_array().expect("units");
    assert!(units.iter().all(|unit| unit["title"] == text), "JSON keeps texts as they are");

    let plain = blocks(&timeline_markdown(&with_text(script, "word", "")), false);
    assert_eq!(blocks(&timeline_markdown(&timeline), false), plain);
}

#[test]
fn hostile_texts_change_no_report_of_a_run() {
    for script in scripts() {
        for text in NASTY {
            holds(&script, text, "");
            holds(&script, "a title", text);
        }
    }
}

#[test]
fn hostile_texts_stay_in_their_place_on_a_page() {
    for text in NASTY {
        page_holds(text);
    }
}

fn page_holds(text: &str) {
    for outline in [fixture::outline(), incident::outline()] {
        stays_in_its_place(&outline, text);
    }
}

fn stays_in_its_place(outline: &Outline, text: &str) {
    let plain = with_texts(outline, "word", "");
    let outline = with_texts(outline, text, "");
    assert_eq!(blocks(&page(&outline), true), blocks(&page(&plain), true), "{}", page(&outline));

    // Without documentation, which may hold lists and code of its own, all blocks are the same.
    assert_eq!(
        blocks(&page(&without_doc(outline)), false),
        blocks(&page(&without_doc(plain)), false)
    );
}

/// The branches of an `each` that are told apart only by their title can't be with one title for
/// all; so what is compared has no documentation and one host.
fn without_doc(outline: Outline) -> Outline {
    let mut value = serde_json::to_value(outline).expect("JSON");
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("doc");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    serde_json::from_value(value).expect("an outline")
}

#[test]
fn hostile_texts_stay_in_the_labels_of_a_chart() {
    let shape = |chart: &str| -> Vec<String> {
        chart.lines().map(|line| line.split('"').step_by(2).collect::<String>()).collect()
    };
    for outline in [fixture::outline(), incident::outline()] {
        let plain = mermaid(&with_texts(&outline, "word", ""));
        for text in NASTY {
            let chart = mermaid(&with_texts(&outline, text, text));
            assert_eq!(shape(&chart), shape(&plain));
        }
    }
}

#[test]
fn hostile_texts_stay_in_their_place_in_a_catalog() {
    let book = |text: &str| BookSpec {
        name: text.into(),
        title: text.into(),
        doc: String::new(),
        params: vec![ParamSpec {
            name: text.into(),
            doc: text.into(),
            kind: String::kind(),
            default: Some(text.into()),
        }],
    };
    let plain = blocks(&catalog_page("word", "", [&book("word")]), false);
    for text in NASTY {
        assert_eq!(blocks(&catalog_page(text, "", [&book(text)]), false), plain, "{text}");
    }
}

#[test]
fn a_hostile_run_reads_well() {
    let nasty = "<b>`x`</b> | \u{202e}a\u{1b}[31m]]> *b*\n# c";
    let timeline = with_text(&fixture::checked(), nasty, "");
    insta::assert_snapshot!("hostile.md", timeline_markdown(&timeline));
    insta::assert_snapshot!("hostile.junit", junit(&timeline));
}

/// Any string, and strings made of what means something somewhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[<>&\"'`|*_~#\\[\\]()!\\\\\n\r\t =:.1a-]{0,40}",
        proptest::collection::vec(proptest::sample::select(NASTY), 1..4).prop_map(|v| v.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_changes_no_report_of_a_run(text in text(), id in text()) {
        holds(&fixture::stuck(), &text, &id);
    }

    #[test]
    fn any_text_stays_in_its_place_on_a_page(text in text()) {
        page_holds(&text);
    }
}
