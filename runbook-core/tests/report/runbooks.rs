//! The pages and charts of runbooks.

use runbook_core::report::{catalog_page, mermaid, page};
use runbook_core::{BookSpec, Manual, Param, ParamSpec, Rolling, Runbook, Secret};

use crate::fixture;

#[test]
fn a_page_says_what_is_done_in_order_and_how_it_is_undone() {
    insta::assert_snapshot!("page", page(&fixture::outline()));
}

#[test]
fn a_chart_shows_blocks_and_the_flow_of_data() {
    insta::assert_snapshot!("mermaid", mermaid(&fixture::outline()));
}

#[test]
fn a_catalog_says_how_each_runbook_is_called() {
    let deploy = BookSpec {
        name: "deploy".into(),
        title: "Deploy a release of the shop".into(),
        doc: "Puts the old one back if anything goes wrong.".into(),
        params: vec![
            ParamSpec {
                name: "release".into(),
                doc: "The tag of the release.".into(),
                kind: String::kind(),
                default: None,
            },
            ParamSpec {
                name: "keep_last".into(),
                doc: "How many old releases stay.".into(),
                kind: u8::kind(),
                default: Some("3".into()),
            },
            ParamSpec {
                name: "host".into(),
                doc: "Only these hosts.".into(),
                kind: Vec::<String>::kind(),
                default: None,
            },
            ParamSpec {
                name: "force".into(),
                doc: "Deploy the same release again.".into(),
                kind: bool::kind(),
                default: None,
            },
            ParamSpec {
                name: "token".into(),
                doc: "Of the release server.".into(),
                kind: Secret::kind(),
                default: None,
            },
        ],
    };
    let wave = BookSpec {
        name: "wave".into(),
        title: "Wave | smile".into(),
        doc: String::new(),
        params: vec![],
    };
    insta::assert_snapshot!(
        "catalog",
        catalog_page("shopctl", "All that keeps the shop open.", [&deploy, &wave])
    );
}

#[test]
fn a_page_nests_deeper_than_markdown_has_headings() {
    fn nest(b: &mut Runbook, depth: usize) {
        b.group(&format!("Level {depth}"), |b| {
            if depth < 7 {
                nest(b, depth + 1);
            } else {
                b.manual(Manual::new("Breathe"));
            }
        });
    }
    let mut b = Runbook::new("deep");
    nest(&mut b, 1);
    let page = page(b.build().expect("a plan").outline());
    assert!(page.contains("\n###### 1.1.1.1. Level 4\n"));
    assert!(page.contains("\n**1.1.1.1.1. Level 5**\n"));
    assert!(page.contains("\n**1.1.1.1.1.1.1.1. Breathe**\n"));
}

#[test]
fn branches_that_differ_are_all_on_the_page() {
    let mut b = Runbook::new("restart");
    b.each(["web-1", "web-2"], Rolling::default(), |host, b| {
        b.manual(Manual::new(format!("Restart {host}")));
        if *host == "web-2" {
            b.manual(Manual::new("Look at the queue, which lives here"));
        }
    });
    let page = page(b.build().expect("a plan").outline());
    assert!(page.contains("#### 1.1. web-1\n"));
    assert!(page.contains("##### 1.2.2. Look at the queue, which lives here\n"));
}

#[test]
fn an_empty_runbook_has_a_page_and_a_chart() {
    let plan = Runbook::new("nothing").build().expect("a plan");
    assert!(page(plan.outline()).starts_with("# nothing\n"));
    assert!(mermaid(plan.outline()).starts_with("flowchart TD\n"));
}
