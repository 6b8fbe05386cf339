//! `lightning doctor`: whether all is well with a store, and what to do where it is not.

use std::process::ExitCode;

use tokio::time::Instant;

use super::{
    args::DoctorArgs,
    print,
    table::{ago, duration},
    token,
};
use crate::{
    client::{StoreClient, TOKEN_VARIABLE},
    clock::{Clock as _, SystemClock},
    store::{Store as _, StoreError},
    types::{PageRequest, RolloutQuery, RolloutStatus, Timestamp, Worker, WorkerQuery},
};

/// How long a worker may be silent before it is taken for gone, in seconds.
const SILENCE: f64 = 60.0;

/// What was found, line by line.
#[derive(Default)]
struct Findings {
    text: String,
    failed: bool,
}

impl Findings {
    fn ok(&mut self, what: impl AsRef<str>) {
        self.text += &format!("ok    {}\n", what.as_ref());
    }

    fn warn(&mut self, what: impl AsRef<str>) {
        self.text += &format!("warn  {}\n", what.as_ref());
    }

    fn fail(&mut self, what: impl AsRef<str>) {
        self.failed = true;
        self.text += &format!("FAIL  {}\n", what.as_ref());
    }
}

/// Fails if something is wrong with the store itself; what may be wrong with its users is a warning.
pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    match token::connect(&args.url, &args.token).await {
        Err(error) => {
            findings.fail(crate::emitter::error_message(&error));
            findings.text += "      is it running? `lightning store` starts one, and prints its address\n";
        }
        Ok(client) => {
            findings.ok(format!("{} answers", client.url()));
            if let Err(error) = examine(&client, &mut findings).await {
                findings.fail(match error {
                    StoreError::Invalid { field: "token", .. } => {
                        format!(
                            "{error}; set the variable {TOKEN_VARIABLE}, or name a file with --token-file"
                        )
                    }
                    error => error.to_string(),
                });
            }
        }
    }
    print(&findings.text)?;
    Ok(if findings.failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn examine(client: &StoreClient, findings: &mut Findings) -> Result<(), StoreError> {
    let capabilities = client.capabilities();
    if capabilities.parks {
        findings.ok("it is one of ours: it parks who waits, and repeats nothing that carries a request key");
    } else {
        findings.warn(
            "it is not one of ours (Python's `agl store`?): waits are polled, and after a broken connection a request is \
             not repeated",
        );
    }
    if capabilities.durable {
        findings.ok("what it acknowledged survives its end");
    } else {
        findings.warn("it keeps everything in memory: when it ends, all is gone");
    }
    if travels_open(&client.url()) {
        findings.warn(
            "what is sent there, tokens too, can be read on the way: use https:// (a proxy in front of the store has it)",
        );
    }
    let began = Instant::now();
    for _ in 0..10 {
        client.probe().await?;
    }
    findings.ok(format!(
        "a request takes {:.1} ms",
        began.elapsed().as_secs_f64() * 100.0
    ));
    match client.probe_otlp().await {
        Err(error) if is_denied(&error) => {
            findings.warn(format!("whether it takes OTLP traces is not known: {error}"));
        }
        Ok(()) => findings.ok(format!("it takes OTLP traces at {}", client.otlp_endpoint())),
        Err(error) => findings.fail(format!(
            "it takes no OTLP traces at {}: {error}",
            client.otlp_endpoint()
        )),
    }
    let statistics = match client.statistics().await {
        Err(error) if is_denied(&error) => {
            findings.warn(format!("what is in it is not known: {error}"));
            return Ok(());
        }
        statistics => statistics?,
    };
    findings.ok(format!(
        "{} rollouts, {} attempts, {} spans, {} sets of resources, up for {}",
        statistics.total_rollouts,
        statistics.total_attempts,
        statistics.total_spans,
        statistics.total_resources,
        duration(statistics.uptime),
    ));
    examine_work(client, findings).await
}

/// Whether what there is to do gets done.
async fn examine_work(client: &StoreClient, findings: &mut Findings) -> Result<(), StoreError> {
    let now = SystemClock::new().now();
    let workers = client.query_workers(WorkerQuery::default()).await?.items;
    let alive = workers.iter().filter(|worker| is_alive(worker, now)).count();
    let of = async |statuses: &[RolloutStatus], limit| {
        let query = RolloutQuery {
            status_in: Some(statuses.to_vec()),
            page: PageRequest { limit, offset: 0 },
            ..RolloutQuery::default()
        };
        client.query_rollouts(query).await
    };
    let waiting = of(&[RolloutStatus::Queuing, RolloutStatus::Requeuing], Some(1))
        .await?
        .total;
    match (waiting, alive) {
        (0, _) => findings.ok(format!("nothing waits for a worker ({alive} of {} workers alive)", workers.len())),
        (_, 0) => findings.warn(format!(
            "{waiting} rollouts wait, and no worker was heard of within {}: start runners, and point them at this address",
            duration(SILENCE)
        )),
        _ => findings.ok(format!("{waiting} rollouts wait for {alive} workers")),
    }
    let active = of(&[RolloutStatus::Preparing, RolloutStatus::Running], Some(1000)).await?;
    for found in &active.items {
        let Some(attempt) = &found.attempt else { continue };
        let heard_of = attempt.last_heartbeat_time.unwrap_or(attempt.start_time);
        if found.config.unresponsive_seconds.is_none() && now - heard_of > SILENCE {
            findings.warn(format!(
                "nothing was heard of attempt {} of rollout {} for {}, and nothing will end it: its rollout has no \
                 unresponsive_seconds",
                attempt.attempt_id,
                found.rollout_id,
                ago(Some(heard_of), now)
            ));
        }
    }
    Ok(())
}

/// Whether the token is right, but its role is not.
fn is_denied(error: &StoreError) -> bool {
    matches!(error, StoreError::Invalid { field: "access", .. })
}

/// Whether requests leave this machine without being encrypted.
fn travels_open(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name != "localhost"
        && !address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn is_alive(worker: &Worker, now: Timestamp) -> bool {
    let signs = [
        worker.last_heartbeat_time,
        worker.last_dequeue_time,
        worker.last_busy_time,
    ];
    signs.into_iter().flatten().any(|time| now - time <= SILENCE)
}
