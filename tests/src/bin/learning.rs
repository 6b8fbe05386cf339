//! A model that learns, in a process that may be killed, for the suite `learning`; and the process that trains.
//!
//! `learning MODEL RUN_DIR`: runs `sft`. `LIGHTNING_TEST_DIE_AT` says where the process is killed, with SIGKILL: at
//! `rollout:N`, the N-th of this process; at `training:NNNN`, as the process that makes this checkpoint has begun; or at
//! `serve:N`, before version N is served.

use std::{
    env,
    path::Path,
    pin::Pin,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use lightning_core::{
    agent::{RolloutContext, agent_fn},
    algorithm::{ModelHost, ServeCheckpoint},
    lm::Engine,
    train_process::train_process,
};
use lightning_tests::learning::{World, letters, say_ascii, tiny};

/// Where the process is to be killed.
fn is_here(place: &str) -> bool {
    env::var("LIGHTNING_TEST_DIE_AT").is_ok_and(|wanted| wanted == place)
}

fn kill(process: u32) {
    let status = Command::new("kill").args(["-9", &process.to_string()]).status();
    assert!(status.expect("the program `kill`").success());
}

fn die() -> ! {
    kill(std::process::id());
    loop {
        std::thread::park();
    }
}

struct DiesBefore(Arc<Engine>);

impl ServeCheckpoint for DiesBefore {
    fn serve<'a>(
        &'a self,
        folder: &'a Path,
        version: &'a str,
    ) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>> {
        if is_here(&format!("serve:{version}")) {
            die();
        }
        ServeCheckpoint::serve(&*self.0, folder, version)
    }
}

async fn learn(model: &Path, folder: &Path) -> anyhow::Result<()> {
    let world = World::start(model).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let agent = agent_fn(move |task: String, cx: RolloutContext| {
        let number = begun.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            if is_here(&format!("rollout:{number}")) {
                die();
            }
            say_ascii(&task, cx.resources().llm()?.clone()).await
        }
    });
    let trainer = world
        .trainer(tiny(model))
        .extension(ModelHost::new(Arc::new(DiesBefore(Arc::clone(&world.engine)))))
        .run_dir(folder)
        .build()?;
    trainer.fit(agent, letters(b'a', 20), letters(b'A', 4)).await?;
    world.stop().await;
    Ok(())
}

fn main() -> ExitCode {
    #[cfg(unix)]
    if let Ok(job) = env::var("LIGHTNING_TRAIN_PROCESS")
        && let Ok(place) = env::var("LIGHTNING_TEST_DIE_AT")
        && let Some(number) = place.strip_prefix("training:")
        && job.contains(&format!("trained-{number}"))
    {
        kill(std::os::unix::process::parent_id());
    }
    if let Some(code) = train_process() {
        return code;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, folder] = &arguments[..] else {
        eprintln!("usage: learning MODEL RUN_DIR");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(learn(model.as_ref(), folder.as_ref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
