//! The page in a real browser: tier `browser`.

use std::{fmt::Write as _, fs, path::Path};

use lightning_core::report::RunReport;
use lightning_tests::{scratch::Scratch, tier};
use serde_json::{Value, json};

use super::{HOSTILE, a_failed_run, a_run, assert_figures, break_off, devtools::Page, json_of};

/// Opens the page, and checks what must hold of every page.
fn opened(browser: &tier::Chromium, file: &Path) -> Page {
    let mut page = Page::open(browser, file);
    // Whatever is asked for late has been asked for when the next frame is drawn.
    page.evaluate("document.body.offsetHeight");
    let own = format!("file://{}", file.display());
    let others: Vec<&str> = page
        .requests()
        .into_iter()
        .filter(|url| *url != own && !url.starts_with("data:"))
        .collect();
    assert_eq!(others, Vec::<&str>::new());
    assert_eq!(page.complaints(), Vec::<&Value>::new());
    assert_eq!(page.evaluate("String(window.hacked)"), "undefined");
    assert_eq!(
        page.evaluate("document.scripts.length + document.images.length"),
        0
    );
    let handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on')).length";
    assert_eq!(page.evaluate(handlers), 0);
    let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(page.evaluate(overflow), 0, "the page is wider than the window");
    page
}

/// What the page shows as figures: where they are in the report, their values, and what is seen.
fn seen(page: &mut Page) -> Vec<(String, f64, String)> {
    let figures = "[...document.querySelectorAll('data')].filter(d => d.offsetHeight > 0)\
                   .map(d => [d.dataset.at, Number(d.value), d.innerText])";
    serde_json::from_value(page.evaluate(figures)).unwrap()
}

#[tokio::test]
async fn a_browser_shows_the_figures_of_the_report_and_asks_for_nothing() {
    let Some(browser) = tier::browser() else { return };
    let scratch = Scratch::on_disk();
    let folder = scratch.path("run");
    a_run(&folder).await;
    let mut page = opened(&browser, &folder.join("report.html"));
    let report = json_of(&folder, "report.json");
    let figures = seen(&mut page);
    let values: Vec<(String, f64)> = figures
        .iter()
        .map(|(at, value, _)| (at.clone(), *value))
        .collect();
    assert!(assert_figures(&values, &report) >= 10, "{figures:?}");
    for (at, value, shown) in &figures {
        // What is seen is what the report has, rounded; times and costs have units.
        if let Ok(number) = shown.replace(',', "").parse::<f64>() {
            assert!(
                (number - value).abs() <= 0.0005 * value.abs().max(0.1),
                "{at}: {value} shown as {shown}"
            );
        } else {
            assert!(at == "/seconds" || at == "/cost/amount", "{at}: {shown}");
        }
    }
    // The hostile prompt is there as text.
    let text = page.evaluate("document.body.textContent");
    assert!(
        text.as_str()
            .unwrap()
            .contains("<script>window.hacked=1</script>"),
        "{text}"
    );
    assert!(text.as_str().unwrap().contains("ü日本"));
    let curve = page.evaluate("document.querySelector('#curves path.curve').getTotalLength() > 0");
    assert_eq!(curve, true);
    let size = page.evaluate("document.querySelector('#curves svg').getBoundingClientRect().width");
    assert!(size.as_f64().unwrap() > 300.0, "{size}");
}

#[tokio::test]
async fn a_browser_shows_runs_that_were_broken_off_and_very_long_ones() {
    let Some(browser) = tier::browser() else { return };
    let scratch = Scratch::on_disk();
    let folder = scratch.path("run");
    a_failed_run(&folder).await;
    let mut page = opened(&browser, &folder.join("report.html"));
    let problem = page.evaluate("document.querySelector('#problem').innerText");
    assert!(
        problem.as_str().unwrap().contains("that is enough: </title>"),
        "{problem}"
    );
    drop(page);

    break_off(&folder);
    let mut metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap() + "\n";
    let mut evaluations = fs::read_to_string(folder.join("evaluations.jsonl")).unwrap() + "\n";
    for index in 0..10_000 {
        let mean = f64::from(index % 100) / 100.0;
        let metric = json!({"name": "score", "step": index, "value": mean, "time": 1.0});
        writeln!(metrics, "{metric}").unwrap();
        let evaluation = json!({
            "key": index.to_string(), "label": HOSTILE, "mode": "val", "resources_id": null, "rollouts": 1, "rewarded": 1,
            "without_reward": 0, "failed": 0, "mean_reward": mean, "problem": HOSTILE.repeat(20), "time": 1.0,
        });
        writeln!(evaluations, "{evaluation}").unwrap();
    }
    fs::write(folder.join("metrics.jsonl"), metrics).unwrap();
    fs::write(folder.join("evaluations.jsonl"), evaluations).unwrap();
    let html = RunReport::read(&folder).unwrap().to_html();
    assert!(html.len() < 8_000_000, "{}", html.len());
    fs::write(folder.join("report.html"), html).unwrap();
    let mut page = opened(&browser, &folder.join("report.html"));
    assert_eq!(
        page.evaluate("document.querySelectorAll('#evaluations tbody tr').length"),
        1000
    );
    let left_out = page.evaluate("document.querySelector('#evaluations .none').innerText");
    assert!(
        left_out.as_str().unwrap().contains("of 10,002 are shown"),
        "{left_out}"
    );
}
