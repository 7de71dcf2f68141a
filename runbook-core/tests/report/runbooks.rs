//! The pages and charts of runbooks.

use runbook_core::report::{catalog_page, mermaid, page};
use runbook_core::{BookSpec, Param, ParamSpec, Secret};

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
