//! Measures.
#![allow(clippy::print_stdout)]
use runbook_core::*;
use std::time::Instant;
struct Noop(u32);
impl Step for Noop {
    type Output = ();
    type Rollback = Harmless;
    fn about(&self) -> About {
        About::new("noop", "Do nothing")
    }
    async fn run(&self, _: &Context) -> Result<()> {
        Ok(())
    }
}
#[tokio::main]
async fn main() {
    for n in [200u32, 1000, 10_000, 100_000, 100_000] {
        let t = Instant::now();
        let mut b = Runbook::new("n");
        for i in 0..n {
            b.step(Noop(i).named(format!("unit {i}")));
        }
        let plan = b.build().unwrap();
        let built = t.elapsed();
        let e = Engine::new(MemoryStore::new());
        let t = Instant::now();
        let o = e.run(&plan, RunOptions::new()).outcome().await.unwrap();
        let ran = t.elapsed();
        std::println!(
            "{n}: build {:.2} us/unit ({built:?}), run {:.2} us/unit {:?}",
            built.as_secs_f64() * 1e6 / n as f64,
            ran.as_secs_f64() * 1e6 / n as f64,
            o.status
        );
    }
}
