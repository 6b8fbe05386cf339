//! Launches a server of a model and holds it until it is killed, for the suite `model_launcher`: `launching COMMAND…`. Says the
//! address of the server.

use std::{io::Write as _, time::Duration};

use lightning_core::model_launcher::ModelLauncher;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let launcher = ModelLauncher::new(std::env::args().skip(1))?.stop_grace(Duration::from_millis(200));
    let model = launcher.start("held").await?;
    let url = model.url().ok_or("it is not ready")?;
    println!("{url}");
    std::io::stdout().flush()?;
    std::future::pending::<()>().await;
    Ok(())
}
