//! What an operator reads.

use runbook_core::testing::FakeTarget;
use runbook_core::{Host, Runbook, report};
use runbook_postgres::{Config, Format, Migration, OtherSessions, Postgres, Retention};

#[test]
fn a_runbook_page() {
    let host = Host::new(FakeTarget::new("db-1"));
    let config = Config::new("shop").user("shop").password("not to be seen");
    let shop = Postgres::new(&host, config);
    let mut b = Runbook::new("restore");
    b.title("Restore the shop");
    b.check(shop.ping());
    let dump = b.check(shop.latest_dump("/var/backups/shop"));
    let dump = b.check(shop.verify(dump));
    b.step(shop.test_restore(dump));
    let safety = b.step(shop.dump("/var/backups/shop/before", Format::Gzip));
    let safety = b.check(shop.verify(safety));
    b.check(shop.unused());
    b.step(shop.restore_in_place(dump, safety));
    b.check(shop.replaceable());
    b.step(shop.restore(dump, OtherSessions::Refuse));
    let replaced = b.check(shop.replaced_before(7));
    b.irreversible(shop.drop_replaced(replaced), "a week has passed");
    let note = Migration::new(
        "note",
        "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text",
        "ALTER TABLE orders DROP COLUMN IF EXISTS note",
    );
    b.step(shop.prove_migration(&note, dump));
    b.step(shop.migrate(&note));
    let sessions = b.check(shop.idle(std::time::Duration::from_secs(600)));
    b.irreversible(shop.terminate(sessions), "idle for ten minutes");
    let old = b.check(shop.old_rows("analytics", "created_at", 365));
    b.irreversible(shop.delete_old_rows(old, 5000), "a year is kept");
    let rule = Retention::days(14).keep_last(3);
    let expired = b.check(shop.expired_dumps("/var/backups/shop", rule));
    b.irreversible(shop.remove_dumps("/var/backups/shop", rule, expired), "two weeks are kept");
    b.step(shop.other("shop_new").create_database("shop"));
    b.irreversible(shop.other("shop_old").drop_database(OtherSessions::Refuse), "it is empty");
    b.irreversible(
        shop.execute("Close the carts", "UPDATE carts SET open = $1", [false.into()]),
        "carts",
    );
    let plan = b.build().unwrap();
    insta::assert_snapshot!(report::page(plan.outline()));
}
