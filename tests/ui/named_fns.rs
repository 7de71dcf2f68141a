//! The fns named in the attribute don't fit the step.

use runbook::{Context, Observer, Result, step};

async fn look(_: &Observer, _file: &str) -> Result<String> {
    Ok("before".into())
}

async fn look_elsewhere(_: &Observer, _number: u8) -> Result<String> {
    Ok("before".into())
}

async fn look_at_nothing(_: &Observer) -> Result<String> {
    Ok("before".into())
}

fn look_at_once(_: &Observer, _file: &str) -> Result<String> {
    Ok("before".into())
}

async fn put_back(_: &Context, _was: &String, _done: Option<&u32>, _file: &str) -> Result<()> {
    Ok(())
}

async fn put_back_a_number(_: &Context, _: &u64, _: Option<&u32>, _: &str) -> Result<()> {
    Ok(())
}

async fn put_back_other(_: &Context, _: &String, _: Option<&String>, _: &str) -> Result<()> {
    Ok(())
}

async fn already(_: &Observer, _file: &str) -> Result<bool> {
    Ok(true)
}

#[step(before = look, rollback = put_back_a_number)]
async fn another_record(file: &str) -> Result<u32> {
    Ok(file.len() as u32)
}

#[step(before = look, rollback = put_back_other)]
async fn another_output(file: &str) -> Result<u32> {
    Ok(file.len() as u32)
}

#[step(before = look_elsewhere, rollback = put_back)]
async fn another_argument(file: &str) -> Result<u32> {
    Ok(file.len() as u32)
}

#[step(before = look_at_nothing, rollback = put_back)]
async fn fewer_arguments(file: &str) -> Result<u32> {
    Ok(file.len() as u32)
}

#[step(before = look_at_once, rollback = put_back)]
async fn not_async(file: &str) -> Result<u32> {
    Ok(file.len() as u32)
}

#[step(before = look, rollback = put_back, satisfied = already)]
async fn only_whether(file: &str) -> Result<u32> {
    Ok(file.len() as u32)
}

fn main() {}
